//! The counts of one tick over all workers, as the control plane reads them.

use super::sides::BySide;
use super::ticks::SideCells;
use crate::model::{Indicator, LatencyCheck, Until};

/// The counts of a tick over all workers, at one moment of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickCounts {
    /// Of both sides.
    pub sides: BySide<SideCounts>,
    /// Draws of the candidate that had not been seen before in this rollout.
    pub new_draws: u64,
    /// Which quantiles had a limit all through the tick, the same on all workers.
    pub limited: [bool; LatencyCheck::QUANTILES],
    /// Whether nothing can come that would change it.
    pub complete: bool,
}

/// One side's counts of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SideCounts {
    /// Requests dispatched; of the end, those whose answers have begun.
    pub requests: u64,
    /// Those whose outcome is known.
    pub decided: u64,
    /// Those that are timed.
    pub timed: u64,
    /// Those that are timed and whose outcome is known.
    pub timed_decided: u64,
    /// What they were, by [`Indicator::index`].
    pub bad: [BadCounts; Indicator::COUNT],
}

/// How many answers were bad in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BadCounts {
    /// As they count.
    pub counted: u64,
    /// All of them.
    pub all: u64,
    /// Of the counted ones, those of draws that had not been bad so before in this rollout. Only the candidate's are
    /// looked at.
    pub new: u64,
}

impl SideCounts {
    /// Requests whose outcome is not known.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        self.requests.saturating_sub(self.decided)
    }

    /// Timed requests whose outcome is not known.
    #[must_use]
    pub fn timed_undecided(&self) -> u64 {
        self.timed.saturating_sub(self.timed_decided)
    }

    /// What was counted of an indicator.
    #[must_use]
    pub fn of(&self, indicator: Indicator) -> BadCounts {
        self.bad[indicator.index()]
    }

    /// Adds a worker's counts.
    pub(super) fn add(&mut self, cells: &SideCells, indicators: impl Iterator<Item = Indicator>) {
        // Decided before requests: a request that arrives in between must not look decided.
        self.decided += cells.decided.get();
        self.timed_decided += cells.timed_decided.get();
        let slow = cells.slow();
        for indicator in indicators {
            let counts = &mut self.bad[indicator.index()];
            match (indicator, cells.bad(indicator)) {
                (Indicator::SlowHead(quantile) | Indicator::SlowEnd(quantile), _) => counts.counted += slow[quantile],
                (_, Some(bad)) => {
                    counts.counted += bad.counted.get();
                    counts.all += bad.all.get();
                    counts.new += bad.new.get();
                }
                // It is known of the whole tick only, when the lag is over.
                (_, None) => {}
            }
        }
        self.timed += cells.timed.get();
        self.requests += cells.requests.get();
    }

    /// Counts what has no outcome as what that says: no head has come, and it is slow. Limits are below the lag, so
    /// what is undecided has taken longer than any of them. Each timed request is another draw.
    pub(super) fn conclude(&mut self, until: Until, limited: [bool; LatencyCheck::QUANTILES]) {
        let (timed_undecided, undecided) = (self.timed_undecided(), self.undecided());
        if until == Until::Head {
            let no_head = BadCounts { counted: timed_undecided, all: undecided, new: timed_undecided };
            self.bad[Indicator::NoHead.index()] = no_head;
        }
        for (quantile, limited) in limited.into_iter().enumerate() {
            let counts = &mut self.bad[Indicator::slow(until, quantile).index()];
            let slow = if limited { counts.counted + timed_undecided } else { 0 };
            *counts = BadCounts { counted: slow, all: slow, new: slow };
        }
    }
}
