//! The decision.

use super::{Event, Refusal, ServiceState, Transition};
use crate::model::Timestamp;

/// What follows from `event` at `now`: the transition, or None where nothing changes.
///
/// # Errors
/// When a command does not fit the state; the refusal says what does.
pub fn decide(_state: &ServiceState, _event: &Event, _now: Timestamp) -> Result<Option<Transition>, Refusal> {
    unimplemented!()
}
