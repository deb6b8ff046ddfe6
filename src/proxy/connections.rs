//! How many connections visitors have to a worker.

use std::cell::Cell;
use std::rc::Rc;
use tokio::sync::Notify;

/// The number of a worker's connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    count: Cell<usize>,
    fewer: Notify,
}

/// A connection that is counted for as long as this is held.
#[derive(Debug)]
pub(super) struct Counted(Rc<Connections>);

impl Connections {
    /// Counts one more.
    pub(super) fn enter(self: &Rc<Self>) -> Counted {
        self.count.set(self.count.get() + 1);
        Counted(Rc::clone(self))
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.count.get()
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
        self.0.count.set(self.0.count.get().saturating_sub(1));
        self.0.fewer.notify_waiters();
    }
}
