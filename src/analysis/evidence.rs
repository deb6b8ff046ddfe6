//! All the evidence of a rollout.

use super::{ErrorRatioEvidence, PromQlEvidence, Tick};
use crate::model::{BasisPoints, Plan, Timestamp};
use serde::{Deserialize, Serialize};

/// All the evidence of a rollout: a plain value, stored as JSON and taken up again after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {}

impl Evidence {
    /// Of a rollout that begins.
    #[must_use]
    pub fn begin(_plan: &Plan) -> Self {
        unimplemented!()
    }
    /// Takes in one judged tick.
    pub fn observe(&mut self, _tick: Tick) {
        unimplemented!()
    }
    /// Takes in the answer of the PromQL check of that name.
    pub fn answer(&mut self, _check: &str, _answer: Result<f64, String>, _at: Timestamp) {
        unimplemented!()
    }
    /// The weight is another one from the next tick on.
    pub fn weight_changed(&mut self, _weight: BasisPoints) {
        unimplemented!()
    }
    /// A step begins, at this weight.
    pub fn begin_step(&mut self, _weight: BasisPoints) {
        unimplemented!()
    }
    /// So many more distinct draws of the candidate have failed.
    pub fn add_failing_draws(&mut self, _draws: u64) {
        unimplemented!()
    }
    /// So many distinct draws of the candidate have been seen in the rollout; any number from three on means the same.
    pub fn set_draws_seen(&mut self, _draws: u64) {
        unimplemented!()
    }
    /// The error ratio's part, where the plan has that check.
    #[must_use]
    pub fn error_ratio(&self) -> Option<&ErrorRatioEvidence> {
        unimplemented!()
    }
    /// The PromQL checks' parts.
    #[must_use]
    pub fn promql(&self) -> &[PromQlEvidence] {
        unimplemented!()
    }
}
