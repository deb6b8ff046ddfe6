//! What the machine does by itself: as time passes, and when the candidate cannot answer.

use super::change::{Because, Kind, begin_step, hold, pass_step, release, roll_back, rollout, transition};
use super::time::elapsed;
use super::transition::{DecisionName, EvidenceChange, Transition};
use super::{Refusal, Rollout, ServiceState};
use crate::model::{HeldBy, Judgement, OnInconclusive, Timestamp, Verdict};

/// `Decision::by` of what time alone brings, of a plan's `on_inconclusive`, and of health.
const BY_TIME: &str = "time";
const BY_PLAN: &str = "on_inconclusive";
const BY_HEALTH: &str = "health";

type Decided = Result<Option<Transition>, Refusal>;

/// Nobody is in the cohort yet: the first step begins, unless something speaks against it.
pub(super) fn in_preview(state: &ServiceState, judgement: Option<&Judgement>, now: Timestamp) -> Decided {
    let verdict = judgement.map_or(Verdict::Insufficient, |judgement| judgement.verdict);
    let because = judgement.map_or_else(no_evidence, because_of);
    match (verdict, state.held.as_ref().map(|held| held.by)) {
        (Verdict::Regressed, _) => roll_back(state, because).map(Some),
        (
            Verdict::Healthy | Verdict::Insufficient | Verdict::SourceDown,
            Some(HeldBy::Operator | HeldBy::Gate | HeldBy::Approval | HeldBy::Incident),
        )
        | (Verdict::SourceDown, Some(HeldBy::Source))
        | (Verdict::SharedIncident, _) => Ok(None),
        (Verdict::SourceDown, Some(HeldBy::Evidence) | None) => Ok(Some(hold(state, HeldBy::Source, because, now))),
        (Verdict::Healthy | Verdict::Insufficient, Some(HeldBy::Evidence | HeldBy::Source) | None) => {
            let rollout = rollout(state)?;
            let first = rollout.plan.steps.first().ok_or(Refusal::BadSteps)?;
            let because = Because::new(BY_TIME, format!("release {} has a healthy target", rollout.release));
            begin_step(state, 0, first.weight, because, now).map(Some)
        }
    }
}

/// The candidate serves its cohort. Judging and rollback stay on while it is held.
pub(super) fn in_canary(state: &ServiceState, judgement: Option<&Judgement>, now: Timestamp) -> Decided {
    let rollout = rollout(state)?;
    let held = state.held.as_ref().map(|held| held.by);
    let Some(judgement) = judgement else {
        // Nothing to judge by ends no hold.
        return if held.is_some() { Ok(None) } else { inconclusive(state, rollout, &no_evidence(), now) };
    };
    let because = because_of(judgement);
    match (judgement.verdict, held) {
        (Verdict::Regressed, _) => roll_back(state, because).map(Some),
        (Verdict::Healthy, Some(HeldBy::Evidence | HeldBy::Source) | None) if hold_is_over(rollout, now) => {
            pass_step(state, because, now).map(Some)
        }
        (
            Verdict::Healthy | Verdict::Insufficient | Verdict::SourceDown,
            Some(HeldBy::Operator | HeldBy::Gate | HeldBy::Approval | HeldBy::Incident),
        )
        | (Verdict::SourceDown, Some(HeldBy::Source | HeldBy::Evidence))
        | (Verdict::Insufficient, Some(HeldBy::Evidence))
        | (Verdict::Healthy, None)
        | (Verdict::SharedIncident, _) => Ok(None),
        (Verdict::SourceDown, None) => Ok(Some(hold(state, HeldBy::Source, because, now))),
        (Verdict::Healthy, Some(by @ (HeldBy::Evidence | HeldBy::Source)))
        | (Verdict::Insufficient, Some(by @ HeldBy::Source)) => Ok(Some(go_on(state, by, because, now))),
        (Verdict::Insufficient, None) => inconclusive(state, rollout, &because, now),
    }
}

fn because_of(judgement: &Judgement) -> Because {
    Because::new(&judgement.by, judgement.reason.clone())
}

fn no_evidence() -> Because {
    Because::new(BY_TIME, "no evidence has been gathered")
}

fn hold_is_over(rollout: &Rollout, now: Timestamp) -> bool {
    rollout.current_step().is_none_or(|step| elapsed(rollout.step_since, now) >= step.hold.get())
}

/// The machine ends its own hold.
fn go_on(state: &ServiceState, held_by: HeldBy, because: Because, now: Timestamp) -> Transition {
    let why = match held_by {
        HeldBy::Source => "the metrics source answers again",
        HeldBy::Evidence | HeldBy::Operator | HeldBy::Gate | HeldBy::Approval | HeldBy::Incident => {
            "the evidence suffices now"
        }
    };
    let mut next = state.clone();
    release(&mut next, now);
    let because = Because { reason: format!("{why}: {}", because.reason), ..because };
    transition(next, DecisionName::Resume, because, Kind::Planned, EvidenceChange::Keep)
}

/// Neither evidence nor exposure has come: after the longest hold, the plan says what to do.
fn inconclusive(state: &ServiceState, rollout: &Rollout, because: &Because, now: Timestamp) -> Decided {
    let max_hold = rollout.max_hold();
    if elapsed(rollout.waiting_since, now) < max_hold.get() {
        return Ok(None);
    }
    let because = Because::new(BY_PLAN, format!("inconclusive after {max_hold}: {}", because.reason));
    match rollout.plan.on_inconclusive {
        OnInconclusive::Hold => Ok(Some(hold(state, HeldBy::Evidence, because, now))),
        OnInconclusive::Promote => pass_step(state, because, now).map(Some),
        OnInconclusive::Rollback => roll_back(state, because).map(Some),
    }
}

/// After a promotion, until the old pool need not stay warm any more.
pub(super) fn in_watch(state: &ServiceState, now: Timestamp) -> Option<Transition> {
    state.watch_until.filter(|until| now >= *until)?;
    let next = ServiceState { watch_until: None, ..state.clone() };
    let because = Because::new(BY_TIME, format!("{} has been live for its watch", state.live));
    Some(transition(next, DecisionName::WatchOver, because, Kind::Planned, EvidenceChange::Keep))
}

pub(super) fn candidate_down(state: &ServiceState, reason: &str) -> Result<Transition, Refusal> {
    roll_back(state, Because::new(BY_HEALTH, format!("the candidate has no healthy target: {reason}")))
}

pub(super) fn candidate_unreachable(state: &ServiceState) -> Result<Transition, Refusal> {
    roll_back(state, Because::new(BY_HEALTH, "the candidate's first ten requests could not be sent at all"))
}
