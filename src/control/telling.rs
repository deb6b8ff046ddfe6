//! What people are told of a decision.

use super::service::ServiceControl;
use super::view;
use crate::model::Timestamp;
use crate::model::view::HistoryView;
use crate::rollout::Transition;

/// A decision as it is told; to be asked before it is in force, so that the evidence is the one that it was made of.
pub(super) fn announcement(service: &ServiceControl, transition: &Transition) -> HistoryView {
    let (state, decision) = (&transition.state, &transition.decision);
    HistoryView {
        id: 0,
        at: Timestamp::now(),
        revision: state.revision,
        decision: decision.name.as_str().to_owned(),
        by: decision.by.clone(),
        reason: decision.reason.clone(),
        phase: state.phase,
        live: state.live.clone(),
        candidate: state.candidate.clone(),
        weight: state.weight,
        evidence: view::evidence(service),
        record: None,
    }
}
