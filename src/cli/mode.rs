//! `cutover mode`: serve, or answer with the maintenance page.

use super::CliError;
use super::arguments::ModeCommand;
use super::overview::summary;
use super::session::Session;
use crate::model::{Mode, ModeSetting};
use reqwest::Method;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(session: &Session, command: ModeCommand) -> Result<ExitCode, CliError> {
    let setting = match command {
        ModeCommand::Serve => ModeSetting::default(),
        ModeCommand::Maintenance { retry_after, until, message } => {
            ModeSetting { mode: Mode::Maintenance, retry_after, until, message }
        }
    };
    let answer = session.change(Method::PUT, "/mode", &json!(setting), Duration::ZERO).await?;
    session.show(&answer, |answer| answer.read().map(|view| summary(&view)))
}
