//! What a deploy has to do, from what is asked for and how the service stands: nothing but a function of the two, so that
//! a dry run tells what a run does.

use super::DeployArguments;
use crate::model::view::{PoolView, ServiceView};
use crate::model::{Deploy, Mode};

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Course {
    /// Nothing: the release is live in the pool.
    Live,
    /// Nothing: the release was rolled back, and nobody forces it.
    Rejected,
    /// These steps, in this order.
    Walk(Vec<Planned>),
}

/// A step, and whether it is done already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) step: Step,
    /// In words.
    pub(super) what: String,
    /// Why it need not be done again, where it need not.
    pub(super) done: Option<String>,
}

/// The kinds of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Ready,
    Gate,
    Guard(Mode),
    Migrate,
    Switch,
    Leave,
    Rollout,
}

impl Step {
    /// As the report names it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Gate => "gate",
            Self::Guard(mode) => mode.as_str(),
            Self::Migrate => "migration",
            Self::Switch => "switch",
            Self::Leave => "leave",
            Self::Rollout => "rollout",
        }
    }
}

/// The course; or why there is none, and what to do.
pub(super) fn course(asked: &DeployArguments, view: &ServiceView) -> Result<Course, String> {
    let pool = pool(asked, view)?;
    let own = view.deploy.as_ref().filter(|deploy| deploy.is_of(&asked.pool, &asked.release));
    let own = own.filter(|deploy| deploy.is_under_way());
    let guard = own.and_then(|deploy| deploy.guard.as_ref()).map(|guard| guard.mode);
    let leave = guard.map(|mode| todo(Step::Leave, format!("leave mode {mode}")));
    if view.live == asked.pool {
        return match (&pool.release, leave) {
            (Some(release), None) if *release == asked.release => Ok(Course::Live),
            (Some(release), Some(leave)) if *release == asked.release => Ok(Course::Walk(vec![leave])),
            _ => Err(live_with_another(asked, view, pool)),
        };
    }
    if let (Some(other), None, false) = (under_way(view), own, asked.take_over) {
        return Err(format!(
            "a deploy of {} to {} by {} is under way since {}; let it end, run it again to its end, or take its place with \
             --take-over",
            other.release,
            other.pool,
            other.by,
            other.started.strftime("%Y-%m-%d %H:%M:%SZ")
        ));
    }
    match (&view.candidate, &view.rollout) {
        (Some(candidate), Some(rollout)) if *candidate == asked.pool && rollout.release == asked.release => {
            joined(asked, leave)
        }
        (Some(candidate), rollout) => {
            let release = rollout.as_ref().map_or_else(String::new, |rollout| format!(" of {}", rollout.release));
            Err(format!(
                "a rollout{release} to {candidate} is under way; wait for it, or end it with `cutover rollout promote` or \
                 `cutover rollout rollback`"
            ))
        }
        (None, _) if !asked.force && view.rejected.contains(&asked.release) => Ok(Course::Rejected),
        (None, _) => Ok(Course::Walk(whole(asked, view, pool, guard))),
    }
}

fn pool<'v>(asked: &DeployArguments, view: &'v ServiceView) -> Result<&'v PoolView, String> {
    view.pools.get(&asked.pool).ok_or_else(|| {
        let known: Vec<_> = view.pools.keys().map(ToString::to_string).collect();
        format!("service {} has no pool {}; it has {}", view.name, asked.pool, known.join(", "))
    })
}

fn under_way(view: &ServiceView) -> Option<&Deploy> {
    view.deploy.as_ref().filter(|deploy| deploy.is_under_way())
}

fn live_with_another(asked: &DeployArguments, view: &ServiceView, pool: &PoolView) -> String {
    let with = pool.release.as_ref().map_or_else(String::new, |release| format!(" with release {release}"));
    let others: Vec<_> = view.pools.keys().filter(|name| **name != view.live).map(ToString::to_string).collect();
    format!("pool {} is live{with}; deploy {} to another pool: {}", asked.pool, asked.release, others.join(", "))
}

/// A rollout of this release in this pool is under way.
fn joined(asked: &DeployArguments, leave: Option<Planned>) -> Result<Course, String> {
    if asked.switch {
        return Err(format!(
            "a rollout of {} to {} is under way; `cutover rollout promote` makes it live at once, and without --switch this \
             command waits for it",
            asked.release, asked.pool
        ));
    }
    let wait =
        todo(Step::Rollout, format!("wait for the rollout of {} to {}, which is under way", asked.release, asked.pool));
    Ok(Course::Walk(leave.into_iter().chain([wait]).collect()))
}

/// All of it. The mode stays on over a switch, so that nobody meets the change; a rollout needs visitors.
fn whole(asked: &DeployArguments, view: &ServiceView, pool: &PoolView, left_on: Option<Mode>) -> Vec<Planned> {
    let mut steps = vec![ready(asked, view, pool)];
    steps.extend(
        asked.gate_command.as_ref().map(|command| todo(Step::Gate, format!("run the gate command: {command}"))),
    );
    let migration = asked.migrate.as_ref().map(|command| migration(asked, view, command));
    let has_to_migrate = migration.as_ref().is_some_and(|step| step.done.is_none());
    let guard = asked.guard().filter(|_| has_to_migrate || asked.switch);
    steps.extend(guard.map(|mode| {
        let drain = format!("let requests under way end within {}", asked.drain);
        todo(Step::Guard(mode), format!("put {} into mode {mode}, and {drain}", view.name))
    }));
    let leave = guard.or(left_on).map(|mode| todo(Step::Leave, format!("leave mode {mode}")));
    steps.extend(migration);
    if asked.switch {
        let what = format!("switch all traffic from {} to {}, and drain within {}", view.live, asked.pool, asked.drain);
        steps.push(todo(Step::Switch, what));
        steps.extend(leave);
    } else {
        steps.extend(leave);
        let how = match (asked.canary, asked.blue_green) {
            (true, _) => "a canary rollout",
            (_, true) => "a blue-green rollout",
            (false, false) => "a rollout as it is configured",
        };
        let what = format!("start {how} of {} to {}, and wait for its end", asked.release, asked.pool);
        steps.push(todo(Step::Rollout, what));
    }
    steps
}

fn ready(asked: &DeployArguments, view: &ServiceView, pool: &PoolView) -> Planned {
    let says = if view.release_source.is_some() { format!(" and say {}", asked.release) } else { String::new() };
    let (number, missing) = (pool.targets.len(), missing(asked, view).len());
    let (targets, now) = (if number == 1 { "target" } else { "targets" }, number - missing);
    let what = format!("wait until all targets of {} are up{says}: {now} of {number} {targets} now", asked.pool);
    todo(Step::Ready, what)
}

fn migration(asked: &DeployArguments, view: &ServiceView, command: &str) -> Planned {
    let what = format!("run the migration: {command}");
    let has_run = view.migrated.contains(&asked.release) && !asked.migrate_again;
    let done = has_run.then(|| format!("it has run for {} before; --migrate-again runs it again", asked.release));
    Planned { done, ..todo(Step::Migrate, what) }
}

fn todo(step: Step, what: String) -> Planned {
    Planned { step, what, done: None }
}

/// The targets that are not ready, each with why; the same for a pool that is not there.
pub(super) fn missing(asked: &DeployArguments, view: &ServiceView) -> Vec<String> {
    let targets = view.pools.get(&asked.pool).map_or(&[][..], |pool| &pool.targets);
    let missing = targets.iter().filter_map(|target| {
        let fault = match (&view.release_source, &target.release) {
            _ if !target.healthy => format!("down ({})", target.fault.as_deref().unwrap_or("no reason is known")),
            (Some(source), None) => format!("up, but names no release ({source})"),
            (Some(_), Some(says)) if *says != asked.release => format!("up, but says that it runs {says}"),
            (Some(_) | None, _) => return None,
        };
        Some(format!("{} is {fault}", target.address))
    });
    missing.collect()
}
