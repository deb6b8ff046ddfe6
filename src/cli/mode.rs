//! `cutover mode`: what the service does with requests.

use super::CliError;
use super::arguments::{ModeCommand, ModeDetails};
use super::overview::{between, summary};
use super::session::Session;
use super::switch::drained;
use crate::model::view::ModeView;
use crate::model::{Mode, ModeSetting, Period};
use reqwest::Method;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) async fn run(session: &Session, command: ModeCommand) -> Result<ExitCode, CliError> {
    let (setting, drain) = match command {
        ModeCommand::Serve => (ModeSetting::default(), None),
        ModeCommand::ReadOnly { anonymous, details } => setting(Mode::ReadOnly, anonymous, details),
        ModeCommand::Anonymous(details) => setting(Mode::Anonymous, false, details),
        ModeCommand::Hold(details) => setting(Mode::Hold, false, details),
        ModeCommand::Maintenance(details) => setting(Mode::Maintenance, false, details),
    };
    let mut body = json!(setting);
    if let Some(drain) = drain {
        body["drain"] = json!(drain);
    }
    let answer = session.change(Method::PUT, "/mode", &body, drain.unwrap_or_default().get()).await?;
    session.show(&answer, |answer| answer.read().map(|view| text(&view)))
}

fn setting(mode: Mode, anonymous: bool, details: ModeDetails) -> (ModeSetting, Option<Period>) {
    let ModeDetails { retry_after, until, message, drain } = details;
    (ModeSetting { mode, anonymous, retry_after, until, message }, drain)
}

fn text(view: &ModeView) -> String {
    let mut text = summary(&view.service);
    // Who goes back to serve sees what it has cost not to.
    if let Some(meanwhile) = view.service.meanwhile.as_ref().filter(|_| view.service.mode == Mode::Serve)
        && let Some(until) = meanwhile.until
    {
        let _ = write!(text, "\n  meanwhile {meanwhile} in {}", between(meanwhile.since, until));
    }
    if let Some(drain) = view.drain {
        text.push_str("\n  ");
        text.push_str(&drained(drain));
    }
    text
}
