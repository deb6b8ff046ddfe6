//! Slow answers: which chance an answer has to be beyond a limit, and from when on there are limits.
//!
//! In a virtual world an answer ends with its head, so that one time decides both.

use super::scenario::{LATENCY_SPREAD, Release};
use crate::model::{Check, Indicator, LatencyCheck, Plan, Until};
use crate::routing::lag;
use statrs::distribution::{ContinuousCDF, Normal};

/// What has a smaller chance is not seen in any simulation.
const NEVER: f64 = 1e-9;

/// The router takes a limit from this many answers of live at least, …
const FEWEST: f64 = 50.0;
/// … and from as many as put this many beyond it.
const BEYOND: f64 = 10.0;

/// Something of each quantile of the checks of both moments.
pub(super) type ByQuantile<T> = [[T; LatencyCheck::QUANTILES]; 2];

/// The latency checks of a plan.
#[derive(Debug, Clone, Default)]
pub(super) struct Timed(Vec<LatencyCheck>);

/// The chances that an answer of one pool is slow, in each way in which it can be: from the likeliest to the rarest, so
/// that whatever is slow in one way is slow in all ways before it as well.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct SlowChances(Vec<(Indicator, f64)>);

impl SlowChances {
    fn new(mut chances: Vec<(Indicator, f64)>) -> Self {
        chances.retain(|(_, chance)| *chance >= NEVER);
        chances.sort_by(|one, other| other.1.total_cmp(&one.1));
        Self(chances)
    }

    pub(super) fn each(&self) -> impl Iterator<Item = (Indicator, f64)> {
        self.0.iter().copied()
    }

    /// The chance that no head comes within the lag.
    pub(super) fn late(&self) -> f64 {
        self.each().find(|(indicator, _)| *indicator == Indicator::NoHead).map_or(0.0, |(_, chance)| chance)
    }

    /// Whether no answer is ever slow.
    pub(super) fn never(&self) -> bool {
        self.0.is_empty()
    }
}

impl Timed {
    pub(super) fn of(plan: &Plan) -> Self {
        let latency = plan.checks.iter().filter_map(|check| match check {
            Check::Latency(latency) => Some(latency.clone()),
            Check::ErrorRatio(_) | Check::StatusRatio(_) | Check::PromQl(_) => None,
        });
        Self(latency.collect())
    }

    fn quantiles(&self) -> impl Iterator<Item = (&LatencyCheck, usize, f64)> {
        self.0.iter().flat_map(|check| {
            let quantiles = check.quantiles.iter().take(LatencyCheck::QUANTILES).enumerate();
            quantiles.map(move |(place, quantile)| (check, place, *quantile))
        })
    }

    /// The chances that an answer of live is beyond each limit, and one of the candidate beyond what is tolerated of it.
    /// The limits are the quantiles of live, as the router knows them from its past.
    pub(super) fn chances(&self, live: Release, candidate: Release) -> (SlowChances, SlowChances) {
        let late = |release| (Indicator::NoHead, beyond(release, lag(Until::Head).as_secs_f64()));
        let (mut of_live, mut of_candidate) = (vec![late(live)], vec![late(candidate)]);
        for (check, place, quantile) in self.quantiles() {
            let slow = Indicator::slow(check.until, place);
            of_live.push((slow, 1.0 - quantile));
            of_candidate.push((slow, beyond(candidate, limit(live, quantile) * (1.0 + check.tolerate))));
        }
        (SlowChances::new(of_live), SlowChances::new(of_candidate))
    }

    /// After how many answers of live the router has each limit: never where it has none, as it has none that the
    /// candidate could exceed only by being late.
    pub(super) fn answers_needed(&self, live: Release) -> ByQuantile<f64> {
        let mut needed = [[f64::INFINITY; LatencyCheck::QUANTILES]; 2];
        for (check, place, quantile) in self.quantiles() {
            if limit(live, quantile) * (1.0 + check.tolerate) <= lag(check.until).as_secs_f64() {
                needed[moment(check.until)][place] = FEWEST.max(BEYOND / (1.0 - quantile));
            }
        }
        needed
    }
}

/// The place of a moment's check.
pub(super) fn moment(until: Until) -> usize {
    match until {
        Until::Head => 0,
        Until::End => 1,
    }
}

/// A quantile of log-normal times.
fn limit(live: Release, quantile: f64) -> f64 {
    live.latency_median * (LATENCY_SPREAD * Normal::standard().inverse_cdf(quantile)).exp()
}

/// The chance of a log-normal time beyond `seconds`.
fn beyond(release: Release, seconds: f64) -> f64 {
    Normal::standard().sf((seconds / release.latency_median).ln() / LATENCY_SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed() -> Timed {
        Timed(vec![LatencyCheck::default()])
    }

    fn release(latency_median: f64) -> Release {
        Release { error_ratio: 0.0, latency_median }
    }

    fn chance(chances: &SlowChances, place: usize) -> f64 {
        chances.each().find(|(indicator, _)| *indicator == Indicator::SlowHead(place)).unwrap().1
    }

    #[test]
    fn twice_as_slow_is_beyond_the_limits_more_often_and_as_slow_less() {
        let (live, same) = timed().chances(release(0.05), release(0.05));
        let (_, slow) = timed().chances(release(0.05), release(0.1));
        for place in 0..3 {
            assert!(chance(&same, place) < chance(&live, place), "10% are tolerated");
            assert!(chance(&slow, place) > 1.5 * chance(&live, place) - 0.1);
        }
        let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(near(chance(&live, 0), 0.5) && near(chance(&live, 1), 0.1) && near(chance(&live, 2), 0.01));
        assert!(near(chance(&slow, 0), 0.7726), "1 − Φ(ln(1.1/2)/0.8), {slow:?}");
        assert!(live.late() < 1e-5 && slow.late() < 1e-3);
        assert!(slow.each().zip(slow.each().skip(1)).all(|(one, next)| one.1 >= next.1), "{slow:?}");
    }

    #[test]
    fn a_limit_needs_answers_and_none_is_beyond_the_lag() {
        let needed = timed().answers_needed(release(0.05))[0];
        assert!(needed.iter().zip([50.0, 100.0, 1000.0]).all(|(needed, expected)| (needed - expected).abs() < 1e-6));
        let slow = timed().answers_needed(release(0.5));
        assert!(slow[0][1].is_finite() && slow[0][2].is_infinite(), "6.4 times as long takes three seconds");
        assert!(slow[1].iter().all(|needed| needed.is_infinite()), "the ends are not asked for");
    }

    #[test]
    fn the_fast_are_never_slow_where_nothing_is_timed() {
        let (live, candidate) = Timed::default().chances(release(0.000_1), release(0.000_1));
        assert!(live.never() && candidate.never());
    }
}
