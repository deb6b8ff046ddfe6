//! The mode around a migration and a switch. It has an end of its own that is moved on while the command lives, so that a
//! command that dies leaves no site behind that is held for ever.

use super::course::Step;
use super::site::{Change, Site, note};
use crate::cli::CliError;
use crate::cli::overview::between;
use crate::model::view::{DrainView, ModeView, ServiceView};
use crate::model::{Mode, ModeSetting, ModeSource, Period, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;

/// The end is moved on when a third of the lease has passed: one try may fail.
const PARTS: u32 = 3;

/// Puts the service into the mode, and lets the requests under way end; what became of them.
pub(super) async fn enter(site: &Site<'_>, mode: Mode) -> Result<Option<DrainView>, CliError> {
    // A run of this deploy that was broken off may have left another mode on.
    let left = site.own(&site.look().await?).and_then(|deploy| deploy.guard.as_ref()).map(|guard| guard.mode);
    let noted = site.record("guard", &[("mode", json!(mode))]).await?;
    let before = site.own(&noted).and_then(|deploy| deploy.before(mode)).cloned().unwrap_or_default();
    let drain = site.asked.drain();
    let view: ModeView = site
        .change(Step::Guard(mode), |view| {
            let now = view.mode_setting.mode;
            if now != mode && now != before.mode && Some(now) != left {
                return Err(CliError::Deploy(format!("somebody else has put the service into mode {now}")));
            }
            let mut body = lasting(site, mode, &before, drain.get());
            body["drain"] = json!(drain);
            Ok(Change::Make(Method::PUT, "/mode", body, drain.get()))
        })
        .await?;
    Ok(view.drain)
}

/// The mode, and when it ends by itself. The router counts that time, as its clock may be another. One that somebody had put
/// the service into before goes on as it is, and never ends sooner than it was to.
fn lasting(site: &Site<'_>, mode: Mode, before: &ModeSetting, besides: Duration) -> Value {
    let asked = site.asked;
    let lease = Period::from(asked.lease.get() + besides);
    if before.mode != mode {
        let (retry_after, message) = (Some(asked.retry_after), asked.message.clone());
        // Who is logged out stays so.
        let anonymous = mode == Mode::ReadOnly && before.is_anonymous();
        let mut body = json!(ModeSetting { anonymous, retry_after, message, ..ModeSetting::of(mode) });
        body["lasts"] = json!(lease);
        return body;
    }
    let message = asked.message.clone().or_else(|| before.message.clone());
    let mut body = json!(ModeSetting { message, ..before.clone() });
    if before.until.is_some() {
        body["lasts"] = json!(lease);
    }
    body
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
                if view.mode_setting.until.is_none() {
                    // It goes on until somebody leaves it.
                    return Ok(Change::Made(Some(view.clone())));
                }
                let before = site.own(view).and_then(|deploy| deploy.before(mode)).cloned().unwrap_or_default();
                let body = lasting(site, mode, &before, Duration::ZERO);
                Ok(Change::Make(Method::PUT, "/mode", body, Duration::ZERO))
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
            // While the flag file is there, no command leaves a mode; what is noted after this does.
            if view.mode_setting.mode != guard.mode || view.mode_source == ModeSource::File {
                return Ok(Change::Made(None));
            }
            Ok(Change::Make(Method::PUT, "/mode", again(&guard.before), Duration::ZERO))
        })
        .await?;
    let after = site.record("unguard", &[]).await?;
    let now = after.mode_setting.mode;
    Ok(match (left, after.mode_source) {
        (Some(view), _) => format!("mode {now}{}", cost(&view)),
        (None, ModeSource::File) => format!("mode {now}, once the file is gone that keeps the service in maintenance"),
        (None, ModeSource::Command | ModeSource::NoHealthyPool) => {
            format!("mode {} was ended meanwhile; mode {now}", guard.mode)
        }
    })
}

/// What the router has answered itself in the mode that is over.
fn cost(view: &ServiceView) -> String {
    let Some(meanwhile) = &view.meanwhile else { return String::new() };
    let until = meanwhile.until.unwrap_or_else(Timestamp::now);
    format!("; meanwhile {meanwhile} in {}", between(meanwhile.since, until))
}

/// The mode of before; serve where its time is over.
fn again(before: &ModeSetting) -> Value {
    let Some(until) = before.until else { return json!(before) };
    if until <= Timestamp::now() {
        return json!(ModeSetting::default());
    }
    let mut body = json!(before);
    // By the router's clock it may be over, which is not to be refused.
    body["lasts"] = json!(Period::from_secs(1));
    body
}

#[cfg(test)]
mod tests {
    use super::super::arguments::parsed;
    use super::*;
    use crate::cli::arguments::Global;
    use crate::cli::session::Session;

    #[test]
    fn what_somebody_has_set_goes_on_as_it_is_and_the_rest_ends_by_itself() {
        let admin = "http://127.0.0.1:9900".to_owned();
        let session = Session::open(&Global { admin, token_file: None, service: None, json: false }).unwrap();
        let line = "deploy server1 --release 2 --maintenance --lease 1m --message Soon.";
        let asked = parsed(line.split_whitespace());
        let site = Site::new(&session, String::new(), &asked);
        let body = |mode, before| lasting(&site, mode, &before, Duration::from_secs(10));
        let own = |mode: &str| json!({ "mode": mode, "retry_after": "30s", "message": "Soon.", "lasts": "1m 10s" });
        assert_eq!(body(Mode::Maintenance, ModeSetting::default()), own("maintenance"));
        assert_eq!(body(Mode::Maintenance, ModeSetting::of(Mode::ReadOnly)), own("maintenance"));

        let retry_after = Some(Period::from_secs(7200));
        let set = ModeSetting { retry_after, ..ModeSetting::of(Mode::Maintenance) };
        let expected = json!({ "mode": "maintenance", "retry_after": "2h", "message": "Soon." });
        assert_eq!(body(Mode::Maintenance, set.clone()), expected, "without an end, as it was");
        let until = "2026-11-22T18:30:00Z";
        let set = ModeSetting { until: Some(until.parse().unwrap()), ..set };
        let mut expected = expected;
        expected["until"] = json!(until);
        expected["lasts"] = json!("1m 10s");
        assert_eq!(body(Mode::Maintenance, set), expected, "the later of the two");

        let mut expected = own("read-only");
        expected["anonymous"] = json!(true);
        assert_eq!(body(Mode::ReadOnly, ModeSetting::of(Mode::Anonymous)), expected, "nobody is logged in by a deploy");
    }
}
