//! Gates: when they are asked, and what their answers do.
//!
//! Before a blocking moment the walk stops: what is asked becomes part of the state, and the rollout is held until the
//! answer comes as an event. At the other moments the rollout has moved already, and nothing waits.

use super::change::{Because, Kind, hold_for_gates, release, roll_back, rollout, take_back, transition};
use super::transition::{DecisionName, EvidenceChange, Transition};
use super::{Asking, GatesAnswer, Refusal, ServiceState};
use crate::model::{GateMoment, GatePoint, Held, HeldBy, OnGateFailure, Phase, Timestamp};

/// `Decision::by` of what all gates of a moment bring; where one of them decided, it is its name.
pub const GATES: &str = "gates";

/// Asks the gates of a blocking moment; the rollout is held until they have answered.
pub(super) fn ask(
    state: &ServiceState,
    moment: GateMoment,
    because: &Because,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let names: Vec<&str> = rollout(state)?.plan.gates_at(moment.point).map(|gate| gate.name.as_str()).collect();
    let mut next = state.clone();
    release(&mut next, now);
    next.ask(moment);
    hold_for_gates(&mut next, now);
    let reason = format!("{moment}: {} asked ({})", names.join(", "), because.reason);
    Ok(transition(next, DecisionName::Gate, Because::new(GATES, reason), Kind::Planned, EvidenceChange::Keep))
}

/// The gates have answered. What is no longer asked is no news.
pub(super) fn answered(
    state: &ServiceState,
    asking: Asking,
    answer: &GatesAnswer,
    way_back: bool,
    now: Timestamp,
) -> Result<Option<Transition>, Refusal> {
    if state.rollout.as_ref().and_then(|rollout| rollout.asking) != Some(asking) {
        return Ok(None);
    }
    let moment = asking.moment;
    let (gate, reason, on_failure) = match answer {
        GatesAnswer::Passed(reason) => return Ok(Some(passed(state, moment, Because::new(GATES, reason), now))),
        GatesAnswer::Failed { gate, reason, on_failure } => (gate, reason, on_failure),
    };
    let because = |then: &str| Because::new(gate, format!("{moment}: {gate} failed: {reason}{then}"));
    match (on_failure, state.phase) {
        (OnGateFailure::Ignore, _) => Ok(Some(passed(state, moment, because("; ignored"), now))),
        (OnGateFailure::Rollback, Phase::Preview | Phase::Canary) => roll_back(state, because("")).map(Some),
        (OnGateFailure::Hold, Phase::Preview | Phase::Canary) => {
            Ok(Some(held(state, because("; `cutover rollout resume` asks again"), now)))
        }
        (OnGateFailure::Rollback, Phase::Promoted) if state.watch_until.is_some_and(|until| now < until) => {
            if way_back {
                return take_back(state, because("")).map(Some);
            }
            Ok(Some(told(state, because("; the old pool has no healthy target, so there is no way back"))))
        }
        (OnGateFailure::Rollback, Phase::Promoted) => {
            Ok(Some(told(state, because("; the watch is over: `cutover switch` moves all traffic"))))
        }
        (OnGateFailure::Hold, Phase::Promoted) => {
            Ok(Some(told(state, because("; `cutover rollout rollback` takes the promotion back while it is watched"))))
        }
        (OnGateFailure::Hold | OnGateFailure::Rollback, Phase::Idle | Phase::RolledBack) => {
            Ok(Some(told(state, because(""))))
        }
    }
}

/// The walk may go on, unless someone else holds it.
fn passed(state: &ServiceState, moment: GateMoment, because: Because, now: Timestamp) -> Transition {
    let mut next = answered_state(state);
    if moment.point.blocks() {
        if let Some(rollout) = next.rollout.as_mut() {
            rollout.cleared = Some(moment);
        }
        if held_by_gate(&next) {
            release(&mut next, now);
        }
    }
    transition(next, DecisionName::Gate, because, Kind::Planned, EvidenceChange::Keep)
}

/// The walk stops until an operator resumes it; an operator's own hold stays as it is, and comes to the same.
fn held(state: &ServiceState, because: Because, now: Timestamp) -> Transition {
    let mut next = answered_state(state);
    if held_by_gate(&next) {
        release(&mut next, now);
        next.held = Some(Held { by: HeldBy::Gate, reason: because.reason.clone(), since: now });
    }
    transition(next, DecisionName::Hold, because, Kind::Protective, EvidenceChange::Keep)
}

/// Nothing can be done about it but to tell.
fn told(state: &ServiceState, because: Because) -> Transition {
    transition(answered_state(state), DecisionName::Gate, because, Kind::Planned, EvidenceChange::Keep)
}

fn answered_state(state: &ServiceState) -> ServiceState {
    let mut next = state.clone();
    if let Some(rollout) = next.rollout.as_mut() {
        rollout.asking = None;
    }
    next
}

fn held_by_gate(state: &ServiceState) -> bool {
    state.held.as_ref().is_some_and(|held| held.by == HeldBy::Gate)
}

impl ServiceState {
    /// Notes that the gates of a moment are asked by the transition that leads to this state, if there are any.
    pub(super) fn ask(&mut self, moment: GateMoment) {
        let number = self.revision.saturating_add(1);
        if let Some(rollout) = self.rollout.as_mut() {
            let any = rollout.plan.gates_at(moment.point).next().is_some();
            rollout.asking = any.then_some(Asking { moment, number });
        }
    }

    /// As [`ServiceState::ask`], of a point that comes once.
    pub(super) fn ask_at(&mut self, point: GatePoint) {
        self.ask(GateMoment::at(point));
    }
}
