//! The changes that several events lead to.

use super::time::{elapsed, later};
use super::transition::{Decision, DecisionName, EvidenceChange, Transition};
use super::{Refusal, Rejected, Rollout, ServiceState};
use crate::model::{BasisPoints, DeployEnd, GatePoint, Held, HeldBy, Phase, Timestamp};

/// Rejected releases that are remembered: more than anyone tries in a row.
const REJECTED_KEPT: usize = 32;

/// Why a decision is taken, and by whom or what.
#[derive(Debug, Clone)]
pub(super) struct Because {
    pub(super) by: String,
    pub(super) reason: String,
}

impl Because {
    pub(super) fn new(by: &str, reason: impl Into<String>) -> Self {
        Self { by: by.to_owned(), reason: reason.into() }
    }
}

/// Whether a transition only takes risk away, or has to be durable before any request sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Protective,
    Planned,
}

pub(super) fn transition(
    mut state: ServiceState,
    name: DecisionName,
    because: Because,
    kind: Kind,
    evidence: EvidenceChange,
) -> Transition {
    state.revision = state.revision.saturating_add(1);
    Transition {
        state,
        decision: Decision { name, by: because.by, reason: because.reason },
        protective: kind == Kind::Protective,
        evidence,
    }
}

/// The rollout of a phase that has one.
pub(super) fn rollout(state: &ServiceState) -> Result<&Rollout, Refusal> {
    state.rollout.as_ref().ok_or(Refusal::NoRollout)
}

/// Holds the rollout; a hold that is there already is replaced.
pub(super) fn hold(state: &ServiceState, by: HeldBy, because: Because, now: Timestamp) -> Transition {
    let mut next = state.clone();
    release(&mut next, now);
    next.held = Some(Held { by, reason: because.reason.clone(), since: now });
    transition(next, DecisionName::Hold, because, Kind::Protective, EvidenceChange::Keep)
}

/// Holds a rollout whose gates are being asked, if no one else holds it; nothing where none are.
pub(super) fn hold_for_gates(state: &mut ServiceState, now: Timestamp) {
    let Some(asking) = state.rollout.as_ref().and_then(|rollout| rollout.asking) else { return };
    if state.held.is_none() {
        let reason = format!("the gates of {} are being asked", asking.moment);
        state.held = Some(Held { by: HeldBy::Gate, reason, since: now });
    }
}

/// Ends a hold, if there is one. The longest hold of a step does not count the time in which the rollout was held
/// for a reason of its own; after a hold for want of evidence it counts anew.
pub(super) fn release(state: &mut ServiceState, now: Timestamp) {
    let (Some(held), Some(rollout)) = (state.held.take(), state.rollout.as_mut()) else { return };
    rollout.waiting_since = match held.by {
        HeldBy::Operator | HeldBy::Source | HeldBy::Gate | HeldBy::Approval | HeldBy::Incident => {
            later(rollout.waiting_since, elapsed(held.since, now))
        }
        HeldBy::Evidence => now,
    };
}

/// Begins step `step` at `weight`.
pub(super) fn begin_step(
    state: &ServiceState,
    step: usize,
    weight: BasisPoints,
    because: Because,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let rollout = Rollout {
        step,
        step_since: now,
        waiting_since: now,
        weight_by_command: false,
        asking: None,
        approved: false,
        ..rollout(state)?.clone()
    };
    let of = match rollout.plan.steps.len() {
        0 => String::new(),
        steps => format!("step {} of {steps} ", step + 1),
    };
    let because = Because { reason: format!("{of}at {weight}: {}", because.reason), ..because };
    let next = ServiceState { phase: Phase::Canary, weight, held: None, rollout: Some(rollout), ..state.clone() };
    Ok(transition(next, DecisionName::Step, because, Kind::Planned, EvidenceChange::NewStep))
}

/// The candidate becomes live; the old pool stays warm for the watch.
pub(super) fn promote(state: &ServiceState, because: Because, now: Timestamp) -> Result<Transition, Refusal> {
    let rollout = rollout(state)?;
    let mut next = state.clone();
    next.live = rollout.pool.clone();
    next.watch_until = Some(later(now, rollout.plan.watch.get()));
    next.rejected.retain(|rejected| rejected.release != rollout.release);
    end(&mut next, Phase::Promoted);
    next.end_deploy(&rollout.pool, &rollout.release, DeployEnd::Promoted);
    next.ask_at(GatePoint::AfterPromotion);
    Ok(transition(next, DecisionName::Promote, because, Kind::Planned, EvidenceChange::Watch))
}

/// The candidate is taken back.
pub(super) fn roll_back(state: &ServiceState, because: Because) -> Result<Transition, Refusal> {
    let rollout = rollout(state)?;
    let mut next = state.clone();
    reject(&mut next.rejected, rollout);
    end(&mut next, Phase::RolledBack);
    next.end_deploy(&rollout.pool, &rollout.release, DeployEnd::RolledBack);
    next.ask_at(GatePoint::OnRollback);
    Ok(transition(next, DecisionName::Rollback, because, Kind::Protective, EvidenceChange::End))
}

/// The pool that was live before becomes live again, while the promotion is watched.
pub(super) fn take_back(state: &ServiceState, because: Because) -> Result<Transition, Refusal> {
    let rollout = rollout(state)?;
    let mut next = state.clone();
    next.live = rollout.previous_live.clone();
    next.watch_until = None;
    reject(&mut next.rejected, rollout);
    end(&mut next, Phase::RolledBack);
    next.end_deploy(&rollout.pool, &rollout.release, DeployEnd::RolledBack);
    next.ask_at(GatePoint::OnRollback);
    let reason =
        format!("the promotion of {} is taken back, {} is live again: {}", rollout.release, next.live, because.reason);
    let because = Because { reason, ..because };
    Ok(transition(next, DecisionName::Rollback, because, Kind::Protective, EvidenceChange::End))
}

/// What is true of every phase without a candidate.
pub(super) fn end(state: &mut ServiceState, phase: Phase) {
    state.phase = phase;
    state.candidate = None;
    state.weight = BasisPoints::ZERO;
    state.held = None;
    // A pool that is used again is no longer left alone.
    state.drained.remove(&state.live);
}

fn reject(rejected: &mut Vec<Rejected>, rollout: &Rollout) {
    rejected.retain(|known| known.release != rollout.release);
    rejected.push(Rejected { pool: rollout.pool.clone(), release: rollout.release.clone() });
    let too_many = rejected.len().saturating_sub(REJECTED_KEPT);
    rejected.drain(..too_many);
}
