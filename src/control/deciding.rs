//! A decision, kept with what it was made of, so that it can be made again from the history and compared.
//!
//! ```text
//! state, event, now ─► rollout::decide ─► Decided ─► DecisionRecord ─► history
//! history ─► DecisionRecord ─► analysis::assess, rollout::decide ─► the same, or what differs
//! ```

use super::service::ServiceControl;
use super::telling::announcement;
use crate::analysis::{Evidence, assess};
use crate::model::view::HistoryView;
use crate::model::{GateAsk, Judgement, Timestamp};
use crate::rollout::{Event, EvidenceChange, Refusal, ServiceState, Transition, decide};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A transition, and what it was decided from beside the state.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) transition: Transition,
    event: Event,
    now: Timestamp,
}

impl Decided {
    /// What follows from an event at this moment, if anything does.
    pub(super) fn by(state: &ServiceState, event: Event, now: Timestamp) -> Result<Option<Self>, Refusal> {
        let transition = decide(state, &event, now)?;
        Ok(transition.map(|transition| Self { transition, event, now }))
    }

    /// What the history says of it, with its record. To be asked before the transition is in force: the service is as
    /// it was decided for.
    pub(super) fn entry(&self, service: &ServiceControl) -> HistoryView {
        let evidence = service.gathering.as_ref().map(|gathering| &gathering.evidence);
        let record = self.record(&service.state, evidence);
        HistoryView { at: self.now, record, ..announcement(service, &self.transition) }
    }

    fn record(&self, before: &ServiceState, evidence: Option<&Evidence>) -> Option<Value> {
        let mut record = DecisionRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: self.now,
            before: before.clone(),
            event: self.event.clone(),
            evidence: judgement(&self.event).and(evidence).cloned(),
            after: After::of(&self.transition),
        };
        record.leave_out_secrets();
        serde_json::to_value(record)
            .inspect_err(|error| tracing::error!(%error, "a decision can't be recorded, and so not be replayed"))
            .ok()
    }
}

/// The judgement that an event carries, if it carries one.
fn judgement(event: &Event) -> Option<&Judgement> {
    match event {
        Event::Tick(judgement) => judgement.as_ref(),
        Event::Start(_)
        | Event::Pause
        | Event::Resume
        | Event::Promote
        | Event::Rollback
        | Event::Approve
        | Event::Gates { .. }
        | Event::SetWeight(_)
        | Event::Switch { .. }
        | Event::SetMode(_)
        | Event::Deploy(_)
        | Event::PoolCanServe(_)
        | Event::CandidateDown(_)
        | Event::CandidateUnreachable => None,
    }
}

/// All that a decision was made of, and what came of it beside what the entry of the history says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct DecisionRecord {
    /// The version of the program that decided.
    version: String,
    now: Timestamp,
    before: ServiceState,
    event: Event,
    /// What the judgement of the event was made of.
    evidence: Option<Evidence>,
    after: After,
}

impl DecisionRecord {
    /// The addresses of gates, their arguments and their environments may hold secrets. Nothing is decided by them, and
    /// whoever may read the history reads the record.
    fn leave_out_secrets(&mut self) {
        let started = match &mut self.event {
            Event::Start(start) => Some(&mut start.plan),
            Event::Tick(_)
            | Event::Pause
            | Event::Resume
            | Event::Promote
            | Event::Rollback
            | Event::Approve
            | Event::Gates { .. }
            | Event::SetWeight(_)
            | Event::Switch { .. }
            | Event::SetMode(_)
            | Event::Deploy(_)
            | Event::PoolCanServe(_)
            | Event::CandidateDown(_)
            | Event::CandidateUnreachable => None,
        };
        let states = [&mut self.before, &mut self.after.state].into_iter();
        let pinned = states.filter_map(|state| state.rollout.as_mut()).map(|rollout| &mut rollout.plan);
        for gate in pinned.chain(started).flat_map(|plan| &mut plan.gates) {
            match &mut gate.ask {
                GateAsk::Webhook { url, .. } => url.clear(),
                GateAsk::Command { command, env } => {
                    command.truncate(1);
                    env.clear();
                }
            }
        }
    }
}

/// What came of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct After {
    state: ServiceState,
    protective: bool,
    evidence: EvidenceChange,
}

impl After {
    fn of(transition: &Transition) -> Self {
        Self { state: transition.state.clone(), protective: transition.protective, evidence: transition.evidence }
    }
}

/// What came of deciding again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// The judgement and the transition are those that were stored, to the last bit.
    Same,
    /// They are not; a sentence for each difference.
    Differs(Vec<String>),
    /// The entry has no record: an older version wrote it, or it is older than the records that are kept.
    NoRecord,
}

/// Differences that are told; who has seen so many looks for the cause and not for more.
const DIFFERENCES_TOLD: usize = 10;

/// Characters of a value that are told.
const LONGEST_VALUE: usize = 300;

/// Judges and decides again what an entry records, and compares with what it says.
#[must_use]
pub fn replay(entry: &HistoryView) -> Replayed {
    let Some(record) = &entry.record else { return Replayed::NoRecord };
    let record = match DecisionRecord::deserialize(record) {
        Ok(record) => record,
        Err(error) => return Replayed::Differs(vec![format!("this version can't read the record: {error}")]),
    };
    let mut differences = Vec::new();
    compare("", &stored(entry, &record), &decided_again(&record), &mut differences);
    if differences.is_empty() {
        return Replayed::Same;
    }
    if record.version != env!("CARGO_PKG_VERSION") {
        let (then, now) = (&record.version, env!("CARGO_PKG_VERSION"));
        differences.insert(0, format!("version {then} decided, and this is {now}"));
    }
    differences.truncate(DIFFERENCES_TOLD);
    Replayed::Differs(differences)
}

/// What the entry and its record say came of it.
fn stored(entry: &HistoryView, record: &DecisionRecord) -> Value {
    let shown = json!({
        "at": entry.at, "decision": entry.decision, "by": entry.by, "reason": entry.reason, "revision": entry.revision,
        "phase": entry.phase, "live": entry.live, "candidate": entry.candidate, "weight": entry.weight,
    });
    json!({ "judgement": judgement(&record.event), "entry": shown, "after": record.after })
}

/// The same, from the record's evidence, state and event alone.
fn decided_again(record: &DecisionRecord) -> Value {
    let judged = judgement(&record.event).and_then(|_| judge(record));
    let event = match &record.event {
        // A judgement whose evidence is not there can't be made again, and is not taken on trust.
        Event::Tick(Some(_)) => Event::Tick(judged.clone()),
        other => other.clone(),
    };
    match decide(&record.before, &event, record.now) {
        Err(refusal) => json!({ "judgement": judged, "entry": format!("refused: {refusal}"), "after": null }),
        Ok(None) => json!({ "judgement": judged, "entry": "nothing follows", "after": null }),
        Ok(Some(transition)) => {
            let Transition { state, decision, .. } = &transition;
            let shown = json!({
                "at": record.now, "decision": decision.name, "by": decision.by, "reason": decision.reason,
                "revision": state.revision, "phase": state.phase, "live": state.live, "candidate": state.candidate,
                "weight": state.weight,
            });
            json!({ "judgement": judged, "entry": shown, "after": After::of(&transition) })
        }
    }
}

/// What the recorded evidence says, where there is any.
fn judge(record: &DecisionRecord) -> Option<Judgement> {
    let (evidence, rollout) = (record.evidence.as_ref()?, record.before.rollout.as_ref()?);
    Some(assess(evidence, &rollout.plan, rollout.step, record.now).judgement)
}

/// Tells each place in which two values differ.
fn compare(place: &str, stored: &Value, again: &Value, differences: &mut Vec<String>) {
    match (stored, again) {
        (Value::Object(before), Value::Object(after)) => {
            let missing = after.keys().filter(|key| !before.contains_key(*key));
            for key in before.keys().chain(missing) {
                let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
                let value = |fields: &serde_json::Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                compare(&inner, &value(before), &value(after), differences);
            }
        }
        (before, after) if before == after => {}
        (before, after) => {
            differences.push(format!("{place}: stored {}, decided again {}", clipped(before), clipped(after)));
        }
    }
}

/// A value as text, as far as a line or two go.
fn clipped(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Bad, SideTick, Tick};
    use crate::model::{
        BasisPoints, Gate, GatePoint, Indicator, LatencyCheck, OnGateFailure, Period, Phase, Plan, Until,
    };
    use crate::rollout::{DecisionName, Start};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn idle() -> ServiceState {
        ServiceState::new("server0".parse().unwrap())
    }

    fn start() -> Event {
        Event::Start(Start {
            pool: "server1".parse().unwrap(),
            release: Some("v2".parse().unwrap()),
            configured: None,
            // A third has no end in binary: it comes back bit by bit or not at all.
            plan: Plan { false_alarm: 0.01 / 3.0, ..Plan::default() },
            force: false,
            candidate_healthy: true,
        })
    }

    /// A rollout in its first step, with evidence of a candidate of which a tenth fails.
    fn regressed() -> (ServiceState, Evidence) {
        let started = Decided::by(&idle(), start(), at(0)).unwrap().unwrap().transition.state;
        let plan = &started.rollout.as_ref().unwrap().plan;
        let mut evidence = Evidence::begin(plan);
        let judgement = assess(&evidence, plan, 0, at(1)).judgement;
        let canary = Decided::by(&started, Event::Tick(Some(judgement)), at(1)).unwrap().unwrap().transition.state;
        assert_eq!(canary.phase, Phase::Canary);
        evidence.begin_step(BasisPoints::from_percent(1.0).unwrap());
        let side = |requests, failures| {
            let mut side = SideTick { requests, timed: requests, ..SideTick::default() };
            side.bad[Indicator::Failed.index()] = Bad { counted: failures, all: failures, new_draws: failures };
            side
        };
        for _ in 0..30 {
            evidence.observe(&Tick {
                known_at: Until::Head,
                candidate: side(10, 1),
                live: side(990, 1),
                new_draws: 10,
                limited: [false; LatencyCheck::QUANTILES],
            });
        }
        (canary, evidence)
    }

    fn recorded(decided: &Decided, before: &ServiceState, evidence: Option<&Evidence>) -> HistoryView {
        let Transition { state, decision, .. } = &decided.transition;
        HistoryView {
            id: 0,
            at: decided.now,
            revision: state.revision,
            decision: decision.name.as_str().to_owned(),
            by: decision.by.clone(),
            reason: decision.reason.clone(),
            phase: state.phase,
            live: state.live.clone(),
            candidate: state.candidate.clone(),
            weight: state.weight,
            evidence: None,
            record: decided.record(before, evidence),
        }
    }

    /// The rollback that this evidence leads to, as the store gives it back.
    fn rollback() -> HistoryView {
        let (state, evidence) = regressed();
        let rollout = state.rollout.as_ref().unwrap();
        let judgement = assess(&evidence, &rollout.plan, rollout.step, at(9)).judgement;
        let decided = Decided::by(&state, Event::Tick(Some(judgement)), at(9)).unwrap().unwrap();
        let entry = recorded(&decided, &state, Some(&evidence));
        assert_eq!((entry.decision.as_str(), entry.by.as_str()), ("rollback", "error-ratio"));
        serde_json::from_str(&serde_json::to_string(&entry).unwrap()).unwrap()
    }

    fn differences(entry: &HistoryView) -> Vec<String> {
        match replay(entry) {
            Replayed::Differs(differences) => differences,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_judged_and_what_was_commanded_is_decided_again_to_the_same() {
        assert_eq!(replay(&rollback()), Replayed::Same);
        let command = recorded(&Decided::by(&idle(), start(), at(0)).unwrap().unwrap(), &idle(), None);
        assert_eq!(replay(&command), Replayed::Same);
        assert_eq!(replay(&HistoryView { record: None, ..command }), Replayed::NoRecord);
    }

    #[test]
    fn what_gates_are_asked_with_is_in_no_record_and_each_is_decided_again_without_it() {
        let gate = |name: &str, ask| Gate {
            name: name.to_owned(),
            at: vec![GatePoint::BeforeRollout],
            ask,
            timeout: Period::from_secs(1),
            retries: 0,
            on_failure: OnGateFailure::Hold,
        };
        let url = "https://hooks.example.com/s3cret".to_owned();
        let env = [("PASSWORD".to_owned(), "s3cret".to_owned())].into();
        let command = vec!["migrate".to_owned(), "--password=s3cret".to_owned()];
        let gates = vec![
            gate("hook", GateAsk::Webhook { url, secret_file: None }),
            gate("migrate", GateAsk::Command { command, env }),
        ];
        let Event::Start(start) = start() else { unreachable!() };
        let start = Event::Start(Start { plan: Plan { gates, ..start.plan }, ..start });
        let started = Decided::by(&idle(), start, at(0)).unwrap().unwrap();
        let asked = Decided::by(&started.transition.state, Event::Tick(None), at(1)).unwrap().unwrap();
        assert_eq!(asked.transition.decision.name, DecisionName::Gate);
        for (decided, before) in [(&started, &idle()), (&asked, &started.transition.state)] {
            let entry = recorded(decided, before, None);
            let text = serde_json::to_string(&entry).unwrap();
            assert!(!text.contains("s3cret") && text.contains("migrate"), "{text}");
            assert_eq!(replay(&entry), Replayed::Same);
        }
    }

    #[test]
    fn every_part_of_a_record_that_was_changed_is_told() {
        for (place, value, told) in [
            ("/evidence/exposure", json!(1_000_000), None),
            ("/before/rollout/plan/false_alarm", json!(1e-300), Some("judgement.verdict: stored \"regressed\"")),
            ("/before/live", json!("server7"), Some("entry.live: stored \"server0\", decided again \"server7\"")),
            ("/event/Tick/reason", json!("a feeling"), Some("judgement.reason: stored \"a feeling\"")),
            ("/now", json!("2026-11-22T04:00:00Z"), Some("entry.at")),
            ("/evidence", Value::Null, Some("judgement: stored {")),
            ("/after/protective", json!(false), Some("after.protective: stored false, decided again true")),
            ("/event", json!("Dance"), Some("this version can't read the record")),
        ] {
            let mut entry = rollback();
            *entry.record.as_mut().unwrap().pointer_mut(place).unwrap() = value;
            match told {
                // The exposure passes steps, and has no part in a rollback.
                None => assert_eq!(replay(&entry), Replayed::Same, "{place}"),
                Some(told) => {
                    let differences = differences(&entry);
                    assert!(differences.iter().any(|line| line.starts_with(told)), "{place}: {differences:#?}");
                    assert!(differences.len() <= DIFFERENCES_TOLD);
                }
            }
        }
    }

    #[test]
    fn an_entry_that_says_another_thing_than_its_record_differs() {
        let entry = HistoryView { by: "operator".to_owned(), ..rollback() };
        assert_eq!(differences(&entry), ["entry.by: stored \"operator\", decided again \"error-ratio\""]);
    }

    #[test]
    fn another_version_is_named_where_it_decided_otherwise() {
        let mut entry = HistoryView { by: "operator".to_owned(), ..rollback() };
        entry.record.as_mut().unwrap()["version"] = json!("0.0.1");
        assert!(differences(&entry)[0].starts_with("version 0.0.1 decided"), "{:?}", differences(&entry));
    }
}
