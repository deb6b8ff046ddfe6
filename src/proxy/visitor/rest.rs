//! Whether a connection rests: while nothing comes on it, only its socket is kept, and what is known of the visitor.

use super::{Phase, Visitor};
use std::time::{Duration, Instant};

/// How often it is looked for connections that can rest.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long nothing has come before a connection rests, where it is not known to be used again and again.
const QUIET: Duration = Duration::from_millis(50);

/// The same where the next request came so soon after the last. To begin anew is work, which is not done for each request of
/// who sends one now and then.
const SOON: Duration = Duration::from_secs(2);

impl Visitor {
    /// Whether the connection can rest: nothing of a request has come for a while, and nothing of the last is left.
    pub(super) fn can_rest(&self, now: Instant) -> bool {
        matches!(self.phase.get(), Phase::Idle | Phase::Head { begun: false })
            && self.is_silent_for(if self.returns_soon.get() { SOON } else { QUIET }, now)
            && !self.body_due.get()
            && !self.unread.get()
            && !self.closing.get()
            && !self.peer.multiplexes.get()
    }

    /// The connection should come to rest, when its task runs again.
    pub(super) fn ask_to_rest(&self) {
        self.asked_to_rest.set(true);
        self.wake();
    }

    pub(super) fn is_asked_to_rest(&self) -> bool {
        self.asked_to_rest.get()
    }

    /// Whether the connection comes to rest now.
    pub(in crate::proxy) fn goes_to_rest(&self) -> bool {
        self.asked_to_rest.get() && {
            self.asked_to_rest.set(false);
            // Something may have come since.
            self.can_rest(self.worker.now())
        }
    }

    /// Little is kept of the connection from now on.
    pub(in crate::proxy) fn rests(&self) {
        if !self.is_resting() {
            self.peer.told.take();
            self.worker.visitors.set_resting(self, true);
        }
    }

    /// The connection is whole again.
    pub(in crate::proxy) fn is_up(&self) {
        if self.is_resting() {
            let returns = self.phase.get() == Phase::Idle;
            self.returns_soon.set(returns && !self.is_silent_for(SOON, self.worker.now()));
            self.worker.visitors.set_resting(self, false);
        }
    }

    fn is_silent_for(&self, time: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since.get()) >= time
    }

    pub(super) fn is_resting(&self) -> bool {
        self.resting.get()
    }
}
