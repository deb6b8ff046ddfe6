//! How many connections visitors have to a worker.

use crate::config::ServerLimits;
use crate::routing::DoorTally;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::Notify;

/// One worker's share of the limits of the whole router, rounded up.
pub(super) fn share(limits: ServerLimits, workers: usize) -> ServerLimits {
    let share = |most: usize| most.div_ceil(workers.max(1)).max(1);
    ServerLimits {
        connections: share(limits.connections),
        connections_per_client: limits.connections_per_client.map(share),
        ..limits
    }
}

/// The number of a worker's connections.
#[derive(Debug)]
pub(super) struct Connections {
    tally: Arc<DoorTally>,
    fewer: Notify,
}

/// A connection that is counted for as long as this is held.
#[derive(Debug)]
pub(super) struct Counted(Rc<Connections>);

impl Connections {
    /// None yet.
    pub(super) fn new(tally: Arc<DoorTally>) -> Rc<Self> {
        Rc::new(Self { tally, fewer: Notify::new() })
    }

    /// Counts one more.
    pub(super) fn enter(self: &Rc<Self>) -> Counted {
        self.tally.connections.enter();
        Counted(Rc::clone(self))
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.tally.connections.get()
    }

    /// Resolves when one has ended.
    pub(super) async fn fewer(&self) {
        self.fewer.notified().await;
    }

    /// Resolves when there is none.
    pub(super) async fn gone(&self) {
        while self.count() > 0 {
            self.fewer().await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.tally.connections.leave();
        self.0.fewer.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_has_its_share_and_never_none() {
        let limits = |connections, per_client| ServerLimits {
            connections,
            connections_per_client: per_client,
            ..ServerLimits::default()
        };
        assert_eq!(share(limits(100, Some(10)), 4), limits(25, Some(3)));
        assert_eq!(share(limits(1, Some(1)), 4), limits(1, Some(1)));
        assert_eq!(share(limits(7, None), 2), limits(4, None));
    }
}
