//! From evidence to a verdict.

use super::Evidence;
use crate::model::view::{CheckView, EvidenceView};
use crate::model::{Judgement, Plan, Timestamp};

/// What all the evidence of a rollout says at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// What a decision goes by.
    pub judgement: Judgement,
    /// What each check says, in the order of the plan.
    pub checks: Vec<CheckView>,
    /// Whether the step may be passed for its exposure alone, without evidence that suffices.
    pub by_exposure: bool,
    /// Whether a check leans to regressed.
    pub leaning: bool,
}

impl Assessment {
    /// As the API shows it and the history keeps it.
    #[must_use]
    pub fn view(&self) -> EvidenceView {
        unimplemented!()
    }
}

/// Judges the evidence by the plan.
#[must_use]
pub fn assess(_evidence: &Evidence, _plan: &Plan, _now: Timestamp) -> Assessment {
    unimplemented!()
}
