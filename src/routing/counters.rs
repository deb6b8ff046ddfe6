//! Counters that one worker writes and anyone reads.
//!
//! Each worker has cells of its own, on cache lines of its own, and is their only writer; so a count is a plain
//! load and store, with no locked instruction and no line moving between cores. Sums are made by the reader.

use crate::model::Happening;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// A worker's number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerId(pub usize);

/// One `T` per worker.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[Padded<T>]>);

/// Two cache lines: neighbours are fetched in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// Cells for that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self::made_by(workers, T::default)
    }
}

impl<T> PerWorker<T> {
    /// Cells for that many workers, each made anew.
    #[must_use]
    pub fn made_by(workers: usize, make: impl Fn() -> T) -> Self {
        Self((0..workers.max(1)).map(|_| Padded(make())).collect())
    }

    /// The cells of one worker. A number that is too large gets the last worker's.
    #[must_use]
    pub fn of(&self, worker: WorkerId) -> &T {
        &self.0[worker.0.min(self.0.len() - 1)].0
    }

    /// All workers' cells.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }

    /// The sum of one counter over all workers.
    pub fn sum(&self, counter: impl Fn(&T) -> u64) -> u64 {
        self.iter().map(counter).sum()
    }
}

/// A count that rises. Only its worker may call `add`.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to the count.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The count.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things under way. Only its worker may call `enter` and `leave`.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    pub fn enter(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// One less.
    pub fn leave(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Release);
    }

    /// How many.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Upper bounds of the duration buckets, in seconds.
pub const DURATION_BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The same bounds in microseconds, as the request path compares them.
const DURATION_BOUNDS_MICROS: [u64; 14] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Durations {
    /// Durations by the first bound that they do not exceed; those above all bounds are in the last.
    buckets: [Counter; 15],
    micros: Counter,
}

impl Durations {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = DURATION_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.buckets[bucket].add(1);
        self.micros.add(micros);
    }

    /// The counts by bucket, not cumulated.
    pub fn buckets(&self) -> impl Iterator<Item = u64> {
        self.buckets.iter().map(Counter::get)
    }

    /// The sum of all durations.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros.get())
    }
}

/// How a request ended, for the `code_class` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeClass {
    /// A status of this hundred, 1 to 5.
    Status(u16),
    /// The visitor hung up before the head of an answer, or the target broke it off.
    Aborted,
}

impl CodeClass {
    /// Every value, in the order of [`PoolTally::by_class`].
    pub const LABELS: [&'static str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "aborted"];

    fn index(self) -> usize {
        match self {
            Self::Status(status) => usize::from(status / 100).clamp(1, 5) - 1,
            Self::Aborted => 5,
        }
    }
}

/// What a worker counts of a pool while it runs one release.
#[derive(Debug, Default)]
pub struct PoolTally {
    by_class: [Counter; 6],
    /// From the request's head to the end of the answer.
    pub durations: Durations,
    /// Requests that the pool answered, or owed an answer and failed.
    pub answered: Counter,
    /// Those of them that count against the pool.
    pub failed: Counter,
}

impl PoolTally {
    /// Counts one request that has ended.
    pub fn ended(&self, class: CodeClass, duration: Duration) {
        self.by_class[class.index()].add(1);
        self.durations.observe(duration);
    }

    /// Counts what came of one request by the head of its answer, unless that says nothing of the pool.
    pub fn judged(&self, happening: Happening) {
        if happening.is_of_target() {
            self.answered.add(1);
            if happening.ruling().counts {
                self.failed.add(1);
            }
        }
    }

    /// The counts, in the order of [`CodeClass::LABELS`].
    pub fn by_class(&self) -> impl Iterator<Item = u64> {
        self.by_class.iter().map(Counter::get)
    }
}

/// What a worker counts of a pool whatever runs in it.
#[derive(Debug, Default)]
pub struct PoolLoad {
    /// Requests in the pool: from the choice of the pool to the last byte of the answer.
    pub in_flight: Gauge,
    /// Safe requests that failed here and were tried on another pool.
    pub rescues: Counter,
    /// Requests that wait for room in the pool.
    pub queued: Gauge,
    /// Of those that have waited, the ones that a place is kept for until they take it.
    pub called: Gauge,
    /// Requests that were refused because there was no room.
    pub refused: Counter,
}

/// What is counted of a target.
#[derive(Debug)]
pub struct TargetLoad {
    /// Requests under way, by worker.
    pub in_flight: PerWorker<TargetRequests>,
    /// How often it was ejected. Only the control plane counts it.
    pub ejections: Counter,
    suspected: AtomicBool,
    failing: AtomicBool,
}

/// A worker's requests of a target.
#[derive(Debug, Default)]
pub struct TargetRequests {
    under_way: Gauge,
    /// Those that failed since the last one that did not.
    failed: AtomicU32,
}

impl TargetRequests {
    /// One more is under way.
    pub fn enter(&self) {
        self.under_way.enter();
    }

    /// One less.
    pub fn leave(&self) {
        self.under_way.leave();
    }

    /// How many are under way.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.under_way.get()
    }

    /// One went well.
    pub fn succeeded(&self) {
        if self.failed.load(Ordering::Relaxed) != 0 {
            self.failed.store(0, Ordering::Relaxed);
        }
    }

    /// One failed. True for each `errors` of them in a row.
    #[must_use]
    pub fn failed(&self, errors: u32) -> bool {
        let failed = self.failed.load(Ordering::Relaxed).saturating_add(1);
        let enough = failed >= errors;
        self.failed.store(if enough { 0 } else { failed }, Ordering::Relaxed);
        enough
    }
}

impl TargetLoad {
    /// Cells for that many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            in_flight: PerWorker::new(workers),
            ejections: Counter::default(),
            suspected: false.into(),
            failing: false.into(),
        }
    }

    /// Marks the target as suspected. True for the first that does it since the last `cleared`.
    #[must_use]
    pub fn suspect(&self) -> bool {
        !self.suspected.load(Ordering::Relaxed) && !self.suspected.swap(true, Ordering::AcqRel)
    }

    /// The suspicion was looked into.
    pub fn cleared(&self) {
        self.suspected.store(false, Ordering::Release);
    }

    /// Marks the target as failing. True for the first that does it since the last `forgiven`.
    #[must_use]
    pub fn fails(&self) -> bool {
        !self.failing.load(Ordering::Relaxed) && !self.failing.swap(true, Ordering::AcqRel)
    }

    /// Its failures have had their consequences, or had none.
    pub fn forgiven(&self) {
        if self.failing.load(Ordering::Relaxed) {
            self.failing.store(false, Ordering::Release);
        }
    }
}

/// The methods that maintenance responses are counted by.
pub const METHOD_LABELS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// What a worker counts of a service.
#[derive(Debug, Default)]
pub struct ServiceTally {
    maintenance: [[Counter; METHOD_LABELS.len()]; super::Reason::ALL.len()],
    /// Assets that the visitor's pool does not have, and the other one has.
    pub skew_guarded: Counter,
    /// Requests that wait, in a hold or for a target that restarts.
    pub held: Gauge,
    /// How long requests waited that did.
    pub waits: Durations,
    /// Connections that were upgraded to another protocol, while they last.
    pub tunnels: Gauge,
    /// Requests that were tried once more in their pool, by [`RetryReason::index`].
    pub retries: [Counter; RetryReason::ALL.len()],
    /// Requests that were not, because too many were already.
    pub retries_refused: Counter,
}

/// Why a request is tried once more in its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// It could not be connected for, and more than one connection was tried.
    Connect,
    /// It changes nothing, and its connection was closed before an answer.
    Closed,
    /// The target said more than once, by HTTP/2, that it has not looked at it.
    Refused,
}

impl RetryReason {
    /// Every reason, in the order of [`ServiceTally::retries`].
    pub const ALL: [Self; 3] = [Self::Connect, Self::Closed, Self::Refused];

    /// Its place in [`RetryReason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Connect => 0,
            Self::Closed => 1,
            Self::Refused => 2,
        }
    }

    /// As the label of a metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Closed => "closed",
            Self::Refused => "refused",
        }
    }
}

impl ServiceTally {
    /// Counts a maintenance response.
    pub fn maintenance_response(&self, reason: super::Reason, method: &http::Method) {
        let label = METHOD_LABELS.iter().position(|label| *label == method.as_str()).unwrap_or(METHOD_LABELS.len() - 1);
        self.maintenance[reason.index()][label].add(1);
    }

    /// The responses for all reasons, in the order of [`METHOD_LABELS`].
    #[must_use]
    pub fn answered(&self) -> [u64; METHOD_LABELS.len()] {
        std::array::from_fn(|method| self.maintenance.iter().map(|methods| methods[method].get()).sum())
    }

    /// The maintenance responses of one reason, in the order of [`METHOD_LABELS`].
    pub fn maintenance(&self, reason: super::Reason) -> impl Iterator<Item = u64> {
        self.maintenance[reason.index()].iter().map(Counter::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_whose_bound_they_do_not_exceed() {
        let durations = Durations::default();
        for micros in [0, 1_000, 1_001, 30_000_000, 30_000_001] {
            durations.observe(Duration::from_micros(micros));
        }
        let buckets: Vec<u64> = durations.buckets().collect();
        assert_eq!((buckets[0], buckets[1], buckets[13], buckets[14]), (2, 1, 1, 1));
        assert_eq!(durations.total(), Duration::from_micros(60_002_002));
        for (seconds, micros) in DURATION_BOUNDS.iter().zip(DURATION_BOUNDS_MICROS) {
            assert_eq!(Duration::from_secs_f64(*seconds), Duration::from_micros(micros));
        }
    }

    #[test]
    fn a_target_is_suspected_once_until_it_was_looked_into() {
        let load = TargetLoad::new(1);
        assert!(load.suspect());
        assert!(!load.suspect());
        load.cleared();
        assert!(load.suspect());
    }

    #[test]
    fn a_target_fails_once_for_so_many_errors_in_a_row() {
        let requests = TargetRequests::default();
        let run = |errors: u32| (0..errors).filter(|_| requests.failed(5)).count();
        assert_eq!(run(4), 0);
        requests.succeeded();
        assert_eq!(run(4), 0, "one that went well begins anew");
        assert_eq!((run(1), run(4), run(1)), (1, 0, 1));
        let load = TargetLoad::new(1);
        assert!(load.fails() && !load.fails());
        load.forgiven();
        assert!(load.fails());
    }

    #[test]
    fn what_the_visitor_or_the_router_did_says_nothing_of_the_pool() {
        let tally = PoolTally::default();
        for happening in [
            Happening::Answered(200),
            Happening::Answered(404),
            Happening::Answered(503),
            Happening::ConnectFailed,
            Happening::BadRequest(400),
            Happening::VisitorGone,
            Happening::RouterLimit,
            Happening::Maintenance(503),
        ] {
            tally.judged(happening);
        }
        assert_eq!((tally.answered.get(), tally.failed.get()), (4, 2));
    }

    #[test]
    fn odd_statuses_and_methods_have_a_label_too() {
        let tally = PoolTally::default();
        for status in [0, 99, 200, 599, 999] {
            tally.ended(CodeClass::Status(status), Duration::ZERO);
        }
        assert_eq!(tally.by_class().collect::<Vec<_>>(), [2, 1, 0, 0, 2, 0]);
        let service = ServiceTally::default();
        service.maintenance_response(crate::routing::Reason::Planned, &http::Method::from_bytes(b"BREW").unwrap());
        assert_eq!(service.maintenance(crate::routing::Reason::Planned).last(), Some(1));
    }
}
