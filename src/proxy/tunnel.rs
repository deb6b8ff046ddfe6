//! A tunnel: a visitor's connection and a target's, joined after a 101. Bytes pass both ways as they come, each way at the
//! pace of who reads it, and half a close is passed on as half a close.
//!
//! It holds its place in the pool for as long as it lasts. An idle one keeps no buffer. When the router stops, tunnels
//! end one by one, spread over the grace, so that their visitors don't all come back at once:
//!
//! ```text
//! open ──► parting: a WebSocket gets a close frame behind the frame that is under way; others the end of the bytes
//!   └► cut, at the end of a drain: the target's side at once; a WebSocket is told if it is between two frames
//! ```

use super::connection::linger;
use super::record::Record;
use super::timer::Timer;
use super::upstream::Busy;
use super::visitor::{Phase, Visitor};
use super::websocket::{Frames, GOING_AWAY};
use crate::transport::{TargetStream, VisitorStream};
use bytes::Bytes;
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
    /// What comes from the target, if it is a WebSocket.
    frames: Option<Frames>,
}

impl Tunnel {
    /// To the target of that connection. The request that asked for it is answered.
    pub(super) fn new(busy: Busy, mut record: Record, websocket: bool) -> Self {
        record.opens_tunnel();
        Self { busy, record, frames: websocket.then(Frames::default) }
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
            let Self { mut busy, mut record, mut frames } = *self;
            let Some((far, early)) = busy.take_stream() else { return };
            record.passes(early.len());
            if let Some(frames) = &mut frames {
                frames.follow(&early);
            }
            visitor.enter(Phase::Tunnel);
            let timer = Timer::new(visitor.worker.now());
            let (up, down) = (Way::after(&came), Way::after(&early));
            let mut joined = Joined { near, far, up, down, frames, record, moment: None, stage: Stage::Open, timer };
            let over = poll_fn(|cx| {
                visitor.worker.tick();
                visitor.woken_by(cx.waker());
                joined.poll(&visitor, cx)
            })
            .await;
            if over == Over::Cut {
                // The target's side is over before a word is said to the visitor: who drains the pool waits for it.
                let Joined { near, far, down, frames, record, .. } = joined;
                drop((far, record, busy));
                part(near, down, frames).await;
            }
        })
    }
}

/// Ends a visitor's side, with a close frame if one can still be sent.
async fn part(mut near: VisitorStream, down: Way, frames: Option<Frames>) {
    let told = async {
        if frames.is_some_and(|frames| frames.is_between() && !frames.is_closed()) {
            near.write_all(&down.pending[down.from..]).await?;
            near.write_all(GOING_AWAY).await?;
        }
        near.shutdown().await
    };
    if tokio::time::timeout(PARTING, told).await.is_ok_and(|told| told.is_ok()) {
        linger(near).await;
    }
}

/// How far a tunnel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// It ends, by this time. A WebSocket's close frame waits for the end of a frame.
    Parting(Instant),
    /// It ends, by this time, and the close frame was sent: what its target still says comes too late.
    Told(Instant),
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
    frames: Option<Frames>,
    record: Record,
    /// When it is to end, once the router stops.
    moment: Option<Instant>,
    stage: Stage,
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
            let up = self.up.poll(&mut self.near, &mut self.far, cx, |bytes| {
                visitor.has_sent();
                (bytes, &[])
            });
            let down = self.poll_down(visitor, cx);
            // Half a close leaves the other way open; a stream that has broken has no other way.
            let broken = (up.is_ready() && self.up.broken) || (down.is_ready() && self.down.broken);
            if broken || (up.is_ready() && down.is_ready()) {
                return Poll::Ready(Over::Ended);
            }
            let deadline = match self.stage {
                Stage::Open => visitor.deadline().into_iter().chain(self.moment).min(),
                Stage::Parting(by) | Stage::Told(by) => Some(by),
            };
            if self.timer.poll_until(deadline, &visitor.worker, cx).is_pending() {
                return Poll::Pending;
            }
            match self.stage {
                Stage::Open => self.begin_parting(visitor.worker.now()),
                Stage::Parting(_) | Stage::Told(_) => return Poll::Ready(Over::Ended),
            }
        }
    }

    fn begin_parting(&mut self, now: Instant) {
        let by = now + PARTING;
        self.stage = Stage::Parting(by);
        match &self.frames {
            Some(frames) if frames.is_between() && !frames.is_closed() => {
                self.down.pending.extend_from_slice(GOING_AWAY);
                self.stage = Stage::Told(by);
            }
            // The end of the frame, or the other's answer to the close frame, is on its way.
            Some(_) => {}
            None => (self.up.ended, self.down.ended) = (true, true),
        }
    }

    fn poll_down(&mut self, visitor: &Visitor, cx: &mut Context<'_>) -> Poll<()> {
        let Self { near, far, down, frames, record, stage, .. } = self;
        down.poll(far, near, cx, |bytes| {
            visitor.has_received();
            let (bytes, behind) = match (frames.as_mut(), *stage) {
                (Some(frames), Stage::Open) => {
                    frames.follow(bytes);
                    (bytes, &[][..])
                }
                (Some(frames), Stage::Parting(by)) if !frames.is_closed() => {
                    let passed = frames.pass(bytes);
                    let told = frames.is_between() && !frames.is_closed();
                    if told {
                        *stage = Stage::Told(by);
                    }
                    (&bytes[..passed], if told { GOING_AWAY } else { &[] })
                }
                (Some(_), Stage::Parting(_) | Stage::Told(_)) => (&[][..], &[][..]),
                (None, _) => (bytes, &[][..]),
            };
            record.passes(bytes.len());
            (bytes, behind)
        })
    }
}

fn some_time_within_the_grace(visitor: &Visitor) -> Instant {
    const PARTS: u32 = 1000;
    let worker = &visitor.worker;
    let part = u32::try_from(worker.dice.below(PARTS as usize)).unwrap_or_default();
    // One that began later has as much less of it.
    let begun = worker.visitors.closing_since().unwrap_or(worker.now());
    begun + worker.settings.grace * SPREAD / 4 * part / PARTS
}

/// One way through a tunnel.
#[derive(Debug, Default)]
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
}

impl Way {
    /// That begins with what has come already.
    fn after(came: &[u8]) -> Self {
        Self { pending: came.to_vec(), ..Self::default() }
    }

    /// Moves what can be moved. `pass` is shown what was read, and says what of it is passed on, and what behind it.
    /// Ready when the way has ended. Who can't be written to ends this way only: what it sent before may still pass the
    /// other.
    fn poll<'p, R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Context<'_>,
        pass: impl FnMut(&[u8]) -> (&[u8], &'p [u8]),
    ) -> Poll<()> {
        if !self.done {
            // Either way nothing more can be done.
            let _ = ready!(self.poll_moved(Pin::new(reader), Pin::new(writer), cx, pass));
            self.done = true;
        }
        Poll::Ready(())
    }

    fn poll_moved<'p, R: AsyncRead, W: AsyncWrite>(
        &mut self,
        mut reader: Pin<&mut R>,
        mut writer: Pin<&mut W>,
        cx: &mut Context<'_>,
        mut pass: impl FnMut(&[u8]) -> (&[u8], &'p [u8]),
    ) -> Poll<io::Result<()>> {
        loop {
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
            let (bytes, behind) = pass(read);
            let mut written = 0;
            while written < bytes.len()
                && let Poll::Ready(some) = poll_some(writer.as_mut(), cx, &bytes[written..])
            {
                written += some?;
            }
            self.pending.extend_from_slice(&bytes[written..]);
            self.pending.extend_from_slice(behind);
        }
    }
}

fn poll_some<W: AsyncWrite>(writer: Pin<&mut W>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
    match ready!(writer.poll_write(cx, bytes)) {
        Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
        written => Poll::Ready(written),
    }
}
