//! All the evidence of a rollout.

use super::{ComparisonEvidence, Pair, PromQlEvidence, PromQlReport, Tick};
use crate::model::{BasisPoints, Check, Indicator, Plan, Timestamp, Until};
use serde::{Deserialize, Serialize};

/// What is still fine of answers that don't come: a tenth of a percent.
pub(super) const NO_HEAD_TOLERATE: f64 = 0.001;

/// All the evidence of a rollout: a plain value that is stored as JSON and taken up again after a restart, so that a
/// restart never starts a fresh α.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    error_ratio: Option<ComparisonEvidence>,
    late: ComparisonEvidence,
    promql: Vec<PromQlEvidence>,
    exposure: u64,
}

impl Evidence {
    /// Of a rollout that begins: nothing yet.
    #[must_use]
    pub fn begin(plan: &Plan) -> Self {
        let late = ComparisonEvidence::new(NO_HEAD_TOLERATE);
        let mut evidence = Self { error_ratio: None, late, promql: Vec::new(), exposure: 0 };
        for check in &plan.checks {
            match check {
                Check::ErrorRatio(check) => evidence.error_ratio = Some(ComparisonEvidence::new(check.tolerate)),
                Check::Latency(_) | Check::StatusRatio(_) => {}
                Check::PromQl(check) => evidence.promql.push(PromQlEvidence::new(check.clone())),
            }
        }
        evidence
    }

    /// Takes in one judged tick.
    pub fn observe(&mut self, tick: &Tick) {
        match tick.known_at {
            Until::Head => self.observe_failures(tick.pair(Indicator::Failed)),
            Until::End => {}
        }
    }

    /// Takes in failures alone.
    pub(super) fn observe_failures(&mut self, tick: Pair) {
        self.exposure = self.exposure.saturating_add(tick.candidate_answered());
        self.late.observe(tick.late_as_failures());
        if let Some(error_ratio) = &mut self.error_ratio {
            error_ratio.observe(tick);
        }
    }

    /// Takes in the answer of the PromQL check of that name: what it asked for, or why there was none.
    pub fn answer(&mut self, check: &str, report: PromQlReport, at: Timestamp) {
        if let Some(evidence) = self.promql.iter_mut().find(|evidence| evidence.check().name == check) {
            evidence.observe(report, at);
        }
    }

    /// The weight is another one from the next tick on.
    pub fn weight_changed(&mut self, weight: BasisPoints) {
        self.late.weight_changed(weight);
        if let Some(error_ratio) = &mut self.error_ratio {
            error_ratio.weight_changed(weight);
        }
        self.promql.iter_mut().for_each(|promql| promql.weight_changed(weight));
    }

    /// A step begins, at this weight.
    pub fn begin_step(&mut self, weight: BasisPoints) {
        self.exposure = 0;
        self.late.begin_step(weight);
        if let Some(error_ratio) = &mut self.error_ratio {
            error_ratio.begin_step(weight);
        }
        self.promql.iter_mut().for_each(|promql| promql.begin_step(weight));
    }

    /// So many more distinct draws of the candidate have been seen, and so many have failed for the first time.
    pub fn add_draws(&mut self, seen: u64, failing: u64) {
        if let Some(error_ratio) = &mut self.error_ratio {
            error_ratio.add_draws(seen, failing);
        }
    }

    /// How often no head came within the lag.
    #[must_use]
    pub fn late(&self) -> &ComparisonEvidence {
        &self.late
    }

    /// Candidate requests of this step that were answered.
    #[must_use]
    pub fn exposure(&self) -> u64 {
        self.exposure
    }

    /// The error ratio's part, where the plan has that check.
    #[must_use]
    pub fn error_ratio(&self) -> Option<&ComparisonEvidence> {
        self.error_ratio.as_ref()
    }

    /// The PromQL checks' parts, in the order of the plan.
    #[must_use]
    pub fn promql(&self) -> &[PromQlEvidence] {
        &self.promql
    }
}
