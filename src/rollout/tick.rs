//! What the machine does by itself: as time passes, and when the candidate cannot answer.

use super::change::{Because, Kind, hold, release, roll_back, rollout, take_back, transition};
use super::time::elapsed;
use super::transition::{DecisionName, EvidenceChange, Transition};
use super::{Refusal, Rollout, ServiceState, walk};
use crate::model::{Advance, HeldBy, Judgement, Meanwhile, OnInconclusive, Timestamp, Verdict};

/// `Decision::by` of what time alone brings, of a plan's `on_inconclusive`, and of health.
const BY_TIME: &str = "time";
const BY_PLAN: &str = "on_inconclusive";
const BY_HEALTH: &str = "health";

type Decided = Result<Option<Transition>, Refusal>;

/// Nobody is in the cohort yet: the walk begins, unless something speaks against it. A blue-green candidate has no
/// drawn traffic to be judged by, so it is enough that no check objects; but each has to have been asked.
pub(super) fn in_preview(state: &ServiceState, judgement: Option<&Judgement>, now: Timestamp) -> Decided {
    let verdict = judgement.map_or(Verdict::Insufficient, |judgement| judgement.verdict);
    let because = judgement.map_or_else(no_evidence, because_of);
    match (verdict, state.held.as_ref().map(|held| held.by)) {
        (Verdict::Regressed, _) => roll_back(state, because).map(Some),
        (
            Verdict::Healthy | Verdict::Insufficient | Verdict::SourceDown | Verdict::SharedIncident,
            Some(HeldBy::Operator | HeldBy::Gate | HeldBy::Approval),
        )
        | (Verdict::SourceDown, Some(HeldBy::Source))
        | (Verdict::SharedIncident, Some(HeldBy::Incident)) => Ok(None),
        (Verdict::SourceDown, Some(HeldBy::Evidence | HeldBy::Incident) | None) => {
            Ok(Some(hold(state, HeldBy::Source, because, now)))
        }
        (Verdict::SharedIncident, Some(HeldBy::Evidence | HeldBy::Source) | None) => {
            Ok(Some(hold(state, HeldBy::Incident, because, now)))
        }
        (
            Verdict::Healthy | Verdict::Insufficient,
            Some(HeldBy::Evidence | HeldBy::Source | HeldBy::Incident) | None,
        ) => {
            let rollout = rollout(state)?;
            let up = Because::new(BY_TIME, format!("release {} has a healthy target", rollout.release));
            let answered = judgement.is_none_or(|judgement| !judgement.unanswered);
            let out = walk::out_of_preview(state, up, answered, now)?;
            Ok(out.or_else(|| state.held.as_ref().map(|held| go_on(state, held.by, because, now))))
        }
    }
}

/// The candidate serves its cohort. Judging and rollback stay on while it is held.
pub(super) fn in_canary(state: &ServiceState, judgement: Option<&Judgement>, now: Timestamp) -> Decided {
    let rollout = rollout(state)?;
    let held = state.held.as_ref().map(|held| held.by);
    let Some(judgement) = judgement else {
        // Nothing to judge by ends no hold.
        let waits = held.is_some() || rollout.weight_by_command;
        return if waits { Ok(None) } else { inconclusive(state, rollout, &no_evidence(), now) };
    };
    let because = because_of(judgement);
    match (judgement.verdict, held) {
        (Verdict::Regressed, _) => roll_back(state, because).map(Some),
        (Verdict::SourceDown, Some(HeldBy::Incident) | None) => Ok(Some(hold(state, HeldBy::Source, because, now))),
        (Verdict::SharedIncident, Some(HeldBy::Source | HeldBy::Evidence) | None) => {
            Ok(Some(hold(state, HeldBy::Incident, because, now)))
        }
        (Verdict::Healthy | Verdict::Insufficient, None) if rollout.weight_by_command => {
            // An operator has resumed, and the gates before the next step have let it pass.
            walk::out_of_commanded_weight(state, now).map(Some)
        }
        (Verdict::Healthy, Some(HeldBy::Evidence | HeldBy::Source | HeldBy::Incident) | None)
            if !rollout.weight_by_command && may_leave(rollout, judgement, now) =>
        {
            walk::out_of_step(state, because, now).map(Some)
        }
        (Verdict::Healthy, Some(by @ (HeldBy::Evidence | HeldBy::Source | HeldBy::Incident)))
        | (Verdict::Insufficient, Some(by @ (HeldBy::Source | HeldBy::Incident))) => {
            Ok(Some(go_on(state, by, because, now)))
        }
        (
            Verdict::Healthy | Verdict::Insufficient | Verdict::SourceDown | Verdict::SharedIncident,
            Some(HeldBy::Operator | HeldBy::Gate | HeldBy::Approval),
        )
        | (Verdict::SourceDown, Some(HeldBy::Source | HeldBy::Evidence))
        | (Verdict::SharedIncident, Some(HeldBy::Incident))
        | (Verdict::Insufficient, Some(HeldBy::Evidence))
        | (Verdict::Healthy, None) => Ok(None),
        (Verdict::Insufficient, None) => inconclusive(state, rollout, &because, now),
    }
}

fn because_of(judgement: &Judgement) -> Because {
    Because::new(&judgement.by, judgement.reason.clone())
}

fn no_evidence() -> Because {
    Because::new(BY_TIME, "no evidence has been gathered")
}

/// Whether a healthy candidate has been in the step for long enough.
fn may_leave(rollout: &Rollout, judgement: &Judgement, now: Timestamp) -> bool {
    match rollout.plan.advance {
        Advance::Early if judgement.proven => true,
        Advance::Early | Advance::AfterHold => elapsed(rollout.step_since, now) >= rollout.hold().get(),
    }
}

/// The machine ends its own hold.
fn go_on(state: &ServiceState, held_by: HeldBy, because: Because, now: Timestamp) -> Transition {
    let why = match held_by {
        HeldBy::Source => "the metrics source answers again",
        HeldBy::Incident => "the pools answer well again",
        HeldBy::Evidence | HeldBy::Operator | HeldBy::Gate | HeldBy::Approval => "the evidence suffices now",
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
        OnInconclusive::Promote => walk::out_of_step(state, because, now).map(Some),
        OnInconclusive::Rollback => roll_back(state, because).map(Some),
    }
}

/// After a promotion, until the old pool need not stay warm any more: what regresses now is still taken back.
pub(super) fn in_watch(state: &ServiceState, judgement: Option<&Judgement>, now: Timestamp) -> Decided {
    let Some(until) = state.watch_until else { return Ok(None) };
    if now >= until {
        let next = ServiceState { watch_until: None, ..state.clone() };
        let because = Because::new(BY_TIME, format!("{} has been live for its watch", state.live));
        return Ok(Some(transition(next, DecisionName::WatchOver, because, Kind::Planned, EvidenceChange::End)));
    }
    match judgement {
        Some(judgement) if judgement.verdict == Verdict::Regressed => take_back(state, because_of(judgement)).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// A mode ends at the moment until which it was to last, or later, once a pool can serve again. That of a deploy whose script
/// has died gives way to what somebody had asked for before it.
pub(super) fn mode_over(state: &ServiceState, meanwhile: Option<&Meanwhile>, now: Timestamp) -> Option<Transition> {
    let until = state.mode.until.filter(|until| now >= *until)?;
    let next = ServiceState { mode: state.mode_after(now), ..state.clone() };
    let meanwhile = meanwhile.map(|meanwhile| format!("; meanwhile {meanwhile}")).unwrap_or_default();
    let reason = format!("mode {} was to last until {until}{meanwhile}", state.mode.mode);
    // It lets more pass, so it has to be durable first.
    Some(transition(next, DecisionName::Mode, Because::new(BY_TIME, reason), Kind::Planned, EvidenceChange::Keep))
}

pub(super) fn candidate_down(state: &ServiceState, reason: &str) -> Result<Transition, Refusal> {
    roll_back(state, Because::new(BY_HEALTH, format!("the candidate has no healthy target: {reason}")))
}

pub(super) fn candidate_unreachable(state: &ServiceState) -> Result<Transition, Refusal> {
    roll_back(state, Because::new(BY_HEALTH, "the candidate's first ten requests could not be sent at all"))
}
