//! Requests that change something: a body to a [`Command`], and the service after it.

use super::problem::{Kind, Problem};
use super::questions::tagged;
use super::request::{Change, IfMatch, Named};
use super::routes::Api;
use crate::config::StepConfig;
use crate::control::{Command, LinkRequest};
use crate::model::view::{ModeView, SwitchView};
use crate::model::{BasisPoints, Mode, ModeSetting, Period, PoolName, ReleaseId, Strategy, Timestamp};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

type Answer = Result<Response, Problem>;

/// The body of a change that needs nothing to be said.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchBody {
    pool: PoolName,
    drain: Option<Period>,
    #[serde(default)]
    hold: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    pool: PoolName,
    release: Option<ReleaseId>,
    strategy: Option<Strategy>,
    steps: Option<Vec<StepBody>>,
    hold: Option<Period>,
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepBody {
    weight: f64,
    hold: Option<Period>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WeightBody {
    weight: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModeBody {
    mode: String,
    retry_after: Option<Period>,
    until: Option<String>,
    lasts: Option<Period>,
    message: Option<String>,
    #[serde(default)]
    anonymous: bool,
    drain: Option<Period>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewLinkBody {
    pool: PoolName,
    ttl: Option<Period>,
    path: Option<String>,
    host: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupBody {
    file: PathBuf,
}

pub(super) async fn switch(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(body): Change<SwitchBody>,
) -> Answer {
    let command = Command::Switch { pool: body.pool, drain: body.drain, hold: body.hold };
    let switched = api.to_its_end(service, command, revision).await?;
    Ok(tagged(switched.service.revision, &switched))
}

pub(super) async fn start(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(body): Change<StartBody>,
) -> Answer {
    let steps = steps(body.steps, body.hold)?;
    let StartBody { pool, release, strategy, force, .. } = body;
    let command = Command::Start { pool, release, strategy, steps, force };
    api.carry_out(service, command, revision).await
}

pub(super) async fn pause(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(Nothing {}): Change<Nothing>,
) -> Answer {
    api.carry_out(service, Command::Pause, revision).await
}

pub(super) async fn resume(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(Nothing {}): Change<Nothing>,
) -> Answer {
    api.carry_out(service, Command::Resume, revision).await
}

pub(super) async fn approve(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(Nothing {}): Change<Nothing>,
) -> Answer {
    api.carry_out(service, Command::Approve, revision).await
}

pub(super) async fn promote(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(Nothing {}): Change<Nothing>,
) -> Answer {
    api.carry_out(service, Command::Promote, revision).await
}

pub(super) async fn rollback(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(Nothing {}): Change<Nothing>,
) -> Answer {
    api.carry_out(service, Command::Rollback, revision).await
}

pub(super) async fn weight(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(body): Change<WeightBody>,
) -> Answer {
    let weight = BasisPoints::from_percent(body.weight).map_err(|error| Problem::invalid(error.to_string()))?;
    api.carry_out(service, Command::Weight(weight), revision).await
}

pub(super) async fn mode(
    State(api): State<Api>,
    Named(service): Named,
    IfMatch(revision): IfMatch,
    Change(body): Change<ModeBody>,
) -> Answer {
    let drain = body.drain;
    let setting = setting(body, Timestamp::now())?;
    let changed = api.to_its_end(service, Command::Mode { setting, drain }, revision).await?;
    let revision = changed.service.revision;
    Ok(tagged(revision, &ModeView { service: changed.service, drain: changed.drain }))
}

/// Changes nothing, but what it makes opens a door: it takes what a change takes.
pub(super) async fn preview_link(
    State(api): State<Api>,
    Named(service): Named,
    Change(body): Change<PreviewLinkBody>,
) -> Answer {
    let PreviewLinkBody { pool, ttl, path, host } = body;
    Ok(Json(api.handle.preview_link(&service, &LinkRequest { pool, ttl, path, host })?).into_response())
}

pub(super) async fn backup(State(api): State<Api>, Change(body): Change<BackupBody>) -> Answer {
    if !body.file.is_absolute() {
        return Err(Problem::invalid("`file` is an absolute path on the router's machine"));
    }
    api.handle.backup(&body.file).await?;
    Ok(Json(body).into_response())
}

impl Api {
    pub(super) async fn carry_out(&self, service: String, command: Command, revision: Option<u64>) -> Answer {
        let done = self.to_its_end(service, command, revision).await?;
        Ok(tagged(done.service.revision, &done.service))
    }

    /// In a task of its own: a drain must not be left half done because the client hung up.
    async fn to_its_end(
        &self,
        service: String,
        command: Command,
        revision: Option<u64>,
    ) -> Result<SwitchView, Problem> {
        let handle = self.handle.clone();
        let done = tokio::spawn(async move { handle.command(&service, command, revision).await });
        match done.await {
            Ok(done) => Ok(done?),
            Err(error) => Err(Problem::new(Kind::Internal, format!("the command was not carried to its end: {error}"))),
        }
    }
}

/// More steps than anyone watches.
const MOST_STEPS: usize = 100;
/// The hold of a step where the request names none.
const DEFAULT_HOLD: Period = Period::from_secs(60);

fn steps(given: Option<Vec<StepBody>>, hold: Option<Period>) -> Result<Option<Vec<StepConfig>>, Problem> {
    let Some(given) = given else {
        return match hold {
            None => Ok(None),
            Some(_) => Err(Problem::invalid("`hold` is that of the given `steps`; give these as well")),
        };
    };
    if given.is_empty() || given.len() > MOST_STEPS {
        return Err(Problem::invalid(format!(
            "`steps` has 1 to {MOST_STEPS} steps; leave it out for the configured ones"
        )));
    }
    let mut steps = Vec::with_capacity(given.len());
    let mut last = BasisPoints::ZERO;
    for (number, step) in (1..).zip(given) {
        let weight = BasisPoints::from_percent(step.weight)
            .map_err(|error| Problem::invalid(format!("step {number}: {error}")))?;
        if weight == BasisPoints::ALL {
            return Err(Problem::invalid(format!(
                "step {number}: at 100% nothing is left to compare with; all traffic is what comes after the last step"
            )));
        }
        if weight <= last {
            return Err(Problem::invalid(format!(
                "step {number}: the weights rise from step to step and begin above 0; {weight} does not come after {last}"
            )));
        }
        last = weight;
        steps.push(StepConfig::new(weight, step.hold.or(hold).unwrap_or(DEFAULT_HOLD)));
    }
    Ok(Some(steps))
}

/// A message is a sentence or two on a page.
const LONGEST_MESSAGE: usize = 1000;

fn setting(body: ModeBody, now: Timestamp) -> Result<ModeSetting, Problem> {
    let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.as_str() == body.mode) else {
        return Err(Problem::invalid("`mode` is \"serve\", \"anonymous\", \"read-only\", \"hold\" or \"maintenance\""));
    };
    if body.anonymous && !matches!(mode, Mode::ReadOnly | Mode::Anonymous) {
        return Err(Problem::invalid("`anonymous` goes with mode read-only; it is a mode by itself as well"));
    }
    let message = body.message.map(|message| message.trim().to_owned()).filter(|message| !message.is_empty());
    let until = body.until.as_deref().map(str::parse).transpose();
    let until = until.map_err(|_| Problem::invalid("`until` is a moment such as \"2026-11-30T06:00:00Z\""))?;
    if body.lasts.is_none() && until.is_some_and(|until| until <= now) {
        return Err(Problem::invalid("`until` is in the past; give the moment when the mode is to end"));
    }
    // The later one, of both: whoever has another clock can say that it lasts so long at the least.
    let until = until.max(body.lasts.map(|lasts| now + lasts.get()));
    // Mode anonymous says it already.
    let anonymous = body.anonymous && mode == Mode::ReadOnly;
    let setting = ModeSetting { mode, anonymous, retry_after: body.retry_after, until, message };
    if mode == Mode::Serve && (setting != ModeSetting::default() || body.drain.is_some()) {
        return Err(Problem::invalid(
            "`retry_after`, `until`, `lasts`, `message` and `drain` belong to the other modes",
        ));
    }
    let message = setting.message.as_deref().unwrap_or_default();
    if message.chars().count() > LONGEST_MESSAGE || message.contains(char::is_control) {
        return Err(Problem::invalid(format!("`message` has at most {LONGEST_MESSAGE} characters, on one line")));
    }
    Ok(setting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof};
    use serde::de::DeserializeOwned;

    fn of<T: DeserializeOwned>(body: serde_json::Value) -> T {
        serde_json::from_value(body).unwrap()
    }

    fn steps_of(body: serde_json::Value) -> Result<Option<Vec<StepConfig>>, String> {
        let body: StartBody = of(body);
        steps(body.steps, body.hold).map_err(|problem| problem.detail)
    }

    fn setting_of(body: serde_json::Value) -> Result<ModeSetting, String> {
        setting(of(body), "2026-01-01T00:00:00Z".parse().unwrap()).map_err(|problem| problem.detail)
    }

    #[test]
    fn steps_take_their_own_hold_then_the_common_one_then_a_minute() {
        let json = serde_json::json!({"pool": "server1", "steps": [{"weight": 0.5, "hold": "2m"}, {"weight": 50}]});
        let holds = |body| steps_of(body).unwrap().unwrap().iter().map(|s| s.hold.to_string()).collect::<Vec<_>>();
        assert_eq!(holds(json.clone()), ["2m", "1m"]);
        let mut with_hold = json;
        with_hold["hold"] = "5s".into();
        assert_eq!(holds(with_hold), ["2m", "5s"]);
        assert_eq!(steps_of(serde_json::json!({"pool": "server1"})), Ok(None));
    }

    #[test]
    fn steps_that_make_no_walk_are_refused() {
        for (body, sentence) in [
            (serde_json::json!({"pool": "b", "steps": []}), "1 to 100 steps"),
            (serde_json::json!({"pool": "b", "steps": vec![serde_json::json!({"weight": 1}); 101]}), "1 to 100 steps"),
            (serde_json::json!({"pool": "b", "steps": [{"weight": 0}]}), "step 1: the weights rise"),
            (serde_json::json!({"pool": "b", "steps": [{"weight": 5}, {"weight": 5}]}), "step 2: the weights rise"),
            (serde_json::json!({"pool": "b", "steps": [{"weight": 100.5}]}), "step 1: a weight is a percentage"),
            (serde_json::json!({"pool": "b", "steps": [{"weight": 5}, {"weight": 100}]}), "step 2: at 100% nothing"),
            (serde_json::json!({"pool": "b", "hold": "5s"}), "give these as well"),
        ] {
            let told = steps_of(body).unwrap_err();
            assert!(told.contains(sentence), "{told}");
        }
    }

    #[test]
    fn maintenance_takes_its_details() {
        let setting = setting_of(serde_json::json!({
            "mode": "maintenance", "retry_after": "10m", "until": "2026-01-01T01:00:00+00:30", "message": " Back soon. "
        }));
        let expected = ModeSetting {
            mode: Mode::Maintenance,
            retry_after: Some(Period::from_secs(600)),
            until: Some("2026-01-01T00:30:00Z".parse().unwrap()),
            message: Some("Back soon.".to_owned()),
            anonymous: false,
        };
        assert_eq!(setting, Ok(expected));
        assert_eq!(setting_of(serde_json::json!({"mode": "serve"})), Ok(ModeSetting::default()));
    }

    #[test]
    fn a_mode_lasts_so_long_by_the_routers_clock_and_no_shorter_than_until() {
        let until = |body| setting_of(body).unwrap().until.unwrap().to_string();
        let lasts = serde_json::json!({"mode": "hold", "lasts": "5m"});
        assert_eq!(until(lasts.clone()), "2026-01-01T00:05:00Z");
        for (given, later) in [
            ("2026-01-01T00:30:00Z", "2026-01-01T00:30:00Z"),
            ("2026-01-01T00:01:00Z", "2026-01-01T00:05:00Z"),
            ("2025-12-31T00:00:00Z", "2026-01-01T00:05:00Z"),
        ] {
            let mut both = lasts.clone();
            both["until"] = given.into();
            assert_eq!(until(both), later, "{given}");
        }
    }

    #[test]
    fn read_only_may_be_anonymous_and_anonymous_says_it_by_itself() {
        let read_only = setting_of(serde_json::json!({"mode": "read-only", "anonymous": true})).unwrap();
        assert!(read_only.anonymous && read_only.is_anonymous());
        for body in
            [serde_json::json!({"mode": "anonymous"}), serde_json::json!({"mode": "anonymous", "anonymous": true})]
        {
            assert_eq!(setting_of(body), Ok(ModeSetting::of(Mode::Anonymous)));
        }
    }

    #[test]
    fn a_mode_that_makes_no_sense_is_refused() {
        for (body, sentence) in [
            (serde_json::json!({"mode": "nap"}), "\"hold\" or \"maintenance\""),
            (serde_json::json!({"mode": "maintenance", "anonymous": true}), "goes with mode read-only"),
            (serde_json::json!({"mode": "serve", "message": "x"}), "belong to the other modes"),
            (serde_json::json!({"mode": "serve", "drain": "1s"}), "belong to the other modes"),
            (serde_json::json!({"mode": "serve", "lasts": "1s"}), "belong to the other modes"),
            (serde_json::json!({"mode": "maintenance", "until": "soon"}), "`until` is a moment such as"),
            (serde_json::json!({"mode": "maintenance", "until": "2025-12-31T23:59:59Z"}), "in the past"),
            (serde_json::json!({"mode": "maintenance", "message": "x".repeat(1001)}), "at most 1000"),
            (serde_json::json!({"mode": "maintenance", "message": "a\u{1b}b"}), "on one line"),
        ] {
            let told = setting_of(body).unwrap_err();
            assert!(told.contains(sentence), "{told}");
        }
    }

    /// Weights as people and programs may write them.
    fn weights() -> impl Strategy<Value = Vec<f64>> {
        let weight = prop_oneof![
            6 => (0..=10_100_u32).prop_map(|points| f64::from(points) / 100.0),
            1 => -10.0..110.0_f64,
            1 => any::<f64>().prop_filter("JSON has no other", |number| number.is_finite()),
        ];
        let rising = prop::collection::btree_set(1..10_000_u32, 1..101);
        prop_oneof![
            prop::collection::vec(weight, 0..5),
            rising.prop_map(|points| points.into_iter().map(|points| f64::from(points) / 100.0).collect()),
        ]
    }

    odd_input! {
        fn exactly_the_walks_that_rise_by_hundredths_are_steps(given in weights(), hold in "(1s|10m|2h)?") {
            let listed: Vec<_> = given.iter().map(|weight| serde_json::json!({ "weight": weight })).collect();
            let mut body = serde_json::json!({ "pool": "b", "steps": listed });
            if !hold.is_empty() {
                body["hold"] = hold.as_str().into();
            }
            let is_hundredth = |weight: &f64| (weight * 100.0 - (weight * 100.0).round()).abs() <= 1e-6;
            let in_bounds = given.iter().all(|weight| *weight > 0.005 && *weight < 99.995 && is_hundredth(weight));
            let rises = given.windows(2).all(|pair| pair[1] - pair[0] > 0.005);
            let is_walk = (1..=MOST_STEPS).contains(&given.len()) && in_bounds && rises;
            let steps = steps_of(body).ok().flatten();
            prop_assert_eq!(steps.is_some(), is_walk);
            for (step, weight) in steps.iter().flatten().zip(given) {
                prop_assert!((step.weight.percent() - weight).abs() < 1e-7);
                prop_assert_eq!(step.hold, if hold.is_empty() { DEFAULT_HOLD } else { hold.parse().unwrap() });
            }
        }

        fn a_mode_that_is_taken_can_be_kept_and_shown(
            mode in "(serve|read-only|anonymous|hold|maintenance|nap)", anonymous in any::<bool>(),
            message in prop_oneof![Just(None), ".{0,6}".prop_map(Some), (990..1010_usize).prop_map(|length| Some("ä".repeat(length)))],
            until in prop_oneof![Just(None), "(20(25|26|30)-0[1-3]-0[1-3]T00:00:0[0-9]Z|9999-12-30T22:00:00Z|soon|-009999-01-02T00:00:00Z)".prop_map(Some)],
            lasts in "(|1s|1h|87600h|0s)",
        ) {
            let mut body = serde_json::json!({ "mode": mode, "anonymous": anonymous, "message": message, "until": until });
            if !lasts.is_empty() {
                body["lasts"] = lasts.as_str().into();
            }
            let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            if let Ok(setting) = setting_of(body) {
                prop_assert_eq!(setting.mode.as_str(), &mode);
                prop_assert!(setting.mode != Mode::Serve || setting == ModeSetting::default());
                prop_assert!(setting.until.is_none_or(|until| until > now || lasts == "0s"), "{setting:?}");
                let shown = setting.message.clone().unwrap_or_default();
                prop_assert!(shown.chars().count() <= LONGEST_MESSAGE && !shown.contains(char::is_control));
                let stored = serde_json::to_string(&setting).unwrap();
                prop_assert_eq!(serde_json::from_str::<ModeSetting>(&stored).unwrap(), setting);
            }
        }
    }
}
