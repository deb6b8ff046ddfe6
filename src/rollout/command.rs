//! What the commands of an operator do.

use super::change::{
    Because, Kind, begin_step, end, hold, promote as promote_now, reject, release, roll_back, rollout, transition,
};
use super::transition::{DecisionName, EvidenceChange, OPERATOR, Transition};
use super::{PinnedRelease, Refusal, Rollout, ServiceState, Start};
use crate::model::{BasisPoints, Held, HeldBy, Mode, ModeSetting, Phase, Plan, PoolName, ReleaseId, Timestamp};

pub(super) fn start(state: &ServiceState, start: &Start, now: Timestamp) -> Result<Transition, Refusal> {
    let pool = &start.pool;
    if *pool == state.live {
        return Err(Refusal::AlreadyLive(pool.clone()));
    }
    if !leads_somewhere(&start.plan) {
        return Err(Refusal::BadSteps);
    }
    if !start.candidate_healthy {
        return Err(Refusal::Unhealthy(pool.clone()));
    }
    let release = match start.release.as_ref().or(start.configured.as_ref()) {
        Some(release) => release.clone(),
        None => made_up_release(pool, now)?,
    };
    let rejected = state.rejected.iter().find(|rejected| rejected.release == release);
    if let (Some(rejected), false) = (rejected, start.force) {
        return Err(Refusal::Rejected { pool: rejected.pool.clone(), release });
    }
    Ok(begin(state, start, release, now))
}

fn begin(state: &ServiceState, start: &Start, release: ReleaseId, now: Timestamp) -> Transition {
    let Start { pool, plan, configured, .. } = start;
    let mut next = state.clone();
    end(&mut next, Phase::Preview);
    next.candidate = Some(pool.clone());
    next.watch_until = None;
    next.drained.remove(pool);
    next.releases.insert(pool.clone(), PinnedRelease { release: release.clone(), configured: configured.clone() });
    let reason = format!("release {release} in pool {pool}, while {} is live", state.live);
    next.rollout = Some(Rollout {
        release,
        pool: pool.clone(),
        previous_live: state.live.clone(),
        plan: plan.clone(),
        step: 0,
        step_since: now,
        waiting_since: now,
        started: now,
        weight_by_command: false,
        asking: None,
        cleared: None,
        approved: false,
    });
    transition(next, DecisionName::Start, Because::new(OPERATOR, reason), Kind::Planned, EvidenceChange::Begin)
}

fn leads_somewhere(plan: &Plan) -> bool {
    let weights = plan.steps.iter().map(|step| step.weight);
    plan.steps.first().is_some_and(|first| first.weight > BasisPoints::ZERO) && weights.is_sorted_by(|a, b| a < b)
}

/// A release that nobody names still needs an identifier of its own: another release draws another cohort.
fn made_up_release(pool: &PoolName, now: Timestamp) -> Result<ReleaseId, Refusal> {
    let text = format!("{pool}@{}", now.strftime("%Y%m%dT%H%M%S%.3fZ"));
    text.parse().map_err(|_| Refusal::ReleaseNeeded(pool.clone()))
}

pub(super) fn under_way(state: &ServiceState) -> Refusal {
    match rollout(state) {
        Ok(rollout) => Refusal::UnderWay { pool: rollout.pool.clone(), release: rollout.release.clone() },
        Err(refusal) => refusal,
    }
}

fn held_by_operator(state: &ServiceState) -> bool {
    state.held.as_ref().is_some_and(|held| held.by == HeldBy::Operator)
}

pub(super) fn pause(state: &ServiceState, now: Timestamp) -> Option<Transition> {
    let because = Because::new(OPERATOR, "paused by a command; `cutover rollout resume` goes on");
    (!held_by_operator(state)).then(|| hold(state, HeldBy::Operator, because, now))
}

pub(super) fn resume(state: &ServiceState, now: Timestamp) -> Result<Option<Transition>, Refusal> {
    let Some(held) = &state.held else { return Ok(None) };
    let rollout = rollout(state)?;
    if rollout.weight_by_command {
        return next_higher_step(state, rollout, now).map(Some);
    }
    let mut next = state.clone();
    release(&mut next, now);
    let because = Because::new(OPERATOR, format!("resumed by a command; it was held by {}", held.by));
    Ok(Some(transition(next, DecisionName::Resume, because, Kind::Planned, EvidenceChange::Keep)))
}

/// After a weight by command: the first step above it, or, above the last one, the last one's hold at this weight.
fn next_higher_step(state: &ServiceState, rollout: &Rollout, now: Timestamp) -> Result<Transition, Refusal> {
    let steps = &rollout.plan.steps;
    let because = Because::new(OPERATOR, format!("resumed by a command at {}", state.weight));
    match steps.iter().position(|step| step.weight > state.weight) {
        Some(higher) => begin_step(state, higher, steps[higher].weight, because, now),
        None => begin_step(state, steps.len().saturating_sub(1), state.weight, because, now),
    }
}

pub(super) fn set_weight(
    state: &ServiceState,
    weight: BasisPoints,
    now: Timestamp,
) -> Result<Option<Transition>, Refusal> {
    let rollout = rollout(state)?;
    let first = state.phase == Phase::Preview;
    if weight == state.weight && held_by_operator(state) && !first {
        return Ok(None);
    }
    let mut next = state.clone();
    release(&mut next, now);
    next.phase = Phase::Canary;
    next.weight = weight;
    next.rollout = Some(Rollout { weight_by_command: true, ..next.rollout.unwrap_or_else(|| rollout.clone()) });
    let reason = format!("{weight} by a command, from {}; `cutover rollout resume` goes on", state.weight);
    next.held = Some(Held { by: HeldBy::Operator, reason: reason.clone(), since: now });
    let kind = if weight <= state.weight { Kind::Protective } else { Kind::Planned };
    let evidence = match (first, weight == state.weight) {
        (true, true | false) => EvidenceChange::NewStep,
        (false, true) => EvidenceChange::Keep,
        (false, false) => EvidenceChange::WeightChanged,
    };
    Ok(Some(transition(next, DecisionName::Weight, Because::new(OPERATOR, reason), kind, evidence)))
}

pub(super) fn promote(state: &ServiceState, now: Timestamp) -> Result<Transition, Refusal> {
    promote_now(state, Because::new(OPERATOR, "promoted by a command"), now)
}

pub(super) fn rollback(state: &ServiceState) -> Result<Transition, Refusal> {
    roll_back(state, Because::new(OPERATOR, "rolled back by a command"))
}

/// The pool that was live before becomes live again, while the promotion is watched.
pub(super) fn rollback_promotion(state: &ServiceState, now: Timestamp) -> Result<Transition, Refusal> {
    let rollout = state.rollout.as_ref().ok_or(Refusal::NothingToRollBack)?;
    let previous = &rollout.previous_live;
    if state.watch_until.is_none_or(|until| now >= until) {
        return Err(Refusal::WatchOver { release: rollout.release.clone(), previous: previous.clone() });
    }
    let mut next = state.clone();
    next.live = previous.clone();
    next.watch_until = None;
    reject(&mut next.rejected, rollout);
    end(&mut next, Phase::RolledBack);
    let reason = format!("the promotion of {} was rolled back by a command; {previous} is live again", rollout.release);
    let because = Because::new(OPERATOR, reason);
    Ok(transition(next, DecisionName::Rollback, because, Kind::Protective, EvidenceChange::Keep))
}

pub(super) fn rolled_back_already(state: &ServiceState) -> Refusal {
    match rollout(state) {
        Ok(rollout) => Refusal::RolledBackAlready(rollout.release.clone()),
        Err(_) => Refusal::NothingToRollBack,
    }
}

pub(super) fn switch(state: &ServiceState, pool: &PoolName, drain: bool) -> Result<Transition, Refusal> {
    if *pool == state.live && state.candidate.is_none() {
        return Err(Refusal::AlreadyLive(pool.clone()));
    }
    let mut next = state.clone();
    if drain {
        let served = state.candidate.iter().chain([&state.live]).cloned();
        next.drained.extend(served);
    }
    next.live = pool.clone();
    next.watch_until = None;
    next.rollout = None;
    end(&mut next, Phase::Idle);
    let mut reason = format!("all traffic to {pool} by a command");
    if let (Some(candidate), Some(rollout)) = (&state.candidate, &state.rollout) {
        reason = format!("{reason}; the rollout of {} to {candidate} ends", rollout.release);
    }
    let evidence = if state.candidate.is_some() { EvidenceChange::End } else { EvidenceChange::Keep };
    Ok(transition(next, DecisionName::Switch, Because::new(OPERATOR, reason), Kind::Planned, evidence))
}

pub(super) fn set_mode(state: &ServiceState, mode: &ModeSetting) -> Option<Transition> {
    if state.mode == *mode {
        return None;
    }
    let next = ServiceState { mode: mode.clone(), ..state.clone() };
    let kind = match mode.mode {
        Mode::Maintenance => Kind::Protective,
        Mode::Serve => Kind::Planned,
    };
    let because = Because::new(OPERATOR, format!("mode {} by a command", mode.mode));
    Some(transition(next, DecisionName::Mode, because, kind, EvidenceChange::Keep))
}
