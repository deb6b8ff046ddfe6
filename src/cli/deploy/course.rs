//! What a deploy has to do, from what is asked for and how the service stands: nothing but a function of the two, so that
//! a dry run tells what a run does.

use super::DeployArguments;
use crate::model::view::{PoolView, ServiceView};
use crate::model::{Deploy, Mode, PoolName};

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
    Prepare,
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
            Self::Prepare => "prepare",
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
    if view.live == asked.pool {
        return match (&pool.release, own.and_then(leave)) {
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
            joined(asked, own.and_then(leave))
        }
        (Some(candidate), rollout) => {
            let release = rollout.as_ref().map_or_else(String::new, |rollout| format!(" of {}", rollout.release));
            Err(format!(
                "a rollout{release} to {candidate} is under way; wait for it, or end it with `cutover rollout promote` or \
                 `cutover rollout rollback`"
            ))
        }
        (None, _) if !asked.force && view.rejected.contains(&asked.release) => Ok(Course::Rejected),
        (None, _) => {
            let steps = whole(asked, view, pool);
            steps.iter().find_map(|planned| exposed(view, planned.step)).map_or(Ok(Course::Walk(steps)), Err)
        }
    }
}

/// Why a mode would let through what somebody keeps from the pools, if it would.
fn exposed(view: &ServiceView, step: Step) -> Option<String> {
    let Step::Guard(mode @ Mode::ReadOnly) = step else { return None };
    let now = view.mode_setting.mode;
    let now = view.deploy.as_ref().and_then(|deploy| deploy.before(now)).map_or(now, |before| before.mode);
    (now.severity() > mode.severity()).then(|| {
        format!(
            "the service is in mode {now}, and --{mode} would let visitors in; deploy with --{now}, or leave that mode first"
        )
    })
}

/// What stands for the pool that is not live.
const SPARE: &str = "spare";

/// The pool that is meant. `spare` is the one that is not live, unless what is live is the release: so that a script that is
/// run again means the same pool.
pub(super) fn meant(asked: &DeployArguments, view: &ServiceView) -> Result<PoolName, String> {
    if asked.pool.as_str() != SPARE || view.pools.contains_key(&asked.pool) {
        return Ok(asked.pool.clone());
    }
    let runs = |name: &PoolName| view.pools.get(name).and_then(|pool| pool.release.as_ref()) == Some(&asked.release);
    if runs(&view.live) {
        return Ok(view.live.clone());
    }
    let mut spare = view.pools.keys().filter(|name| **name != view.live);
    match (spare.next(), spare.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => Err(format!("service {} has no pool beside {}", view.name, view.live)),
        (Some(first), Some(second)) => {
            Err(format!("several pools are not live; name the one that is meant: {first}, {second} or another"))
        }
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
fn whole(asked: &DeployArguments, view: &ServiceView, pool: &PoolView) -> Vec<Planned> {
    let prepare = asked.prepare.as_ref();
    let prepare = prepare.map(|command| todo(Step::Prepare, format!("prepare {}: {command}", asked.pool)));
    let mut steps: Vec<Planned> = prepare.into_iter().chain([ready(asked, view, pool)]).collect();
    steps.extend(
        asked.gate_command.as_ref().map(|command| todo(Step::Gate, format!("run the gate command: {command}"))),
    );
    let migration = asked.migrate.as_ref().map(|command| migration(asked, view, command));
    let has_to_migrate = migration.as_ref().is_some_and(|step| step.done.is_none());
    let guard = asked.guard().filter(|_| has_to_migrate || asked.switch);
    steps.extend(guard.map(|mode| {
        let drain = format!("let requests under way end within {}", asked.drain());
        todo(Step::Guard(mode), format!("put {} into mode {mode}, and {drain}", view.name))
    }));
    // One that was left on by a run that has died, also of the deploy whose place this one takes, is left too.
    let leave = guard.map(leave_mode).or_else(|| under_way(view).and_then(leave));
    steps.extend(migration);
    if asked.switch {
        let what =
            format!("switch all traffic from {} to {}, and drain within {}", view.live, asked.pool, asked.drain());
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

/// Leaves the mode that a deploy has put the service into, if it has.
fn leave(deploy: &Deploy) -> Option<Planned> {
    deploy.guard.as_ref().map(|guard| leave_mode(guard.mode))
}

fn leave_mode(mode: Mode) -> Planned {
    todo(Step::Leave, format!("leave mode {mode}"))
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

#[cfg(test)]
mod tests {
    use super::super::arguments::parsed;
    use super::*;
    use crate::cli::samples::{canary, time};
    use crate::model::view::TargetView;
    use crate::model::{DeployGuard, ModeSetting, Phase};

    fn asked(line: &str) -> DeployArguments {
        let words = format!("deploy server1 --release 2026.11.2 {line}");
        parsed(words.split_whitespace())
    }

    /// Nothing is under way; `server1` has two targets of which one is up.
    fn idle() -> ServiceView {
        ServiceView { phase: Phase::Idle, candidate: None, rollout: None, ..canary() }
    }

    fn deploy(pool: &str, release: &str) -> Deploy {
        Deploy {
            pool: pool.parse().unwrap(),
            release: release.parse().unwrap(),
            by: "me@here".to_owned(),
            started: time("2026-11-22T04:00:00Z"),
            done: Vec::new(),
            guard: None,
            ended: None,
        }
    }

    fn steps(line: &str, view: &ServiceView) -> Vec<&'static str> {
        match course(&asked(line), view).unwrap() {
            Course::Walk(steps) => {
                steps.iter().filter(|planned| planned.done.is_none()).map(|planned| planned.step.name()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_mode_lasts_over_a_switch_and_is_left_before_a_rollout() {
        let whole = "--prepare p --gate-command g --migrate m --hold";
        let first = ["prepare", "ready", "gate", "hold", "migration"];
        assert_eq!(steps(&format!("{whole} --switch"), &idle()), [&first[..], &["switch", "leave"]].concat());
        assert_eq!(steps(whole, &idle()), [&first[..], &["leave", "rollout"]].concat());
        assert_eq!(steps("", &idle()), ["ready", "rollout"]);
        assert_eq!(steps("--read-only --switch", &idle()), ["ready", "read-only", "switch", "leave"]);
    }

    #[test]
    fn a_migration_that_has_run_is_not_run_again_and_needs_no_mode() {
        let view = ServiceView { migrated: vec!["2026.11.2".parse().unwrap()], ..idle() };
        assert_eq!(steps("--migrate m --maintenance", &view), ["ready", "rollout"]);
        assert_eq!(steps("--migrate m --hold --switch", &view), ["ready", "hold", "switch", "leave"]);
        let again = steps("--migrate m --migrate-again --maintenance", &view);
        assert_eq!(again, ["ready", "maintenance", "migration", "leave", "rollout"]);
    }

    #[test]
    fn a_mode_that_a_killed_run_has_left_on_is_left() {
        let guard = Some(DeployGuard { mode: Mode::Hold, before: ModeSetting::default() });
        let own = Deploy { guard, ..deploy("server1", "2026.11.2") };
        let view = ServiceView { deploy: Some(own), ..idle() };
        assert_eq!(steps("", &view), ["ready", "leave", "rollout"]);
        let switched = ServiceView { live: "server1".parse().unwrap(), ..view.clone() };
        assert_eq!(steps("--switch", &switched), ["leave"]);
        let under_way = ServiceView { deploy: view.deploy, ..canary() };
        assert_eq!(steps("--migrate m", &under_way), ["leave", "rollout"]);
    }

    #[test]
    fn nobody_is_let_in_whom_somebody_keeps_out() {
        let maintenance = ModeSetting::of(Mode::Maintenance);
        let view = ServiceView { mode_setting: maintenance.clone(), ..idle() };
        let told = course(&asked("--read-only --switch"), &view).unwrap_err();
        assert!(told.contains("in mode maintenance") && told.contains("deploy with --maintenance"), "{told}");
        assert_eq!(steps("--maintenance --switch", &view), ["ready", "maintenance", "switch", "leave"]);
        assert_eq!(steps("--hold --switch", &view), ["ready", "hold", "switch", "leave"], "nothing reaches a pool");
        assert_eq!(steps("--read-only", &view), ["ready", "rollout"]);
        let guard = Some(DeployGuard { mode: Mode::Maintenance, before: ModeSetting::default() });
        let own = Some(Deploy { guard, ..deploy("server1", "2026.11.2") });
        let view = ServiceView { deploy: own, ..view };
        assert_eq!(steps("--read-only --switch", &view), ["ready", "read-only", "switch", "leave"], "its own");
    }

    #[test]
    fn what_is_over_needs_no_walk() {
        let live = ServiceView { live: "server1".parse().unwrap(), ..idle() };
        assert_eq!(course(&asked("--switch"), &live), Ok(Course::Live));
        let rejected = ServiceView { rejected: vec!["2026.11.2".parse().unwrap()], ..idle() };
        assert_eq!(course(&asked(""), &rejected), Ok(Course::Rejected));
        assert_eq!(steps("--force", &rejected), ["ready", "rollout"]);
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let told = |line: &str, view: &ServiceView| course(&asked(line), view).unwrap_err();
        let mut other = canary();
        other.rollout.as_mut().unwrap().release = "3".parse().unwrap();
        assert!(told("", &other).starts_with("a rollout of 3 to server1 is under way"));
        assert!(told("--switch", &canary()).contains("`cutover rollout promote`"));
        let mut other = ServiceView { deploy: Some(deploy("server1", "3")), ..idle() };
        let sentence = told("", &other);
        assert!(sentence.starts_with("a deploy of 3 to server1 by me@here is under way since 2026-11-22 04:00:00Z"));
        assert_eq!(steps("--take-over", &other), ["ready", "rollout"]);
        other.deploy.as_mut().unwrap().guard =
            Some(DeployGuard { mode: Mode::Maintenance, before: ModeSetting::default() });
        assert_eq!(steps("--take-over --switch", &other), ["ready", "switch", "leave"], "its mode is left too");
        other.deploy.as_mut().unwrap().ended = Some(crate::model::DeployEnd::Stopped);
        assert_eq!(steps("", &other), ["ready", "rollout"]);
        let mut live = ServiceView { live: "server1".parse().unwrap(), ..idle() };
        live.pools.get_mut("server1").unwrap().release = Some("1".parse().unwrap());
        assert!(
            told("", &live).contains("pool server1 is live with release 1; deploy 2026.11.2 to another pool: server0")
        );
    }

    #[test]
    fn spare_is_the_pool_that_is_not_live_unless_the_live_one_has_the_release() {
        let spare = |release: &str, view: &ServiceView| {
            let words = ["deploy", "spare", "--release", release];
            meant(&parsed(words), view).map(|pool| pool.to_string())
        };
        assert_eq!(spare("7", &idle()), Ok("server1".to_owned()));
        assert_eq!(spare("2026.11.1", &idle()), Ok("server0".to_owned()), "it is live with it: nothing is to be done");
        let mut three = idle();
        let pool = three.pools["server1"].clone();
        three.pools.insert("server2".parse().unwrap(), pool);
        assert!(spare("7", &three).unwrap_err().contains("server1, server2"));
    }

    #[test]
    fn a_target_is_ready_when_it_is_up_and_says_the_release_where_it_is_asked() {
        let mut view = idle();
        let target = |healthy, release: Option<&str>| TargetView {
            address: "a:1".to_owned(),
            healthy,
            fault: (!healthy).then(|| "refused".to_owned()),
            ejected_until: None,
            release: release.map(|release| release.parse().unwrap()),
        };
        let mut missing_of = |source: Option<&str>, targets: Vec<TargetView>| {
            view.release_source = source.map(str::to_owned);
            view.pools.get_mut("server1").unwrap().targets = targets;
            missing(&asked(""), &view)
        };
        let source = Some("json:version");
        assert!(missing_of(source, vec![target(true, Some("2026.11.2"))]).is_empty());
        assert!(missing_of(None, vec![target(true, None)]).is_empty());
        assert_eq!(missing_of(source, vec![target(true, None)]), ["a:1 is up, but names no release (json:version)"]);
        let all = missing_of(source, vec![target(true, Some("1")), target(false, Some("2026.11.2"))]);
        assert_eq!(all, ["a:1 is up, but says that it runs 1", "a:1 is down (refused)"]);
    }
}
