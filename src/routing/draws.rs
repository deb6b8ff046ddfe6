//! What became of the requests that a split drew, by the tick in which they were dispatched.
//!
//! Each worker keeps a ring of ticks that it alone writes. A request is counted in the tick of its dispatch, and what
//! becomes of it in the same tick if it comes within the lag; counting by completion would bias the shares, since
//! errors end fast and time-outs slowly. The control plane reads a tick once it is complete or the lag is over: once for
//! what the heads of the answers tell, and once for what their ends tell.
//!
//! ```text
//! dispatched ─► begins_answer ─► decided (head) ─► decided (end)
//!            └► withdrawn (head): the visitor left  └► withdrawn (end)
//! ```

use super::counters::{Counter, PerWorker, WorkerId};
use super::limits::{Limits, Schedule};
use super::seen::{BadVisitors, SeenVisitors};
use super::sides::{ByMoment, BySide, Side};
use super::sketch::Sketch;
use super::split::VisitorKey;
use super::tick_counts::{SideCounts, TickCounts};
use super::ticks::{Ring, Slot, lag_ticks};
use super::times::TimeCounts;
use crate::model::{Check, Indicator, LatencyCheck, Plan, Until};
use std::time::{Duration, Instant};

/// The length of a tick.
pub const TICK: Duration = Duration::from_millis(100);

const TICKS_PER_SECOND: u64 = 10;

/// How long before they are in force limits are told, so that every worker knows of them in time.
pub const LIMITS_AHEAD: Duration = Duration::from_millis(500);

/// What the checks of a rollout need counted, beside what always is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Measures {
    /// The statuses that are compared: a bit for each from 400 on.
    statuses: u128,
    /// Until which moments answers are timed.
    timed: ByMoment<bool>,
}

impl Measures {
    /// For the checks of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut measures = Self::default();
        for check in &plan.checks {
            match check {
                Check::Latency(check) => *measures.timed.of_mut(check.until) = true,
                Check::StatusRatio(check) => {
                    measures.statuses = check.statuses.iter().filter_map(|status| bit(*status)).fold(0, |a, b| a | b);
                }
                Check::ErrorRatio(_) | Check::PromQl(_) => {}
            }
        }
        measures
    }
}

/// The bit of a status; none for one that is not the visitor's making.
fn bit(status: u16) -> Option<u128> {
    1_u128.checked_shl(status.checked_sub(400)?.into())
}

/// A drawn request, for as long as something is to be counted of it.
#[derive(Debug, Clone, Copy)]
pub struct Dispatch {
    at: Instant,
    tick: u64,
    side: Side,
    key: VisitorKey,
    timed: bool,
}

/// The draws of one rollout.
#[derive(Debug)]
pub struct Draws {
    epoch: Instant,
    measures: Measures,
    limits: Schedule,
    rings: PerWorker<Ring>,
    reached: PerWorker<Reached>,
    ever_seen: Sketch,
    ever_bad: BadVisitors,
}

/// Whether requests could be sent to the candidate.
#[derive(Debug, Default)]
struct Reached {
    sent: Counter,
    unsent: Counter,
}

impl Draws {
    /// For that many workers; tick 0 begins at `epoch`.
    #[must_use]
    pub fn new(workers: usize, epoch: Instant, measures: Measures) -> Self {
        Self {
            epoch,
            measures,
            limits: Schedule::default(),
            rings: PerWorker::made_by(workers, || Ring::new(measures.timed)),
            reached: PerWorker::new(workers),
            ever_seen: Sketch::default(),
            ever_bad: BadVisitors::default(),
        }
    }

    /// The tick of a moment.
    #[must_use]
    pub fn tick_at(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.epoch);
        elapsed.as_secs() * TICKS_PER_SECOND + u64::from(elapsed.subsec_millis() / TICK.subsec_millis())
    }

    /// Counts a drawn request at its dispatch.
    #[must_use]
    pub fn dispatched(
        &self,
        worker: WorkerId,
        now: Instant,
        side: Side,
        key: VisitorKey,
        seen: &SeenVisitors,
    ) -> Dispatch {
        let tick = self.tick_at(now);
        let slot = self.rings.of(worker).slot(tick);
        if !slot.is_of(tick) {
            slot.restart(tick, &self.limits.at(tick));
        }
        let timed = seen.is_timed(side, key);
        let cells = slot.cells(Until::Head, side);
        cells.requests.bump();
        if timed {
            cells.timed.bump();
        }
        if side == Side::Candidate && key.is_new_in(&self.ever_seen) {
            slot.new_draws.bump();
        }
        Dispatch { at: now, tick, side, key, timed }
    }

    /// The slot of a request that was dispatched within the lag.
    fn slot_of(&self, worker: WorkerId, now: Instant, dispatch: &Dispatch, until: Until) -> Option<&Slot> {
        let slot = self.rings.of(worker).slot(dispatch.tick);
        let in_time = self.tick_at(now) <= dispatch.tick + lag_ticks(until);
        (in_time && slot.is_of(dispatch.tick)).then_some(slot)
    }

    /// Counts a request among those whose answers will end. To be called before the outcome of the head is told: whoever
    /// sees all heads of a tick sees all answers that have begun.
    pub fn begins_answer(&self, worker: WorkerId, now: Instant, dispatch: &Dispatch) {
        let Some(slot) = self.slot_of(worker, now, dispatch, Until::End) else { return };
        let cells = slot.cells(Until::End, dispatch.side);
        cells.requests.bump();
        if dispatch.timed {
            cells.timed.bump();
        }
    }

    /// Counts what is known of a dispatched request at a moment of its answer. A sticky visitor is bad once per step in
    /// each way; what comes after the lag does not count at all.
    pub fn decided(
        &self,
        worker: WorkerId,
        now: Instant,
        dispatch: &Dispatch,
        until: Until,
        bad: Option<Indicator>,
        seen: &SeenVisitors,
    ) {
        let took = now.saturating_duration_since(dispatch.at);
        self.rings.of(worker).times.of(until).of(dispatch.side).observe(took);
        let Some(slot) = self.slot_of(worker, now, dispatch, until) else { return };
        let Dispatch { side, key, timed, .. } = *dispatch;
        let cells = slot.cells(until, side);
        if let Some(indicator) = bad
            && let Some(bad) = cells.bad(indicator)
        {
            bad.all.bump();
            if seen.is_bad_first(key, indicator) {
                bad.counted.bump();
                // Who was not bad before in the rollout was not in the step either.
                if side == Side::Candidate && self.ever_bad.is_new(key, indicator) {
                    bad.new.bump();
                }
            }
        }
        if timed {
            cells.took(took);
        }
        // Last, so that a reader who sees it decided sees all of it.
        cells.decided.bump();
    }

    /// Takes a dispatched request out again: the visitor gave it up before that moment of its answer, so it says nothing
    /// of the pool.
    pub fn withdrawn(&self, worker: WorkerId, now: Instant, dispatch: &Dispatch, until: Until) {
        if let Some(slot) = self.slot_of(worker, now, dispatch, until) {
            let cells = slot.cells(until, dispatch.side);
            if dispatch.timed {
                cells.timed.lower();
            }
            cells.requests.lower();
        }
    }

    /// Whether a status of an answer is one of those that are compared.
    #[must_use]
    pub fn compares(&self, status: u16) -> bool {
        bit(status).is_some_and(|bit| self.measures.statuses & bit != 0)
    }

    /// Counts whether a request could be sent to the candidate at all.
    pub fn reached_candidate(&self, worker: WorkerId, sent: bool) {
        let reached = self.reached.of(worker);
        if sent { reached.sent.add(1) } else { reached.unsent.add(1) }
    }

    /// How many requests could be sent to the candidate, and how many could not.
    #[must_use]
    pub fn sent_and_unsent(&self) -> (u64, u64) {
        (self.reached.sum(|reached| reached.sent.get()), self.reached.sum(|reached| reached.unsent.get()))
    }

    /// Puts limits in force, [`LIMITS_AHEAD`] after `now`.
    pub fn set_limits(&self, limits: Limits, now: Instant) {
        self.limits.change(limits, self.tick_at(now), self.tick_at(now + LIMITS_AHEAD));
    }

    /// How long answers took until a moment, since the rollout began, of both sides; zeros where nothing asks for it.
    #[must_use]
    pub fn times(&self, until: Until) -> BySide<TimeCounts> {
        let mut sum = BySide::<TimeCounts>::default();
        for ring in self.rings.iter() {
            let times = ring.times.of(until);
            times.candidate.add_to(&mut sum.candidate);
            times.live.add_to(&mut sum.live);
        }
        sum
    }

    /// The counts of a tick at a moment of the answers; zeros for one that no worker remembers.
    #[must_use]
    pub fn read(&self, tick: u64, until: Until) -> TickCounts {
        let indicators = Indicator::ALL.into_iter().filter(|indicator| indicator.known_at() == until);
        let mut sides = BySide::<SideCounts>::default();
        let (mut new_draws, mut complete) = (0, true);
        let mut limits: Option<[BySide<u64>; LatencyCheck::QUANTILES]> = None;
        let mut limited = [true; LatencyCheck::QUANTILES];
        for slot in self.rings.iter().map(|ring| ring.slot(tick)).filter(|slot| slot.is_of(tick)) {
            // The heads first: answers begin before their heads are counted.
            complete &=
                until == Until::Head || [Side::Candidate, Side::Live].into_iter().all(|side| heads_known(slot, side));
            let [candidate, live] = [Side::Candidate, Side::Live].map(|side| slot.cells(until, side));
            sides.candidate.add(candidate, indicators.clone());
            sides.live.add(live, indicators.clone());
            new_draws += slot.new_draws.get();
            let (of_candidate, of_live) = (candidate.limits(), live.limits());
            let of_both = std::array::from_fn(|at| BySide { candidate: of_candidate[at], live: of_live[at] });
            let same = limits.get_or_insert(of_both);
            for (at, limited) in limited.iter_mut().enumerate() {
                *limited &= of_both[at].live > 0 && of_both[at] == same[at];
            }
        }
        let limited = limited.map(|limited| limited && limits.is_some());
        complete &= sides.candidate.undecided() + sides.live.undecided() == 0;
        sides.candidate.conclude(until, limited);
        sides.live.conclude(until, limited);
        TickCounts { sides, new_draws, limited, complete }
    }
}

/// Whether one side of a tick has all its heads.
fn heads_known(slot: &Slot, side: Side) -> bool {
    let cells = slot.cells(Until::Head, side);
    let decided = cells.decided.get();
    decided == cells.requests.get()
}

#[cfg(test)]
mod tests;
