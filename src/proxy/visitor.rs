//! What is known of a visitor's connection while it lasts: where it stands, and until when it may stay there.

mod lanes;
mod peer;
mod rest;

pub(super) use lanes::Visitors;
pub(super) use peer::Peer;

use super::tunnel::Tunnel;
use super::worker::Worker;
use crate::config::ServiceTimeouts;
use crate::routing::counters::PoolLoad;
use crate::routing::{Bounds, Parting, PerWorker, UnderWay};
use std::cell::{Cell, OnceCell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long a visitor may still begin a request once the router stops: it may not know yet, or have just connected to
/// send one.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// A request's head is awaited: `begun` once a byte of it has come. So is a new connection's first.
    Head { begun: bool },
    /// The router itself is at work, within limits of its own.
    Router,
    /// The request waits until it may go on.
    Waiting,
    /// The target wants more of the request's body, which the visitor has not sent yet.
    Upload,
    /// The head of the target's answer is awaited.
    Answer,
    /// The answer's body is under way.
    Body,
    /// The answer's last bytes are on their way to the visitor.
    Tail,
    /// Nothing of the next request has come.
    Idle,
    /// It speaks another protocol.
    Tunnel,
}

/// A lane of a visitor's connection, where one request at a time is under way. A connection by HTTP/1.1 has one.
pub(super) struct Visitor {
    pub(super) worker: Rc<Worker>,
    pub(super) peer: Rc<Peer>,
    phase: Cell<Phase>,
    /// When the phase began, or a byte last moved in it.
    since: Cell<Instant>,
    /// The pools that the connection's request is in; only ever compared. There are two while one has answered and the
    /// other is asked.
    pools: [Cell<*const PerWorker<PoolLoad>>; 2],
    /// The version of the table that the connection's last request was routed by.
    routed_by: Cell<u64>,
    overdue: Cell<bool>,
    cut: Cell<bool>,
    closing: Cell<bool>,
    /// Whether a request's body was left unread, so that the visitor may still be sending.
    unread: Cell<bool>,
    /// Whether more of the request's body is to come.
    body_due: Cell<bool>,
    /// Whether a request's body broke off.
    broken: Cell<bool>,
    /// How many bytes of the request's body may still come.
    body_room: Cell<u64>,
    /// Whether more came.
    too_large: Cell<bool>,
    /// The time-outs of the service that was asked last.
    timeouts: Cell<ServiceTimeouts>,
    /// The status for the request on the connection that can't be served, its last.
    refused: Cell<Option<u16>>,
    /// Whether little is kept of the connection while nothing comes on it; and whether it should come to that.
    resting: Cell<bool>,
    asked_to_rest: Cell<bool>,
    /// Whether the last request came soon after the one before.
    returns_soon: Cell<bool>,
    waker: OnceCell<Waker>,
    /// Whether nothing more can be read of it until it wakes the task.
    drained: Cell<bool>,
    index: Cell<usize>,
    /// What the connection goes on as, once the head that says so was written.
    tunnel: RefCell<Option<Box<Tunnel>>>,
    /// When the tunnel that it is ends for a drain.
    leave: RefCell<Option<Box<Leave>>>,
}

/// The end of a tunnel for a drain.
struct Leave {
    at: Instant,
    begun: Cell<bool>,
    /// Gone with the drain: what it has not ended by then goes on.
    parting: Weak<Parting>,
}

impl Visitor {
    /// A lane on which the head of a request is awaited from now on.
    pub(super) fn new(worker: Rc<Worker>, peer: Rc<Peer>) -> Rc<Self> {
        let now = worker.tick();
        let visitor = Rc::new(Self {
            peer,
            phase: Cell::new(Phase::Head { begun: false }),
            since: Cell::new(now),
            pools: [Cell::new(ptr::null()), Cell::new(ptr::null())],
            routed_by: Cell::new(0),
            overdue: Cell::new(false),
            cut: Cell::new(false),
            closing: Cell::new(false),
            unread: Cell::new(false),
            body_due: Cell::new(false),
            broken: Cell::new(false),
            body_room: Cell::new(u64::MAX),
            too_large: Cell::new(false),
            timeouts: Cell::new(worker.settings.timeouts.into()),
            refused: Cell::new(None),
            resting: Cell::new(false),
            asked_to_rest: Cell::new(false),
            returns_soon: Cell::new(false),
            waker: OnceCell::new(),
            drained: Cell::new(false),
            index: Cell::new(0),
            tunnel: RefCell::default(),
            leave: RefCell::default(),
            worker,
        });
        visitor.worker.visitors.add(Rc::clone(&visitor));
        visitor
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Enters a phase now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(self.worker.now());
        self.overdue.set(false);
    }

    /// The target wants more of the request's body, and the visitor has not sent it yet.
    pub(super) fn awaits_upload(&self) {
        if self.phase.get() == Phase::Answer {
            self.enter(Phase::Upload);
        }
    }

    /// A part of the request's body goes to the target.
    pub(super) fn uploads(&self) {
        match self.phase.get() {
            Phase::Upload | Phase::Answer => self.enter(Phase::Answer),
            // The answer has begun, and what is sent beside it is movement too.
            Phase::Body => self.since.set(self.worker.now()),
            Phase::Head { .. } | Phase::Router | Phase::Waiting | Phase::Tail | Phase::Idle | Phase::Tunnel => {}
        }
    }

    /// Bytes came from the visitor.
    pub(super) fn has_sent(&self) {
        match self.phase.get() {
            Phase::Idle => self.enter(Phase::Head { begun: true }),
            // The time for a head does not begin anew with each byte of it.
            Phase::Head { .. } => self.phase.set(Phase::Head { begun: true }),
            Phase::Router | Phase::Waiting => {}
            // What belongs to the next request is no movement of this one.
            Phase::Upload | Phase::Answer | Phase::Body | Phase::Tail if !self.is_body_due() => {}
            Phase::Upload | Phase::Answer | Phase::Body | Phase::Tail | Phase::Tunnel => {
                self.since.set(self.worker.now());
            }
        }
    }

    /// Bytes went to the visitor.
    pub(super) fn has_received(&self) {
        match self.phase.get() {
            Phase::Body | Phase::Tail | Phase::Tunnel => self.since.set(self.worker.now()),
            Phase::Idle | Phase::Head { .. } | Phase::Router | Phase::Waiting | Phase::Upload | Phase::Answer => {}
        }
    }

    /// All that was written has gone to the visitor; `begun` says whether a part of the next request has come by now.
    /// Whether it is the end of an answer.
    pub(super) fn has_all(&self, begun: bool) -> bool {
        let ends = self.phase.get() == Phase::Tail;
        if ends {
            self.enter(if begun { Phase::Head { begun } } else { Phase::Idle });
        }
        ends
    }

    /// Until when the connection may stay as it is.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let timeouts = &self.worker.settings.timeouts;
        let period = match self.phase.get() {
            Phase::Head { begun: false } if self.is_closing() => {
                return Some(self.since.get() + FAREWELL.min(timeouts.head.get()));
            }
            Phase::Head { .. } => timeouts.head,
            Phase::Router | Phase::Waiting => return None,
            Phase::Answer => self.timeouts.get().answer,
            Phase::Upload | Phase::Body | Phase::Tail => self.timeouts.get().stall,
            Phase::Idle => timeouts.idle,
            Phase::Tunnel => timeouts.tunnel,
        };
        Some(self.since.get() + period.get())
    }

    /// The deadline has passed.
    pub(super) fn set_overdue(&self) {
        self.overdue.set(true);
    }

    /// The deadline has passed, as one sees who looks after several lanes. Where the request decides what the visitor gets,
    /// it is asked first.
    pub(super) fn is_late(&self) {
        let decides = matches!(self.phase.get(), Phase::Upload | Phase::Answer);
        if !decides || self.is_overdue() {
            self.cut.set(true);
        }
        self.set_overdue();
        self.wake();
    }

    /// Whether the deadline of the present phase has passed.
    pub(super) fn is_overdue(&self) -> bool {
        self.overdue.get()
    }

    /// The connection's request is in this pool from now on.
    pub(super) fn is_in(&self, pool: &Arc<PerWorker<PoolLoad>>) {
        let [first, second] = &self.pools;
        let place = if first.get().is_null() { first } else { second };
        place.set(Arc::as_ptr(pool));
    }

    /// The connection's request was routed by the table of this version, whatever pool it moves to later.
    pub(super) fn is_routed_by(&self, version: u64) {
        self.routed_by.set(version);
    }

    /// Whether the connection's request is one of these.
    fn is_of(&self, under_way: &UnderWay) -> bool {
        let is_in = |pool: &Arc<_>| self.pools.iter().any(|place| ptr::eq(place.get(), Arc::as_ptr(pool)));
        under_way.pools.iter().any(is_in) && under_way.before.is_none_or(|version| self.routed_by.get() < version)
    }

    /// The connection's request is in this pool no more.
    pub(super) fn has_left(&self, pool: &Arc<PerWorker<PoolLoad>>) {
        if let Some(place) = self.pools.iter().find(|place| ptr::eq(place.get(), Arc::as_ptr(pool))) {
            place.set(ptr::null());
        }
    }

    /// The visitor has hung up: the connection is closed as soon as its task runs again.
    pub(super) fn is_gone(&self) {
        self.cut.set(true);
        self.wake();
    }

    /// Whether the connection is to be closed at once.
    pub(super) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// Whether the connection is to be closed when its request has ended.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// The connection is being closed: nothing more of it is served, however long its last bytes take.
    pub(super) fn closes(&self) {
        self.closing.set(true);
    }

    /// Whether more of the request's body is to come. If so when the head of the answer is made, hyper closes the
    /// connection behind it.
    pub(super) fn is_body_due(&self) -> bool {
        self.body_due.get()
    }

    pub(super) fn set_body_due(&self, due: bool) {
        self.body_due.set(due);
    }

    /// A request's body was left unread.
    pub(super) fn leave_unread(&self) {
        self.unread.set(true);
    }

    /// Whether the visitor may still be sending what nobody reads: the rest of a body, or of a head that is none.
    pub(super) fn is_still_sending(&self) -> bool {
        self.unread.get() || self.phase.get() == Phase::Head { begun: true }
    }

    /// A request's body broke off, or could not be read.
    pub(super) fn set_broken(&self) {
        self.broken.set(true);
    }

    /// Whether a request's body broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The connection is to go on as a tunnel, behind the head that is under way.
    pub(super) fn goes_on_as(&self, tunnel: Tunnel) {
        self.tunnel.replace(Some(Box::new(tunnel)));
    }

    /// The tunnel that the connection is to go on as.
    pub(super) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    /// When the tunnel is to end for a drain, if it is.
    pub(super) fn leaves_at(&self) -> Option<Instant> {
        self.leave.borrow().as_ref().filter(|leave| leave.parting.strong_count() > 0).map(|leave| leave.at)
    }

    /// The tunnel's ends are told that it is over.
    pub(super) fn has_begun_to_leave(&self, now: Instant) {
        if let Some(leave) = &*self.leave.borrow()
            && leave.at <= now
            && let Some(parting) = leave.parting.upgrade()
        {
            leave.begun.set(true);
            parting.tells();
        }
    }

    /// The request is for a service that binds it so.
    pub(super) fn is_bound_by(&self, bounds: &Bounds) {
        self.timeouts.set(bounds.timeouts);
        self.body_room.set(bounds.max_body);
        self.too_large.set(false);
    }

    /// No target gets the request's body, so the service does not bound it.
    pub(super) fn keeps_its_body(&self) {
        self.body_room.set(u64::MAX);
    }

    /// How long a target of the service that was asked last may take to accept a connection.
    pub(super) fn connects_within(&self) -> Duration {
        self.timeouts.get().connect.get()
    }

    /// So many bytes of the request's body have come. Whether that is no more than may come.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let left = self.body_room.get().checked_sub(bytes as u64);
        self.body_room.set(left.unwrap_or_default());
        self.too_large.set(left.is_none());
        left.is_some()
    }

    /// The status for a visitor whose request's body broke off.
    pub(super) fn body_fault(&self) -> u16 {
        if self.too_large.get() { 413 } else { 400 }
    }

    /// The last request on the connection can't be served, and gets this status.
    pub(super) fn refuses(&self, status: u16) {
        self.refused.set(Some(status));
    }

    /// The status for the request on the connection that can't be served, if there is one.
    pub(super) fn refused(&self) -> Option<u16> {
        self.refused.get()
    }

    /// The lane's task runs; remembers what wakes it.
    pub(super) fn woken_by(&self, waker: &Waker) {
        // A task has one waker all its life.
        self.waker.get_or_init(|| waker.clone());
        self.drained.set(false);
    }

    /// Whether all that had come when the lane's task was woken has been read.
    pub(super) fn is_drained(&self) -> bool {
        self.drained.get()
    }

    pub(super) fn set_drained(&self, drained: bool) {
        self.drained.set(drained);
    }

    /// Has the lane's task run again.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// The lane has ended.
    pub(super) fn end(&self) {
        // It holds the visitor, as long as the visitor holds it.
        drop(self.take_tunnel());
        drop(self.worker.visitors.remove(self));
    }
}
