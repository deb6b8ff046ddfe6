//! How many requests of a service a worker may try once more in their pool: a share of its requests, and a few in each
//! second. Without such a bound, a pool that fails would get twice the load for it, or more.
//!
//! As in Finagle's and linkerd's `RetryBudget`, what was earned can be spent for some seconds only. Requests are counted
//! anyway, so nothing is paid for this by those that go well.

use super::worker::Worker;
use crate::routing::counters::{RetryReason, ServiceTally};
use crate::routing::{PerWorker, RetryShare, Route};
use foldhash::HashMap;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what was earned can be spent; the time that Finagle and linkerd have.
const WINDOW: Duration = Duration::from_secs(10);

/// The budgets of a worker's services, by the identity of their counts.
#[derive(Default)]
pub(super) struct Retries(RefCell<HashMap<*const PerWorker<ServiceTally>, Kept>>);

/// A service's budget.
struct Kept {
    /// Held, for its address is the key.
    _tally: Arc<PerWorker<ServiceTally>>,
    budget: Budget,
    /// The version of the last table that had the service.
    table: u64,
}

/// What may still be spent for a service.
#[derive(Debug)]
struct Budget {
    /// Earned by requests.
    earned: f64,
    /// Earned by time.
    granted: f64,
    /// Requests that have been counted in.
    requests: u64,
    filled: Instant,
}

impl Retries {
    /// Takes one retry of a service's request, if there is one, and counts it.
    pub(super) fn spend(&self, worker: &Worker, route: &Route, reason: RetryReason) -> bool {
        let tally = route.tally.of(worker.id);
        let spent = self.of(worker, route, |kept| kept.budget.spend());
        if spent {
            tally.retries[reason.index()].add(1);
        } else {
            tally.retries_refused.add(1);
        }
        spent
    }

    /// Counts in what has come since the last time, and forgets the services that are gone.
    pub(super) fn follow(&self, worker: &Worker) {
        let table = worker.table();
        for route in &table.services {
            self.of(worker, route, |kept| kept.table = table.version);
        }
        self.0.borrow_mut().retain(|_, kept| kept.table == table.version);
    }

    /// The budget of a service, filled up to now.
    fn of<T>(&self, worker: &Worker, route: &Route, then: impl FnOnce(&mut Kept) -> T) -> T {
        let requests = route.pools.iter().flat_map(|pool| pool.tally.of(worker.id).by_class()).sum();
        let (share, now) = (route.bounds.retries, worker.now());
        let mut all = self.0.borrow_mut();
        let kept = all.entry(Arc::as_ptr(&route.tally)).or_insert_with(|| Kept {
            _tally: Arc::clone(&route.tally),
            budget: Budget::new(share, requests, now),
            table: 0,
        });
        kept.budget.fill(share, requests, now);
        then(kept)
    }
}

impl Budget {
    /// One that has all that time alone gives.
    fn new(share: RetryShare, requests: u64, now: Instant) -> Self {
        Self { earned: 0.0, granted: most_granted(share), requests, filled: now }
    }

    fn fill(&mut self, share: RetryShare, requests: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64() / WINDOW.as_secs_f64();
        // Of the requests that came since, those within the window count.
        let fresh = float(requests.saturating_sub(self.requests)) / passed.max(1.0);
        self.earned = self.earned * (1.0 - passed).max(0.0) + fresh * share.per_request;
        let granted = passed * WINDOW.as_secs_f64() * share.per_second;
        self.granted = (self.granted + granted).min(most_granted(share));
        (self.requests, self.filled) = (requests, now);
    }

    fn spend(&mut self) -> bool {
        let from = if self.earned >= 1.0 { &mut self.earned } else { &mut self.granted };
        let enough = *from >= 1.0;
        if enough {
            *from -= 1.0;
        }
        enough
    }
}

/// The most that time alone gives. A worker's share of little must still become a whole retry.
fn most_granted(share: RetryShare) -> f64 {
    if share.per_second > 0.0 { (share.per_second * WINDOW.as_secs_f64()).max(1.0) } else { 0.0 }
}

/// Counts are exact as floats up to 2^53, which no counter reaches.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: RetryShare = RetryShare { per_request: 0.2, per_second: 3.0 };

    fn spend(budget: &mut Budget, share: RetryShare, requests: u64, now: Instant) -> bool {
        budget.fill(share, requests, now);
        budget.spend()
    }

    /// Retries of a minute of so many requests per second, all of which fail.
    fn retried(share: RetryShare, per_second: u32) -> u32 {
        let start = Instant::now();
        let mut budget = Budget::new(share, 0, start);
        let spent = |request: u32| {
            let now = start + Duration::from_secs(1) * request / per_second;
            u32::from(spend(&mut budget, share, request.into(), now))
        };
        (1..=60 * per_second).map(spent).sum()
    }

    #[test]
    fn a_pool_that_fails_everything_gets_a_fifth_more_and_a_floor() {
        let retried = retried(SHARE, 1000);
        assert!((11_500..=12_300).contains(&retried), "{retried}");
    }

    #[test]
    fn few_requests_are_all_tried_once_more() {
        assert_eq!(retried(SHARE, 2), 120);
    }

    #[test]
    fn a_worker_whose_share_is_a_part_of_one_still_has_one_now_and_then() {
        let retried = retried(RetryShare { per_request: 0.0, per_second: 0.05 }, 10);
        assert!((3..=4).contains(&retried), "{retried}");
        assert_eq!(self::retried(RetryShare { per_request: 0.0, per_second: 0.0 }, 10), 0);
    }

    #[test]
    fn what_was_earned_long_ago_is_not_spent_now() {
        let start = Instant::now();
        let share = RetryShare { per_request: 0.2, per_second: 0.0 };
        let mut budget = Budget::new(share, 0, start);
        let later = start + Duration::from_secs(1000);
        let spent = (0..10_000).filter(|_| spend(&mut budget, share, 100_000, later)).count();
        assert!((195..=200).contains(&spent), "a fifth of the thousand of the last ten seconds: {spent}");
        assert!(!spend(&mut budget, share, 100_000, later + Duration::from_secs(20)));
    }

    #[test]
    fn a_release_whose_counts_begin_anew_owes_nothing() {
        let start = Instant::now();
        let share = RetryShare { per_request: 1.0, per_second: 0.0 };
        let mut budget = Budget::new(share, 0, start);
        assert!(spend(&mut budget, share, 1, start));
        assert!(!spend(&mut budget, share, 0, start));
        assert!(spend(&mut budget, share, 1, start));
    }
}
