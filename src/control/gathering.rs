//! Gathers the evidence of one rollout: reads the workers' counts tick by tick, in order, once each is complete.

use super::timing::Timing;
use crate::analysis::{self, Assessment, Bad, Evidence, PoolCounts, PromQlReport, SideTick, Tick, Watch, assess};
use crate::model::view::{EvidenceView, GuardView};
use crate::model::{BasisPoints, Indicator, Timestamp, Until};
use crate::rollout::{EvidenceChange, Rollout};
use crate::routing::{
    ByMoment, Draws, Measures, OLDEST_TICK, SeenVisitors, Side, SideCounts, TICK, TickCounts, lag_ticks,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ticks that the present rate is taken over: 10 s.
const RATE_TICKS: usize = 100;
/// Without a request for this long, 3 s, people are told that none comes in.
const SILENCE_TICKS: usize = 30;
/// So many first requests in a row that could not be sent need no statistics.
const UNREACHABLE: u64 = 10;
/// How often a sticky visitor is timed in a step: rarely enough that what is slow for one is not slow for many, and often
/// enough that a long step sees a release that becomes slow.
const TIMED_EVERY: Duration = Duration::from_secs(300);

/// The evidence of a rollout, and where it comes from.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) evidence: Evidence,
    pub(super) draws: Arc<Draws>,
    pub(super) seen: Arc<SeenVisitors>,
    /// Whether the evidence differs from what the store was given.
    pub(super) unsaved: bool,
    next_tick: ByMoment<u64>,
    timed_since: Instant,
    timing: Timing,
    recent: VecDeque<(u64, u64)>,
    assessment: Assessment,
}

impl Gathering {
    /// With evidence that is new, or that a restart brought back.
    pub(super) fn new(evidence: Evidence, rollout: &Rollout, workers: usize, now: Timestamp) -> Self {
        let begin = Instant::now();
        Self {
            draws: Arc::new(Draws::new(workers, begin, Measures::of(&rollout.plan))),
            seen: Arc::default(),
            unsaved: true,
            next_tick: ByMoment::default(),
            timed_since: begin,
            timing: Timing::new(&rollout.plan, begin),
            recent: VecDeque::with_capacity(RATE_TICKS),
            assessment: assess(&evidence, &rollout.plan, rollout.step, now),
            evidence,
        }
    }

    /// Takes in every tick whose outcomes are known by now, and judges.
    pub(super) fn gather(&mut self, rollout: &Rollout, now: Instant, time: Timestamp) {
        if now.saturating_duration_since(self.timed_since) >= TIMED_EVERY {
            self.seen.time_again();
            self.timed_since = now;
        }
        for until in Until::ALL {
            while let Some(counts) = self.next_known(until, now) {
                if until == Until::Head {
                    self.note_rate(&counts);
                }
                self.observe(until, &counts);
            }
        }
        if self.timing.pass(&self.draws, now) {
            self.timing.tell(&mut self.evidence);
        }
        self.assessment = assess(&self.evidence, &rollout.plan, rollout.step, time);
    }

    /// The counts of the next tick, if all that they can tell is known by now.
    fn next_known(&mut self, until: Until, now: Instant) -> Option<TickCounts> {
        let current = self.draws.tick_at(now);
        let next = self.next_tick.of_mut(until);
        // A reader that is later than this has lost the ticks before.
        *next = (*next).max(current.saturating_sub(OLDEST_TICK));
        // A tick is over when the next one is: a worker may be about to count in it still.
        if *next + 1 >= current {
            return None;
        }
        let counts = self.draws.read(*next, until);
        if !counts.complete && current <= *next + lag_ticks(until) + 1 {
            return None;
        }
        *next += 1;
        Some(counts)
    }

    fn note_rate(&mut self, counts: &TickCounts) {
        if self.recent.len() == RATE_TICKS {
            self.recent.pop_front();
        }
        self.recent.push_back((counts.sides.candidate.requests, counts.sides.live.requests));
    }

    fn observe(&mut self, known_at: Until, counts: &TickCounts) {
        let sides = &counts.sides;
        if sides.candidate.requests + sides.live.requests == 0 {
            return;
        }
        self.unsaved = true;
        self.evidence.observe(&Tick {
            known_at,
            candidate: side_tick(&sides.candidate, Side::Candidate),
            live: side_tick(&sides.live, Side::Live),
            new_draws: if known_at == Until::Head { counts.new_draws } else { 0 },
            limited: counts.limited,
        });
    }

    /// Takes in the answer of a PromQL check.
    pub(super) fn answer(&mut self, check: &str, report: PromQlReport, now: Timestamp) {
        self.evidence.answer(check, report, now);
        self.unsaved = true;
    }

    /// Takes in what the guard says, and what live has answered since the last time.
    pub(super) fn take_guard(&mut self, guard: GuardView, of_live: PoolCounts) {
        self.evidence.set_guard(guard);
        if let Some(watch) = self.evidence.watch_mut() {
            watch.observe(of_live);
            self.unsaved = true;
        }
    }

    /// The candidate was promoted: what is left to do is to watch it.
    pub(super) fn begin_watch(&mut self, watch: Watch) {
        self.evidence.begin_watch(watch);
        self.unsaved = true;
    }

    /// What the evidence says.
    pub(super) fn assessment(&self) -> &Assessment {
        &self.assessment
    }

    /// The evidence as people see it.
    pub(super) fn view(&self, rollout: &Rollout, now: Timestamp) -> EvidenceView {
        analysis::view(&self.evidence, &rollout.plan, rollout.step, now, self.rates().0)
    }

    /// Whether the candidate's first requests in a row could not be sent at all.
    pub(super) fn unreachable(&self) -> bool {
        let (sent, unsent) = self.draws.sent_and_unsent();
        sent == 0 && unsent >= UNREACHABLE
    }

    /// Drawn requests per second of the candidate and of live.
    #[allow(clippy::cast_precision_loss)] // counts of ten seconds
    pub(super) fn rates(&self) -> (f64, f64) {
        let seconds = TICK.as_secs_f64() * self.recent.len().max(1) as f64;
        let sum = |side: fn(&(u64, u64)) -> u64| self.recent.iter().map(side).sum::<u64>() as f64 / seconds;
        (sum(|tick| tick.0), sum(|tick| tick.1))
    }

    /// Whether nothing has come in for long enough to say so.
    pub(super) fn nothing_comes_in(&self) -> bool {
        self.recent.len() >= SILENCE_TICKS && self.recent.iter().all(|(candidate, live)| candidate + live == 0)
    }

    /// Follows a change of weight or step.
    pub(super) fn change(&mut self, change: EvidenceChange, weight: BasisPoints) {
        change_evidence(&mut self.evidence, change, weight);
        if change != EvidenceChange::Keep {
            self.seen = Arc::default();
            self.timed_since = Instant::now();
            self.unsaved = true;
        }
    }
}

/// The counts of a side as the evidence takes them.
fn side_tick(counts: &SideCounts, side: Side) -> SideTick {
    let new_draws = |new| if side == Side::Candidate { new } else { 0 };
    SideTick {
        requests: counts.requests,
        undecided: counts.undecided(),
        timed: counts.timed,
        bad: Indicator::ALL.map(|indicator| {
            let bad = counts.of(indicator);
            Bad { counted: bad.counted, all: bad.all, new_draws: new_draws(bad.new) }
        }),
    }
}

/// The evidence after a change of weight or step.
pub(super) fn change_evidence(evidence: &mut Evidence, change: EvidenceChange, weight: BasisPoints) {
    match change {
        EvidenceChange::WeightChanged => evidence.weight_changed(weight),
        EvidenceChange::NewStep => evidence.begin_step(weight),
        EvidenceChange::Keep | EvidenceChange::Begin | EvidenceChange::Watch | EvidenceChange::End => {}
    }
}
