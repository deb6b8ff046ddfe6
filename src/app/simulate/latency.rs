//! Slow answers: which chance an answer has to be beyond a limit.

use super::scenario::{LATENCY_SPREAD, Release};
use crate::model::LatencyCheck;
use statrs::distribution::{ContinuousCDF, Normal};

/// After so many seconds an answer no longer counts: the router's lag.
const LAG: f64 = 2.0;

/// Chances of one pool's answers.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct SlowChances {
    /// Beyond the limit of each quantile of the check.
    pub(super) beyond: [f64; LatencyCheck::QUANTILES],
    /// No head within the lag.
    pub(super) late: f64,
}

/// The chances that an answer of live is beyond each limit of the check, and one of the candidate beyond what the check
/// tolerates of it. The limits are the quantiles of live, as the router knows them after a while from its past.
pub(super) fn chances(check: Option<&LatencyCheck>, live: Release, candidate: Release) -> (SlowChances, SlowChances) {
    let mut of_live = SlowChances { late: beyond(live, LAG), ..SlowChances::default() };
    let mut of_candidate = SlowChances { late: beyond(candidate, LAG), ..SlowChances::default() };
    let Some(check) = check else { return (of_live, of_candidate) };
    for (place, quantile) in check.quantiles.iter().take(LatencyCheck::QUANTILES).enumerate() {
        let limit = live.latency_median * (LATENCY_SPREAD * standard_normal().inverse_cdf(*quantile)).exp();
        of_live.beyond[place] = 1.0 - quantile;
        of_candidate.beyond[place] = beyond(candidate, limit * (1.0 + check.tolerate));
    }
    (of_live, of_candidate)
}

/// The chance of a log-normal time beyond `seconds`.
fn beyond(release: Release, seconds: f64) -> f64 {
    standard_normal().sf((seconds / release.latency_median).ln() / LATENCY_SPREAD)
}

fn standard_normal() -> Normal {
    Normal::standard()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_as_slow_is_beyond_the_limits_more_often_and_as_slow_less() {
        let check = LatencyCheck::default();
        let release = |latency_median| Release { error_ratio: 0.0, latency_median };
        let (live, same) = chances(Some(&check), release(0.05), release(0.05));
        let (_, slow) = chances(Some(&check), release(0.05), release(0.1));
        for place in 0..3 {
            assert!(same.beyond[place] < live.beyond[place], "10% are tolerated");
            assert!(slow.beyond[place] > 1.5 * live.beyond[place] - 0.1);
        }
        let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
        assert!(near(live.beyond[0], 0.5) && near(live.beyond[1], 0.1) && near(live.beyond[2], 0.01));
        assert!(near(slow.beyond[0], 0.7726), "1 − Φ(ln(1.1/2)/0.8), {slow:?}");
        assert!(live.late < 1e-5 && slow.late < 1e-3);
    }
}
