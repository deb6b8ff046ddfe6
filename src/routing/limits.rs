//! The limits above which an answer is slow. They are fixed before the tick in which they are used, on all workers
//! alike: what they are taken from is live's past, never the answers that are compared by them.

use super::sides::ByMoment;
use crate::model::LatencyCheck;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::Duration;

/// The limit of one quantile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// An answer of the candidate is slow when it takes longer.
    pub candidate: Duration,
    /// An answer of live is slow when it takes longer.
    pub live: Duration,
}

/// The limits of the quantiles that are compared, where there are any yet.
pub type Limits = ByMoment<[Option<Limit>; LatencyCheck::QUANTILES]>;

/// The limits in force, and those that will be.
#[derive(Debug, Default)]
pub(super) struct Schedule(ArcSwap<Scheduled>);

#[derive(Debug, Clone, Copy, Default)]
struct Scheduled {
    /// The tick from which `later` is in force.
    from: u64,
    now: Limits,
    later: Limits,
}

impl Schedule {
    /// The limits of a tick.
    pub(super) fn at(&self, tick: u64) -> Limits {
        self.0.load().at(tick)
    }

    /// Other limits from a tick on; `current` is the present one.
    pub(super) fn change(&self, limits: Limits, current: u64, from: u64) {
        let now = self.0.load().at(current);
        self.0.store(Arc::new(Scheduled { from, now, later: limits }));
    }
}

impl Scheduled {
    fn at(&self, tick: u64) -> Limits {
        if tick < self.from { self.now } else { self.later }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_force_from_their_tick_on() {
        let limits = |millis| {
            let limit = Duration::from_millis(millis);
            Limits { head: [Some(Limit { candidate: limit, live: limit }), None, None], ..Limits::default() }
        };
        let schedule = Schedule::default();
        schedule.change(limits(1), 10, 13);
        assert_eq!([12, 13].map(|tick| schedule.at(tick)), [Limits::default(), limits(1)]);
        schedule.change(limits(2), 20, 23);
        assert_eq!([22, 23].map(|tick| schedule.at(tick)), [limits(1), limits(2)]);
    }
}
