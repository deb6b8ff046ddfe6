//! `PUT …/deploy`: what a deploy script tells of itself.

use super::problem::Problem;
use super::request::{Change, IfMatch, Named};
use super::routes::Api;
use crate::control::Command;
use crate::model::{DeployStep, Mode, PoolName, ReleaseId};
use crate::rollout::DeployAct;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

/// A name, a host and a process have room in it.
const LONGEST_BY: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeployBody {
    pool: PoolName,
    release: ReleaseId,
    by: String,
    act: Act,
    mode: Option<Mode>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    take_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Act {
    Begin,
    Alive,
    Ready,
    Gate,
    Migrated,
    Guard,
    Unguard,
    Stopped,
}

pub(super) async fn deploy(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(body): Change<DeployBody>,
) -> Result<Response, Problem> {
    let act = act(&body)?;
    let DeployBody { pool, release, by, .. } = body;
    api.carry_out(service, Command::Deploy { pool, release, by, act }, revision).await
}

fn act(body: &DeployBody) -> Result<DeployAct, Problem> {
    let by = &body.by;
    if by.trim().is_empty() || by.chars().count() > LONGEST_BY || by.contains(char::is_control) {
        return Err(Problem::invalid(format!("`by` says who deploys, in 1 to {LONGEST_BY} characters on one line")));
    }
    if body.mode.is_some() != (body.act == Act::Guard) {
        return Err(Problem::invalid("`mode` goes with the act \"guard\", and only with that"));
    }
    if (body.force || body.take_over) && body.act != Act::Begin {
        return Err(Problem::invalid("`force` and `take_over` go with the act \"begin\""));
    }
    Ok(match body.act {
        Act::Begin => DeployAct::Begin { force: body.force, take_over: body.take_over },
        Act::Alive => DeployAct::Alive,
        Act::Ready => DeployAct::Done(DeployStep::Ready),
        Act::Gate => DeployAct::Done(DeployStep::Gate),
        Act::Migrated => DeployAct::Done(DeployStep::Migrated),
        Act::Guard => DeployAct::Guard(body.mode.unwrap_or_default()),
        Act::Unguard => DeployAct::Unguard,
        Act::Stopped => DeployAct::Stop,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn of(more: &Value) -> Result<DeployAct, String> {
        let mut body = json!({ "pool": "server1", "release": "v2", "by": "me@here" });
        let fields = more.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        act(&serde_json::from_value(body).unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn an_act_takes_what_belongs_to_it() {
        let begin = of(&json!({ "act": "begin", "force": true }));
        assert_eq!(begin, Ok(DeployAct::Begin { force: true, take_over: false }));
        assert_eq!(of(&json!({ "act": "guard", "mode": "hold" })), Ok(DeployAct::Guard(Mode::Hold)));
        assert_eq!(of(&json!({ "act": "migrated" })), Ok(DeployAct::Done(DeployStep::Migrated)));
        assert_eq!(of(&json!({ "act": "stopped" })), Ok(DeployAct::Stop));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (body, sentence) in [
            (json!({ "act": "guard" }), "`mode` goes with"),
            (json!({ "act": "ready", "mode": "hold" }), "`mode` goes with"),
            (json!({ "act": "ready", "force": true }), "go with the act \"begin\""),
            (json!({ "act": "begin", "by": " " }), "`by` says who deploys"),
            (json!({ "act": "begin", "by": "x".repeat(201) }), "`by` says who deploys"),
            (json!({ "act": "begin", "by": "a\u{1b}b" }), "`by` says who deploys"),
        ] {
            let told = of(&body).unwrap_err();
            assert!(told.contains(sentence), "{told}");
        }
    }
}
