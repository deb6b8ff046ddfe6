//! One worker's counts by tick: a ring of slots that it alone writes.

use super::limits::Limits;
use super::sides::{ByMoment, BySide, Side};
use super::{TICK, times::Times};
use crate::model::{Indicator, LatencyCheck, Until};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// How many ticks after its dispatch it still counts what becomes of a request: 2 s for the head of the answer, 10 s
/// for its end, which large pages and slow visitors take.
#[must_use]
pub fn lag_ticks(until: Until) -> u64 {
    match until {
        Until::Head => 20,
        Until::End => 100,
    }
}

/// The same as a time.
#[must_use]
pub fn lag(until: Until) -> Duration {
    // At most a hundred.
    #[allow(clippy::cast_possible_truncation)]
    let ticks = lag_ticks(until) as u32;
    TICK * ticks
}

/// Ticks that a ring holds: the longest lag, and six seconds for a reader that is late.
const SLOTS: u64 = 160;

/// How many ticks ago a tick may be to be remembered for certain.
pub const OLDEST_TICK: u64 = SLOTS - 4;

/// A number that its worker alone writes. A tick has room for it: 2^32 in 100 ms are more than a worker can do.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU32);

impl Cell {
    pub(super) fn bump(&self) {
        self.set(self.0.load(Ordering::Relaxed).saturating_add(1));
    }

    pub(super) fn lower(&self) {
        self.set(self.0.load(Ordering::Relaxed).saturating_sub(1));
    }

    fn set(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire).into()
    }
}

/// One tick of one worker.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The tick's number and one, so that 0 is a slot never used.
    tick: AtomicU64,
    moments: ByMoment<BySide<SideCells>>,
    pub(super) new_draws: Cell,
}

/// What is counted of one side at one moment of its answers.
#[derive(Debug, Default)]
pub(super) struct SideCells {
    pub(super) requests: Cell,
    pub(super) decided: Cell,
    pub(super) timed: Cell,
    pub(super) timed_decided: Cell,
    bad: [BadCells; 2],
    /// The timed answers that took longer than the limit of each quantile.
    slow: [Cell; LatencyCheck::QUANTILES],
    /// The limits in microseconds, above 0 where there is one.
    limits: [Cell; LatencyCheck::QUANTILES],
}

/// How many answers were bad in one way that a sticky visitor can be bad in once.
#[derive(Debug, Default)]
pub(super) struct BadCells {
    pub(super) counted: Cell,
    pub(super) all: Cell,
    pub(super) new: Cell,
}

/// The cells of an indicator, where there are any: there are two at each moment.
fn place(indicator: Indicator) -> Option<usize> {
    match indicator {
        Indicator::Failed | Indicator::CutOff => Some(0),
        Indicator::Status | Indicator::GrpcTrailers => Some(1),
        Indicator::NoHead | Indicator::SlowHead(_) | Indicator::SlowEnd(_) => None,
    }
}

impl SideCells {
    fn restart(&self, limits: impl Iterator<Item = Option<Duration>>) {
        for cell in [&self.requests, &self.decided, &self.timed, &self.timed_decided].into_iter().chain(&self.slow) {
            cell.set(0);
        }
        for cell in self.bad.iter().flat_map(|bad| [&bad.counted, &bad.all, &bad.new]) {
            cell.set(0);
        }
        for (cell, limit) in self.limits.iter().zip(limits) {
            cell.set(limit.map_or(0, |limit| u32::try_from(limit.as_micros()).unwrap_or(u32::MAX)));
        }
    }

    pub(super) fn bad(&self, indicator: Indicator) -> Option<&BadCells> {
        self.bad.get(place(indicator)?)
    }

    /// Counts a timed answer.
    pub(super) fn took(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (limit, slow) in self.limits.iter().zip(&self.slow) {
            let limit = limit.get();
            if limit > 0 && micros > limit {
                slow.bump();
            }
        }
        self.timed_decided.bump();
    }

    /// The limits of the quantiles in microseconds; 0 where there is none.
    pub(super) fn limits(&self) -> [u64; LatencyCheck::QUANTILES] {
        self.limits.each_ref().map(Cell::get)
    }

    pub(super) fn slow(&self) -> [u64; LatencyCheck::QUANTILES] {
        self.slow.each_ref().map(Cell::get)
    }
}

impl Slot {
    /// Whether its counts are those of a tick.
    pub(super) fn is_of(&self, tick: u64) -> bool {
        self.tick.load(Ordering::Acquire) == tick + 1
    }

    /// The cells of one side at one moment.
    pub(super) fn cells(&self, until: Until, side: Side) -> &SideCells {
        self.moments.of(until).of(side)
    }

    /// Begins a tick, with the limits that are in force in it.
    pub(super) fn restart(&self, tick: u64, limits: &Limits) {
        // Nothing of the old tick may be read under the new number.
        self.tick.store(0, Ordering::Release);
        for until in Until::ALL {
            let limits = limits.of(until).iter();
            self.cells(until, Side::Candidate).restart(limits.clone().map(|limit| Some((*limit)?.candidate)));
            self.cells(until, Side::Live).restart(limits.map(|limit| Some((*limit)?.live)));
        }
        self.new_draws.set(0);
        self.tick.store(tick + 1, Ordering::Release);
    }
}

/// All that one worker counts of a rollout's draws.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Box<[Slot]>,
    pub(super) times: ByMoment<BySide<Times>>,
}

impl Ring {
    /// One that keeps the times of answers until those moments.
    pub(super) fn new(timed: ByMoment<bool>) -> Self {
        let of_both = |wanted| BySide { candidate: Times::new(wanted), live: Times::new(wanted) };
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            times: ByMoment::each(|until| of_both(*timed.of(until))),
        }
    }

    /// Where a tick is counted; it may still be another's.
    pub(super) fn slot(&self, tick: u64) -> &Slot {
        // The remainder is below `SLOTS`.
        #[allow(clippy::cast_possible_truncation)]
        &self.slots[(tick % SLOTS) as usize]
    }
}
