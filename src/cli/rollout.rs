//! `cutover rollout`: start and steer.

use super::CliError;
use super::arguments::{RolloutCommand, StartArguments};
use super::output::say;
use super::overview::{Extent, overview, summary};
use super::session::Session;
use super::status::shown;
use super::wait::wait;
use crate::model::view::ServiceView;
use crate::model::{Strategy, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(session: &Session, command: RolloutCommand) -> Result<ExitCode, CliError> {
    let (method, what, body) = match command {
        RolloutCommand::Start(arguments) => return start(session, &arguments).await,
        RolloutCommand::Status => {
            say(&shown(session, Extent::Rollout).await?)?;
            return Ok(ExitCode::SUCCESS);
        }
        RolloutCommand::Pause => (Method::POST, "/rollout/pause", json!({})),
        RolloutCommand::Resume => (Method::POST, "/rollout/resume", json!({})),
        RolloutCommand::Approve => (Method::POST, "/rollout/approve", json!({})),
        RolloutCommand::Promote => (Method::POST, "/rollout/promote", json!({})),
        RolloutCommand::Rollback => (Method::POST, "/rollout/rollback", json!({})),
        RolloutCommand::Weight { percent } => (Method::PUT, "/rollout/weight", json!({ "weight": percent.percent() })),
    };
    let answer = session.change(method, what, &body, Duration::ZERO).await?;
    session.show(&answer, |answer| answer.read().map(|view| summary(&view)))
}

async fn start(session: &Session, arguments: &StartArguments) -> Result<ExitCode, CliError> {
    let path = session.service_path().await?;
    let answer =
        session.client.send(Method::POST, &format!("{path}/rollout"), &body(arguments), Duration::ZERO).await?;
    if arguments.wait {
        return wait(session, &path, &arguments.pool, &answer.read()?).await;
    }
    session.show(&answer, |answer| {
        let view: ServiceView = answer.read()?;
        Ok(overview(&view, None, Extent::Rollout, Timestamp::now()))
    })
}

fn body(arguments: &StartArguments) -> Value {
    let mut body = json!({ "pool": arguments.pool, "force": arguments.force });
    if let Some(release) = &arguments.release {
        body["release"] = json!(release);
    }
    if let Some(strategy) = arguments.strategy {
        body["strategy"] = json!(Strategy::from(strategy));
    }
    if !arguments.steps.is_empty() {
        let step = |weight: &crate::model::BasisPoints| json!({ "weight": weight.percent(), "hold": arguments.hold });
        body["steps"] = arguments.steps.iter().map(step).collect();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BasisPoints, Period};

    #[test]
    fn a_start_says_only_what_was_asked_for() {
        let mut arguments = StartArguments {
            pool: "server1".parse().unwrap(),
            release: None,
            strategy: None,
            steps: Vec::new(),
            hold: Period::from_secs(60),
            force: false,
            wait: false,
        };
        assert_eq!(body(&arguments), json!({ "pool": "server1", "force": false }));
        arguments.release = Some("2".parse().unwrap());
        arguments.steps = vec![BasisPoints::from_percent(12.5).unwrap()];
        let expected =
            json!({ "pool": "server1", "force": false, "release": "2", "steps": [{ "weight": 12.5, "hold": "1m" }] });
        assert_eq!(body(&arguments), expected);
    }
}
