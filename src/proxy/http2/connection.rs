//! A visitor's connection: its streams, its end, and one timer for all of it.

use super::hands::Work;
use super::refused;
use super::wire::{Watched, Wire};
use crate::model::Happening;
use crate::proxy::connection::{LINGER, Registered};
use crate::proxy::framing::MAX_HEAD;
use crate::proxy::timer::Timer;
use crate::proxy::visitor::{FAREWELL, Peer, Phase, Visitor};
use crate::proxy::worker::Worker;
use crate::transport::VisitorStream;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// What a visitor may send of one body before any of it has gone on.
const STREAM_WINDOW: u32 = 64 * 1024;

/// What a visitor may send of all bodies together before any of it has gone on.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What frames with little in them may take up beyond that, by h2's count, while they wait: so much that the window of a
/// stream fills up first where a frame brings 16 bytes on average. h2 ends a connection that exceeds it, and with it the
/// requests of all who share it.
const SMALL_FRAMES: usize = 15 * STREAM_WINDOW as usize;

/// What is held of one answer for a socket that takes no more.
const SEND_BUFFER: usize = 32 * 1024;

/// The largest frame: the least that a visitor must be allowed.
const FRAME: u32 = 16 * 1024;

/// Streams that the visitor resets before the router has looked at them. One turn can bring many.
const UNSEEN_RESETS: usize = 50;

/// Streams that the router resets for a fault of the visitor's before the connection is ended (CVE-2025-8671: each may
/// have sent a request to a target in vain).
const FAULTY_STREAMS: usize = 200;

/// Streams that the router has reset, an early answer's above all, on which more may come for [`LINGER`]: of others, h2
/// takes each frame that was on its way for a fault of the visitor's. Each is kept in about half a kilobyte.
const LEFT_STREAMS: usize = 2000;

/// How often the streams' deadlines are looked at.
const SWEEP: Duration = Duration::from_millis(250);

type Open = Connection<Watched, Bytes>;

/// What the parts of a connection share.
pub(super) struct Session {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    /// The connection as a whole: whether it waits for a request.
    lane: Rc<Visitor>,
    wire: Rc<Wire>,
    begun: Instant,
    next_look: Cell<Instant>,
}

/// A lane for as long as it is used.
pub(super) struct Lane {
    session: Rc<Session>,
    pub(super) visitor: Rc<Visitor>,
}

/// What the connection's time has come for.
enum Due {
    /// Nothing is to be awaited any more.
    Cut,
    /// The visitor is told why, and the connection ends.
    End(Reason),
    /// The visitor is told to begin no more streams.
    Leave,
    /// Nothing but a look at the streams.
    Look,
}

fn builder(streams: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .data_frame_budget(SMALL_FRAMES)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(FAULTY_STREAMS))
        .max_concurrent_reset_streams(LEFT_STREAMS)
        .reset_stream_duration(LINGER.0);
    builder
}

/// Serves a visitor's connection, whose preface is still to be read, until it ends.
pub(in crate::proxy) async fn serve(stream: VisitorStream, worker: Rc<Worker>, peer: Rc<Peer>) {
    let begun = worker.tick();
    peer.multiplexes.set(true);
    let wire = Wire::new(stream);
    let lane = Visitor::new(Rc::clone(&worker), Rc::clone(&peer));
    let watched = Watched::new(Rc::clone(&worker), Rc::clone(&wire));
    let session = Rc::new(Session { worker, peer, lane, wire, begun, next_look: Cell::new(begun) });
    let _registered = Registered(Rc::clone(&session.lane));
    let mut timer = Timer::new(begun);
    // Boxes, so that no room for the beginning is kept as long as the connection lasts.
    if let Some(connection) = Box::pin(session.greet(watched, &mut timer)).await {
        Box::pin(session.run(connection, timer)).await;
    }
}

impl Session {
    /// Sends the settings and reads the preface.
    async fn greet(&self, watched: Watched, timer: &mut Timer) -> Option<Box<Open>> {
        let mut handshake = pin!(builder(self.worker.settings.limits.streams).handshake(watched));
        poll_fn(|cx| {
            self.worker.tick();
            self.lane.woken_by(cx.waker());
            self.wire.begin_turn();
            if let Poll::Ready(open) = handshake.as_mut().poll(cx) {
                return Poll::Ready(open.ok().map(Box::new));
            }
            if self.wire.ends_turn(&self.worker, cx).is_err() {
                return Poll::Ready(None);
            }
            timer.poll_until(self.lane.deadline(), &self.worker, cx).map(|()| None)
        })
        .await
    }

    /// Takes the streams as they come, until the connection has ended.
    async fn run(self: &Rc<Self>, mut connection: Box<Open>, mut timer: Timer) {
        let mut leaving = None;
        let mut ending = None;
        poll_fn(|cx| {
            self.worker.tick();
            self.wire.begin_turn();
            loop {
                match connection.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => {
                        self.begin(request, respond, leaving);
                        continue;
                    }
                    Poll::Ready(Some(Err(_)) | None) => {
                        self.record_refused();
                        return Poll::Ready(());
                    }
                    Poll::Pending => {
                        self.record_refused();
                        if self.wire.ends_turn(&self.worker, cx).is_err() {
                            return Poll::Ready(());
                        }
                    }
                }
                if let Some(reason) = self.wire.fault.get().filter(|_| ending.is_none()) {
                    self.wire.unseen.borrow_mut().is_ended(Some(Happening::BadRequest(400)));
                    ending = Some(self.worker.now());
                    connection.abrupt_shutdown(reason);
                    continue;
                }
                // Only now, for a stream may have begun that nobody has seen yet.
                if self.lane.is_closing() && leaving.is_none() {
                    leaving = Some(self.worker.now());
                    connection.graceful_shutdown();
                    continue;
                }
                let due = match ending {
                    // It was told; that it does not even take this keeps nobody waiting.
                    Some(since) => timer.poll_until(Some(since + LINGER.0), &self.worker, cx).map(|()| Due::Cut),
                    None => self.poll_due(leaving, connection.has_streams() || self.wire.is_holding(), &mut timer, cx),
                };
                match due {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Due::Look) => {}
                    Poll::Ready(Due::Leave) => {
                        leaving = Some(self.worker.now());
                        connection.graceful_shutdown();
                    }
                    Poll::Ready(Due::End(reason)) => {
                        let late = matches!(reason, Reason::ENHANCE_YOUR_CALM | Reason::SETTINGS_TIMEOUT);
                        self.wire.unseen.borrow_mut().is_ended(late.then_some(Happening::BadRequest(408)));
                        ending = Some(self.worker.now());
                        connection.abrupt_shutdown(reason);
                    }
                    Poll::Ready(Due::Cut) => return Poll::Ready(()),
                }
            }
        })
        .await;
    }

    /// A stream begins.
    fn begin(
        self: &Rc<Self>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        leaving: Option<Instant>,
    ) {
        let broken = self.wire.unseen.borrow_mut().is_seen(respond.stream_id().into());
        if self.wire.fault.get().is_some() {
            return;
        }
        if leaving.is_some_and(|since| self.worker.now() > since + FAREWELL) {
            self.records(Happening::RouterLimit);
            return respond.send_reset(Reason::REFUSED_STREAM);
        }
        self.lane.enter(Phase::Router);
        let visitor = Visitor::new(Rc::clone(&self.worker), Rc::clone(&self.peer));
        if broken {
            visitor.set_broken();
        }
        self.wire.streams.borrow_mut().push((respond.stream_id().into(), Rc::clone(&visitor)));
        let lane = Lane { session: Rc::clone(self), visitor };
        self.worker.hands.serve(&self.worker, Work { lane, request, respond });
    }

    /// Counts and logs the requests that h2 has refused by itself.
    fn record_refused(&self) {
        for happening in self.wire.unseen.borrow_mut().refused() {
            self.records(happening);
        }
    }

    /// Counts and logs a request, or what can't become one, of which nothing more is known.
    fn records(&self, happening: Happening) {
        refused::record(&self.worker, &self.peer, happening);
    }

    /// Ready when something is due. `unsent` says whether an answer may be on its way still.
    fn poll_due(&self, leaving: Option<Instant>, unsent: bool, timer: &mut Timer, cx: &mut Context<'_>) -> Poll<Due> {
        if self.lane.phase() == Phase::Router && self.wire.streams.borrow().is_empty() {
            self.lane.enter(Phase::Idle);
        }
        let Some((at, due)) = self.dues(leaving, unsent).min_by_key(|(at, _)| *at) else { return Poll::Pending };
        timer.poll_until(Some(at), &self.worker, cx).map(|()| due)
    }

    /// What will be due when.
    fn dues(&self, leaving: Option<Instant>, unsent: bool) -> impl Iterator<Item = (Instant, Due)> {
        let timeouts = &self.worker.settings.timeouts;
        let wire = &self.wire;
        let over = wire.ended.get().map(|since| (since + LINGER.0, Due::Cut));
        let blocked = wire.blocked.get().map(|since| (since + timeouts.stall.get(), Due::Cut));
        let slow =
            wire.within_head.get().map(|since| (since + timeouts.head.get(), Due::End(Reason::ENHANCE_YOUR_CALM)));
        let mute =
            (!wire.acknowledged.get()).then(|| (self.begun + timeouts.head.get(), Due::End(Reason::SETTINGS_TIMEOUT)));
        let rest = match leaving {
            _ if !self.wire.streams.borrow().is_empty() => Some((self.look_over(), Due::Look)),
            // The rest of the answers has no time-out of its own, and a window that was taken back may never let it go.
            Some(since) if unsent => {
                let taken = wire.taken.get().map_or(since, |taken| taken.max(since));
                Some((taken + timeouts.stall.get(), Due::End(Reason::CANCEL)))
            }
            Some(since) => Some((since + FAREWELL, Due::End(Reason::NO_ERROR))),
            None => self.lane.deadline().map(|at| (at, Due::Leave)),
        };
        [over, blocked, slow, mute, rest].into_iter().flatten()
    }

    /// Ends the streams whose time is over; when to look again.
    fn look_over(&self) -> Instant {
        let now = self.worker.now();
        if now < self.next_look.get() {
            return self.next_look.get();
        }
        self.next_look.set(now + SWEEP);
        for (_, visitor) in self.wire.streams.borrow().iter() {
            if visitor.deadline().is_some_and(|deadline| now >= deadline) {
                visitor.is_late();
            }
        }
        self.next_look.get()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.visitor.end();
        let mut streams = self.session.wire.streams.borrow_mut();
        if let Some(index) = streams.iter().position(|(_, visitor)| Rc::ptr_eq(visitor, &self.visitor)) {
            streams.swap_remove(index);
        }
        if streams.is_empty() {
            self.session.lane.wake();
        }
    }
}
