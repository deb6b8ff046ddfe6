//! How long answers take: histograms whose buckets grow with the time, so that a quantile is right to a few percent
//! whether answers take a millisecond or a minute.

use super::counters::Counter;
use std::time::Duration;

/// Buckets in each doubling of the time: each is at most a sixteenth wide, so a quantile is right to 6%.
const PER_OCTAVE: usize = 16;
const PER_OCTAVE_LOG2: u32 = PER_OCTAVE.trailing_zeros();

/// The times that are told apart: from 2^6 µs, 64 µs, …
const LOWEST_LOG2: u32 = 6;

/// … to 2^26 µs, 67 s.
const HIGHEST_LOG2: u32 = 26;

/// How many buckets there are: those between the bounds, one below and one above.
const BUCKETS: usize = (HIGHEST_LOG2 - LOWEST_LOG2) as usize * PER_OCTAVE + 2;

/// A histogram of times that one worker writes and anyone reads; it only ever grows.
#[derive(Debug)]
pub(super) struct Times(Box<[Counter]>);

impl Times {
    /// A histogram; one that is not wanted counts nothing and takes no room.
    pub(super) fn new(wanted: bool) -> Self {
        Self((0..if wanted { BUCKETS } else { 0 }).map(|_| Counter::default()).collect())
    }

    /// Counts an answer.
    pub(super) fn observe(&self, took: Duration) {
        if let Some(bucket) = self.0.get(bucket_of(took)) {
            bucket.add(1);
        }
    }

    /// Adds its counts to others.
    pub(super) fn add_to(&self, sum: &mut TimeCounts) {
        for (sum, bucket) in sum.0.iter_mut().zip(&self.0) {
            *sum += bucket.get();
        }
    }
}

/// The counts of histograms, added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeCounts(Box<[u64]>);

impl Default for TimeCounts {
    fn default() -> Self {
        Self(vec![0; BUCKETS].into())
    }
}

/// A histogram in which what is long past weighs less.
#[derive(Debug)]
pub struct AgedTimes {
    last: TimeCounts,
    weights: Box<[f64]>,
}

impl Default for AgedTimes {
    fn default() -> Self {
        Self { last: TimeCounts::default(), weights: vec![0.0; BUCKETS].into() }
    }
}

impl AgedTimes {
    /// Takes in what was counted since the last time. What it had before keeps this part of its weight, 0 to 1.
    #[allow(clippy::cast_precision_loss)] // counts of a few seconds
    pub fn take(&mut self, counts: TimeCounts, keep: f64) {
        for ((weight, last), count) in self.weights.iter_mut().zip(&self.last.0).zip(&counts.0) {
            *weight = *weight * keep + count.saturating_sub(*last) as f64;
        }
        self.last = counts;
    }

    /// How many answers it has, by weight.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// The time within which this part of all answers came, 0 to 1; None without answers. Within a bucket, answers are
    /// taken to be evenly spread.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let mut left = self.total() * quantile;
        let last = self.weights.iter().rposition(|weight| *weight > 0.0)?;
        for (bucket, weight) in self.weights.iter().enumerate().take(last + 1) {
            if *weight > 0.0 && (left <= *weight || bucket == last) {
                let (from, to) = bounds(bucket);
                // At most the width of a bucket.
                #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let into = ((to - from) as f64 * (left / weight).clamp(0.0, 1.0)) as u64;
                return Some(Duration::from_micros(from + into));
            }
            left -= weight;
        }
        None
    }
}

/// The bucket of a time.
fn bucket_of(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let Some(octave) = micros.checked_ilog2().filter(|octave| *octave >= LOWEST_LOG2) else { return 0 };
    if octave >= HIGHEST_LOG2 {
        return BUCKETS - 1;
    }
    // Below `PER_OCTAVE`.
    #[allow(clippy::cast_possible_truncation)]
    let place = (micros >> (octave - PER_OCTAVE_LOG2)) as usize & (PER_OCTAVE - 1);
    1 + (octave - LOWEST_LOG2) as usize * PER_OCTAVE + place
}

/// The times of a bucket in microseconds, from and to. The last one has no end, and is shown as its beginning.
fn bounds(bucket: usize) -> (u64, u64) {
    let lower = |bucket: usize| {
        let (octave, place) = ((bucket - 1) / PER_OCTAVE, (bucket - 1) % PER_OCTAVE);
        ((PER_OCTAVE + place) as u64) << (LOWEST_LOG2 - PER_OCTAVE_LOG2) << octave
    };
    match bucket {
        0 => (0, lower(1)),
        bucket if bucket >= BUCKETS - 1 => (lower(BUCKETS - 1), lower(BUCKETS - 1)),
        bucket => (lower(bucket), lower(bucket + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aged(times: &Times) -> AgedTimes {
        let mut counts = TimeCounts::default();
        times.add_to(&mut counts);
        let mut aged = AgedTimes::default();
        aged.take(counts, 1.0);
        aged
    }

    #[test]
    fn each_time_is_within_the_bounds_of_its_bucket_which_are_narrow() {
        for micros in (0..5000).chain((1..4000).map(|n| n * n * 5)) {
            let bucket = bucket_of(Duration::from_micros(micros));
            let (from, to) = bounds(bucket);
            assert!(from <= micros && (micros < to || bucket == BUCKETS - 1), "{micros} in {from}..{to}");
            assert!(bucket == 0 || (to - from) * 16 <= from, "{from}..{to}");
        }
        assert_eq!((bucket_of(Duration::MAX), bucket_of(Duration::ZERO)), (BUCKETS - 1, 0));
    }

    #[test]
    fn quantiles_are_right_to_a_few_percent() {
        let times = Times::new(true);
        for micros in 1..=10_000 {
            times.observe(Duration::from_micros(micros * 10));
        }
        for quantile in [0.01, 0.5, 0.9, 0.99, 1.0] {
            let found = aged(&times).quantile(quantile).unwrap().as_secs_f64();
            let ratio = found / (quantile * 0.1);
            assert!((0.94..1.07).contains(&ratio), "{quantile}: {found}");
        }
        assert_eq!(aged(&Times::new(true)).quantile(0.5), None);
    }

    #[test]
    fn what_takes_too_long_to_be_told_apart_is_shown_as_the_longest() {
        let times = Times::new(true);
        times.observe(Duration::from_secs(1000));
        assert_eq!(aged(&times).quantile(0.5), Some(Duration::from_micros(1 << 26)));
    }

    #[test]
    fn what_is_long_past_weighs_less() {
        let (times, mut aged) = (Times::new(true), AgedTimes::default());
        for _ in 0..100 {
            times.observe(Duration::from_millis(10));
        }
        let counts = || {
            let mut counts = TimeCounts::default();
            times.add_to(&mut counts);
            counts
        };
        aged.take(counts(), 0.5);
        for _ in 0..60 {
            times.observe(Duration::from_millis(100));
        }
        aged.take(counts(), 0.5);
        assert!((aged.total() - 110.0).abs() < 1e-9);
        assert!(aged.quantile(0.5).unwrap() > Duration::from_millis(90));
    }

    #[test]
    fn what_nobody_asks_for_is_not_counted() {
        let times = Times::new(false);
        times.observe(Duration::from_millis(1));
        assert_eq!(aged(&times).quantile(0.5), None);
    }
}
