//! What a virtual world is like: its visitors, its two releases, its weather.

use clap::ValueEnum;
use std::time::Duration;

/// A virtual world. Time in it begins with the rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Requests per second that come in, for both pools together.
    pub requests_per_second: f64,
    /// What runs in the live pool.
    pub live: Release,
    /// What runs in the candidate.
    pub candidate: Release,
    /// Until then the candidate is as live is.
    pub fault_after: Duration,
    /// Sticky visitors; where there are none, each request is drawn for itself.
    pub visitors: Option<Visitors>,
    /// What both pools go through together.
    pub weather: Weather,
}

/// How a release answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Release {
    /// The share of its answers that are failures, 0 to 1.
    pub error_ratio: f64,
    /// The median time until its answer's head, in seconds. The times are log-normal.
    pub latency_median: f64,
}

/// The standard deviation of the logarithm of a time to answer: the 99% quantile is 6.4 times the median, as of a web
/// application with a few slow pages.
pub const LATENCY_SPREAD: f64 = 0.8;

/// Sticky visitors: all requests of one go to one pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Visitors {
    /// How many there are; at most [`Visitors::MOST`].
    pub number: usize,
    /// The standard deviation of the logarithm of their requests per second: 0 where all are equally busy.
    pub activity_spread: f64,
    /// The share of visitors that fail for reasons of their own, whichever release answers.
    pub unlucky: f64,
    /// How many of their requests fail so.
    pub unlucky_ratio: f64,
}

impl Visitors {
    /// As many as the router's sketch of failed visitors tells apart well.
    pub const MOST: usize = 200_000;
}

/// What both pools go through together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Weather {
    /// Always the same.
    Steady,
    /// A day pressed into an hour: the error ratios and the requests per second swing.
    Diurnal,
    /// From time to time, for some seconds, many requests fail in both pools.
    Bursts,
}

/// A whole swing.
const DAY: f64 = 3600.0;
/// By which factor errors rise and fall in a swing.
const ERRORS_SWING: f64 = 3.0;
/// By which part of itself the traffic rises and falls.
const TRAFFIC_SWING: f64 = 0.7;
/// Bursts begin in one second of that many, last so long, and add so many failures to both pools.
const BURST_EVERY: f64 = 300.0;
/// Seconds of a burst.
pub(super) const BURST: f64 = 15.0;
const BURST_RATIO: f64 = 0.2;
/// No release answers worse than this by the weather alone.
const WORST: f64 = 0.95;

/// What the weather does in one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sky {
    /// Factor on the error ratios.
    pub(super) errors: f64,
    /// Added to the error ratios.
    pub(super) burst: f64,
    /// Factor on the requests per second.
    pub(super) traffic: f64,
}

impl Sky {
    /// At `seconds`; `in_burst` says whether one goes on.
    pub(super) fn at(weather: Weather, seconds: f64, in_burst: bool) -> Self {
        let turn = std::f64::consts::TAU * seconds / DAY;
        match weather {
            Weather::Steady => Self { errors: 1.0, burst: 0.0, traffic: 1.0 },
            Weather::Diurnal => {
                // A quarter of a turn apart, so that neither hides in the other.
                Self { errors: ERRORS_SWING.powf(turn.sin()), burst: 0.0, traffic: 1.0 + TRAFFIC_SWING * turn.cos() }
            }
            Weather::Bursts => Self { errors: 1.0, burst: if in_burst { BURST_RATIO } else { 0.0 }, traffic: 1.0 },
        }
    }

    /// The chance that a burst begins in a second.
    pub(super) fn burst_chance(weather: Weather) -> f64 {
        match weather {
            Weather::Bursts => BURST_EVERY.recip(),
            Weather::Steady | Weather::Diurnal => 0.0,
        }
    }

    /// A release's error ratio under it.
    pub(super) fn ratio(self, release: Release) -> f64 {
        let ratio = (release.error_ratio * self.errors).min(WORST.max(release.error_ratio));
        1.0 - (1.0 - ratio) * (1.0 - self.burst)
    }
}

impl Scenario {
    /// The same world with a candidate as good as live: whoever rolls back in it is wrong.
    #[must_use]
    pub fn faultless(&self) -> Self {
        Self { candidate: self.live, ..self.clone() }
    }

    /// What runs in the candidate's pool at `seconds`.
    pub(super) fn candidate_at(&self, seconds: f64) -> Release {
        if seconds < self.fault_after.as_secs_f64() { self.live } else { self.candidate }
    }
}
