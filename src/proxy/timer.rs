//! The one timer of a connection. It is armed for the nearest deadline and re-armed only when it fires, or when a deadline
//! comes nearer than it.

use super::worker::Worker;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

/// The one timer of a connection.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// When it fires; `None` when it has fired or was never armed.
    armed: Option<Instant>,
}

impl Timer {
    /// One that is not armed.
    pub(super) fn new(now: Instant) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep_until(now.into())), armed: None }
    }

    /// Ready when the deadline has passed, if there is one.
    pub(super) fn poll_until(&mut self, deadline: Option<Instant>, worker: &Worker, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        loop {
            let now = worker.now();
            if now >= deadline {
                return Poll::Ready(());
            }
            match self.armed {
                Some(armed) if now < armed && armed <= deadline => return Poll::Pending,
                Some(_) | None => {
                    self.sleep.as_mut().reset(deadline.into());
                    self.armed = Some(deadline);
                }
            }
            // Without tokio's budget: a poll that was put off would leave the timer without a task to wake.
            if pin!(unconstrained(self.sleep.as_mut())).poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            worker.tick();
        }
    }
}
