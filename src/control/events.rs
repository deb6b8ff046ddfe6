//! What commands and the passing of time mean: the events that decisions are made of.

use super::command::{Command, CommandError};
use super::meanwhile::Counted;
use super::restriction;
use super::service::{PoolControl, ServiceControl};
use crate::model::{Judgement, Meanwhile, Mode, Plan, PoolName, Step, Strategy, Timestamp};
use crate::rollout::{DeployNews, Event, SetMode, Start};

/// The event that a command is.
pub(super) fn event_of(service: &ServiceControl, command: &Command) -> Result<Event, CommandError> {
    let known = |pool: &PoolName| {
        service.pool(pool).ok_or_else(|| CommandError::UnknownPool {
            service: service.config.name.clone(),
            pool: pool.clone(),
            known: service.pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    };
    Ok(match command {
        Command::Start { pool, release, strategy, steps, force } => {
            let control = known(pool)?;
            let mut plan = service.config.rollout.clone();
            plan_for(&mut plan, *strategy, steps.as_deref())?;
            let configured = service.config.pool(pool).and_then(|pool| pool.release.clone());
            Event::Start(Start {
                pool: pool.clone(),
                release: release.clone(),
                configured,
                plan,
                force: *force,
                candidate_healthy: control.healthy(),
            })
        }
        Command::Pause => Event::Pause,
        Command::Resume => Event::Resume,
        Command::Approve => Event::Approve,
        Command::Promote => Event::Promote,
        Command::Rollback => Event::Rollback,
        Command::Weight(weight) => Event::SetWeight(*weight),
        Command::Switch { pool, drain, .. } => {
            let control = known(pool)?;
            let live = service.pool(&service.state.live);
            if !control.healthy() && live.is_some_and(PoolControl::healthy) {
                let fault = control.fault();
                return Err(CommandError::Refused(format!("{fault}; switch when it is up: `cutover status` tells")));
            }
            Event::Switch { pool: pool.clone(), drain: drain.is_some() }
        }
        Command::Deploy { pool, release, by, act } => {
            known(pool)?;
            let configured = service.config.pool(pool).and_then(|pool| pool.release.clone());
            let (pool, release, by) = (pool.clone(), release.clone(), by.clone());
            Event::Deploy(DeployNews { pool, release, configured, by, act: *act })
        }
        Command::Mode { setting, .. } => {
            if setting.mode != Mode::Maintenance
                && service.files.flag
                && let Some(file) = &service.config.maintenance.file
            {
                return Err(CommandError::HeldByFile { service: service.config.name.clone(), file: file.clone() });
            }
            restriction::check(&service.config, setting)?;
            Event::SetMode(SetMode { setting: setting.clone(), meanwhile: meanwhile(service) })
        }
    })
}

/// The configured plan as a command wants it: steps make a canary of it, and blue-green has none.
fn plan_for(plan: &mut Plan, strategy: Option<Strategy>, steps: Option<&[Step]>) -> Result<(), CommandError> {
    match (strategy, steps) {
        (Some(Strategy::BlueGreen), Some(_)) => {
            let reason = "a blue-green rollout moves all traffic at once and has no steps; leave them out";
            return Err(CommandError::Invalid(reason.to_owned()));
        }
        (Some(Strategy::BlueGreen), None) => {
            plan.strategy = Strategy::BlueGreen;
            plan.steps.clear();
        }
        (Some(Strategy::Canary) | None, Some(steps)) => {
            plan.strategy = Strategy::Canary;
            plan.steps = steps.to_vec();
        }
        (Some(Strategy::Canary), None) if plan.strategy == Strategy::BlueGreen => {
            plan.strategy = Strategy::Canary;
            plan.steps = Plan::default().steps;
        }
        (Some(Strategy::Canary) | None, None) => {}
    }
    Ok(())
}

/// What it has cost up to now not to serve.
fn meanwhile(service: &ServiceControl) -> Option<Meanwhile> {
    service.meanwhile.as_ref().filter(|counted| counted.goes_on()).map(Counted::view)
}

/// What is said once the time of a mode is over and a pool can serve.
pub(super) fn over(service: &ServiceControl, now: Timestamp) -> Option<Event> {
    let is_over = service.state.mode.until.is_some_and(|until| now >= until);
    (is_over && service.is_known_to_serve()).then(|| Event::PoolCanServe(meanwhile(service)))
}

/// What the gates have answered, until it has become part of the state.
pub(super) fn gates_answer(service: &ServiceControl) -> Option<Event> {
    let rollout = service.state.rollout.as_ref()?;
    let asking = rollout.asking?;
    let answer = service.gating.answer_to(asking)?.clone();
    Some(Event::Gates { asking, answer, way_back: way_back(service) })
}

/// Whether the pool that was live before a promotion could take it back.
pub(super) fn way_back(service: &ServiceControl) -> bool {
    let previous = service.state.rollout.as_ref().map(|rollout| &rollout.previous_live);
    previous.and_then(|pool| service.pool(pool)).is_some_and(PoolControl::healthy)
}

/// What is said of a release that was promoted: nothing where there is no way back, because the old pool is down.
fn judgement_of_watch(service: &ServiceControl) -> Option<Judgement> {
    let gathering = service.gathering.as_ref().filter(|_| way_back(service))?;
    Some(gathering.assessment().judgement.clone())
}

/// What the passing of time means for a service, if it means anything.
pub(super) fn passing_of_time(service: &ServiceControl) -> Option<Event> {
    let Some(candidate) = service.state.candidate.as_ref().and_then(|name| service.pool(name)) else {
        return service.state.watch_until.map(|_| Event::Tick(judgement_of_watch(service)));
    };
    if !candidate.healthy() {
        return Some(Event::CandidateDown(candidate.fault()));
    }
    let gathering = service.gathering.as_ref()?;
    if gathering.unreachable() {
        return Some(Event::CandidateUnreachable);
    }
    Some(Event::Tick(Some(gathering.assessment().judgement.clone())))
}
