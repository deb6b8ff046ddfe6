//! How much a service may ask of its pools, and for how long, as the table says it. Shares are made here once, so that
//! a request only compares.

use super::counters::{PoolLoad, WorkerId};
use crate::config::{Retry, ServiceLimits, ServiceTimeouts};
use std::time::{Duration, Instant};

/// What the requests of a service are bound by.
#[derive(Debug)]
pub struct Bounds {
    /// Time-outs towards visitors and targets.
    pub timeouts: ServiceTimeouts,
    /// The most bytes of a request's body.
    pub max_body: u64,
    /// How many requests one of its pools works on at once; `None` for any number.
    pub room: Option<Room>,
    /// A worker's share of the retries.
    pub retries: RetryShare,
    /// Errors in a row after which a worker tells of a target; `None` for never.
    pub errors: Option<u32>,
}

/// A bound of the requests in a pool, and of those that wait for it.
#[derive(Debug)]
pub struct Room {
    whole: u64,
    workers: u64,
    /// The most requests of a worker that wait.
    pub queue: u64,
    /// The longest that one waits.
    pub wait: Duration,
    /// How live fills up, after it has become live.
    pub opening: Option<Opening>,
}

/// The bound of a pool that has just become live: what comes all at once is let in bit by bit, as its caches fill.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Since when.
    pub since: Instant,
    /// How long until all of the room is open.
    pub time: Duration,
    /// Requests that it worked on when it became live.
    pub carried: u64,
}

/// Retries that a worker may make of a service's requests.
#[derive(Debug, Clone, Copy)]
pub struct RetryShare {
    /// For each request.
    pub per_request: f64,
    /// For each second.
    pub per_second: f64,
}

/// What is open of a limit at first, in parts of it.
const FIRST: u64 = 10;

impl Bounds {
    /// As the configuration has them, for that many workers. What is limited to anything at all leaves each worker one.
    #[must_use]
    pub fn new(
        limits: &ServiceLimits,
        timeouts: ServiceTimeouts,
        retry: Retry,
        errors: Option<u32>,
        opening: Option<Opening>,
        workers: usize,
    ) -> Self {
        let workers = workers.max(1) as u64;
        let room = limits.max_in_flight.map(|whole| Room {
            whole,
            workers,
            // Who waits for nothing at all asked for it.
            queue: if limits.queue == 0 { 0 } else { (limits.queue / workers).max(1) },
            wait: limits.queue_wait.get(),
            opening,
        });
        #[allow(clippy::cast_precision_loss)] // a number of workers
        let per_second = f64::from(retry.min_per_second) / workers as f64;
        Self {
            timeouts,
            max_body: limits.max_body.unwrap_or(u64::MAX),
            room,
            retries: RetryShare { per_request: retry.budget, per_second },
            errors,
        }
    }
}

impl Default for Bounds {
    /// Those of a service whose configuration says nothing, for one worker.
    fn default() -> Self {
        let ejection = crate::config::Ejection::default();
        let (limits, timeouts) = (ServiceLimits::default(), ServiceTimeouts::default());
        Self::new(&limits, timeouts, Retry::default(), ejection.errors, None, 1)
    }
}

impl Room {
    /// Requests that a worker may have in a pool at this moment; `live` says whether it is the live one.
    #[must_use]
    pub fn share(&self, worker: WorkerId, live: bool, now: Instant) -> u64 {
        let open = match &self.opening {
            Some(opening) if live => opening.open(self.whole, now),
            Some(_) | None => self.whole,
        };
        let worker = worker.0 as u64;
        (open / self.workers + u64::from(worker < open % self.workers)).max(1)
    }

    /// Whether a worker's requests in a pool, and those for which it has kept a place, leave no room there.
    #[must_use]
    pub fn is_full(&self, worker: WorkerId, load: &PoolLoad, live: bool, now: Instant) -> bool {
        load.in_flight.get() + load.called.get() >= self.share(worker, live, now)
    }
}

impl Opening {
    fn open(&self, whole: u64, now: Instant) -> u64 {
        let least = (whole / FIRST).max(self.carried).min(whole);
        let passed = now.saturating_duration_since(self.since);
        if passed >= self.time {
            return whole;
        }
        let part = u128::from(whole - least) * passed.as_micros() / self.time.as_micros().max(1);
        least + u64::try_from(part).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(whole: u64, workers: usize, opening: Option<Opening>) -> Room {
        let limits = ServiceLimits { max_in_flight: Some(whole), ..ServiceLimits::default() };
        Bounds::new(&limits, ServiceTimeouts::default(), Retry::default(), None, opening, workers).room.unwrap()
    }

    #[test]
    fn shares_add_up_to_the_limit_and_each_worker_has_one() {
        let now = Instant::now();
        let shares = |whole, workers| -> Vec<u64> {
            (0..workers).map(|worker| room(whole, workers, None).share(WorkerId(worker), true, now)).collect()
        };
        assert_eq!(shares(10, 4), [3, 3, 2, 2]);
        assert_eq!(shares(8, 4), [2, 2, 2, 2]);
        assert_eq!(shares(2, 4), [1, 1, 1, 1]);
        assert_eq!(shares(7, 1), [7]);
    }

    #[test]
    fn what_has_become_live_opens_from_a_tenth_or_what_it_carried() {
        let since = Instant::now();
        let open = |carried, second| {
            let opening = Opening { since, time: Duration::from_secs(10), carried };
            room(100, 1, Some(opening)).share(WorkerId(0), true, since + Duration::from_secs(second))
        };
        assert_eq!([0, 5, 10, 20].map(|second| open(0, second)), [10, 55, 100, 100]);
        assert_eq!([0, 5, 10].map(|second| open(60, second)), [60, 80, 100]);
        assert_eq!(open(1000, 0), 100, "never more than the whole");
        let opening = Opening { since, time: Duration::from_secs(10), carried: 0 };
        assert_eq!(room(100, 1, Some(opening)).share(WorkerId(0), false, since), 100, "only live");
    }

    #[test]
    fn a_place_that_was_promised_is_taken() {
        let (now, load) = (Instant::now(), PoolLoad::default());
        let room = room(2, 1, None);
        load.in_flight.enter();
        assert!(!room.is_full(WorkerId(0), &load, true, now));
        load.called.enter();
        assert!(room.is_full(WorkerId(0), &load, true, now));
    }
}
