//! What became of the requests that a split drew, by the tick in which they were dispatched.
//!
//! Each worker keeps a ring of ticks that it alone writes. A request is counted in the tick of its dispatch, and its
//! outcome in the same tick if it comes within the lag; counting by completion would bias the shares, since
//! errors end fast and time-outs slowly. The control plane reads a tick once it is complete or the lag is over.

use super::counters::{Counter, PerWorker, WorkerId};
use super::sketch::Sketch;
use super::split::VisitorKey;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(100);

/// How many ticks after its dispatch an outcome still counts: 2 s.
pub const LAG_TICKS: u64 = 20;

/// Ticks that a ring holds: the lag, and time for a reader that is late.
const SLOTS: u64 = 64;

/// The two sides of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The pool that is tried out.
    Candidate,
    /// The pool that it is compared with.
    Live,
}

/// One tick of one worker.
#[derive(Debug, Default)]
struct Slot {
    /// The tick's number and one, so that 0 is a slot never used.
    tick: AtomicU64,
    candidate: SideCells,
    live: SideCells,
    new_draws: Cell,
    failing_draws: Cell,
}

#[derive(Debug, Default)]
struct SideCells {
    requests: Cell,
    decided: Cell,
    failures: Cell,
    failed: Cell,
}

/// A number that its worker alone writes.
#[derive(Debug, Default)]
struct Cell(AtomicU64);

impl Cell {
    fn bump(&self) {
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    fn lower(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).saturating_sub(1), Ordering::Release);
    }

    fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Slot {
    fn restart(&self, tick: u64) {
        // Nothing of the old tick may be read under the new number.
        self.tick.store(0, Ordering::Release);
        for side in [&self.candidate, &self.live] {
            side.requests.clear();
            side.decided.clear();
            side.failures.clear();
            side.failed.clear();
        }
        self.new_draws.clear();
        self.failing_draws.clear();
        self.tick.store(tick + 1, Ordering::Release);
    }

    fn side(&self, side: Side) -> &SideCells {
        match side {
            Side::Candidate => &self.candidate,
            Side::Live => &self.live,
        }
    }
}

#[derive(Debug)]
struct Ring {
    slots: Box<[Slot]>,
    sent: Counter,
    unsent: Counter,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Slot::default()).collect(),
            sent: Counter::default(),
            unsent: Counter::default(),
        }
    }
}

impl Ring {
    fn slot(&self, tick: u64) -> &Slot {
        // The remainder is below `SLOTS`.
        #[allow(clippy::cast_possible_truncation)]
        &self.slots[(tick % SLOTS) as usize]
    }
}

/// One side's counts of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SideCounts {
    /// Requests dispatched.
    pub requests: u64,
    /// Those whose outcome is known.
    pub decided: u64,
    /// Those that failed and count.
    pub failures: u64,
    /// Those that failed, with the further failures of sticky visitors.
    pub failed: u64,
}

impl SideCounts {
    /// Requests whose outcome is not known.
    #[must_use]
    pub fn undecided(self) -> u64 {
        self.requests.saturating_sub(self.decided)
    }
}

/// The counts of a tick over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TickCounts {
    /// Of the candidate.
    pub candidate: SideCounts,
    /// Of live.
    pub live: SideCounts,
    /// Draws of the candidate that had not been seen before in this rollout.
    pub new_draws: u64,
    /// Failures of the candidate from draws that had not failed before in this rollout.
    pub failing_draws: u64,
}

impl TickCounts {
    /// Whether every request of the tick has its outcome.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.candidate.undecided() + self.live.undecided() == 0
    }
}

/// Where a request's outcome belongs.
#[derive(Debug, Clone, Copy)]
pub struct Dispatch {
    tick: u64,
    side: Side,
}

/// Which sticky visitors have failed in this step; replaced with each step.
#[derive(Debug, Default)]
pub struct FailedVisitors {
    candidate: Sketch,
    live: Sketch,
}

/// The draws of one rollout.
#[derive(Debug)]
pub struct Draws {
    epoch: Instant,
    rings: PerWorker<Ring>,
    ever_seen: Sketch,
    ever_failed: Sketch,
}

impl Draws {
    /// For that many workers; tick 0 begins at `epoch`.
    #[must_use]
    pub fn new(workers: usize, epoch: Instant) -> Self {
        Self { epoch, rings: PerWorker::new(workers), ever_seen: Sketch::default(), ever_failed: Sketch::default() }
    }

    /// The tick of a moment.
    #[must_use]
    pub fn tick_at(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch);
        // 100 ms ticks outlast any machine in 64 bits.
        #[allow(clippy::cast_possible_truncation)]
        let tick = (elapsed.as_millis() / TICK.as_millis()) as u64;
        tick
    }

    /// Counts a drawn request at its dispatch.
    #[must_use]
    pub fn dispatched(&self, worker: WorkerId, now: Instant, side: Side, key: VisitorKey) -> Dispatch {
        let tick = self.tick_at(now);
        let slot = self.rings.of(worker).slot(tick);
        if slot.tick.load(Ordering::Relaxed) != tick + 1 {
            slot.restart(tick);
        }
        slot.side(side).requests.bump();
        if side == Side::Candidate && key.is_new_in(&self.ever_seen) {
            slot.new_draws.bump();
        }
        Dispatch { tick, side }
    }

    /// The slot of a request that was dispatched within the lag.
    fn slot_of(&self, worker: WorkerId, now: Instant, dispatch: Dispatch) -> Option<&Slot> {
        let slot = self.rings.of(worker).slot(dispatch.tick);
        let in_time = self.tick_at(now) <= dispatch.tick + LAG_TICKS;
        (in_time && slot.tick.load(Ordering::Relaxed) == dispatch.tick + 1).then_some(slot)
    }

    /// Counts the outcome of a dispatched request. A failure of a sticky visitor counts once per step; an outcome
    /// after the lag does not count at all.
    pub fn decided(
        &self,
        worker: WorkerId,
        now: Instant,
        dispatch: Dispatch,
        key: VisitorKey,
        failed: Option<&FailedVisitors>,
    ) {
        let Some(slot) = self.slot_of(worker, now, dispatch) else { return };
        let cells = slot.side(dispatch.side);
        if let Some(failed) = failed {
            cells.failed.bump();
            let (of_this_step, ever) = match dispatch.side {
                Side::Candidate => (&failed.candidate, Some(&self.ever_failed)),
                Side::Live => (&failed.live, None),
            };
            if key.is_new_in(of_this_step) {
                cells.failures.bump();
            }
            if ever.is_some_and(|ever| key.is_new_in(ever)) {
                slot.failing_draws.bump();
            }
        }
        // Last, so that a reader who sees it decided sees its failure too.
        cells.decided.bump();
    }

    /// Takes a dispatched request out again: the visitor gave it up before there was an outcome, so it says nothing of
    /// the pool.
    pub fn withdrawn(&self, worker: WorkerId, now: Instant, dispatch: Dispatch) {
        if let Some(slot) = self.slot_of(worker, now, dispatch) {
            slot.side(dispatch.side).requests.lower();
        }
    }

    /// Counts whether a request could be sent to the candidate at all.
    pub fn reached_candidate(&self, worker: WorkerId, sent: bool) {
        let ring = self.rings.of(worker);
        if sent { ring.sent.add(1) } else { ring.unsent.add(1) }
    }

    /// How many requests could be sent to the candidate, and how many could not.
    #[must_use]
    pub fn sent_and_unsent(&self) -> (u64, u64) {
        (self.rings.sum(|ring| ring.sent.get()), self.rings.sum(|ring| ring.unsent.get()))
    }

    /// The counts of a tick; zeros for one that no worker remembers.
    #[must_use]
    pub fn read(&self, tick: u64) -> TickCounts {
        let mut sum = TickCounts::default();
        for ring in self.rings.iter() {
            let slot = ring.slot(tick);
            if slot.tick.load(Ordering::Acquire) != tick + 1 {
                continue;
            }
            for (cells, counts) in [(&slot.candidate, &mut sum.candidate), (&slot.live, &mut sum.live)] {
                // Decided before requests: a request that arrives in between must not look decided.
                counts.decided += cells.decided.get();
                counts.failures += cells.failures.get();
                counts.failed += cells.failed.get();
                counts.requests += cells.requests.get();
            }
            sum.new_draws += slot.new_draws.get();
            sum.failing_draws += slot.failing_draws.get();
        }
        sum
    }
}

impl VisitorKey {
    /// Whether this is the first that a sketch hears of the visitor. A request without a key is a draw of its own.
    fn is_new_in(self, sketch: &Sketch) -> bool {
        match self {
            Self::Sticky(hash) => sketch.insert(hash),
            Self::Alone => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: WorkerId = WorkerId(0);

    fn draws() -> (Draws, Instant, FailedVisitors) {
        let epoch = Instant::now();
        (Draws::new(2, epoch), epoch, FailedVisitors::default())
    }

    #[test]
    fn an_outcome_counts_in_the_tick_of_its_dispatch() {
        let (draws, epoch, failed) = draws();
        let first = draws.dispatched(W, epoch, Side::Candidate, VisitorKey::Alone);
        let second = draws.dispatched(WorkerId(1), epoch + TICK, Side::Live, VisitorKey::Alone);
        assert!(!draws.read(0).complete());
        draws.decided(W, epoch + TICK * 5, first, VisitorKey::Alone, Some(&failed));
        draws.decided(WorkerId(1), epoch + TICK * 5, second, VisitorKey::Alone, None);
        assert!(draws.read(0).complete());
        assert_eq!(draws.read(0).candidate, SideCounts { requests: 1, decided: 1, failures: 1, failed: 1 });
        assert_eq!(draws.read(1).live, SideCounts { requests: 1, decided: 1, ..SideCounts::default() });
        assert_eq!(draws.read(2), TickCounts::default());
    }

    #[test]
    fn an_outcome_after_the_lag_stays_undecided() {
        let (draws, epoch, failed) = draws();
        let dispatch = draws.dispatched(W, epoch, Side::Candidate, VisitorKey::Alone);
        draws.decided(W, epoch + TICK * 21, dispatch, VisitorKey::Alone, Some(&failed));
        assert_eq!(draws.read(0).candidate, SideCounts { requests: 1, ..SideCounts::default() });
    }

    #[test]
    fn a_sticky_visitor_fails_once_per_step_and_is_one_draw_of_the_rollout() {
        let (draws, epoch, failed) = draws();
        let fail = |at: u32, key, failed: &FailedVisitors, worker| {
            let now = epoch + TICK * at;
            let dispatch = draws.dispatched(worker, now, Side::Candidate, key);
            draws.decided(worker, now, dispatch, key, Some(failed));
        };
        fail(0, VisitorKey::Sticky(7), &failed, W);
        fail(0, VisitorKey::Sticky(7), &failed, WorkerId(1));
        fail(0, VisitorKey::Sticky(8), &failed, W);
        assert_eq!((draws.read(0).candidate.failures, draws.read(0).failing_draws), (2, 2));
        assert_eq!(draws.read(0).candidate.failed, 3);
        let next_step = FailedVisitors::default();
        fail(1, VisitorKey::Sticky(7), &next_step, W);
        assert_eq!((draws.read(1).candidate.failures, draws.read(1).failing_draws), (1, 0));
    }

    #[test]
    fn distinct_draws_of_the_candidate_are_counted() {
        let (draws, epoch, _) = draws();
        for (side, key) in [
            (Side::Candidate, VisitorKey::Sticky(10)),
            (Side::Candidate, VisitorKey::Sticky(10)),
            (Side::Candidate, VisitorKey::Sticky(20)),
            (Side::Candidate, VisitorKey::Alone),
            (Side::Candidate, VisitorKey::Alone),
            (Side::Live, VisitorKey::Sticky(30)),
        ] {
            let _ = draws.dispatched(W, epoch, side, key);
        }
        assert_eq!(draws.read(0).new_draws, 4);
    }

    #[test]
    fn a_request_that_its_visitor_gave_up_is_taken_out_again() {
        let (draws, epoch, _) = draws();
        let dispatch = draws.dispatched(W, epoch, Side::Candidate, VisitorKey::Alone);
        let _ = draws.dispatched(W, epoch, Side::Candidate, VisitorKey::Alone);
        draws.withdrawn(W, epoch + TICK * 5, dispatch);
        assert_eq!(draws.read(0).candidate, SideCounts { requests: 1, ..SideCounts::default() });
        draws.withdrawn(W, epoch + TICK * 21, dispatch);
        assert_eq!(draws.read(0).candidate.requests, 1, "after the lag the tick may have been judged");
    }

    #[test]
    fn a_slot_is_cleared_before_it_is_used_again() {
        let (draws, epoch, _) = draws();
        let _ = draws.dispatched(W, epoch, Side::Live, VisitorKey::Alone);
        let _ = draws.dispatched(W, epoch + TICK * 64, Side::Live, VisitorKey::Alone);
        assert_eq!(draws.read(0), TickCounts::default());
        assert_eq!(draws.read(64).live.requests, 1);
    }
}
