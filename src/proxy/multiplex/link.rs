//! A connection to a target by HTTP/2, and the task that drives it.

use crate::proxy::http2::frames::{Frames, Kind};
use crate::proxy::http2::sieve::Sieve;
use crate::proxy::turn::pay;
use crate::proxy::worker::Worker;
use crate::transport::{Connected, TargetStream};
use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};

/// Requests on one connection at once, where the target allows as many.
const MOST_STREAMS: usize = 100;

/// What a target may send of one answer before its visitor has taken it.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The same for all answers of a connection together: as much as all of its streams may, so that visitors who read
/// slowly never keep the others from theirs.
#[allow(clippy::cast_possible_truncation)] // 6.4 MB
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;

/// What frames with little in them may take up beyond that, by h2's count: so much that the windows fill up first where
/// a frame brings 16 bytes on average. h2 ends a connection that exceeds it, and a few visitors who don't read what an
/// application says in small messages would end all requests on it.
const SMALL_FRAMES: usize = 15 * CONNECTION_WINDOW as usize;

/// The most that waits to be sent on one stream.
const SEND_BUFFER: usize = 64 * 1024;

/// The longest head of an answer.
const MAX_HEAD: u32 = 64 * 1024;

/// Between two looks at how a connection is.
const LOOK: Duration = Duration::from_secs(1);

/// After this time without a byte from a target that owes answers, it is asked whether it is still there.
const QUIET: Duration = Duration::from_secs(10);

/// Between two such questions where no part of an answer came in between. Applications count those, and end the connection
/// if they come more often than every five minutes (grpc-core and grpc-go, as they come).
const ASK_AGAIN: Duration = Duration::from_secs(310);

/// If it does not say so within this time, new requests go by another connection, where there may be one more.
const DOUBT: Duration = Duration::from_secs(2);

/// And after this time the connection is given up, with all that is under way on it. An application of one thread that
/// computes something answers no ping meanwhile; gRPC gives it as long.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A connection without a request is kept for this long. Targets say so when they close one earlier.
const KEEP: Duration = Duration::from_secs(60);

/// How often the target's last words are waited for, while some lie unread in the socket. Once is enough where they are
/// no part of something whose rest is still to come.
const MOST_LOOKS: u32 = 4;

/// A connection to a target.
pub(super) struct Link {
    sender: SendRequest<Bytes>,
    /// Its stream, which the task that drives it owns: gone when that has ended.
    stream: Weak<RefCell<TargetStream>>,
    health: Rc<Health>,
    peer: Option<SocketAddr>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// What the task that drives a connection knows of it.
struct Health {
    heard: Cell<Instant>,
    /// Whether a part of an answer came since the target was asked whether it is there.
    answers: Cell<bool>,
    /// How many requests wait for something from the target.
    streams: Cell<usize>,
    doubtful: Cell<bool>,
    /// No request may begin on it any more.
    over: Cell<bool>,
    /// Whether the target has said how many requests it takes.
    settled: Cell<bool>,
    /// Told of each movement before that.
    stirred: Notify,
}

impl Link {
    /// Begins to speak HTTP/2 on a connection.
    ///
    /// # Errors
    /// When the connection breaks at once.
    pub(super) async fn begin(worker: &Rc<Worker>, connected: Connected) -> Result<Self, h2::Error> {
        let now = worker.tick();
        let health = Rc::new(Health {
            heard: Cell::new(now),
            answers: Cell::new(true),
            streams: Cell::new(0),
            doubtful: Cell::new(false),
            over: Cell::new(false),
            settled: Cell::new(false),
            stirred: Notify::new(),
        });
        connected.stream.ends_when_unheard(QUIET, GIVE_UP);
        let shared = Rc::new(RefCell::new(connected.stream));
        let stream = Rc::downgrade(&shared);
        let heard = Heard {
            stream: shared,
            sieve: Sieve::new(Frames::of_server()),
            sent: Frames::new(),
            health: Rc::clone(&health),
            worker: Rc::clone(worker),
        };
        let (sender, connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEAD)
            .enable_push(false)
            .data_frame_budget(SMALL_FRAMES)
            // A count for the life of a connection, of frames that were on their way when visitors hung up, too. Past it h2
            // would end the connection, and with it the requests of all others.
            .max_local_error_reset_streams(None)
            // Until it has said how many: what it does not expect, it may refuse.
            .initial_max_send_streams(0)
            .handshake(heard)
            .await?;
        tokio::task::spawn_local(drive(connection, Rc::clone(&health), Rc::clone(worker)));
        let (streams, idle_since) = (Cell::new(0), Cell::new(now));
        Ok(Self { sender, stream, health, peer: connected.peer, streams, idle_since })
    }

    /// Whether the target speaks HTTP/2 and takes requests; known with its first frame. `false` when the connection has
    /// ended before.
    pub(super) async fn is_settled(&self) -> bool {
        loop {
            // Before the look, so that no movement is missed between the two.
            let stirred = self.health.stirred.notified();
            if self.is_over() {
                return false;
            }
            if self.sender.current_max_send_streams() > 0 {
                self.health.settled.set(true);
                return true;
            }
            stirred.await;
        }
    }

    /// Hears what the target has said last. It may have said goodbye, or have closed, and the runtime has not heard of it
    /// yet; the kernel has.
    pub(super) async fn listens(&self) {
        let is_quiet = || self.stream.upgrade().is_none_or(|stream| stream.borrow().is_quiet());
        for _ in 0..MOST_LOOKS {
            if is_quiet() {
                return;
            }
            // The runtime looks at its sockets, and the task that drives the connection reads.
            tokio::task::yield_now().await;
        }
    }

    /// A handle to begin a stream with.
    pub(super) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.clone()
    }

    /// The address that it goes to, where the target has a name.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }

    /// The number of requests on it.
    pub(super) fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether one more request may begin on it.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < MOST_STREAMS.min(self.sender.current_max_send_streams())
    }

    /// Whether no request may begin on it any more.
    pub(super) fn is_over(&self) -> bool {
        self.health.over.get()
    }

    /// No request begins on it any more. It is closed when the last one has ended.
    pub(super) fn retire(&self) {
        self.health.over.set(true);
    }

    /// Whether its target is silent although it was asked.
    pub(super) fn is_doubtful(&self) -> bool {
        self.health.doubtful.get()
    }

    /// Whether it was without a request for too long.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        self.streams.get() == 0 && now.saturating_duration_since(self.idle_since.get()) > KEEP
    }

    /// A request begins.
    pub(super) fn enter(&self, now: Instant) {
        if self.streams.get() == 0 {
            // The silence before was nobody's fault.
            self.health.heard.set(now);
        }
        self.count(self.streams.get() + 1);
    }

    /// A request has ended.
    pub(super) fn leave(&self, now: Instant) {
        self.count(self.streams.get().saturating_sub(1));
        self.idle_since.set(now);
    }

    fn count(&self, streams: usize) {
        self.streams.set(streams);
        self.health.streams.set(streams);
    }
}

/// Moves the bytes of a connection until it ends, or its target is given up.
async fn drive(mut connection: Connection<Heard, Bytes>, health: Rc<Health>, worker: Rc<Worker>) {
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch { ping_pong: connection.ping_pong(), asked: None, look };
    poll_fn(|cx| {
        worker.tick();
        // How it ended is told to the requests on it.
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !health.settled.get() {
            health.stirred.notify_waiters();
        }
        watch.poll_silence(&health, cx)
    })
    .await;
    health.over.set(true);
    health.stirred.notify_waiters();
}

/// Watches whether the target is still there.
struct Watch {
    ping_pong: Option<PingPong>,
    /// When it was asked last.
    asked: Option<Instant>,
    look: Interval,
}

impl Watch {
    /// Ready when the target is given up.
    fn poll_silence(&mut self, health: &Rc<Health>, cx: &mut Context<'_>) -> Poll<()> {
        while self.look.poll_tick(cx).is_ready() {
            let now = Instant::now();
            let abandoned = Rc::strong_count(health) == HELD_BY_TASK;
            let silence = now.saturating_duration_since(health.heard.get());
            let asked = self.asked.filter(|asked| *asked > health.heard.get());
            health.doubtful.set(asked.is_some_and(|asked| now.saturating_duration_since(asked) >= DOUBT));
            match asked {
                Some(asked) if now.saturating_duration_since(asked) >= GIVE_UP => return Poll::Ready(()),
                // Nobody needs it any more, and its end can't even be sent.
                None if abandoned && silence >= GIVE_UP => return Poll::Ready(()),
                None if health.streams.get() > 0 && silence >= QUIET && self.may_ask(health, now) => {
                    self.ask(health, now);
                }
                Some(_) | None => {}
            }
        }
        if let Some(ping_pong) = &mut self.ping_pong {
            // Any byte is an answer; this one only makes room for the next question.
            let _ = ping_pong.poll_pong(cx);
        }
        Poll::Pending
    }

    /// Whether the target may be asked without being bothered.
    fn may_ask(&self, health: &Health, now: Instant) -> bool {
        let long_ago = |asked| now.saturating_duration_since(asked) >= ASK_AGAIN;
        health.answers.get() || self.asked.is_none_or(long_ago)
    }

    fn ask(&mut self, health: &Health, now: Instant) {
        if let Some(ping_pong) = &mut self.ping_pong
            && ping_pong.send_ping(Ping::opaque()).is_ok()
        {
            self.asked = Some(now);
            health.answers.set(false);
        }
    }
}

/// The task that drives a connection holds what is known of it twice: for itself, and in the stream.
const HELD_BY_TASK: usize = 2;

/// A connection's stream, with a note taken of when something came.
struct Heard {
    stream: Rc<RefCell<TargetStream>>,
    sieve: Sieve,
    /// The frames that go to the target.
    sent: Frames,
    health: Rc<Health>,
    worker: Rc<Worker>,
}

impl AsyncRead for Heard {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let Self { stream, sieve, health, worker, .. } = &mut *self;
        let mut heard = false;
        let read = sieve.poll_read(Pin::new(&mut *stream.borrow_mut()), cx, buffer, |frame| {
            heard = true;
            if matches!(frame.kind, Kind::Data | Kind::Headers) {
                health.answers.set(true);
            }
        });
        if heard || buffer.filled().len() > before {
            health.heard.set(worker.now());
            health.doubtful.set(false);
        }
        read.map_ok(|_| ())
    }
}

impl Heard {
    /// Takes note of what was sent.
    fn has_sent(&mut self, slices: &[IoSlice<'_>], count: usize) {
        let Self { sieve, sent, .. } = self;
        sent.pass_written(slices, count, |frame| {
            if frame.kind == Kind::Reset {
                sieve.let_go(frame.stream);
            }
        });
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = written {
            pay(count, cx);
            self.has_sent(&[IoSlice::new(bytes)], count);
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream.borrow_mut()).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = written {
            pay(count, cx);
            self.has_sent(slices, count);
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_target_that_is_silent_for_long_is_not_asked_again_and_again() {
        let start = Instant::now();
        let health = Health {
            heard: Cell::new(start),
            answers: Cell::new(true),
            streams: Cell::new(1),
            doubtful: Cell::new(false),
            over: Cell::new(false),
            settled: Cell::new(true),
            stirred: Notify::new(),
        };
        let mut watch = Watch { ping_pong: None, asked: None, look: tokio::time::interval(LOOK) };
        assert!(watch.may_ask(&health, start));
        watch.asked = Some(start);
        health.answers.set(false);
        assert!(!watch.may_ask(&health, start + Duration::from_secs(300)));
        assert!(watch.may_ask(&health, start + ASK_AGAIN));
        health.answers.set(true);
        assert!(watch.may_ask(&health, start + QUIET));
    }
}
