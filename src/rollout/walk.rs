//! Where a rollout goes next, and what stands before it: an approval, then gates.
//!
//! ```text
//! canary      preview ─► [before-rollout] ─► time ─► [before-step] step 1 ─► … ─► approval ─► [before-promotion] promoted
//! blue-green  preview ─► [before-rollout] ─► time ─► approval ─► [before-promotion] promoted
//! ```
//!
//! Each call goes one stop further: the next tick whose evidence allows it comes here again.

use super::change::{Because, begin_step, hold, promote, rollout};
use super::time::elapsed;
use super::transition::{OPERATOR, Transition};
use super::{Refusal, Rollout, ServiceState, gates};
use crate::model::{BasisPoints, GateMoment, GatePoint, HeldBy, Strategy, Timestamp};

type Decided = Result<Option<Transition>, Refusal>;

/// From the preview: None until its time is over, and, where all traffic follows, until every check was `answered`.
pub(super) fn out_of_preview(state: &ServiceState, because: Because, answered: bool, now: Timestamp) -> Decided {
    let rollout = rollout(state)?;
    let begin = GateMoment::at(GatePoint::BeforeRollout);
    if !rollout.is_cleared(begin) {
        return gates::ask(state, begin, &because, now).map(Some);
    }
    if elapsed(rollout.started, now) < rollout.plan.preview.get() {
        return Ok(None);
    }
    match rollout.plan.strategy {
        Strategy::Canary => {
            let first = rollout.plan.steps.first().ok_or(Refusal::BadSteps)?;
            step(state, rollout, 0, first.weight, because, now).map(Some)
        }
        Strategy::BlueGreen if answered => promotion(state, rollout, because, now).map(Some),
        Strategy::BlueGreen => Ok(None),
    }
}

/// The next step, or the promotion after the last one.
pub(super) fn out_of_step(state: &ServiceState, because: Because, now: Timestamp) -> Result<Transition, Refusal> {
    let rollout = rollout(state)?;
    match rollout.plan.steps.get(rollout.step + 1) {
        None => promotion(state, rollout, because, now),
        Some(_) if wants_approval(rollout) => Ok(approval(state, rollout, &because, now)),
        Some(next) => step(state, rollout, rollout.step + 1, next.weight, because, now),
    }
}

/// After a weight by command: the first step above it, or, above the last one, the last one's hold at this weight.
pub(super) fn out_of_commanded_weight(state: &ServiceState, now: Timestamp) -> Result<Transition, Refusal> {
    let rollout = rollout(state)?;
    let steps = &rollout.plan.steps;
    let because = Because::new(OPERATOR, format!("resumed by a command at {}", state.weight));
    match steps.iter().position(|step| step.weight > state.weight) {
        Some(higher) => step(state, rollout, higher, steps[higher].weight, because, now),
        // Nothing more is given to the candidate, so nobody is asked.
        None => begin_step(state, steps.len().saturating_sub(1), state.weight, because, now),
    }
}

fn step(
    state: &ServiceState,
    rollout: &Rollout,
    step: usize,
    weight: BasisPoints,
    because: Because,
    now: Timestamp,
) -> Result<Transition, Refusal> {
    let moment = GateMoment::before_step(step);
    if rollout.is_cleared(moment) {
        begin_step(state, step, weight, because, now)
    } else {
        gates::ask(state, moment, &because, now)
    }
}

fn promotion(state: &ServiceState, rollout: &Rollout, because: Because, now: Timestamp) -> Result<Transition, Refusal> {
    let moment = GateMoment::at(GatePoint::BeforePromotion);
    if wants_approval(rollout) {
        Ok(approval(state, rollout, &because, now))
    } else if rollout.is_cleared(moment) {
        promote(state, because, now)
    } else {
        gates::ask(state, moment, &because, now)
    }
}

fn wants_approval(rollout: &Rollout) -> bool {
    let by_step = rollout.current_step().is_some_and(|step| step.approve);
    !rollout.approved && (by_step || rollout.plan.approve && rollout.at_last_step())
}

fn approval(state: &ServiceState, rollout: &Rollout, because: &Because, now: Timestamp) -> Transition {
    let next = match rollout.plan.steps.get(rollout.step + 1) {
        Some(step) => format!("the step to {}", step.weight),
        None => "the promotion".to_owned(),
    };
    let reason = format!("{next} waits for `cutover rollout approve` ({})", because.reason);
    hold(state, HeldBy::Approval, Because { reason, ..because.clone() }, now)
}
