//! Feeds the absolute guard of a service, and the watch of its promotion, from the counts of its pools.

use super::service::ServiceControl;
use crate::analysis::{Guard, PoolCounts, Watch};
use crate::model::view::GuardView;
use crate::model::{PoolName, Timestamp};
use crate::rollout::Rollout;
use crate::routing::PerWorker;
use crate::routing::counters::PoolTally;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The guard of a service, and how far its pools' counts have been read.
#[derive(Debug, Default)]
pub(super) struct Guarding {
    guard: Arc<Mutex<Guard>>,
    read: BTreeMap<PoolName, (Arc<PerWorker<PoolTally>>, PoolCounts)>,
}

/// What the guard of a service is asked of. Nobody waits long for the guard: who holds it only counts.
#[derive(Debug, Clone)]
pub(super) struct Guarded {
    guard: Arc<Mutex<Guard>>,
    live: PoolName,
    candidate: Option<PoolName>,
    objective: f64,
}

impl Guarded {
    /// What it says.
    pub(super) fn view(&self, now: Timestamp) -> GuardView {
        locked(&self.guard).view(&self.live, self.candidate.as_ref(), self.objective, now)
    }
}

fn locked(guard: &Mutex<Guard>) -> MutexGuard<'_, Guard> {
    guard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guarding {
    fn guard(&self) -> MutexGuard<'_, Guard> {
        locked(&self.guard)
    }

    /// What a pool has answered since the last look. Another tally is that of another release, from its start.
    fn since_last(&mut self, pool: &PoolName, tally: &Arc<PerWorker<PoolTally>>) -> PoolCounts {
        let now = PoolCounts {
            failed: tally.sum(|tally| tally.failed.get()),
            answered: tally.sum(|tally| tally.answered.get()),
        };
        let before = if let Some((_, read)) = self.read.get_mut(pool).filter(|(known, _)| Arc::ptr_eq(known, tally)) {
            std::mem::replace(read, now)
        } else {
            self.read.insert(pool.clone(), (Arc::clone(tally), now));
            PoolCounts::default()
        };
        PoolCounts {
            answered: now.answered.saturating_sub(before.answered),
            failed: now.failed.saturating_sub(before.failed),
        }
    }

    /// The watch of a promotion that is made now, measured by the pool that was live before.
    pub(super) fn watch(&self, rollout: &Rollout, now: Timestamp) -> Watch {
        let before = self.guard().healthy_ratio(&rollout.previous_live, rollout.plan.objective, now);
        Watch::begin(&rollout.plan, before)
    }
}

impl ServiceControl {
    /// Looks at the counts of the pools.
    pub(super) fn look_at_counts(&mut self, now: Timestamp) {
        let mut of_live = PoolCounts::default();
        for pool in &self.pools {
            let counts = self.guarding.since_last(&pool.name, &pool.tally);
            self.guarding.guard().observe(&pool.name, self.release(&pool.name), counts, now);
            if pool.name == self.state.live {
                of_live = counts;
            }
        }
        let pools = &self.pools;
        let is_there = |name: &PoolName| pools.iter().any(|pool| pool.name == *name);
        self.guarding.guard().keep(is_there);
        self.guarding.read.retain(|name, _| is_there(name));
        if self.gathering.is_some() {
            let guard = self.guarded().view(now);
            if let Some(gathering) = &mut self.gathering {
                gathering.take_guard(guard, of_live);
            }
        }
    }

    /// What the guard is asked of: both pools while a rollout is under way, else live.
    pub(super) fn guarded(&self) -> Guarded {
        let pinned = self.state.rollout.as_ref().filter(|_| self.gathering.is_some());
        Guarded {
            guard: Arc::clone(&self.guarding.guard),
            live: self.state.live.clone(),
            candidate: self.state.candidate.clone(),
            objective: pinned.map_or(self.config.rollout.objective, |rollout| rollout.plan.objective),
        }
    }
}
