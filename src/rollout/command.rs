//! What the commands of an operator do.

use super::change::{
    Because, Kind, end, hold, hold_for_gates, promote as promote_now, release, roll_back, rollout, take_back,
    transition,
};
use super::transition::{DecisionName, EvidenceChange, OPERATOR, Transition};
use super::{PinnedRelease, Refusal, Rollout, ServiceState, SetMode, Start, walk};
use crate::model::{
    BasisPoints, GateMoment, GatePoint, Held, HeldBy, ModeSetting, Phase, Plan, PoolName, ReleaseId, Strategy,
    Timestamp,
};

pub(super) fn start(state: &ServiceState, start: &Start, now: Timestamp) -> Result<Transition, Refusal> {
    let pool = &start.pool;
    if *pool == state.live {
        return Err(Refusal::AlreadyLive(pool.clone()));
    }
    match start.plan.strategy {
        Strategy::Canary if !leads_somewhere(&start.plan) => return Err(Refusal::BadSteps),
        Strategy::BlueGreen if !start.plan.steps.is_empty() => return Err(Refusal::NoStepsWanted),
        Strategy::Canary | Strategy::BlueGreen => {}
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
    if held.by == HeldBy::Approval {
        return Err(Refusal::ApprovalNeeded);
    }
    let asking = rollout.asking.is_some();
    if asking && held.by == HeldBy::Gate {
        // They are being asked already.
        return Ok(None);
    }
    if rollout.weight_by_command && !asking {
        return walk::out_of_commanded_weight(state, now).map(Some);
    }
    let mut next = state.clone();
    release(&mut next, now);
    hold_for_gates(&mut next, now);
    let because = Because::new(OPERATOR, format!("resumed by a command; it was held by {}", held.by));
    Ok(Some(transition(next, DecisionName::Resume, because, Kind::Planned, EvidenceChange::Keep)))
}

/// What waits for an operator may go on, once the evidence allows it.
pub(super) fn approve(state: &ServiceState, now: Timestamp) -> Result<Transition, Refusal> {
    let waits = state.held.as_ref().is_some_and(|held| held.by == HeldBy::Approval);
    if !waits {
        return Err(Refusal::NothingToApprove);
    }
    let mut next = state.clone();
    release(&mut next, now);
    if let Some(rollout) = next.rollout.as_mut() {
        rollout.approved = true;
    }
    let because = Because::new(OPERATOR, "approved by a command; it goes on once the evidence allows it");
    Ok(transition(next, DecisionName::Approve, because, Kind::Planned, EvidenceChange::Keep))
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
    next.rollout = Some(Rollout {
        weight_by_command: true,
        // A command goes over the gates that stand before it; those after it are asked in their turn, even again.
        asking: None,
        cleared: Some(GateMoment::at(GatePoint::BeforeRollout)),
        approved: false,
        ..next.rollout.unwrap_or_else(|| rollout.clone())
    });
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
    let rollout = rollout(state)?;
    let mut reason = "promoted by a command".to_owned();
    if let Some(asking) = rollout.asking {
        reason = format!("{reason}, while the gates of {} were being asked", asking.moment);
    } else if !rollout.is_cleared(GateMoment::at(GatePoint::BeforePromotion)) {
        reason = format!("{reason}, without asking the gates of {}", GatePoint::BeforePromotion);
    }
    if rollout.plan.approve && !rollout.approved {
        reason = format!("{reason}, which is its approval");
    }
    promote_now(state, Because::new(OPERATOR, reason), now)
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
    take_back(state, Because::new(OPERATOR, "rolled back by a command"))
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
    next.end_deploy_by_switch(pool);
    let mut reason = format!("all traffic to {pool} by a command");
    if let (Some(candidate), Some(rollout)) = (&state.candidate, &state.rollout) {
        reason = format!("{reason}; the rollout of {} to {candidate} ends", rollout.release);
    }
    let gathered = state.candidate.is_some() || state.watch_until.is_some();
    let evidence = if gathered { EvidenceChange::End } else { EvidenceChange::Keep };
    Ok(transition(next, DecisionName::Switch, Because::new(OPERATOR, reason), Kind::Planned, evidence))
}

pub(super) fn set_mode(state: &ServiceState, set: &SetMode) -> Option<Transition> {
    let mode = &set.setting;
    if state.mode == *mode {
        return None;
    }
    let mut next = ServiceState { mode: mode.clone(), ..state.clone() };
    next.note_mode_beside_deploy();
    // What keeps more from visitors takes risk away; what lets more pass has to be durable first.
    let severity = |setting: &ModeSetting| (setting.mode.severity(), setting.is_anonymous());
    let kind = if severity(mode) < severity(&state.mode) { Kind::Planned } else { Kind::Protective };
    let anonymous = if mode.anonymous { ", anonymous" } else { "" };
    let mut reason = format!("mode {}{anonymous} by a command", mode.mode);
    // Other words about the same mode end nothing.
    if let Some(meanwhile) = set.meanwhile.as_ref().filter(|_| mode.mode != state.mode.mode) {
        reason = format!("{reason}; meanwhile {meanwhile}");
    }
    Some(transition(next, DecisionName::Mode, Because::new(OPERATOR, reason), kind, EvidenceChange::Keep))
}
