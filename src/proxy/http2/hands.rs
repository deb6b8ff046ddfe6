//! The tasks that serve streams. One whose stream has ended waits for another: a request has a lot to remember on its way,
//! and to make room for that anew each time, and move it there, costs as much as the way itself. Who was free last is the
//! next, for its memory is still near the processor.

use super::connection::Lane;
use super::stream;
use crate::proxy::worker::Worker;
use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::Request;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The most tasks of a worker that wait. Each takes less than 4 KiB.
const MOST_FREE: usize = 1024;

/// A stream that is to be served.
pub(super) struct Work {
    pub(super) lane: Lane,
    pub(super) request: Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
}

/// The tasks of a worker that wait for a stream.
#[derive(Default)]
pub(in crate::proxy) struct Hands {
    free: RefCell<Vec<Rc<Hand>>>,
}

/// A task, as others know it.
#[derive(Default)]
struct Hand {
    /// What it is to do next.
    work: Cell<Option<Work>>,
    /// Whether it is of no more use.
    dismissed: Cell<bool>,
    waker: OnceCell<Waker>,
}

impl Hands {
    /// Has a task serve a stream.
    pub(super) fn serve(&self, worker: &Rc<Worker>, work: Work) {
        let Some(hand) = self.free.borrow_mut().pop() else {
            tokio::task::spawn_local(serve(Rc::clone(worker), work));
            return;
        };
        hand.work.set(Some(work));
        hand.wake();
    }

    /// A task waits; whether it is to.
    fn waits(&self, hand: &Rc<Hand>) -> bool {
        let mut free = self.free.borrow_mut();
        let is_wanted = free.len() < MOST_FREE;
        if is_wanted {
            free.push(Rc::clone(hand));
        }
        is_wanted
    }

    /// Ends half of those that wait: a worker at rest soon has none.
    pub(in crate::proxy) fn sweep(&self) {
        let mut free = self.free.borrow_mut();
        let half = free.len() / 2;
        for hand in free.drain(half..) {
            hand.dismissed.set(true);
            hand.wake();
        }
    }
}

impl Hand {
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Ready once there is something to do, or nothing ever will be.
    fn poll_work(&self, cx: &mut Context<'_>) -> Poll<Option<Work>> {
        // A task has one waker all its life.
        self.waker.get_or_init(|| cx.waker().clone());
        let work = self.work.take();
        if work.is_some() || self.dismissed.get() { Poll::Ready(work) } else { Poll::Pending }
    }
}

/// Serves a stream, and then others.
async fn serve(worker: Rc<Worker>, first: Work) {
    let hand = Rc::new(Hand { work: Cell::new(Some(first)), ..Hand::default() });
    while let Some(work) = poll_fn(|cx| hand.poll_work(cx)).await {
        stream::serve(work).await;
        if !worker.hands.waits(&hand) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_as_there_is_room_for_and_a_worker_at_rest_soon_has_none() {
        let hands = Hands::default();
        let all: Vec<_> = (0..=MOST_FREE).map(|_| Rc::<Hand>::default()).collect();
        let waiting = all.iter().filter(|hand| hands.waits(hand)).count();
        assert_eq!((waiting, hands.free.borrow().len()), (MOST_FREE, MOST_FREE));
        let mut cx = Context::from_waker(Waker::noop());
        for left in [MOST_FREE / 2, MOST_FREE / 4, MOST_FREE / 8] {
            hands.sweep();
            let ended = all.iter().filter(|hand| hand.poll_work(&mut cx).is_ready()).count();
            assert_eq!((hands.free.borrow().len(), ended), (left, MOST_FREE - left));
        }
        (0..10).for_each(|_| hands.sweep());
        assert!(hands.free.borrow().is_empty());
    }
}
