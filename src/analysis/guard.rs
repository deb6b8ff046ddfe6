//! The absolute guard: what a comparison can't see. A candidate that breaks a database which both pools share makes both
//! fail alike, and no comparison of the two tells. So each pool is also measured by the share of good answers that the
//! service owes.
//!
//! A *burn rate* is the error ratio over the ratio that the objective allows: at 1, exactly what is allowed is spent. A
//! rate that is high in a long window and in a short one is a fault that matters and is still there: 14.4 over one hour
//! and five minutes, and 6 over six hours and half an hour (Beyer et al., The Site Reliability Workbook, 2018, ch. 5).
//! This is a heuristic, with no bound on its false alarms; it never takes anything back, it only holds a rollout.
//!
//! All requests of a pool are counted, drawn or not, split or not, and so always while the router runs. The counts don't
//! survive a restart: a window that is not full speaks for the time that it has.

use super::eprocess::as_f64;
use super::words;
use crate::model::view::{BurnView, GuardView};
use crate::model::{Period, PoolName, ReleaseId, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// Seconds that are counted together: a tenth of the shortest window.
const BUCKET_SECONDS: i64 = 30;
/// The longest window, in buckets: six hours.
const KEPT: i64 = 6 * HOUR;
const HOUR: i64 = 3600 / BUCKET_SECONDS;
/// With fewer requests than this a ratio is chance.
const LEAST_REQUESTS: u64 = 20;

/// Two windows that fire together.
struct Alarm {
    threshold: f64,
    long: i64,
    short: i64,
}

const ALARMS: [Alarm; 2] =
    [Alarm { threshold: 14.4, long: HOUR, short: HOUR / 12 }, Alarm { threshold: 6.0, long: KEPT, short: HOUR / 2 }];

/// From this burn rate on, an hour is not one of a healthy release.
const UNHEALTHY_BURN: f64 = 6.0;

/// What was counted of one service's pools over the last six hours.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    pools: BTreeMap<PoolName, History>,
}

/// Of a pool, while it runs one release.
#[derive(Debug, Clone, Default)]
struct History {
    release: Option<ReleaseId>,
    /// The oldest first; none of before the longest window.
    buckets: VecDeque<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    number: i64,
    counts: PoolCounts,
}

/// Answers of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct PoolCounts {
    /// Requests whose outcome is the target's, good or bad.
    pub answered: u64,
    /// Of those, failed.
    pub failed: u64,
}

impl PoolCounts {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            answered: self.answered.saturating_add(other.answered),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// The part that failed; None where too few were seen to tell.
    fn ratio(self) -> Option<f64> {
        (self.answered >= LEAST_REQUESTS).then(|| as_f64(self.failed.min(self.answered)) / as_f64(self.answered))
    }
}

impl Guard {
    /// Takes in what a pool has answered since the last time. With another release in it, it begins anew.
    pub fn observe(&mut self, pool: &PoolName, release: Option<&ReleaseId>, counts: PoolCounts, now: Timestamp) {
        let history = self.pools.entry(pool.clone()).or_default();
        if history.release.as_ref() != release {
            *history = History { release: release.cloned(), buckets: VecDeque::new() };
        }
        history.add(counts, bucket_of(now));
    }

    /// Forgets the pools that are not there any more.
    pub fn keep(&mut self, is_there: impl Fn(&PoolName) -> bool) {
        self.pools.retain(|pool, _| is_there(pool));
    }

    /// How fast the pools spend what `objective`, a share of good answers between 0 and 1, allows.
    ///
    /// It fires when live burns, and the candidate too, unless that has too few requests to tell.
    #[must_use]
    pub fn view(&self, live: &PoolName, candidate: Option<&PoolName>, objective: f64, now: Timestamp) -> GuardView {
        let burn = |pool: &PoolName, buckets| self.burn(pool, buckets, objective, now);
        let of_candidate = |buckets| candidate.and_then(|pool| burn(pool, buckets));
        let mut fires = None;
        let mut windows = Vec::with_capacity(2 * ALARMS.len());
        for alarm in &ALARMS {
            let view = |buckets: i64| BurnView {
                window: Period::from_secs((buckets * BUCKET_SECONDS).unsigned_abs()),
                threshold: alarm.threshold,
                candidate: of_candidate(buckets),
                live: burn(live, buckets),
            };
            let (long, short) = (view(alarm.long), view(alarm.short));
            let over = |burn: Option<f64>| burn.is_some_and(|burn| burn >= alarm.threshold);
            let live_burns = over(long.live) && over(short.live);
            let candidate_burns = short.candidate.is_none() || (over(long.candidate) && over(short.candidate));
            if live_burns && candidate_burns && fires.is_none() {
                fires = Some((long, short));
            }
            windows.extend([long, short]);
        }
        let owed = words::percent(objective);
        let detail = match fires {
            Some((long, short)) => format!(
                "{} than the {owed} of good answers that are owed: {} over {} and {} over {}, where {} is too fast",
                if short.candidate.is_some() { "both pools give far fewer" } else { "live gives far fewer" },
                rate(long.live),
                long.window,
                rate(short.live),
                short.window,
                long.threshold,
            ),
            None => format!(
                "{} not fail so fast that the objective of {owed} good answers would be missed",
                if candidate.is_some() { "both pools together do" } else { "live does" },
            ),
        };
        GuardView { objective, firing: fires.is_some(), windows, detail }
    }

    /// The error ratio of a pool in its last healthy hour, of the last six; where none was, in the best of them. None
    /// where no hour had enough requests.
    #[must_use]
    pub fn healthy_ratio(&self, pool: &PoolName, objective: f64, now: Timestamp) -> Option<f64> {
        let history = self.pools.get(pool)?;
        let newest = bucket_of(now);
        let ratios: Vec<f64> = (0..KEPT / HOUR)
            .filter_map(|back| history.between(newest - HOUR * (back + 1), newest - HOUR * back).ratio())
            .collect();
        let healthy = ratios.iter().copied().find(|ratio| *ratio < UNHEALTHY_BURN * allowed(objective));
        healthy.or_else(|| ratios.into_iter().reduce(f64::min))
    }

    fn burn(&self, pool: &PoolName, buckets: i64, objective: f64, now: Timestamp) -> Option<f64> {
        let history = self.pools.get(pool)?;
        let newest = bucket_of(now);
        let ratio = history.between(newest - buckets, newest).ratio()?;
        Some(ratio / allowed(objective))
    }
}

impl History {
    fn add(&mut self, counts: PoolCounts, number: i64) {
        // A clock that was set back neither undoes what was counted nor hides what is: the past moves with it.
        let ahead = self.buckets.back().map_or(0, |newest| newest.number - number);
        if ahead > 0 {
            self.buckets.iter_mut().for_each(|bucket| bucket.number -= ahead);
        }
        while self.buckets.front().is_some_and(|oldest| oldest.number <= number - KEPT) {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut().filter(|newest| newest.number == number) {
            Some(newest) => newest.counts = newest.counts.and(counts),
            None if counts == PoolCounts::default() => {}
            None => self.buckets.push_back(Bucket { number, counts }),
        }
    }

    /// After `from` and up to `to`.
    fn between(&self, from: i64, to: i64) -> PoolCounts {
        let within = self.buckets.iter().filter(|bucket| from < bucket.number && bucket.number <= to);
        within.fold(PoolCounts::default(), |sum, bucket| sum.and(bucket.counts))
    }
}

fn bucket_of(now: Timestamp) -> i64 {
    now.as_second().div_euclid(BUCKET_SECONDS)
}

/// The ratio of bad answers that is allowed; never 0, which would make any failure an infinite rate.
pub(super) fn allowed(objective: f64) -> f64 {
    (1.0 - objective).max(1e-6)
}

fn rate(burn: Option<f64>) -> String {
    burn.map_or_else(|| "no rate".to_owned(), |burn| format!("a burn rate of {burn:.1}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str) -> PoolName {
        name.parse().unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000_000 + second).unwrap()
    }

    fn counts(answered: u64, failed: u64) -> PoolCounts {
        PoolCounts { answered, failed }
    }

    /// Both pools answer so much each second, for so long.
    fn guard(seconds: std::ops::Range<i64>, live: PoolCounts, candidate: PoolCounts) -> Guard {
        let mut guard = Guard::default();
        feed(&mut guard, seconds, live, candidate);
        guard
    }

    fn feed(guard: &mut Guard, seconds: std::ops::Range<i64>, live: PoolCounts, candidate: PoolCounts) {
        for second in seconds {
            guard.observe(&pool("live"), None, live, at(second));
            guard.observe(&pool("new"), None, candidate, at(second));
        }
    }

    fn fires(guard: &Guard, second: i64) -> bool {
        guard.view(&pool("live"), Some(&pool("new")), 0.99, at(second)).firing
    }

    #[test]
    fn it_fires_when_both_pools_burn() {
        let burning = guard(0..600, counts(100, 20), counts(100, 20));
        assert!(fires(&burning, 600));
        let view = burning.view(&pool("live"), Some(&pool("new")), 0.99, at(600));
        assert!((view.windows[1].live.unwrap() - 20.0).abs() < 0.1, "{view:?}");
        assert!(view.detail.starts_with("both pools give far fewer than the 99% of good answers"), "{}", view.detail);
    }

    #[test]
    fn one_pool_alone_is_the_business_of_the_comparison() {
        assert!(!fires(&guard(0..600, counts(100, 0), counts(100, 50)), 600));
        assert!(!fires(&guard(0..600, counts(100, 50), counts(100, 0)), 600));
    }

    #[test]
    fn live_alone_suffices_where_the_candidate_has_hardly_any_requests() {
        let mut guard = guard(0..600, counts(100, 20), counts(0, 0));
        assert!(fires(&guard, 600));
        feed(&mut guard, 600..601, counts(100, 20), counts(19, 0));
        assert!(fires(&guard, 601));
        feed(&mut guard, 601..602, counts(100, 20), counts(1, 0));
        assert!(!fires(&guard, 602), "twenty good answers of the candidate speak");
    }

    #[test]
    fn a_few_failures_of_a_few_requests_are_chance() {
        assert!(!fires(&guard(0..10, counts(1, 1), counts(1, 1)), 10));
    }

    #[test]
    fn an_incident_that_is_over_does_not_fire_for_hours() {
        let mut guard = guard(0..300, counts(100, 80), counts(100, 80));
        assert!(fires(&guard, 299));
        feed(&mut guard, 300..2130, counts(100, 0), counts(100, 0));
        assert!(!fires(&guard, 2130), "the short windows are clean again, though the long ones are not");
    }

    #[test]
    fn a_slow_burn_fires_by_the_long_windows() {
        let slow = guard(0..7200, counts(100, 7), counts(100, 7));
        assert!(fires(&slow, 7200));
        assert!(!fires(&guard(0..7200, counts(100, 5), counts(100, 5)), 7200));
    }

    #[test]
    fn memory_is_bounded_and_a_clock_that_is_set_back_loses_nothing() {
        let mut guard = guard(0..1, counts(0, 0), counts(0, 0));
        for hour in 0..48 {
            for second in (0..3600).step_by(10) {
                guard.observe(&pool("live"), None, counts(1, 0), at(hour * 3600 + second));
            }
        }
        let kept = guard.pools[&pool("live")].buckets.len();
        assert!(i64::try_from(kept).unwrap() <= KEPT, "{kept}");
        guard.observe(&pool("live"), None, counts(1000, 1000), at(0));
        let burn = guard.burn(&pool("live"), HOUR, 0.99, at(0)).unwrap();
        assert!((50.0..100.0).contains(&burn), "the hour before is there too: {burn}");
    }

    #[test]
    fn it_goes_by_a_clock_that_was_set_back() {
        let mut guard = guard(3600..4200, counts(100, 0), counts(100, 0));
        feed(&mut guard, 0..300, counts(1000, 500), counts(1000, 500));
        assert!(fires(&guard, 299));
        feed(&mut guard, 300..2130, counts(1000, 0), counts(1000, 0));
        assert!(!fires(&guard, 2130), "and by nothing else");
    }

    #[test]
    fn another_release_begins_anew() {
        let mut guard = guard(0..600, counts(100, 20), counts(100, 20));
        guard.observe(&pool("live"), Some(&"v2".parse().unwrap()), counts(100, 0), at(600));
        assert!(!fires(&guard, 600));
        guard.keep(|name| *name != pool("new"));
        assert_eq!(guard.pools.len(), 1);
    }

    #[test]
    fn the_last_healthy_hour_is_before_an_incident() {
        let mut guard = guard(0..3600, counts(10, 0), counts(0, 0));
        feed(&mut guard, 3600..7200, counts(1000, 3), counts(0, 0));
        feed(&mut guard, 7200..10_800, counts(10, 9), counts(0, 0));
        let ratio = guard.healthy_ratio(&pool("live"), 0.99, at(10_799)).unwrap();
        assert!((ratio - 0.003).abs() < 1e-4, "{ratio}");
        assert_eq!(guard.healthy_ratio(&pool("other"), 0.99, at(10_799)), None);
    }

    #[test]
    fn a_release_that_never_was_healthy_is_measured_by_its_best_hour() {
        let mut guard = guard(0..3600, counts(10, 2), counts(0, 0));
        feed(&mut guard, 3600..7200, counts(10, 5), counts(0, 0));
        let ratio = guard.healthy_ratio(&pool("live"), 0.99, at(7199)).unwrap();
        assert!((ratio - 0.2).abs() < 0.01, "{ratio}");
    }
}
