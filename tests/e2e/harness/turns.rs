//! Tests that need the machine take turns.

use tokio::sync::{Semaphore, SemaphorePermit};

static TURN: Semaphore = Semaphore::const_new(1);

/// Held by a test that makes much traffic or judges times, so that no two of them starve each other.
pub async fn heavy_turn() -> SemaphorePermit<'static> {
    TURN.acquire().await.unwrap()
}
