//! What a latency check says: does the candidate answer more slowly than live, at any of the quantiles that it compares?
//!
//! A limit is taken from live's past: the time within which that share of its answers came. Then the same bets as for
//! failures are placed on "the candidate is slower than the limit and its tolerance" against "live is slower than the
//! limit". Where the candidate is not slower by more than the tolerance at any quantile, that is no more frequent of the
//! candidate than of live, whatever the limit is. Both are looked at over the same seconds, so a shared slow-down
//! cancels. The quantiles' e-values are averaged, which is valid however they depend on each other.

use super::eprocess::{as_f64, ln_sum};
use super::{ComparisonEvidence, Tick};
use crate::model::{Indicator, LatencyCheck, Until};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The times of one quantile, as they are at the moment. For people: nothing is decided by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QuantileTimes {
    /// The limit above which an answer of live is slow; None before enough of them were seen.
    pub limit: Option<Duration>,
    /// The candidate's quantile.
    pub candidate: Option<Duration>,
    /// Live's quantile.
    pub live: Option<Duration>,
}

/// The evidence of one latency check: a comparison for each of its quantiles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct LatencyEvidence {
    check: LatencyCheck,
    quantiles: Vec<ComparisonEvidence>,
    times: [QuantileTimes; LatencyCheck::QUANTILES],
}

/// The same as it is read back. Without one comparison for each quantile it would judge by none, or by another's.
#[derive(Deserialize)]
struct Stored {
    check: LatencyCheck,
    quantiles: Vec<ComparisonEvidence>,
    times: [QuantileTimes; LatencyCheck::QUANTILES],
}

impl TryFrom<Stored> for LatencyEvidence {
    type Error = String;

    fn try_from(Stored { check, quantiles, times }: Stored) -> Result<Self, String> {
        let expected = Self::compared_at(&check);
        if quantiles.is_empty() || quantiles.len() != expected {
            return Err(format!("{} comparisons of times for {expected} quantiles", quantiles.len()));
        }
        Ok(Self { check, quantiles, times })
    }
}

impl LatencyEvidence {
    pub(super) fn new(check: &LatencyCheck) -> Self {
        Self {
            check: check.clone(),
            // The tolerance is in the candidate's limit already.
            quantiles: vec![ComparisonEvidence::new(0.0); Self::compared_at(check)],
            times: [QuantileTimes::default(); LatencyCheck::QUANTILES],
        }
    }

    /// At how many quantiles it compares.
    fn compared_at(check: &LatencyCheck) -> usize {
        check.quantiles.len().min(LatencyCheck::QUANTILES)
    }

    /// The check, as pinned at the rollout's start.
    #[must_use]
    pub fn check(&self) -> &LatencyCheck {
        &self.check
    }

    /// Each quantile with its evidence and its times, rising.
    pub fn quantiles(&self) -> impl Iterator<Item = (f64, &ComparisonEvidence, QuantileTimes)> {
        let quantiles = self.check.quantiles.iter().copied();
        quantiles.zip(&self.quantiles).zip(self.times).map(|((quantile, evidence), times)| (quantile, evidence, times))
    }

    pub(super) fn until(&self) -> Until {
        self.check.until
    }

    pub(super) fn set_times(&mut self, times: [QuantileTimes; LatencyCheck::QUANTILES]) {
        self.times = times;
    }

    /// A quantile without a limit says nothing of the tick.
    pub(super) fn observe(&mut self, tick: &Tick) {
        let until = self.check.until;
        for (place, evidence) in self.quantiles.iter_mut().enumerate().filter(|(place, _)| tick.limited[*place]) {
            let slow = Indicator::slow(until, place);
            evidence.add_draws(0, tick.failing_draws(slow));
            evidence.observe(tick.pair(slow));
        }
    }

    pub(super) fn comparisons_mut(&mut self) -> impl Iterator<Item = &mut ComparisonEvidence> {
        self.quantiles.iter_mut()
    }

    /// ln of the average of the quantiles' e-values, against "the candidate is no slower".
    pub(super) fn ln_rollback(&self) -> f64 {
        ln_sum(self.quantiles.iter().map(ComparisonEvidence::ln_rollback)) - as_f64(self.quantiles.len() as u64).ln()
    }

    /// ln E against "the candidate is slower", of the quantile that says the least: every one of them has to agree.
    pub(super) fn ln_promote(&self) -> f64 {
        self.quantiles.iter().map(ComparisonEvidence::ln_promote).fold(f64::INFINITY, f64::min)
    }

    /// The quantile that speaks loudest against the candidate.
    pub(super) fn worst(&self) -> Option<(f64, &ComparisonEvidence, QuantileTimes)> {
        self.quantiles().max_by(|one, other| one.1.ln_rollback().total_cmp(&other.1.ln_rollback()))
    }

    /// Candidate answers of this step that were compared: at the quantile at which they were most.
    pub(super) fn compared(&self) -> u64 {
        self.quantiles.iter().map(|evidence| evidence.step().candidate_requests).max().unwrap_or_default()
    }
}
