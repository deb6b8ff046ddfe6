//! Times that never overflow, and that a clock which goes back cannot turn negative.

use crate::model::Timestamp;
use jiff::SignedDuration;
use std::time::Duration;

/// From `since` to `now`; nothing where the clock has gone back.
pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or(Duration::ZERO)
}

/// So much later; the end of all time where it would be beyond it.
pub(super) fn later(at: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}
