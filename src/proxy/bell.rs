//! What a request waits by, in whatever line, until it is called.

use super::worker::Worker;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};
use tokio::task::coop::unconstrained;

/// How often a waiting request looks whether its visitor is still there: hyper does not see it while a body is unread.
const LOOK: Duration = Duration::from_millis(250);

/// Wakes a request that waits.
#[derive(Default)]
pub(super) struct Bell(RefCell<Option<Waker>>);

impl Bell {
    /// Has the request look at once.
    pub(super) fn ring(&self) {
        if let Some(waker) = &*self.0.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Waits until it is `called`, which is asked whenever the bell rings. `None` when the deadline, which may move, has
    /// passed before. Now and then it does what is to be done at a `look`.
    pub(super) async fn wait<C>(
        &self,
        worker: &Worker,
        called: impl Fn() -> Option<C>,
        deadline: impl Fn() -> Instant,
        look: impl Fn(),
    ) -> Option<C> {
        let mut sleep = pin!(tokio::time::sleep_until(worker.now().into()));
        poll_fn(|cx| {
            loop {
                if let Some(call) = called() {
                    return Poll::Ready(Some(call));
                }
                let (now, deadline) = (worker.now(), deadline());
                if now >= deadline {
                    return Poll::Ready(None);
                }
                sleep.as_mut().reset(deadline.min(now + LOOK).into());
                if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                    let mut waker = self.0.borrow_mut();
                    if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        *waker = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
                worker.tick();
                look();
            }
        })
        .await
    }
}
