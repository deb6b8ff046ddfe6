//! The tasks that serve streams. One whose stream has ended waits for another: what a request has to remember on its way
//! takes 2 KiB, which a task of its own would have to be given anew, and which would be moved there and back eight times.
//! Who was free last is the next, for its memory is still near the processor.

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
    /// So many of them, the first, have waited since the last look.
    spare: Cell<usize>,
}

/// A task, as others know it.
#[derive(Default)]
struct Hand {
    /// What it is to do next.
    work: RefCell<Option<Work>>,
    /// Whether it is of no more use.
    dismissed: Cell<bool>,
    waker: OnceCell<Waker>,
}

impl Hands {
    /// Has a task serve a stream.
    pub(super) fn serve(&self, worker: &Rc<Worker>, work: Work) {
        match self.next() {
            Some(hand) => {
                hand.work.replace(Some(work));
                hand.wake();
            }
            None => drop(tokio::task::spawn_local(serve(Rc::clone(worker), work))),
        }
    }

    /// One that waits, which waits no more.
    fn next(&self) -> Option<Rc<Hand>> {
        let mut free = self.free.borrow_mut();
        let next = free.pop();
        self.spare.set(self.spare.get().min(free.len()));
        next
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

    /// Ends those that had nothing to do since the last look.
    pub(in crate::proxy) fn sweep(&self) {
        let mut free = self.free.borrow_mut();
        for hand in free.drain(..self.spare.get()) {
            hand.dismissed.set(true);
            hand.wake();
        }
        self.spare.set(free.len());
    }
}

impl Hand {
    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Ready once there is something to do, or nothing ever will be: whether it is of use.
    fn poll_needed(&self, cx: &mut Context<'_>) -> Poll<bool> {
        // A task has one waker all its life.
        self.waker.get_or_init(|| cx.waker().clone());
        let has_work = self.work.borrow().is_some();
        if has_work || self.dismissed.get() { Poll::Ready(has_work) } else { Poll::Pending }
    }
}

/// Serves a stream, and then others.
async fn serve(worker: Rc<Worker>, first: Work) {
    let hand = Rc::new(Hand { work: RefCell::new(Some(first)), ..Hand::default() });
    while poll_fn(|cx| hand.poll_needed(cx)).await {
        stream::serve(&hand.work).await;
        if !worker.hands.waits(&hand) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_as_there_is_room_for_and_those_end_that_had_nothing_to_do() {
        let hands = Hands::default();
        let all: Vec<_> = (0..=MOST_FREE).map(|_| Rc::<Hand>::default()).collect();
        let waiting = all.iter().filter(|hand| hands.waits(hand)).count();
        assert_eq!((waiting, hands.free.borrow().len()), (MOST_FREE, MOST_FREE));
        let ended = || {
            let mut cx = Context::from_waker(Waker::noop());
            all.iter().filter(|hand| hand.poll_needed(&mut cx) == Poll::Ready(false)).count()
        };
        hands.sweep();
        assert_eq!(ended(), 0, "they have only begun to wait");
        let busy: Vec<_> = (0..10).filter_map(|_| hands.next()).collect();
        assert!(busy.iter().all(|hand| hands.waits(hand)));
        hands.sweep();
        assert_eq!((ended(), hands.free.borrow().len()), (MOST_FREE - 10, 10));
        hands.sweep();
        assert_eq!((ended(), hands.free.borrow().len()), (MOST_FREE, 0));
    }
}
