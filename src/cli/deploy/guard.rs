//! The mode around a migration and a switch. It has an end of its own that is moved on while the command lives, so that a
//! command that dies leaves no site behind that is held for ever.

use super::course::Step;
use super::site::{Change, Site, note};
use crate::cli::CliError;
use crate::cli::overview::between;
use crate::model::view::{DrainView, ModeView, ServiceView};
use crate::model::{Mode, ModeSetting, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;

/// The end is moved on when a third of the lease has passed: one try may fail.
const PARTS: u32 = 3;

/// Puts the service into the mode, and lets the requests under way end; what became of them.
pub(super) async fn enter(site: &Site<'_>, mode: Mode) -> Result<Option<DrainView>, CliError> {
    let noted = site.record("guard", &[("mode", json!(mode))]).await?;
    let before = site.own(&noted).and_then(|deploy| deploy.guard.as_ref()).map(|guard| guard.before.mode);
    let drain = site.asked.drain();
    let view: ModeView = site
        .change(Step::Guard(mode), |view| {
            let now = view.mode_setting.mode;
            if now != mode && Some(now) != before {
                return Err(CliError::Deploy(format!("somebody else has put the service into mode {now}")));
            }
            let mut body = lasting(site, mode, drain.get());
            body["drain"] = json!(drain);
            Ok(Change::Make(Method::PUT, "/mode", body, drain.get()))
        })
        .await?;
    Ok(view.drain)
}

/// The mode, and when it ends by itself.
fn lasting(site: &Site<'_>, mode: Mode, besides: Duration) -> Value {
    let until = Timestamp::now().checked_add(site.asked.lease.get() + besides).ok();
    let (retry_after, message) = (Some(site.asked.retry_after), site.asked.message.clone());
    json!(ModeSetting { retry_after, until, message, ..ModeSetting::of(mode) })
}

/// Moves the end of the mode on, for as long as this is waited for.
pub(super) async fn keep(site: &Site<'_>, mode: Mode) -> Infallible {
    loop {
        tokio::time::sleep(site.asked.lease.get() / PARTS).await;
        let kept: Result<Option<ServiceView>, CliError> = site
            .change(Step::Guard(mode), |view| {
                if view.mode_setting.mode != mode {
                    return Ok(Change::Made(None));
                }
                Ok(Change::Make(Method::PUT, "/mode", lasting(site, mode, Duration::ZERO), Duration::ZERO))
            })
            .await;
        match kept {
            Ok(Some(_)) => {}
            Ok(None) => {
                note(&format!(
                    "the service is not in mode {mode} any more; somebody else has changed it, or its time was over"
                ));
                std::future::pending::<()>().await;
            }
            Err(error) => note(&error.to_string()),
        }
    }
}

/// Puts the service back into the mode that it was in before, unless somebody else has changed it meanwhile; in a sentence.
pub(super) async fn leave(site: &Site<'_>) -> Result<String, CliError> {
    let noted = site.look().await?;
    let Some(guard) = site.own(&noted).and_then(|deploy| deploy.guard.clone()) else {
        return Ok("no mode to leave".to_owned());
    };
    let left: Option<ServiceView> = site
        .change(Step::Leave, |view| {
            if view.mode_setting.mode != guard.mode {
                return Ok(Change::Made(None));
            }
            Ok(Change::Make(Method::PUT, "/mode", json!(still(&guard.before)), Duration::ZERO))
        })
        .await?;
    let after = site.record("unguard", &[]).await?;
    let now = after.mode_setting.mode;
    Ok(match left {
        Some(view) => format!("mode {now}{}", cost(&view)),
        None => format!("mode {} was ended meanwhile; mode {now}", guard.mode),
    })
}

/// What the router has answered itself in the mode that is over.
fn cost(view: &ServiceView) -> String {
    let Some(meanwhile) = &view.meanwhile else { return String::new() };
    let until = meanwhile.until.unwrap_or_else(Timestamp::now);
    format!("; meanwhile {meanwhile} in {}", between(meanwhile.since, until))
}

/// An earlier mode whose time is over is not gone back to.
fn still(before: &ModeSetting) -> ModeSetting {
    let is_over = before.until.is_some_and(|until| until <= Timestamp::now());
    if is_over { ModeSetting::default() } else { before.clone() }
}
