//! What the router's own counts say.

use crate::model::{BasisPoints, ErrorRatioCheck, view::CountsView};
use serde::{Deserialize, Serialize};

/// The drawn requests of one judged tick of 100 ms, and those of them that failed and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tick {
    /// Requests of the candidate.
    pub candidate_requests: u64,
    /// Of those, failed and counted.
    pub candidate_failures: u64,
    /// Requests of live.
    pub live_requests: u64,
    /// Of those, failed and counted.
    pub live_failures: u64,
}

/// The evidence of the error ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ErrorRatioEvidence {}

impl ErrorRatioEvidence {
    /// Nothing yet.
    #[must_use]
    pub fn new(_check: ErrorRatioCheck) -> Self {
        unimplemented!()
    }
    /// Takes in one judged tick.
    pub fn observe(&mut self, _tick: Tick) {
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
    /// So many distinct draws of the candidate have been seen; any number from three on means the same.
    pub fn set_draws_seen(&mut self, _draws: u64) {
        unimplemented!()
    }
    /// ln E against "the candidate is no worse", over the whole rollout.
    #[must_use]
    pub fn ln_rollback(&self) -> f64 {
        unimplemented!()
    }
    /// ln E against "the candidate is worse", in this step.
    #[must_use]
    pub fn ln_promote(&self) -> f64 {
        unimplemented!()
    }
    /// Counts of the whole rollout.
    #[must_use]
    pub fn rollout(&self) -> CountsView {
        unimplemented!()
    }
    /// Counts of this step.
    #[must_use]
    pub fn step(&self) -> CountsView {
        unimplemented!()
    }
}
