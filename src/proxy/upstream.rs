//! Connections to targets. A connection belongs to one worker, and is driven by the task of the request that uses it:
//! no task of its own, and no message between tasks.

use super::body::RequestBody;
use super::connection::MAX_BUFFER;
use super::idle_limit::IdleLimit;
use super::inbound::Inbound;
use super::multiplex::Streaming;
use super::outgoing::Outgoing;
use super::target_io::{TargetIo, Watch};
use super::visitor::{Phase, Visitor};
use super::worker::Worker;
use crate::model::Happening;
use crate::routing::counters::TargetLoad;
use crate::routing::{Pool, Table, Target};
use crate::transport::{Connected, TargetStream};
use bytes::Bytes;
use foldhash::HashMap;
use http::{Response, StatusCode};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::task::coop::unconstrained;

/// The longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;

/// The most that is read of a target before the head of its answer: that and interim answers.
const MAX_BEFORE_ANSWER: u64 = 2 * MAX_HEAD as u64;

/// How long a connection is kept idle. Node closes after 5 s and says nothing before; others later.
const KEEP: Duration = Duration::from_secs(4);

/// The most idle connections of a worker to one target.
const MOST_KEPT: usize = 1024;

/// A connection to a target.
struct Upstream {
    sender: SendRequest<RequestBody>,
    /// Dropped as soon as it has ended: it tells a request that it never sent only then.
    connection: Option<Connection<TokioIo<TargetIo>, RequestBody>>,
    /// Whether it has ended with a 101, so that only its stream is of use any more.
    handed_over: bool,
    watch: Rc<Watch>,
    inner: Inner,
    /// Whether the body of the request may come from elsewhere.
    awaits_body: bool,
    load: Arc<TargetLoad>,
    /// The address that it goes to, where the target has a name.
    peer: Option<SocketAddr>,
    idle_since: Instant,
    /// How long it was idle before the request that it carries.
    idle: Duration,
}

/// A connection that carries a request. When it is dropped it is kept for the next one, if it is fit for it.
pub(super) struct Busy {
    worker: Rc<Worker>,
    /// Taken only when it is dropped.
    upstream: Option<Box<Upstream>>,
    /// In its place, one of many requests on a connection by HTTP/2, which has a task of its own.
    stream: Option<Box<Streaming>>,
}

/// What came of a request on a connection.
pub(super) enum Exchanged {
    /// The head of an answer.
    Answered(Response<Inbound>),
    /// The connection was gone before a byte of the request was sent.
    Unsent,
    /// It failed.
    Failed(Happening),
}

/// The idle connections of a worker, by the identity of their target.
#[derive(Default)]
pub(super) struct KeptConnections(RefCell<HashMap<*const TargetLoad, Kept>>);

/// The idle connections to one target.
struct Kept {
    /// Held, for its address is the key.
    _load: Arc<TargetLoad>,
    #[allow(clippy::vec_box)] // connections are large, and go in and out with every request
    idle: Vec<Box<Upstream>>,
    limit: IdleLimit,
}

impl KeptConnections {
    /// An idle connection to a target, fit for a request that can be sent `again`, or not.
    pub(super) fn take(&self, worker: &Rc<Worker>, target: &Target, again: bool) -> Option<Busy> {
        let mut kept = self.0.borrow_mut();
        let Kept { idle: list, limit, .. } = kept.get_mut(&Arc::as_ptr(&target.load))?;
        let now = worker.now();
        let longest = if again { KEEP } else { limit.at(now) };
        loop {
            // The last one was used last.
            let mut upstream = list.pop()?;
            upstream.idle = now.saturating_duration_since(upstream.idle_since);
            if upstream.idle >= longest {
                // The others are older still; the sweep takes those that are too old for anything.
                list.push(upstream);
                return None;
            }
            // Another machine may have the address by now that the target's name had before.
            if target.reach.is_at(upstream.peer) {
                // What can't be sent again is not sent on a connection that the target has just closed. The runtime may
                // not have heard of it yet; the kernel has.
                upstream.watch.look.set(!again);
                return Some(Busy::new(worker, upstream));
            }
        }
    }

    fn keep(&self, upstream: Box<Upstream>) {
        let mut kept = self.0.borrow_mut();
        let list = &mut kept.entry(Arc::as_ptr(&upstream.load)).or_insert_with(|| Kept::to(&upstream.load)).idle;
        if list.len() < MOST_KEPT {
            list.push(upstream);
        }
    }

    /// The target has closed this connection while it was idle, as far as anyone can tell.
    #[cold]
    pub(super) fn was_closed(&self, busy: &Busy) {
        let Some(upstream) = &busy.upstream else { return };
        if let Some(kept) = self.0.borrow_mut().get_mut(&Arc::as_ptr(&upstream.load)) {
            kept.limit.learn(upstream.idle, busy.worker.now());
        }
    }

    /// Closes what was idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, kept| {
            kept.idle.retain(|upstream| now.saturating_duration_since(upstream.idle_since) <= KEEP);
            !kept.idle.is_empty() || !kept.limit.is_forgotten(now)
        });
    }

    /// Closes the connections to targets that the table sends nothing to any more.
    pub(super) fn keep_only(&self, table: &Table) {
        let mut kept = self.0.borrow_mut();
        if kept.is_empty() {
            return;
        }
        let pools = table.services.iter().flat_map(|route| &route.pools).filter(|pool| !pool.drained);
        let used: HashSet<_> = pools.flat_map(|pool| &pool.targets).map(|target| Arc::as_ptr(&target.load)).collect();
        kept.retain(|target, _| used.contains(target));
    }
}

impl Kept {
    fn to(load: &Arc<TargetLoad>) -> Self {
        Self { _load: Arc::clone(load), idle: Vec::new(), limit: IdleLimit::default() }
    }
}

/// Why there is no connection to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotConnected {
    /// The target can't be reached.
    Unreachable,
    /// This machine has no more of what a connection takes.
    LimitHere,
}

/// Connects to a target, within this time.
pub(super) async fn connect(worker: &Rc<Worker>, target: &Target, within: Duration) -> Result<Busy, NotConnected> {
    let connected = target.reach.connect(within).await;
    let Connected { stream, peer } = connected.map_err(|error| worker.not_connected(&error))?;
    let mut builder = http1::Builder::new();
    // Most requests are a head alone: one plain `send` of it.
    builder.max_header_size(MAX_HEAD).max_buf_size(MAX_BUFFER).writev(false);
    let (stream, watch) = TargetIo::new(stream);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(|_| NotConnected::Unreachable)?;
    let load = Arc::clone(&target.load);
    let upstream = Upstream {
        sender,
        connection: Some(connection),
        handed_over: false,
        watch,
        inner: Inner::default(),
        awaits_body: false,
        load,
        peer,
        idle_since: worker.now(),
        idle: Duration::ZERO,
    };
    Ok(Busy::new(worker, Box::new(upstream)))
}

impl Busy {
    fn new(worker: &Rc<Worker>, upstream: Box<Upstream>) -> Self {
        upstream.load.in_flight.of(worker.id).enter();
        Self { worker: Rc::clone(worker), upstream: Some(upstream), stream: None }
    }

    /// One that is on a stream.
    pub(super) fn on_stream(worker: &Rc<Worker>, streaming: Streaming) -> Self {
        Self { worker: Rc::clone(worker), upstream: None, stream: Some(Box::new(streaming)) }
    }

    /// Moves bytes, as far as the socket lets it.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.drive(cx);
        }
    }

    /// Whether it has ended with a 101, so that its stream can be had.
    pub(super) fn is_handed_over(&self) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.handed_over)
    }

    /// The stream that a 101 has handed over, and what came on it behind the 101.
    pub(super) fn take_stream(&mut self) -> Option<(TargetStream, Bytes)> {
        let upstream = self.upstream.as_mut().filter(|upstream| upstream.handed_over)?;
        let parts = upstream.connection.take()?.into_parts();
        Some((parts.io.into_inner().into_inner(), parts.read_buf))
    }

    /// Sends a request and awaits the head of the answer.
    pub(super) async fn exchange(&mut self, visitor: &Visitor, pool: &Pool, outgoing: &mut Outgoing) -> Exchanged {
        let Some(upstream) = &mut self.upstream else { return Exchanged::Unsent };
        let copied = outgoing.is_repeatable();
        let Some(request) = outgoing.take(pool) else { return Exchanged::Failed(Happening::ClosedBeforeHead) };
        visitor.enter(Phase::Answer);
        // The answer comes only out of the connection, which only this task drives, so nobody has to wake it; and it
        // must not be put off by tokio's budget, which would wake it instead.
        upstream.watch.allowance.set(MAX_BEFORE_ANSWER);
        upstream.watch.copies.set(copied);
        upstream.awaits_body = !request.body().is_end_stream();
        let mut answer = pin!(upstream.sender.try_send_request(request));
        let answered = poll_fn(|cx| {
            let ended = upstream.advances(cx).is_ready();
            let mut look = || pin!(unconstrained(answer.as_mut())).poll(&mut Context::from_waker(Waker::noop()));
            let mut looked = look();
            if ended {
                upstream.handed_over = matches!(&looked, Poll::Ready(Ok(response)) if is_over(response));
                upstream.ends();
                if looked.is_pending() {
                    looked = look();
                }
            }
            match looked {
                Poll::Ready(answered) => Poll::Ready(Ok(answered)),
                Poll::Pending if visitor.is_overdue() => Poll::Ready(Err(visitor.phase())),
                // Interim answers without end, most likely.
                Poll::Pending if upstream.watch.allowance.get() == 0 => Poll::Ready(Err(Phase::Router)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await;
        upstream.watch.allowance.set(u64::MAX);
        upstream.watch.copies.set(false);
        outgoing.was_sent(upstream.watch.copy.take());
        visitor.enter(Phase::Router);
        match answered {
            Ok(Ok(response)) => Exchanged::Answered(response.map(Inbound::Http1)),
            Ok(Err(mut refused)) => match refused.take_message() {
                Some(request) => {
                    outgoing.give_back(request);
                    Exchanged::Unsent
                }
                None if visitor.is_broken() => Exchanged::Failed(Happening::BadRequest(visitor.body_fault())),
                None if refused.error().is_parse() => Exchanged::Failed(Happening::MalformedHead),
                None => Exchanged::Failed(Happening::ClosedBeforeHead),
            },
            Err(Phase::Upload) => Exchanged::Failed(Happening::BadRequest(408)),
            Err(Phase::Router) => Exchanged::Failed(Happening::MalformedHead),
            Err(_) => Exchanged::Failed(Happening::HeadTimeout),
        }
    }
}

impl Upstream {
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.advances(cx).is_ready() {
            self.ends();
        }
    }

    /// Moves bytes, until the connection has ended. How it ended is told to the request, or to the body of the answer.
    fn advances(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.connection {
            Some(connection) if !self.handed_over => {
                self.watch.wakes(cx.waker());
                if self.awaits_body { Pin::new(connection).poll(cx).map(drop) } else { self.inner.poll(connection, cx) }
            }
            Some(_) | None => Poll::Pending,
        }
    }

    fn ends(&mut self) {
        if !self.handed_over {
            self.connection = None;
        }
    }
}

/// What a connection wakes where nothing but its socket can bring anything new. hyper wakes the task of a request by each
/// step within the connection, from the queue that the request goes through to the room for the next part of the answer;
/// but that task has just taken the step itself, and would be run again for nothing.
struct Inner {
    woken: Arc<Woken>,
    waker: Waker,
}

/// Whether the connection wants to be polled again.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Default for Inner {
    fn default() -> Self {
        let woken = Arc::<Woken>::default();
        Self { waker: Waker::from(Arc::clone(&woken)), woken }
    }
}

impl Inner {
    fn poll(&self, connection: &mut Connection<TokioIo<TargetIo>, RequestBody>, cx: &mut Context<'_>) -> Poll<()> {
        self.woken.0.store(false, Ordering::Relaxed);
        let polled = Pin::new(connection).poll(&mut Context::from_waker(&self.waker)).map(drop);
        // By hyper, which lets others run after so much work.
        if polled.is_pending() && self.woken.0.load(Ordering::Relaxed) {
            cx.waker().wake_by_ref();
        }
        polled
    }
}

/// Whether HTTP is over on the connection that this answer came by.
fn is_over(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(mut upstream) = self.upstream.take() else { return drop(self.stream.take()) };
        upstream.load.in_flight.of(self.worker.id).leave();
        // Ready only when both bodies have passed wholly.
        if upstream.connection.is_some() && upstream.sender.is_ready() {
            upstream.idle_since = self.worker.now();
            self.worker.kept.keep(upstream);
        }
    }
}
