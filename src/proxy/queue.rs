//! Requests that wait: a queue per service and worker, in order of arrival.
//!
//! ```text
//! ticket ─► waits ─► let go ─► answered: the window grows, the next ones are let go
//!    └ over a bound   └ hung up: its place is free      └ not sent after all: back to its place
//! ```
//!
//! Requests are let go through a [`Window`]. While connections are refused, one request at a time is let go to see whether
//! somebody listens again.

use super::bell::Bell;
use super::visitor::{Phase, Visitor};
use super::window::Window;
use super::worker::Worker;
use crate::routing::counters::ServiceTally;
use crate::routing::{Gate, PerWorker, Route, Table, Waiting};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

/// How often the window grows by itself: answers that take long must not keep the others waiting for ever. And how
/// often it is tried whether connections are accepted again.
const PACE: Duration = Duration::from_millis(50);

/// After so long without a refused connection, the next one begins a new outage.
const QUIET: Duration = Duration::from_secs(10);

/// The queues of a worker that are not at rest.
#[derive(Default)]
pub(super) struct Queues {
    all: RefCell<Vec<Rc<Queue>>>,
    /// Whether there is any: all that a request in mode serve asks.
    busy: Cell<bool>,
    closing: Cell<bool>,
}

/// Since when connections of a service's targets are refused, and when that was seen last.
#[derive(Debug, Clone, Copy)]
struct Refused {
    since: Instant,
    last: Instant,
}

/// A service's queue.
pub(super) struct Queue {
    /// Whose it is.
    tally: Arc<PerWorker<ServiceTally>>,
    bounds: RefCell<Arc<Waiting>>,
    worker: Rc<Worker>,
    gate: Cell<Gate>,
    refused: Cell<Option<Refused>>,
    /// Who was let go last while connections are refused.
    scout: RefCell<Option<Rc<Waiter>>>,
    line: RefCell<BTreeMap<u64, Rc<Waiter>>>,
    /// How many have a place in the line, or may come back to it.
    tickets: Cell<u64>,
    next: Cell<u64>,
    /// Of the heads in the line.
    bytes: Cell<u64>,
    window: Window,
    paced: Cell<bool>,
}

struct Waiter {
    visitor: Rc<Visitor>,
    bytes: u64,
    let_go: Cell<bool>,
    bell: Bell,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// It is the request's turn.
    Turn,
    /// It has waited for as long as it may.
    Enough,
}

impl Queues {
    /// Whether nobody waits, and nothing keeps the next from going on.
    pub(super) fn at_rest(&self) -> bool {
        !self.busy.get()
    }

    /// Whether a request of the service that comes now goes behind others.
    pub(super) fn keeps(&self, route: &Route) -> bool {
        self.find(&route.tally).is_some_and(|queue| !queue.at_rest())
    }

    fn find(&self, tally: &Arc<PerWorker<ServiceTally>>) -> Option<Rc<Queue>> {
        self.all.borrow().iter().find(|queue| Arc::ptr_eq(&queue.tally, tally)).map(Rc::clone)
    }

    fn of(&self, worker: &Rc<Worker>, route: &Route) -> Rc<Queue> {
        self.find(&route.tally).unwrap_or_else(|| {
            let queue = Rc::new(Queue::new(worker, route));
            self.all.borrow_mut().push(Rc::clone(&queue));
            self.busy.set(true);
            queue
        })
    }

    /// Follows a newer table.
    pub(super) fn look(&self, table: &Table, now: Instant) {
        if self.at_rest() {
            return;
        }
        let all = self.all.borrow().clone();
        for queue in all {
            let route = table.services.iter().find(|route| Arc::ptr_eq(&route.tally, &queue.tally));
            if let Some(route) = route {
                *queue.bounds.borrow_mut() = Arc::clone(&route.waiting);
            }
            // Nobody waits for a service that is gone: they are told at once.
            queue.turns(route.map_or(Gate::Open, |route| route.gate(now)));
        }
        self.tidy();
    }

    /// The worker ends: nobody waits any longer.
    pub(super) fn close(&self) {
        self.closing.set(true);
        for queue in &*self.all.borrow() {
            queue.wake_all();
        }
    }

    fn tidy(&self) {
        let mut all = self.all.borrow_mut();
        // Who was let go may come back, and has to be found by the next table.
        all.retain(|queue| !queue.at_rest() || queue.tickets.get() > 0);
        self.busy.set(!all.is_empty());
    }
}

impl Queue {
    fn new(worker: &Rc<Worker>, route: &Route) -> Self {
        Self {
            tally: Arc::clone(&route.tally),
            bounds: RefCell::new(Arc::clone(&route.waiting)),
            gate: Cell::new(route.gate(worker.now())),
            worker: Rc::clone(worker),
            refused: Cell::new(None),
            scout: RefCell::default(),
            line: RefCell::default(),
            tickets: Cell::new(0),
            next: Cell::new(0),
            bytes: Cell::new(0),
            window: Window::new(),
            paced: Cell::new(false),
        }
    }

    fn at_rest(&self) -> bool {
        self.line.borrow().is_empty() && self.refused.get().is_none()
    }

    fn counts(&self) -> &ServiceTally {
        self.tally.of(self.worker.id)
    }

    /// The table says something of it.
    fn turns(self: &Rc<Self>, gate: Gate) {
        let before = self.gate.replace(gate);
        if before == gate {
            return;
        }
        if self.at_rest() {
            self.window.forget();
        }
        // What the table knows of an outage goes before what this worker has seen of it.
        self.refused.set(None);
        self.window.narrow();
        match gate {
            Gate::Open => self.go_on(),
            // They may have to wait for less long than they think.
            Gate::Held | Gate::Down(_) => self.wake_all(),
        }
    }

    fn wake_all(&self) {
        for waiter in self.line.borrow().values() {
            waiter.bell.ring();
        }
    }

    /// Lets requests go, as far as the window is open, and sees to it that the others follow.
    fn go_on(self: &Rc<Self>) {
        // When the worker ends, nobody waits for a turn any more.
        if self.gate.get() != Gate::Open || self.worker.queues.closing.get() {
            return;
        }
        if self.refused.get().is_none() {
            self.let_go();
        }
        if !self.line.borrow().is_empty() && !self.paced.replace(true) {
            tokio::task::spawn_local(pace(Rc::clone(self)));
        }
    }

    /// Lets requests go, the first that came first, as far as the window is open.
    fn let_go(&self) {
        while self.window.is_open() && self.let_one_go().is_some() {}
    }

    fn let_one_go(&self) -> Option<Rc<Waiter>> {
        let (_, first) = self.line.borrow_mut().pop_first()?;
        self.has_left(&first);
        self.window.enter();
        first.let_go.set(true);
        first.bell.ring();
        Some(first)
    }

    fn has_left(&self, waiter: &Waiter) {
        self.counts().held.leave();
        self.bytes.set(self.bytes.get().saturating_sub(waiter.bytes));
    }

    /// A connection was refused.
    fn note_refused(&self) {
        let now = self.worker.now();
        let known = self.refused.get().filter(|refused| now.saturating_duration_since(refused.last) < QUIET);
        let since = known.map_or(now, |refused| refused.since);
        self.refused.set(Some(Refused { since, last: now }));
        self.window.narrow();
    }

    /// Lets one request go to see whether connections are accepted again; once it was sent, they are.
    fn scout(&self) {
        let mut scout = self.scout.borrow_mut();
        match scout.as_ref().filter(|scout| scout.let_go.get()).map(|scout| scout.visitor.phase()) {
            Some(Phase::Upload | Phase::Answer | Phase::Body) => self.refused.set(None),
            // It is about to connect.
            Some(_) => {}
            None => *scout = self.let_one_go(),
        }
    }

    /// Until when a request waits that came at a moment.
    fn deadline(&self, since: Instant) -> Instant {
        let bounds = self.bounds.borrow();
        let longest = since + bounds.max_wait;
        let down = match (self.gate.get(), self.refused.get()) {
            (Gate::Held, _) => None,
            (Gate::Down(since), _) => Some(since),
            (Gate::Open, refused) => refused.map(|refused| refused.since),
        };
        down.map_or(longest, |down| longest.min(down + bounds.restart))
    }
}

/// Opens the window bit by bit while requests wait and nothing but the window holds them.
async fn pace(queue: Rc<Queue>) {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    while queue.gate.get() == Gate::Open && !queue.line.borrow().is_empty() {
        ticks.tick().await;
        if queue.gate.get() != Gate::Open {
            break;
        }
        queue.worker.tick();
        if queue.refused.get().is_some() {
            queue.scout();
        } else {
            queue.window.widen();
            queue.let_go();
        }
    }
    queue.paced.set(false);
}

/// A request's place in a queue. Dropped when the request has ended, however it did.
pub(super) struct Ticket {
    visitor: Rc<Visitor>,
    queue: Rc<Queue>,
    number: u64,
    since: Instant,
    waiter: Rc<Waiter>,
    waited: Cell<Duration>,
}

impl Ticket {
    /// A place at the end of a service's queue for a request whose head takes up so many bytes, and whose connection
    /// was `refused` or not; `None` when there is no room for it.
    pub(super) fn take(visitor: &Rc<Visitor>, route: &Route, bytes: u64, refused: bool) -> Option<Self> {
        let worker = &visitor.worker;
        let bounds = &route.waiting;
        let queue = worker.queues.of(worker, route);
        if refused {
            queue.note_refused();
        }
        let fits = (queue.line.borrow().len() as u64) < bounds.max_requests
            && queue.bytes.get().saturating_add(bytes) <= bounds.max_bytes;
        if !fits {
            worker.queues.tidy();
            return None;
        }
        let number = queue.next.replace(queue.next.get() + 1);
        queue.tickets.set(queue.tickets.get() + 1);
        let waiter = Waiter { visitor: Rc::clone(visitor), bytes, let_go: Cell::new(false), bell: Bell::default() };
        let ticket = Self {
            visitor: Rc::clone(visitor),
            queue,
            number,
            since: worker.now(),
            waiter: Rc::new(waiter),
            waited: Cell::default(),
        };
        ticket.line_up(route.gate(worker.now()));
        Some(ticket)
    }

    /// Takes its place, or takes it again; what the table says may be news.
    fn line_up(&self, gate: Gate) {
        self.waiter.let_go.set(false);
        self.queue.line.borrow_mut().insert(self.number, Rc::clone(&self.waiter));
        self.queue.counts().held.enter();
        self.queue.bytes.set(self.queue.bytes.get() + self.waiter.bytes);
        self.queue.turns(gate);
        self.queue.go_on();
    }

    /// Waits for its turn.
    pub(super) async fn turn(&self) -> Waited {
        let worker = &self.visitor.worker;
        let turn = || self.waiter.let_go.get().then_some(Waited::Turn);
        let called = || turn().or_else(|| worker.queues.closing.get().then_some(Waited::Enough));
        let deadline = || self.queue.deadline(self.since);
        let waited = self.waiter.bell.wait(worker, called, deadline, || {}).await.unwrap_or(Waited::Enough);
        if waited == Waited::Enough {
            self.leave();
        }
        self.waited.set(worker.now().saturating_duration_since(self.since));
        waited
    }

    /// How long it has waited.
    pub(super) fn waited(&self) -> Duration {
        self.waited.get()
    }

    /// It may not go on after all, because its connection was `refused` or not: back to its place.
    pub(super) fn back(&self, route: &Route, refused: bool) {
        self.leave();
        if refused {
            self.queue.note_refused();
        }
        self.line_up(route.gate(self.visitor.worker.now()));
    }

    /// It has gone on: whether it was `sent`, and whether the answer is a good one.
    pub(super) fn answered(&self, sent: bool, well: bool) {
        let queue = &self.queue;
        if sent {
            queue.refused.set(None);
        }
        queue.window.answered(well);
    }

    /// Gives its place in the line up, or in the window.
    fn leave(&self) {
        if self.queue.line.borrow_mut().remove(&self.number).is_some() {
            self.queue.has_left(&self.waiter);
        } else if self.waiter.let_go.replace(false) {
            self.queue.window.leave();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let (queue, now) = (&self.queue, self.visitor.worker.now());
        // Who hangs up has waited, too.
        let waits = queue.line.borrow().contains_key(&self.number);
        let waited = if waits { now.saturating_duration_since(self.since) } else { self.waited() };
        self.leave();
        queue.counts().waits.observe(waited);
        queue.tickets.set(queue.tickets.get().saturating_sub(1));
        queue.go_on();
        self.visitor.worker.queues.tidy();
    }
}
