//! Active health checks: one task per target.
//!
//! A target counts as up until its first check says otherwise. From then on it takes `rise` passed checks in a row to
//! come up and `fall` failed ones to go down; a check that was made because a worker could not connect takes it down
//! by itself. A check that this machine had not enough for (file descriptors, ports) says nothing of the target.

use super::message::{Message, Notice};
use super::probe::{self, Failed};
use super::service::ServiceControl;
use crate::config::Health;
use crate::model::{PoolName, ServiceName};
use crate::routing::Suspicion;
use crate::routing::counters::TargetLoad;
use crate::transport::Reach;
use rustix::process::{Resource, getrlimit};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;

/// The state of one target's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Streak {
    healthy: bool,
    checked: bool,
    in_a_row: u32,
}

impl Streak {
    fn new() -> Self {
        Self { healthy: true, checked: false, in_a_row: 0 }
    }

    /// Takes in the result of a check. True when the target changed sides, or was checked for the first time.
    fn observe(&mut self, passed: bool, suspected: bool, outage: bool, health: &Health) -> bool {
        let first = !self.checked;
        self.checked = true;
        if passed == self.healthy {
            self.in_a_row = 0;
            return first;
        }
        self.in_a_row += 1;
        let enough = match (passed, outage) {
            // Whatever answers is better than nothing.
            (true, true) => 1,
            (true, false) => health.rise,
            (false, _) => health.fall,
        };
        if first || (suspected && !passed) || self.in_a_row >= enough {
            *self = Self { healthy: passed, checked: true, in_a_row: 0 };
            return true;
        }
        first
    }
}

/// Of the files that may be open, checks take one in so many at the most: each takes one, and there may be more targets
/// than those. No fewer, for one that is silent keeps its turn for a whole time-out.
const FILES_PER_CHECK: usize = 4;

/// How many checks are made at a time where so many files may be open.
fn at_once(files: Option<u64>) -> usize {
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files / FILES_PER_CHECK).clamp(1, Semaphore::MAX_PERMITS)
}

/// A target that is checked.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) service: ServiceName,
    pub(super) pool: PoolName,
    pub(super) reach: Arc<Reach>,
    pub(super) load: Arc<TargetLoad>,
    pub(super) health: Health,
}

/// The checks that are running.
#[derive(Debug)]
pub(super) struct HealthChecks {
    inbox: mpsc::Sender<Message>,
    running: HashMap<usize, Running>,
    turns: Arc<Semaphore>,
}

#[derive(Debug)]
struct Running {
    suspected: Arc<Notify>,
    urgent: watch::Sender<bool>,
    health: Health,
    task: AbortHandle,
}

fn identity(load: &Arc<TargetLoad>) -> usize {
    Arc::as_ptr(load).addr()
}

impl HealthChecks {
    pub(super) fn new(inbox: mpsc::Sender<Message>) -> Self {
        let turns = at_once(getrlimit(Resource::Nofile).current);
        Self { inbox, running: HashMap::new(), turns: Arc::new(Semaphore::new(turns)) }
    }

    /// Checks these targets from now on, and no others. Those that are checked in the same way go on as they are.
    pub(super) fn follow(&mut self, targets: Vec<Checked>) {
        let mut before = std::mem::take(&mut self.running);
        for target in targets {
            let key = identity(&target.load);
            let running = match before.remove(&key) {
                Some(running) if running.health == target.health => running,
                Some(stale) => {
                    stale.task.abort();
                    self.start(target)
                }
                None => self.start(target),
            };
            self.running.insert(key, running);
        }
        for stale in before.into_values() {
            stale.task.abort();
        }
    }

    fn start(&self, target: Checked) -> Running {
        let suspected = Arc::new(Notify::new());
        let health = target.health.clone();
        let (urgent, outage) = watch::channel(false);
        let (turns, inbox) = (Arc::clone(&self.turns), self.inbox.clone());
        let task = tokio::spawn(watch_over(target, turns, Arc::clone(&suspected), outage, inbox)).abort_handle();
        Running { suspected, urgent, health, task }
    }

    /// Looks at the targets of a service more often while none of its pools can serve.
    pub(super) fn hurry(&self, service: &ServiceControl) {
        let outage = !service.can_serve();
        let targets = service.pools.iter().flat_map(|pool| &pool.targets);
        for running in targets.filter_map(|target| self.running.get(&identity(&target.load))) {
            running.urgent.send_if_modified(|urgent| std::mem::replace(urgent, outage) != outage);
        }
    }

    /// Checks a target at once, because a worker could not connect to it.
    pub(super) fn suspect(&self, suspicion: &Suspicion) {
        match self.running.get(&identity(&suspicion.0)) {
            Some(running) => running.suspected.notify_one(),
            None => suspicion.0.cleared(),
        }
    }
}

impl Drop for HealthChecks {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

/// After a check that a worker asked for, the next one comes no sooner: a flood of suspicions is no flood of checks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

/// Between two checks of a target while no pool of its service can serve.
const OUTAGE_INTERVAL: Duration = Duration::from_millis(100);

async fn watch_over(
    target: Checked,
    turns: Arc<Semaphore>,
    suspected: Arc<Notify>,
    mut outage: watch::Receiver<bool>,
    inbox: mpsc::Sender<Message>,
) {
    let mut streak = Streak::new();
    let mut fault = None;
    let mut release = None;
    let mut urgent = false;
    // Whether it was told that it can't be checked.
    let mut told = false;
    loop {
        // A check that a worker asked for waits for no other.
        let turn = tokio::select! {
            turn = turns.acquire(), if !urgent => turn.ok(),
            () = suspected.notified(), if !urgent => {
                urgent = true;
                None
            }
            else => None,
        };
        let result = probe::check(&target.reach, &target.health).await;
        drop(turn);
        target.load.cleared();
        let known = match result {
            Ok(says) => Some((None, says)),
            Err(Failed::Target(why)) => Some((Some(why), None)),
            Err(Failed::Here(why)) => {
                if !told {
                    tracing::error!(service = %target.service, pool = %target.pool, target = %target.reach.address(), why, "can't check a target, which stays as it was");
                }
                None
            }
        };
        told = known.is_none();
        if let Some((why, says)) = known {
            let has_turned = streak.observe(why.is_none(), urgent, *outage.borrow(), &target.health);
            // One failed check is no reason to forget what runs there.
            let says = if why.is_some() && streak.healthy { release.clone() } else { says };
            if has_turned {
                fault = why.filter(|_| !streak.healthy);
            }
            if has_turned || says != release {
                release.clone_from(&says);
                let notice = Notice::Health {
                    service: target.service.clone(),
                    pool: target.pool.clone(),
                    load: Arc::clone(&target.load),
                    fault: fault.clone(),
                    release: says,
                };
                if inbox.send(Message::Notice(notice)).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(SHORTEST_PAUSE.min(target.health.interval.get())).await;
        let interval = target.health.interval.get();
        let interval = if *outage.borrow_and_update() { interval.min(OUTAGE_INTERVAL) } else { interval };
        urgent = tokio::select! {
            () = suspected.notified() => true,
            // An outage has begun or ended: another interval goes from now on. The sender lives as long as this task.
            Ok(()) = outage.changed() => false,
            () = tokio::time::sleep(interval.saturating_sub(SHORTEST_PAUSE)) => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::Suspected;
    use crate::transport::Means;
    use tokio::net::TcpListener;

    #[test]
    fn in_an_outage_one_passed_check_is_enough() {
        let (mut streak, health) = (Streak::new(), Health { rise: 3, fall: 1, ..Health::default() });
        for (passed, outage, healthy) in
            [(false, false, false), (true, false, false), (false, true, false), (true, true, true)]
        {
            streak.observe(passed, false, outage, &health);
            assert_eq!(streak.healthy, healthy);
        }
    }

    fn streak_of(checks: &[(bool, bool)]) -> bool {
        let (mut streak, health) = (Streak::new(), Health { rise: 2, fall: 3, ..Health::default() });
        for (passed, suspected) in checks {
            streak.observe(*passed, *suspected, false, &health);
        }
        streak.healthy
    }

    const UP: (bool, bool) = (true, false);
    const DOWN: (bool, bool) = (false, false);

    #[test]
    fn the_first_check_decides_by_itself() {
        assert!(Streak::new().healthy);
        assert!(!streak_of(&[DOWN]));
        assert!(streak_of(&[UP]));
    }

    #[test]
    fn it_takes_fall_failures_in_a_row_to_go_down() {
        assert!(streak_of(&[UP, DOWN, DOWN, UP, DOWN, DOWN]));
        assert!(!streak_of(&[UP, DOWN, DOWN, DOWN]));
    }

    #[test]
    fn it_takes_rise_passes_in_a_row_to_come_up() {
        assert!(!streak_of(&[DOWN, UP, DOWN, UP]));
        assert!(streak_of(&[DOWN, UP, UP]));
    }

    #[test]
    fn a_suspected_target_goes_down_with_one_failed_check_and_not_without() {
        assert!(!streak_of(&[UP, (false, true)]));
        assert!(streak_of(&[UP, (true, true)]));
    }

    #[test]
    fn checks_leave_most_of_the_files_to_visitors() {
        for (files, checks) in [(Some(1024), 256), (Some(20_000), 5000), (Some(3), 1), (None, Semaphore::MAX_PERMITS)] {
            assert_eq!(at_once(files), checks, "{files:?}");
        }
    }

    #[tokio::test]
    async fn checks_take_turns_except_one_that_a_worker_asks_for() {
        const AT_ONCE: usize = 20;
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap().to_string();
        let health = Health { path: Some("/".into()), timeout: "60s".parse().unwrap(), ..Health::default() };
        let checked = |_| Checked {
            service: "shop".parse().unwrap(),
            pool: "server0".parse().unwrap(),
            reach: Reach::new(address.parse().unwrap(), &Means::default()).into(),
            load: Arc::new(TargetLoad::new(1)),
            health: health.clone(),
        };
        let targets: Vec<Checked> = (0..AT_ONCE + 10).map(checked).collect();
        let last = Suspicion(Arc::clone(&targets.last().unwrap().load), Suspected::Unreachable);
        let mut checks = HealthChecks::new(mpsc::channel(1).0);
        checks.turns = Arc::new(Semaphore::new(AT_ONCE));
        checks.follow(targets);

        let next = async || tokio::time::timeout(Duration::from_secs(15), silent.accept()).await.unwrap().unwrap();
        let mut asked = Vec::new();
        for _ in 0..AT_ONCE {
            asked.push(next().await);
        }
        let more = tokio::time::timeout(Duration::from_millis(200), silent.accept()).await;
        assert!(more.is_err(), "no more than so many at a time");
        checks.suspect(&last);
        asked.push(next().await);
        // Its check is over, and another one's turn comes.
        drop(asked.remove(0));
        next().await;
    }
}
