//! How long a step needs.

use crate::model::{Plan, Step};
use std::time::Duration;

/// About how long `step` takes while `drawn_per_second` requests are drawn, for both pools together, and none fails:
/// None where it would never be passed, since nothing comes in.
#[must_use]
pub fn expected_time(_plan: &Plan, _step: &Step, _drawn_per_second: f64) -> Option<Duration> {
    unimplemented!()
}
