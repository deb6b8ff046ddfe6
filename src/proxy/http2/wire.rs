//! The byte stream below a visitor's HTTP/2: it counts the frames that come by, lets a busy connection read only so much
//! at a time, and takes notes for the time-outs and of what h2 refuses.

use super::frames::{Frame, Frames, Kind};
use super::hold::Hold;
use super::patience::Patience;
use super::refused::Unseen;
use super::sieve::Sieve;
use crate::proxy::visitor::Visitor;
use crate::proxy::worker::Worker;
use crate::transport::VisitorStream;
use h2::Reason;
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What one connection may read before others have their turn.
const TURN: usize = 64 * 1024;

/// What is read, and forgotten, once the connection has been ended from this side: closing it with bytes unread would
/// reset it, and the visitor might never see why.
const MOST_FORGOTTEN: usize = 1024 * 1024;

/// The stream while it is in h2's hands, and what is known of it.
pub(super) struct Wire {
    stream: RefCell<Hold<VisitorStream>>,
    /// What may still be read in this turn.
    turn: Cell<usize>,
    /// What the visitor did wrong.
    pub(super) fault: Cell<Option<Reason>>,
    /// Whether the visitor has acknowledged the settings.
    pub(super) acknowledged: Cell<bool>,
    /// Since when the rest of a head is awaited.
    pub(super) within_head: Cell<Option<Instant>>,
    /// Since when the visitor takes nothing of what is to be written.
    pub(super) blocked: Cell<Option<Instant>>,
    /// When the visitor last took something.
    pub(super) taken: Cell<Option<Instant>>,
    /// What it took since that was counted last, in bytes.
    served: Cell<usize>,
    /// Since when the connection is over for this side.
    pub(super) ended: Cell<Option<Instant>>,
    /// The requests that only h2 has seen.
    pub(super) unseen: RefCell<Unseen>,
    /// A lane for each stream that is under way.
    pub(super) streams: RefCell<Vec<(u32, Rc<Visitor>)>>,
}

impl Wire {
    pub(super) fn new(stream: VisitorStream) -> Rc<Self> {
        Rc::new(Self {
            stream: RefCell::new(Hold::new(stream)),
            turn: Cell::new(TURN),
            fault: Cell::new(None),
            acknowledged: Cell::new(false),
            within_head: Cell::new(None),
            blocked: Cell::new(None),
            taken: Cell::new(None),
            served: Cell::new(0),
            ended: Cell::new(None),
            unseen: RefCell::default(),
            streams: RefCell::default(),
        })
    }

    /// It is this connection's turn again.
    pub(super) fn begin_turn(&self) {
        self.turn.set(TURN);
    }

    /// The turn is over: what was written in it goes out.
    ///
    /// # Errors
    /// When the visitor is gone.
    pub(super) fn ends_turn(&self, worker: &Worker, cx: &mut Context<'_>) -> io::Result<()> {
        let hold = &mut *self.stream.borrow_mut();
        let sent = hold.poll_send(cx, |count| self.takes(count, worker));
        self.note(hold, worker);
        match sent {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Whether something is still to go out.
    pub(super) fn is_holding(&self) -> bool {
        self.stream.borrow().is_holding()
    }

    /// The visitor took something.
    fn takes(&self, count: usize, worker: &Worker) {
        self.served.set(self.served.get() + count);
        self.taken.set(Some(worker.now()));
        self.blocked.set(None);
    }

    /// Takes note of whether the visitor takes what is to be written.
    fn note(&self, hold: &Hold<VisitorStream>, worker: &Worker) {
        let since = hold.is_blocked().then(|| self.blocked.get().unwrap_or(worker.now()));
        self.blocked.set(since);
    }

    /// Takes note of a frame of the visitor's.
    fn comes(&self, frame: Frame, begun: &mut bool, patience: &mut Patience) {
        if !*begun {
            *begun = true;
            // RFC 9113 §3.4: the preface ends with it, and h2 does not ask for it.
            if frame.kind != Kind::Settings || frame.first_flag {
                self.fault.set(Some(Reason::PROTOCOL_ERROR));
            }
        }
        match frame.kind {
            Kind::Settings if frame.first_flag => self.acknowledged.set(true),
            Kind::Headers => self.unseen.borrow_mut().begins(frame.stream),
            _ => {}
        }
        if !patience.bears(frame) {
            self.fault.set(Some(Reason::ENHANCE_YOUR_CALM));
        }
    }

    /// This stream was reset from this side. Where h2 does it by itself for a body that is not as its head says, nobody
    /// else is told whose fault it is.
    fn has_reset(&self, stream: u32, reason: Reason) {
        self.unseen.borrow_mut().is_reset(stream, reason);
        if matches!(reason, Reason::PROTOCOL_ERROR | Reason::FLOW_CONTROL_ERROR)
            && let Some((_, visitor)) = self.streams.borrow().iter().find(|(lane, _)| *lane == stream)
            && visitor.is_body_due()
        {
            visitor.set_broken();
        }
    }
}

/// The stream.
pub(super) struct Watched {
    worker: Rc<Worker>,
    wire: Rc<Wire>,
    sieve: Sieve,
    /// The frames that go to the visitor.
    sent: Frames,
    patience: Patience,
    begun: bool,
    forgotten: usize,
}

impl Watched {
    pub(super) fn new(worker: Rc<Worker>, wire: Rc<Wire>) -> Self {
        Self {
            sieve: Sieve::new(Frames::new()),
            sent: Frames::of_server(),
            patience: Patience::new(worker.now()),
            worker,
            wire,
            begun: false,
            forgotten: 0,
        }
    }

    /// Takes note of what was sent.
    fn has_sent(&mut self, slices: &[IoSlice<'_>], count: usize) {
        let Self { wire, sieve, sent, .. } = self;
        sent.pass_written(slices, count, |frame| match frame.kind {
            Kind::Reset => {
                sieve.forget(frame.stream);
                wire.has_reset(frame.stream, frame.error.into());
            }
            Kind::Headers => wire.unseen.borrow_mut().is_answered(frame.stream),
            Kind::GoAway => wire.unseen.borrow_mut().is_told_to_go(frame.error.into()),
            _ => {}
        });
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.wire.fault.get().is_some() {
            // Who looks after the connection ends it before anything more is read.
            return Poll::Pending;
        }
        let left = self.wire.turn.get();
        if left == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Self { worker, wire, sieve, patience, begun, .. } = &mut *self;
        let now = worker.now();
        patience.wait(now);
        patience.served(wire.served.take());
        let stream = &mut wire.stream.borrow_mut().stream;
        let read = sieve.poll_read(Pin::new(stream), cx, buffer, |frame| wire.comes(frame, begun, patience));
        let since = sieve.is_within_head().then(|| wire.within_head.get().unwrap_or(now));
        wire.within_head.set(since);
        wire.turn.set(left.saturating_sub(ready!(read)?));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { wire, worker, .. } = &*self;
        let written = {
            let hold = &mut *wire.stream.borrow_mut();
            let written = hold.poll_write(cx, slices, |count| wire.takes(count, worker));
            wire.note(hold, worker);
            written
        };
        let count = ready!(written)?;
        self.has_sent(slices, count);
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done at the end of the turn, for all that was written in it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready once the visitor has ended its side too, or has sent too much into nothing.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { wire, worker, forgotten, .. } = &mut *self;
        let hold = &mut *wire.stream.borrow_mut();
        if wire.ended.get().is_none() {
            let sent = hold.poll_send(cx, |count| wire.takes(count, worker));
            wire.note(hold, worker);
            ready!(sent)?;
            ready!(Pin::new(&mut hold.stream).poll_shutdown(cx))?;
            wire.ended.set(Some(worker.now()));
        }
        let mut space = [0; 4096];
        while *forgotten < MOST_FORGOTTEN {
            let mut buffer = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut hold.stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            *forgotten += buffer.filled().len();
        }
        Poll::Ready(Ok(()))
    }
}
