//! Requests that wait for room in a pool: a line per pool and worker, in order of arrival.
//!
//! ```text
//! no room ─► in line ─► called: a place is kept ─► routed anew, and in the pool
//!    │           │ └ another table: routed anew, perhaps to another pool; else it keeps its place in the line
//!    │           └ waited for too long, or hung up
//!    └ the line is full: refused
//! ```
//!
//! All of this is rare. A request that finds room, in a pool that nobody waits for, only compares.

use super::answers::{announce_close, refusal};
use super::bell::Bell;
use super::body::AnswerBody;
use super::request::{Arrived, Pass, Stopped};
use super::restriction;
use super::visitor::{Phase, Visitor};
use super::waiting::{self, Waits};
use super::worker::Worker;
use crate::model::Happening;
use crate::routing::counters::PoolLoad;
use crate::routing::{PerWorker, Room, Route, Table};
use http::Response;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The lines of a worker.
#[derive(Default)]
pub(super) struct Lines {
    all: RefCell<Vec<Rc<Line>>>,
    /// Whether there is any: all that a request asks that leaves its pool.
    busy: Cell<bool>,
}

/// A request for which there is no room in its pool.
pub(super) struct Crowded {
    pub(super) arrived: Arrived,
    pub(super) route: Arc<Route>,
    pub(super) pool: usize,
}

/// Those that wait for room in a pool.
struct Line {
    load: Arc<PerWorker<PoolLoad>>,
    /// The newest route that has the pool, and its index there.
    of: RefCell<(Arc<Route>, usize)>,
    waiting: RefCell<BTreeMap<u64, Rc<Waiter>>>,
    next: Cell<u64>,
    /// How many are in the line, or may come back to it.
    seats: Cell<usize>,
}

struct Waiter {
    state: Cell<State>,
    bell: Bell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In line.
    Waits,
    /// In line, while another table may have another pool for it.
    Asked,
    /// Out of the line: a place in the pool is kept for it.
    Called,
    /// It has taken what was kept for it.
    Gone,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waited {
    Called,
    Asked,
    /// It has waited for as long as it may.
    Enough,
}

/// Whether a request can't enter a pool now, because there is no room or others wait for it.
pub(super) fn keeps(worker: &Worker, route: &Route, pool: usize) -> bool {
    route.bounds.room.as_ref().is_some_and(|room| is_full(worker, room, route, pool) || worker.lines.has(route, pool))
}

/// Whether there is no room in a pool.
pub(super) fn is_full(worker: &Worker, room: &Room, route: &Route, pool: usize) -> bool {
    room.is_full(worker.id, route.pools[pool].load.of(worker.id), pool == route.live, worker.now())
}

impl Lines {
    /// Whether nobody waits.
    pub(super) fn at_rest(&self) -> bool {
        !self.busy.get()
    }

    fn has(&self, route: &Route, pool: usize) -> bool {
        !self.at_rest() && self.find(&route.pools[pool].load).is_some_and(|line| !line.waiting.borrow().is_empty())
    }

    fn find(&self, load: &Arc<PerWorker<PoolLoad>>) -> Option<Rc<Line>> {
        self.all.borrow().iter().find(|line| Arc::ptr_eq(&line.load, load)).map(Rc::clone)
    }

    /// A request has left a pool.
    #[cold]
    pub(super) fn left(&self, worker: &Worker, load: &Arc<PerWorker<PoolLoad>>) {
        if let Some(line) = self.find(load) {
            line.call(worker);
        }
    }

    /// Follows a newer table: whoever waits for a service that it changes asks where to go now.
    pub(super) fn look(&self, worker: &Worker, table: &Table) {
        let all = self.all.borrow().clone();
        for line in all {
            let index = |route: &Arc<Route>| route.pools.iter().position(|pool| Arc::ptr_eq(&pool.load, &line.load));
            let found = table.services.iter().find_map(|route| Some((Arc::clone(route), index(route)?)));
            match found {
                Some((route, _)) if Arc::ptr_eq(&route, &line.of.borrow().0) => continue,
                Some(found) => {
                    line.of.replace(found);
                    line.call(worker);
                }
                None => {}
            }
            for waiter in line.waiting.borrow().values() {
                waiter.becomes(State::Asked);
            }
        }
    }

    fn of(&self, crowded: &Crowded) -> Rc<Line> {
        let load = &crowded.route.pools[crowded.pool].load;
        self.find(load).unwrap_or_else(|| {
            let line = Rc::new(Line {
                load: Arc::clone(load),
                of: RefCell::new((Arc::clone(&crowded.route), crowded.pool)),
                waiting: RefCell::default(),
                next: Cell::new(0),
                seats: Cell::new(0),
            });
            self.all.borrow_mut().push(Rc::clone(&line));
            self.busy.set(true);
            line
        })
    }

    fn tidy(&self) {
        let mut all = self.all.borrow_mut();
        all.retain(|line| line.seats.get() > 0);
        self.busy.set(!all.is_empty());
    }
}

impl Line {
    /// Calls those that there is room for, the first that came first.
    fn call(&self, worker: &Worker) {
        let (route, pool) = &*self.of.borrow();
        let load = self.load.of(worker.id);
        let full = || route.bounds.room.as_ref().is_some_and(|room| is_full(worker, room, route, *pool));
        while !full() {
            let Some((_, first)) = self.waiting.borrow_mut().pop_first() else { break };
            load.queued.leave();
            load.called.enter();
            first.becomes(State::Called);
        }
    }

    /// How long a request may wait.
    fn patience(&self) -> Duration {
        self.of.borrow().0.bounds.room.as_ref().map_or(Duration::ZERO, |room| room.wait)
    }
}

impl Waiter {
    fn becomes(&self, state: State) {
        self.state.set(state);
        self.bell.ring();
    }
}

/// A request's place in a line. Dropped when it waits no longer, whatever the reason.
struct Seat {
    visitor: Rc<Visitor>,
    line: Rc<Line>,
    number: u64,
    since: Instant,
    waiter: Rc<Waiter>,
}

impl Seat {
    /// A place at the end of a pool's line; `None` when that is full.
    fn take(crowded: &Crowded) -> Option<Self> {
        let visitor = Rc::clone(&crowded.arrived.visitor);
        let worker = &visitor.worker;
        let most = crowded.route.bounds.room.as_ref().map_or(0, |room| room.queue);
        let line = worker.lines.of(crowded);
        if line.waiting.borrow().len() as u64 >= most {
            worker.lines.tidy();
            return None;
        }
        line.seats.set(line.seats.get() + 1);
        let number = line.next.replace(line.next.get() + 1);
        let waiter = Rc::new(Waiter { state: Cell::new(State::Gone), bell: Bell::default() });
        let since = worker.now();
        let seat = Self { visitor, line, number, since, waiter };
        seat.sit();
        Some(seat)
    }

    /// Takes its place in the line, again or for the first time.
    fn sit(&self) {
        self.give_up();
        self.waiter.state.set(State::Waits);
        self.line.waiting.borrow_mut().insert(self.number, Rc::clone(&self.waiter));
        self.line.load.of(self.visitor.worker.id).queued.enter();
    }

    /// Gives up its place in the line, or what is kept for it in the pool.
    fn give_up(&self) {
        let load = self.line.load.of(self.visitor.worker.id);
        match self.waiter.state.replace(State::Gone) {
            State::Waits | State::Asked => {
                self.line.waiting.borrow_mut().remove(&self.number);
                load.queued.leave();
            }
            State::Called => load.called.leave(),
            State::Gone => {}
        }
    }

    /// Waits for its turn.
    async fn turn(&self) -> Waited {
        let worker = &self.visitor.worker;
        let called = || match self.waiter.state.get() {
            State::Called => Some(Waited::Called),
            State::Asked => Some(Waited::Asked),
            State::Waits | State::Gone => None,
        };
        // The limit may have risen meanwhile.
        let look = || self.line.call(worker);
        let waited = self.waiter.bell.wait(worker, called, || self.since + self.line.patience(), look);
        waited.await.unwrap_or(Waited::Enough)
    }

    /// Whether it waits for the pool of this request.
    fn is_for(&self, crowded: &Crowded) -> bool {
        Arc::ptr_eq(&self.line.load, &crowded.route.pools[crowded.pool].load)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_up();
        self.line.seats.set(self.line.seats.get() - 1);
        let worker = &self.visitor.worker;
        // What was kept for it may be for the next.
        self.line.call(worker);
        worker.lines.tidy();
    }
}

/// A request that waits for room, from there to the head of an answer.
pub(super) fn wait(crowded: Box<Crowded>) -> Waits {
    Box::pin(async move {
        let mut crowded = crowded;
        let visitor = Rc::clone(&crowded.arrived.visitor);
        let before = crowded.arrived.record.waited();
        let came = visitor.worker.now();
        let Some(mut seat) = Seat::take(&crowded) else { return refuse(*crowded) };
        loop {
            visitor.enter(Phase::Waiting);
            let waited = seat.turn().await;
            visitor.enter(Phase::Router);
            let pass = match waited {
                Waited::Called => Pass::Turn,
                Waited::Asked => Pass::Comes,
                Waited::Enough => Pass::Last,
            };
            let mut arrived = crowded.arrived;
            arrived.record.sets_out(before + visitor.worker.now().saturating_duration_since(came));
            if waited != Waited::Asked {
                // Nothing is awaited until it is in the pool, so nobody else takes what is free.
                seat.give_up();
            }
            crowded = match arrived.goes_on(pass) {
                Ok((journey, restricted)) => {
                    drop(seat);
                    return match restricted {
                        None => journey.complete().await,
                        Some(restricted) => restriction::complete(journey, restricted).await,
                    };
                }
                Err(Stopped::Answered(mut answer)) => {
                    announce_close(&visitor, &mut answer);
                    return *answer;
                }
                Err(Stopped::Waits(arrived)) => {
                    drop(seat);
                    return waiting::wait(arrived).await;
                }
                Err(Stopped::Crowded(again)) => again,
            };
            if seat.is_for(&crowded) {
                seat.sit();
            } else {
                match Seat::take(&crowded) {
                    Some(other) => seat = other,
                    None => return refuse(*crowded),
                }
            }
        }
    })
}

/// The answer to a request that there is no room for, not even in line.
fn refuse(crowded: Crowded) -> Response<AnswerBody> {
    let Crowded { arrived, route, pool } = crowded;
    let visitor = Rc::clone(&arrived.visitor);
    let mut answer = refused(arrived, &route, pool);
    announce_close(&visitor, &mut answer);
    answer
}

/// Counts the refusal of a request that a pool has no room for, and answers it.
pub(super) fn refused(mut arrived: Arrived, route: &Route, pool: usize) -> Response<AnswerBody> {
    route.pools[pool].load.of(arrived.visitor.worker.id).refused.add(1);
    arrived.record.is_limited_by(route);
    refusal(arrived.record, &arrived.wanted, Happening::RouterLimit)
}
