//! The maintenance response as the table carries it: rendered before any request asks for it.

use super::balance::Dice;
use crate::config::UnsafeStatus;
use crate::model::Timestamp;
use bytes::Bytes;
use ipnet::IpNet;
use std::time::Duration;

/// Why a visitor gets a maintenance response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Maintenance was asked for.
    Planned,
    /// No pool has a healthy target.
    Unplanned,
    /// The request would change something, and the service is read-only.
    ReadOnly,
    /// The request can't wait, or has waited for too long, and the service is in hold.
    Hold,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Planned, Self::Unplanned, Self::ReadOnly, Self::Hold];

    /// As the page, the header, the log and the metric write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Unplanned => "unplanned",
            Self::ReadOnly => "read-only",
            Self::Hold => "hold",
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Planned => 0,
            Self::Unplanned => 1,
            Self::ReadOnly => 2,
            Self::Hold => 3,
        }
    }
}

/// What `Retry-After` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// Counted down to, where it is known.
    pub until: Option<Timestamp>,
    /// Otherwise, and once that moment has passed.
    pub otherwise: Duration,
}

/// The part of the time that is added by chance at most: a tenth.
const JITTER_PART: u64 = 10;
/// A few seconds spread even those who wait only a minute,
const LEAST_JITTER: u64 = 5;
/// and nobody is kept away for long only to be spread.
const MOST_JITTER: u64 = 300;
/// A mode that is over by the clock ends within this time, unless no pool can serve.
const ENDING: i64 = 10;
/// How long clients are told to wait meanwhile, in seconds.
const WHILE_ENDING: u64 = 5;

impl RetryAfter {
    /// In whole seconds, at least 1: the time that is left, never less, and a part more by chance, so that clients don't
    /// all come back at once. That part is up to a tenth; of a short time a few seconds, of a long one five minutes.
    #[must_use]
    pub fn seconds(&self, now: Timestamp, dice: &Dice) -> u64 {
        let least = self.least(now);
        let spread = (least / JITTER_PART).max(LEAST_JITTER.min(least / 2)).min(MOST_JITTER);
        // It is 300 at most.
        least + dice.below(usize::try_from(spread).unwrap_or_default() + 1) as u64
    }

    fn least(&self, now: Timestamp) -> u64 {
        let otherwise = self.otherwise.as_secs().max(1);
        let Some(until) = self.until else { return otherwise };
        let left = until.duration_since(now);
        // A part of a second is rounded up: who comes back must not be early.
        let whole = left.as_secs() + i64::from(left.subsec_nanos() > 0);
        match u64::try_from(whole) {
            Ok(left) if left > 0 => left,
            Ok(_) | Err(_) if whole > -ENDING => otherwise.min(WHILE_ENDING),
            Ok(_) | Err(_) => otherwise,
        }
    }
}

/// A maintenance response in its three forms.
#[derive(Debug, Clone)]
pub struct MaintenanceAnswer {
    /// Why.
    pub reason: Reason,
    /// When to come back.
    pub retry_after: RetryAfter,
    /// How unsafe methods are answered.
    pub unsafe_status: UnsafeStatus,
    /// Client networks that reach the application all the same.
    pub bypass: Box<[IpNet]>,
    /// For browsers.
    pub html: Bytes,
    /// For people on a terminal.
    pub text: Bytes,
    /// For API clients: an RFC 9457 problem document.
    pub json: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least and the most of many.
    fn seconds(until: Option<&str>, otherwise: u64, now: &str) -> (u64, u64) {
        let until = until.map(|until| until.parse().unwrap());
        let retry_after = RetryAfter { until, otherwise: Duration::from_secs(otherwise) };
        let (now, dice) = (now.parse().unwrap(), Dice::new(7));
        let all: Vec<u64> = (0..5000).map(|_| retry_after.seconds(now, &dice)).collect();
        (*all.iter().min().unwrap(), *all.iter().max().unwrap())
    }

    #[test]
    fn clients_are_spread_over_a_tenth_of_the_time_and_none_comes_early() {
        let now = "2026-11-22T04:00:00Z";
        for (otherwise, most) in [(0, 1), (1, 1), (2, 3), (10, 15), (120, 132), (600, 660), (36_000, 36_300)] {
            assert_eq!(seconds(None, otherwise, now), (otherwise.max(1), most));
        }
    }

    #[test]
    fn it_counts_down_to_the_moment_and_rounds_up() {
        let until = Some("2026-11-22T04:10:00Z");
        assert_eq!(seconds(until, 120, "2026-11-22T04:00:00Z"), (600, 660));
        assert_eq!(seconds(until, 120, "2026-11-22T04:09:49.5Z"), (11, 16));
        assert_eq!(seconds(until, 120, "2026-11-22T04:09:59.9Z"), (1, 1));
    }

    #[test]
    fn just_after_the_moment_a_mode_is_about_to_end_and_later_something_is_wrong() {
        let until = Some("2026-11-22T04:10:00Z");
        assert_eq!(seconds(until, 120, "2026-11-22T04:10:00Z"), (5, 7));
        assert_eq!(seconds(until, 1, "2026-11-22T04:10:03Z"), (1, 1));
        assert_eq!(seconds(until, 120, "2026-11-22T04:10:30Z"), (120, 132));
    }
}
