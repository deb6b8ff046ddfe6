//! `cutover switch`: all traffic to a pool, now.

use super::CliError;
use super::output::grouped;
use super::overview::summary;
use super::session::Session;
use crate::model::view::{DrainView, SwitchView};
use crate::model::{Period, PoolName};
use reqwest::Method;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// The longest that a switch waits under a hold, however it is configured.
const LONGEST_HOLD: Duration = Duration::from_secs(300);

pub(super) async fn run(
    session: &Session,
    pool: PoolName,
    drain: Option<Period>,
    hold: bool,
) -> Result<ExitCode, CliError> {
    let mut body = json!({ "pool": pool, "hold": hold });
    if let Some(drain) = drain {
        body["drain"] = json!(drain);
    }
    // Without a drain the router's configuration says how long requests under a hold have to end: half of `max_wait`.
    let wait = drain.map_or(if hold { LONGEST_HOLD } else { Duration::ZERO }, Period::get);
    let answer = session.change(Method::POST, "/switch", &body, wait).await?;
    session.show(&answer, |answer| answer.read().map(|view| text(&view)))
}

fn text(view: &SwitchView) -> String {
    let mut text = summary(&view.service);
    if let Some(drain) = view.drain {
        text.push_str("\n  ");
        text.push_str(&drained(drain));
    }
    text
}

/// What became of the requests that were waited for.
pub(super) fn drained(drain: DrainView) -> String {
    let DrainView { waited_for, cut, took } = drain;
    let all = grouped(waited_for);
    match (waited_for, cut) {
        (0, _) => "drained: nothing was under way".to_owned(),
        (_, 0) => format!("drained: all {all} requests under way ended by themselves, in {took}"),
        (_, cut) => format!("drained: {} of {all} requests under way were cut after {took}", grouped(cut)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_says_how_many_were_cut() {
        let drain = |waited_for, cut| drained(DrainView { waited_for, cut, took: Period::from_secs(2) });
        assert_eq!(drain(0, 0), "drained: nothing was under way");
        assert_eq!(drain(1200, 0), "drained: all 1,200 requests under way ended by themselves, in 2s");
        assert_eq!(drain(12, 3), "drained: 3 of 12 requests under way were cut after 2s");
    }
}
