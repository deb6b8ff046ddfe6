//! Connections to targets. A connection belongs to one worker, and is driven by the task of the request that uses it:
//! no task of its own, and no message between tasks.

mod answer;
mod content;
mod http1;
mod sending;

use super::idle_limit::IdleLimit;
use super::inbound::Broken;
use super::multiplex::Streaming;
use super::outgoing::Outgoing;
use super::visitor::{Phase, Visitor};
use super::worker::Worker;
use crate::model::Happening;
use crate::routing::counters::TargetLoad;
use crate::routing::{Pool, Table, Target};
use crate::transport::{Connected, TargetStream};
use bytes::Bytes;
use foldhash::HashMap;
use http::Response;
use http_body::{Frame, SizeHint};
use http1::{Fault, Http1};
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// How long a connection is kept idle. Node closes after 5 s and says nothing before; others later.
const KEEP: Duration = Duration::from_secs(4);

/// The most idle connections of a worker to one target.
const MOST_KEPT: usize = 1024;

/// A connection to a target.
struct Upstream {
    /// Gone where its stream was handed over.
    http1: Option<Http1>,
    load: Arc<TargetLoad>,
    /// The address that it goes to, where the target has a name.
    peer: Option<SocketAddr>,
    idle_since: Instant,
    /// How long it was idle before the request that it carries.
    idle: Duration,
    /// Whether the socket itself is to be looked at before that is sent.
    look: bool,
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
    Answered(Response<()>),
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
                upstream.look = !again;
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
    let upstream = Upstream {
        http1: Some(Http1::new(stream)),
        load: Arc::clone(&target.load),
        peer,
        idle_since: worker.now(),
        idle: Duration::ZERO,
        look: false,
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

    /// Whether it is on a stream.
    pub(super) fn is_stream(&self) -> bool {
        self.stream.is_some()
    }

    /// The next part of the answer's body. Meanwhile the rest of the request is sent.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let http1 = self.upstream.as_mut().and_then(|upstream| upstream.http1.as_mut());
        match (http1, &mut self.stream) {
            (Some(http1), _) => http1.poll_frame(cx),
            (None, Some(stream)) => stream.poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    /// Whether all of the answer was taken.
    pub(super) fn is_end_stream(&self) -> bool {
        match (self.http1(), &self.stream) {
            (Some(http1), _) => http1.is_end_stream(),
            (None, stream) => stream.as_ref().is_none_or(|stream| stream.is_end_stream()),
        }
    }

    /// How much of the answer is left.
    pub(super) fn size_hint(&self) -> SizeHint {
        match (self.http1(), &self.stream) {
            (Some(http1), _) => http1.size_hint(),
            (None, stream) => stream.as_ref().map_or(SizeHint::with_exact(0), |stream| stream.size_hint()),
        }
    }

    /// Whether it has ended with a 101, so that its stream can be had.
    pub(super) fn is_handed_over(&self) -> bool {
        self.http1().is_some_and(Http1::is_over)
    }

    /// The stream that a 101 has handed over, and what came on it behind the 101.
    pub(super) fn take_stream(&mut self) -> Option<(TargetStream, Bytes)> {
        let over = self.upstream.as_mut()?.http1.take_if(|http1| http1.is_over())?;
        Some(over.into_stream())
    }

    fn http1(&self) -> Option<&Http1> {
        self.upstream.as_ref()?.http1.as_ref()
    }

    /// Sends a request and awaits the head of the answer.
    pub(super) async fn exchange(&mut self, visitor: &Visitor, pool: &Pool, outgoing: &mut Outgoing) -> Exchanged {
        let Some(Upstream { http1: Some(http1), look, .. }) = self.upstream.as_deref_mut() else {
            return Exchanged::Unsent;
        };
        if !http1.is_fit(*look).await {
            return Exchanged::Unsent;
        }
        let repeatable = outgoing.is_repeatable();
        let Some(request) = outgoing.take() else { return Exchanged::Failed(Happening::ClosedBeforeHead) };
        visitor.enter(Phase::Answer);
        http1.send(request, outgoing.said(pool));
        let answered = poll_fn(|cx| match http1.poll_answer(cx) {
            Poll::Ready(answered) => Poll::Ready(Ok(answered)),
            Poll::Pending if visitor.is_overdue() => Poll::Ready(Err(visitor.phase())),
            Poll::Pending => Poll::Pending,
        })
        .await;
        if repeatable {
            outgoing.was_sent(http1.take_text());
        }
        visitor.enter(Phase::Router);
        match answered {
            Ok(Ok(response)) => Exchanged::Answered(response),
            Ok(Err(Fault::Unsent)) if repeatable => Exchanged::Unsent,
            Ok(Err(Fault::Unsent)) => match http1.take_back() {
                Some(request) => {
                    outgoing.give_back(request);
                    Exchanged::Unsent
                }
                None => Exchanged::Failed(Happening::ClosedBeforeHead),
            },
            Ok(Err(Fault::Body)) => Exchanged::Failed(Happening::BadRequest(visitor.body_fault())),
            Ok(Err(Fault::Malformed)) => Exchanged::Failed(Happening::MalformedHead),
            Ok(Err(Fault::Ended)) => Exchanged::Failed(Happening::ClosedBeforeHead),
            Err(Phase::Upload) => Exchanged::Failed(Happening::BadRequest(408)),
            Err(_) => Exchanged::Failed(Happening::HeadTimeout),
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(mut upstream) = self.upstream.take() else { return drop(self.stream.take()) };
        upstream.load.in_flight.of(self.worker.id).leave();
        if upstream.http1.as_mut().filter(|http1| http1.is_free()).map(Http1::rest).is_some() {
            upstream.idle_since = self.worker.now();
            self.worker.kept.keep(upstream);
        }
    }
}
