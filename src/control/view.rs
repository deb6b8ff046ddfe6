//! A service as operators see it.

use super::gathering::Gathering;
use super::meanwhile::Counted;
use super::restriction;
use super::service::{PoolControl, ServiceControl};
use crate::analysis::expected_time;
use crate::model::view::{EvidenceView, PoolView, RolloutView, ServiceView, StepView, TargetView};
use crate::model::{Mode, ModeSource, Period, Phase, ReleaseId, Strategy, Timestamp, Verdict};
use crate::rollout::Rollout;

/// The service.
pub(super) fn service(control: &ServiceControl) -> ServiceView {
    let state = &control.state;
    let (mode, mode_source) = control.mode();
    let file = control.config.maintenance.file.as_ref().filter(|_| mode_source == ModeSource::File);
    ServiceView {
        name: control.config.name.clone(),
        revision: state.revision,
        live: state.live.clone(),
        candidate: state.candidate.clone(),
        weight: state.weight.percent(),
        phase: state.phase,
        held: state.held.clone(),
        watch_until: state.watch_until,
        mode,
        mode_source,
        mode_file: file.map(|file| file.display().to_string()),
        mode_setting: state.mode.clone(),
        meanwhile: control.meanwhile.as_ref().map(Counted::view),
        pools: control.pools.iter().map(|pool| (pool.name.clone(), pool_view(control, pool))).collect(),
        release_source: control.config.health.release.as_ref().map(ToString::to_string),
        held_requests: 0,
        verdict: control.gathering.as_ref().map(|gathering| gathering.assessment().judgement.verdict),
        durable: control.durable(),
        rollout: state.rollout.as_ref().map(|rollout| rollout_view(control, rollout)),
        deploy: state.deploy.clone(),
        migrated: state.migrated.clone(),
        rejected: state.rejected.iter().map(|rejected| rejected.release.clone()).collect(),
        warnings: warnings(control),
    }
}

fn pool_view(control: &ServiceControl, pool: &PoolControl) -> PoolView {
    PoolView {
        release: control.release(&pool.name).cloned(),
        targets: pool
            .targets
            .iter()
            .map(|target| TargetView {
                address: target.address().to_string(),
                healthy: target.fault.is_none(),
                fault: target.fault.clone(),
                ejected_until: target.ejected.map(|ejected| ejected.shown),
                release: target.release.clone(),
            })
            .collect(),
        in_flight: pool.load.sum(|load| load.in_flight.get()),
        drained: control.state.drained.contains(&pool.name),
    }
}

fn rollout_view(control: &ServiceControl, rollout: &Rollout) -> RolloutView {
    let (candidate_rate, live_rate) = control.gathering.as_ref().map_or((0.0, 0.0), Gathering::rates);
    let drawn = candidate_rate + live_rate;
    RolloutView {
        release: rollout.release.clone(),
        strategy: rollout.plan.strategy,
        steps: rollout
            .plan
            .steps
            .iter()
            .map(|step| StepView {
                weight: step.weight.percent(),
                hold: step.hold,
                min_requests: step.min_requests.unwrap_or(rollout.plan.min_requests),
                checks: step.checks.clone(),
                approve: step.approve,
                expected: expected_time(&rollout.plan, step, drawn).map(whole_seconds),
            })
            .collect(),
        step: rollout.step,
        started: rollout.started,
        step_since: rollout.step_since,
        waiting_for: waiting_for(control, rollout, drawn),
        candidate_rate,
        live_rate,
        gates: control.gating.views.clone(),
    }
}

fn whole_seconds(duration: std::time::Duration) -> Period {
    Period::from_secs(duration.as_secs() + u64::from(duration.subsec_nanos() > 0))
}

/// Why nobody is drawn to the candidate yet.
fn waiting_in_preview(control: &ServiceControl, rollout: &Rollout) -> String {
    if let Some(held) = &control.state.held {
        return format!("held by {}: {}", held.by, held.reason);
    }
    let passed = Timestamp::now().duration_since(rollout.started);
    let left = rollout.plan.preview.get().as_secs_f64() - passed.as_secs_f64();
    let next = match rollout.plan.strategy {
        Strategy::Canary => "the first step begins",
        Strategy::BlueGreen => "all traffic is switched",
    };
    let unanswered = control.gathering.as_ref().is_some_and(|it| it.assessment().judgement.unanswered);
    if left <= 0.0 && unanswered && rollout.plan.strategy == Strategy::BlueGreen {
        format!("every check of Prometheus is asked first; then {next}")
    } else if left > 0.0 {
        let left = whole_seconds(std::time::Duration::from_secs_f64(left));
        format!("the preview lasts {left} more; then {next}")
    } else {
        format!("{next} in a moment")
    }
}

/// Why the rollout does not move on at this moment.
fn waiting_for(control: &ServiceControl, rollout: &Rollout, drawn: f64) -> String {
    let state = &control.state;
    match state.phase {
        Phase::Idle | Phase::Promoted | Phase::RolledBack => return String::new(),
        Phase::Preview => return waiting_in_preview(control, rollout),
        Phase::Canary => {}
    }
    let mut sentences = Vec::new();
    if let Some(held) = &state.held {
        sentences.push(format!("held by {}: {}", held.by, held.reason));
    }
    if let (Some(step), None) = (rollout.plan.steps.get(rollout.step), &state.held) {
        let passed = Timestamp::now().duration_since(rollout.step_since);
        let left = step.hold.get().as_secs_f64() - passed.as_secs_f64();
        if left > 0.0 {
            sentences.push(format!("the step lasts {} more", whole_seconds(std::time::Duration::from_secs_f64(left))));
        }
        if let Some(gathering) = &control.gathering {
            let judgement = &gathering.assessment().judgement;
            if judgement.verdict != Verdict::Healthy {
                sentences.push(judgement.reason.clone());
            }
            if gathering.nothing_comes_in() {
                sentences.push("no requests come in, so there is nothing to judge by".to_owned());
            } else if let Some(expected) = expected_time(&rollout.plan, step, drawn)
                && judgement.verdict == Verdict::Insufficient
            {
                let expected = whole_seconds(expected);
                sentences.push(format!("at {drawn:.1} requests/s the step needs about {expected} in all"));
            }
        }
    }
    sentences.join("; ")
}

fn warnings(control: &ServiceControl) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(fault) = &control.writing.fault {
        warnings.push(format!("the state can't be written, and planned changes are refused: {fault}"));
    }
    for pool in &control.pools {
        if !pool.healthy() {
            warnings.push(pool.fault());
        }
        for target in &pool.targets {
            if let Some(ejected) = target.ejected {
                let (address, until) = (target.address(), ejected.shown);
                warnings.push(format!("{address} fails one request after the other, and is left alone until {until}"));
            }
        }
        warnings.extend(other_releases(pool, control.release(&pool.name)));
    }
    warnings.extend(restriction::fault(&control.config, &control.state.mode));
    if let Some(until) = control.state.mode.until.filter(|_| control.overdue) {
        let mode = control.state.mode.mode;
        warnings.push(format!("mode {mode} was to last until {until}, and goes on because no pool can serve"));
    }
    if !control.can_serve() && control.mode().0 == Mode::Maintenance {
        warnings.push("no pool can serve: visitors get the maintenance response".to_owned());
    }
    if let Some(holding) = &control.holding {
        warnings.push(holding.warning());
    }
    if let Some(held) = control.state.held.as_ref() {
        warnings.push(format!("the rollout is held by {}: {}", held.by, held.reason));
    }
    warnings
}

/// What is said of the targets that say another release than their pool is known for.
fn other_releases<'p>(pool: &'p PoolControl, known: Option<&'p ReleaseId>) -> impl Iterator<Item = String> + 'p {
    let said = pool.targets.iter().filter_map(|target| Some((target.address(), target.release.as_ref()?)));
    said.zip(std::iter::repeat(known)).filter_map(|((address, said), known)| {
        let known = known.filter(|known| *known != said)?;
        Some(format!(
            "{address} says that it runs release {said}, and pool {name} is known for {known}",
            name = pool.name
        ))
    })
}

/// The evidence of the rollout that is under way.
pub(super) fn evidence(control: &ServiceControl) -> Option<EvidenceView> {
    let (gathering, rollout) = (control.gathering.as_ref()?, control.state.rollout.as_ref()?);
    Some(gathering.view(rollout, Timestamp::now()))
}
