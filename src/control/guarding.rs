//! Feeds the absolute guard of a service, and the watch of its promotion, from the counts of its pools.

use super::service::ServiceControl;
use crate::analysis::{Guard, PoolCounts, Watch};
use crate::model::view::GuardView;
use crate::model::{PoolName, Timestamp};
use crate::rollout::Rollout;
use crate::routing::PerWorker;
use crate::routing::counters::PoolTally;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the counts are looked at: often enough to take a bad promotion back within seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The guard of a service, and how far its pools' counts have been read.
#[derive(Debug, Default)]
pub(super) struct Guarding {
    guard: Guard,
    looked: Option<Instant>,
    read: BTreeMap<PoolName, (Arc<PerWorker<PoolTally>>, PoolCounts)>,
}

impl Guarding {
    fn is_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= LOOK_EVERY)
    }

    /// What a pool has answered since the last look. Another tally is that of another release, from its start.
    fn since_last(&mut self, pool: &PoolName, tally: &Arc<PerWorker<PoolTally>>) -> PoolCounts {
        let now = PoolCounts {
            failed: tally.sum(|tally| tally.failed.get()),
            answered: tally.sum(|tally| tally.answered.get()),
        };
        let before = self.read.insert(pool.clone(), (Arc::clone(tally), now));
        match before.filter(|(known, _)| Arc::ptr_eq(known, tally)) {
            Some((_, before)) => PoolCounts {
                answered: now.answered.saturating_sub(before.answered),
                failed: now.failed.saturating_sub(before.failed),
            },
            None => now,
        }
    }

    /// The watch of a promotion that is made now, measured by the pool that was live before.
    pub(super) fn watch(&self, rollout: &Rollout, now: Timestamp) -> Watch {
        let before = self.guard.healthy_ratio(&rollout.previous_live, rollout.plan.objective, now);
        Watch::begin(&rollout.plan, before)
    }
}

impl ServiceControl {
    /// Looks at the counts of the pools, if it is time to: whether it was.
    pub(super) fn look_at_counts(&mut self, now: Instant, time: Timestamp) -> bool {
        if !self.guarding.is_due(now) {
            return false;
        }
        self.guarding.looked = Some(now);
        let mut of_live = PoolCounts::default();
        for pool in &self.pools {
            let counts = self.guarding.since_last(&pool.name, &pool.tally);
            let release = self.release(&pool.name).cloned();
            self.guarding.guard.observe(&pool.name, release.as_ref(), counts, time);
            if pool.name == self.state.live {
                of_live = counts;
            }
        }
        let pools = &self.pools;
        let is_there = |name: &PoolName| pools.iter().any(|pool| pool.name == *name);
        self.guarding.guard.keep(is_there);
        self.guarding.read.retain(|name, _| is_there(name));
        let guard = self.guard(time);
        if let Some(gathering) = &mut self.gathering {
            gathering.take_guard(guard, of_live);
        }
        true
    }

    /// What the guard says: of both pools while a rollout is under way, else of live.
    pub(super) fn guard(&self, now: Timestamp) -> GuardView {
        let pinned = self.state.rollout.as_ref().filter(|_| self.gathering.is_some());
        let objective = pinned.map_or(self.config.rollout.objective, |rollout| rollout.plan.objective);
        self.guarding.guard.view(&self.state.live, self.state.candidate.as_ref(), objective, now)
    }
}
