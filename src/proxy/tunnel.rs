//! A tunnel: a visitor's connection and a target's, joined after a 101. Bytes pass both ways as they come, each way at the
//! pace of who reads it, and half a close is passed on as half a close.
//!
//! It holds its place in the pool for as long as it lasts. An idle one keeps no buffer. When the router stops, or a drain
//! comes to its end, tunnels end one by one, so that their visitors don't all come back at once:
//!
//! ```text
//! open ──► parting: both ends of a WebSocket get a close frame behind the frame that is under way; others the end of
//!   │               the bytes
//!   └► cut, at the end of a drain: the target's side at once; the ends of a WebSocket are told if no frame is under way
//! ```

use super::connection::linger;
use super::record::Record;
use super::timer::Timer;
use super::turn::TURN;
use super::upstream::Busy;
use super::visitor::{Phase, Visitor};
use super::websocket::{Frames, going_away, going_away_masked};
use crate::transport::{TargetStream, VisitorStream};
use bytes::Bytes;
use futures_util::FutureExt;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

/// The most that is taken of a stream at once; no more of it waits for a slow reader.
const PIECE: usize = 16 * 1024;

/// How long the two ends have for their goodbyes.
const PARTING: Duration = Duration::from_secs(2);

/// The part of the grace that tunnels end in, in quarters: what is left is for the goodbyes of the last.
const SPREAD: u32 = 3;

/// A tunnel that is to begin.
pub(super) struct Tunnel {
    busy: Busy,
    record: Record,
    websocket: bool,
}

impl Tunnel {
    /// To the target of that connection. The request that asked for it is answered.
    pub(super) fn new(busy: Busy, mut record: Record, websocket: bool) -> Self {
        record.opens_tunnel();
        Self { busy, record, websocket }
    }

    /// Joins the visitor's stream, of which these bytes have come already, and the target's, until both have ended.
    pub(super) fn serve(
        self: Box<Self>,
        visitor: &Rc<Visitor>,
        near: VisitorStream,
        came: Bytes,
    ) -> Pin<Box<dyn Future<Output = ()>>> {
        let visitor = Rc::clone(visitor);
        Box::pin(async move {
            let Self { mut busy, mut record, websocket } = *self;
            let Some((far, early)) = busy.take_stream() else { return };
            record.passes(early.len());
            visitor.enter(Phase::Tunnel);
            let timer = Timer::new(visitor.worker.now());
            let (up, down) = (Way::after(&came, websocket), Way::after(&early, websocket));
            let mut joined = Joined { near, far, up, down, record, moment: None, parting: None, timer };
            let over = poll_fn(|cx| {
                visitor.worker.tick();
                visitor.woken_by(cx.waker());
                joined.poll(&visitor, cx)
            })
            .await;
            if over == Over::Cut {
                // The target's side is over before the visitor is waited for: who drains the pool waits for it. So the
                // target is told what its socket takes at once.
                let Joined { mut near, mut far, up, down, record, .. } = joined;
                let _ = up.part(&mut far, going_away_masked(rand::random())).now_or_never();
                drop((far, record, busy));
                let told = tokio::time::timeout(PARTING, down.part(&mut near, going_away()));
                if told.await.is_ok_and(|told| told.is_ok()) {
                    linger(near).await;
                }
            }
        })
    }
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// By itself, or in time.
    Ended,
    /// It is to be cut at once.
    Cut,
}

/// Two streams that are joined.
struct Joined {
    near: VisitorStream,
    far: TargetStream,
    up: Way,
    down: Way,
    record: Record,
    /// When it is to end, once the router stops.
    moment: Option<Instant>,
    /// Until when its ends have time for their goodbyes, once it is to end.
    parting: Option<Instant>,
    timer: Timer,
}

impl Joined {
    fn poll(&mut self, visitor: &Visitor, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            if visitor.is_cut() {
                return Poll::Ready(Over::Cut);
            }
            if visitor.is_closing() && self.moment.is_none() {
                self.moment = Some(some_time_within_the_grace(visitor));
            }
            let Self { near, far, up, down, record, .. } = self;
            let gone_up = up.poll(near, far, cx, |_| visitor.has_sent());
            let gone_down = down.poll(far, near, cx, |count| {
                visitor.has_received();
                record.passes(count);
            });
            // Half a close leaves the other way open; a stream that has broken has no other way.
            let broken = (gone_up.is_ready() && up.broken) || (gone_down.is_ready() && down.broken);
            if broken || (gone_up.is_ready() && gone_down.is_ready()) {
                return Poll::Ready(Over::Ended);
            }
            let deadline = match self.parting {
                None => [visitor.deadline(), self.moment, visitor.leaves_at()].into_iter().flatten().min(),
                by => by,
            };
            if self.timer.poll_until(deadline, &visitor.worker, cx).is_pending() {
                return Poll::Pending;
            }
            if self.parting.is_some() {
                return Poll::Ready(Over::Ended);
            }
            let now = visitor.worker.now();
            visitor.has_begun_to_leave(now);
            self.begin_parting(now);
        }
    }

    fn begin_parting(&mut self, now: Instant) {
        let Self { up, down, .. } = self;
        self.parting = Some(now + PARTING);
        // Who has said goodbye gets the answer to it.
        if !up.is_closed() && !down.is_closed() {
            up.owes(going_away_masked(rand::random()));
            down.owes(going_away());
        }
    }
}

fn some_time_within_the_grace(visitor: &Visitor) -> Instant {
    let worker = &visitor.worker;
    // One that began later has as much less of it.
    let begun = worker.visitors.closing_since().unwrap_or(worker.now());
    begun + worker.dice.part_of(worker.settings.grace * SPREAD / 4)
}

/// One way through a tunnel.
#[derive(Debug)]
struct Way {
    /// What was read and could not be written yet, from `from` on.
    pending: Vec<u8>,
    from: usize,
    /// Whether nothing more comes.
    ended: bool,
    /// Whether that is because its stream has broken: nobody is there to be written to either.
    broken: bool,
    /// Whether all has been passed on that ever will be.
    done: bool,
    /// What passes, of a WebSocket.
    frames: Option<Frames>,
    goodbye: Goodbye,
}

/// The router's own last word on a way.
#[derive(Debug)]
enum Goodbye {
    /// It has none yet.
    None,
    /// This frame, once the one that is under way has passed.
    Owed(Bytes),
    /// It was said: whatever still comes comes too late.
    Said,
}

impl Way {
    /// That begins with what has come already.
    fn after(came: &[u8], websocket: bool) -> Self {
        let mut frames = websocket.then(Frames::default);
        if let Some(frames) = &mut frames {
            frames.follow(came);
        }
        let (pending, goodbye) = (came.to_vec(), Goodbye::None);
        Self { pending, from: 0, ended: false, broken: false, done: false, frames, goodbye }
    }

    /// Whether a close frame has passed.
    fn is_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }

    /// Whether a frame could be put behind what has passed.
    fn is_between(&self) -> bool {
        self.frames.as_ref().is_some_and(|frames| frames.is_between() && !frames.is_closed())
    }

    /// It is to end: with this frame behind the one that is under way, or at once where there are no frames.
    fn owes(&mut self, goodbye: Bytes) {
        if self.is_between() {
            self.pending.extend_from_slice(&goodbye);
            self.goodbye = Goodbye::Said;
        } else if self.frames.is_some() {
            self.goodbye = Goodbye::Owed(goodbye);
        } else {
            self.ended = true;
        }
    }

    /// What of these bytes is passed on, and what is said behind it.
    fn pass<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], Bytes) {
        let Some(frames) = &mut self.frames else { return (bytes, Bytes::new()) };
        match &mut self.goodbye {
            Goodbye::None => {
                frames.follow(bytes);
                (bytes, Bytes::new())
            }
            Goodbye::Owed(goodbye) => {
                let (passed, goodbye) = (frames.pass(bytes), goodbye.clone());
                if !frames.is_between() {
                    return (&bytes[..passed], Bytes::new());
                }
                self.goodbye = Goodbye::Said;
                (&bytes[..passed], if frames.is_closed() { Bytes::new() } else { goodbye })
            }
            Goodbye::Said => (&[], Bytes::new()),
        }
    }

    /// Moves what can be moved, and tells how many bytes are passed on each time. Ready when the way has ended. Who
    /// can't be written to ends this way only: what it sent before may still pass the other.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Context<'_>,
        passes: impl FnMut(usize),
    ) -> Poll<()> {
        if !self.done {
            // Either way nothing more can be done.
            let _ = ready!(self.poll_moved(Pin::new(reader), Pin::new(writer), cx, passes));
            self.done = true;
        }
        Poll::Ready(())
    }

    fn poll_moved<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
        cx: &mut Context<'_>,
        mut passes: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        let mut moved = 0;
        loop {
            if moved >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            while self.from < self.pending.len() {
                self.from += ready!(poll_some(writer.as_mut(), cx, &self.pending[self.from..]))?;
            }
            (self.pending, self.from) = (Vec::new(), 0);
            if self.ended {
                return writer.poll_shutdown(cx);
            }
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut buffer = ReadBuf::uninit(&mut space);
            let Poll::Ready(came) = reader.as_mut().poll_read(cx, &mut buffer) else {
                // TLS may hold back what it was given.
                ready!(writer.poll_flush(cx))?;
                return Poll::Pending;
            };
            let read = buffer.filled();
            // A stream that fails has ended as well. By TLS it may have ended without a word, as half a close may.
            self.broken = came.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof);
            self.ended = came.is_err() || read.is_empty();
            let (bytes, behind) = self.pass(read);
            passes(bytes.len());
            moved += read.len();
            let mut written = 0;
            while written < bytes.len()
                && let Poll::Ready(some) = poll_some(writer.as_mut(), cx, &bytes[written..])
            {
                written += some?;
            }
            self.pending.extend_from_slice(&bytes[written..]);
            self.pending.extend_from_slice(&behind);
        }
    }

    /// Ends what it writes to, with a goodbye if one can still be said.
    async fn part<W: AsyncWrite + Unpin>(mut self, writer: &mut W, goodbye: Bytes) -> io::Result<()> {
        if self.is_between() && matches!(self.goodbye, Goodbye::None) {
            self.pending.extend_from_slice(&goodbye);
        }
        writer.write_all(&self.pending[self.from..]).await?;
        writer.shutdown().await
    }
}

fn poll_some<W: AsyncWrite>(writer: Pin<&mut W>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(writer.poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}
