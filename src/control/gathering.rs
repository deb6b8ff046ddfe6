//! Gathers the evidence of one rollout: reads the workers' counts tick by tick, in order, once each is complete.

use crate::analysis::{self, Assessment, Bad, Evidence, PromQlReport, SideTick, Tick, assess};
use crate::model::view::EvidenceView;
use crate::model::{BasisPoints, Indicator, LatencyCheck, Timestamp, Until};
use crate::rollout::{EvidenceChange, Rollout};
use crate::routing::{Draws, FailedVisitors, LAG_TICKS, SideCounts, TICK};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Ticks that the present rate is taken over: 10 s.
const RATE_TICKS: usize = 100;
/// Without a request for this long, 3 s, people are told that none comes in.
const SILENCE_TICKS: usize = 30;
/// So many first requests in a row that could not be sent need no statistics.
const UNREACHABLE: u64 = 10;
/// A reader that is later than this has lost the ticks before.
const OLDEST: u64 = 60;

/// The evidence of a rollout, and where it comes from.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) evidence: Evidence,
    pub(super) draws: Arc<Draws>,
    pub(super) failed: Arc<FailedVisitors>,
    /// Whether the evidence differs from what the store was given.
    pub(super) unsaved: bool,
    next_tick: u64,
    recent: VecDeque<(u64, u64)>,
    assessment: Assessment,
}

impl Gathering {
    /// With evidence that is new, or that a restart brought back.
    pub(super) fn new(evidence: Evidence, rollout: &Rollout, workers: usize, now: Timestamp) -> Self {
        Self {
            draws: Arc::new(Draws::new(workers, Instant::now())),
            failed: Arc::default(),
            unsaved: true,
            next_tick: 0,
            recent: VecDeque::with_capacity(RATE_TICKS),
            assessment: assess(&evidence, &rollout.plan, rollout.step, now),
            evidence,
        }
    }

    /// Takes in every tick whose outcomes are known by now, and judges.
    pub(super) fn gather(&mut self, rollout: &Rollout, now: Instant, time: Timestamp) {
        let current = self.draws.tick_at(now);
        self.next_tick = self.next_tick.max(current.saturating_sub(OLDEST));
        // A tick is over when the next one is: a worker may be about to count in it still.
        while self.next_tick + 1 < current {
            let counts = self.draws.read(self.next_tick);
            if !counts.complete() && current <= self.next_tick + LAG_TICKS + 1 {
                break;
            }
            self.next_tick += 1;
            if self.recent.len() == RATE_TICKS {
                self.recent.pop_front();
            }
            self.recent.push_back((counts.candidate.requests, counts.live.requests));
            if counts.candidate.requests + counts.live.requests == 0 {
                continue;
            }
            self.unsaved = true;
            let side = |counts: SideCounts, new_draws| {
                let mut side =
                    SideTick { requests: counts.requests, undecided: counts.undecided(), ..SideTick::default() };
                side.bad[Indicator::Failed.index()] = Bad { counted: counts.failures, all: counts.failed, new_draws };
                side
            };
            self.evidence.observe(&Tick {
                known_at: Until::Head,
                candidate: side(counts.candidate, counts.failing_draws),
                live: side(counts.live, 0),
                new_draws: counts.new_draws,
                limited: [false; LatencyCheck::QUANTILES],
            });
        }
        self.assessment = assess(&self.evidence, &rollout.plan, rollout.step, time);
    }

    /// Takes in the answer of a PromQL check.
    pub(super) fn answer(&mut self, check: &str, report: PromQlReport, now: Timestamp) {
        self.evidence.answer(check, report, now);
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
            self.failed = Arc::default();
            self.unsaved = true;
        }
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
