//! Waiting for a condition instead of for a time.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// For what takes no time by itself, on a machine that is busy with other tests.
pub const SHORT: Duration = Duration::from_secs(15);
/// For what takes some seconds by itself.
pub const LONG: Duration = Duration::from_secs(60);

/// Looks again and again until there is something, and panics saying `what` when there is nothing in time.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// As [`eventually`], for a condition that is true or not.
pub async fn until(what: &str, within: Duration, mut condition: impl AsyncFnMut() -> bool) {
    eventually(what, within, async || condition().await.then_some(())).await;
}
