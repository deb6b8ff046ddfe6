//! A worker's connections by HTTP/2, and the lanes on them.

use super::link::Link;
use crate::proxy::upstream::NotConnected;
use crate::proxy::visitor::{Phase, Visitor};
use crate::proxy::worker::Worker;
use crate::routing::counters::TargetLoad;
use crate::routing::{Table, Target};
use crate::transport::Reach;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Connections of a worker to one target.
const MOST_LINKS: usize = 8;

/// The connections of a worker, by the identity of their target.
#[derive(Default)]
pub(in crate::proxy) struct Links(RefCell<HashMap<*const TargetLoad, Set>>);

/// The connections to one target.
struct Set {
    /// Held, for its address is the set's key.
    load: Arc<TargetLoad>,
    links: Vec<Rc<Link>>,
    connecting: Option<Rc<Connecting>>,
    /// Told when a request on one of them has ended.
    room: Rc<Notify>,
}

/// A connection that is being made, for all who wait for it.
#[derive(Default)]
struct Connecting {
    made: Cell<Option<Result<(), NotConnected>>>,
    done: Notify,
}

/// One request's place on a connection.
pub(in crate::proxy) struct Lane {
    worker: Rc<Worker>,
    pub(super) link: Rc<Link>,
    load: Arc<TargetLoad>,
    room: Rc<Notify>,
    fresh: bool,
}

/// Where a request may go.
enum Found {
    Lane(Lane),
    /// To a connection that will be there soon.
    Connecting(Rc<Connecting>),
    /// Nowhere until another request has ended.
    Full(Rc<Notify>),
}

/// Why there is no lane.
pub(in crate::proxy) enum NoLane {
    /// The target can't be connected to.
    Unreachable,
    /// This machine has no more of what a connection takes.
    LimitHere,
    /// It took too long until another request ended: there are as many connections as there may be.
    Full,
}

impl Links {
    /// A lane on a connection to a target: one that is there, or else a new one. Waits while there are as many as there
    /// may be, for as long as the target has for an answer.
    pub(in crate::proxy) async fn lane(visitor: &Visitor, target: &Target) -> Result<Lane, NoLane> {
        let mut fresh = false;
        loop {
            match visitor.worker.links.find(visitor, target, fresh) {
                Found::Lane(lane) => return Ok(lane),
                Found::Connecting(connecting) => {
                    connecting.made().await.map_err(|fault| match fault {
                        NotConnected::Unreachable => NoLane::Unreachable,
                        NotConnected::LimitHere => NoLane::LimitHere,
                    })?;
                    fresh = true;
                }
                Found::Full(room) => {
                    if !has_room(visitor, &room).await {
                        return Err(NoLane::Full);
                    }
                }
            }
        }
    }

    fn find(&self, visitor: &Visitor, target: &Target, fresh: bool) -> Found {
        let worker = &visitor.worker;
        let mut sets = self.0.borrow_mut();
        let set = sets.entry(Arc::as_ptr(&target.load)).or_insert_with(|| Set::of(&target.load));
        // What is left of these ends with the requests on it.
        set.links.retain(|link| !link.is_over() && target.reach.is_at(link.peer()));
        let free = set.links.iter().filter(|link| link.has_room());
        let best = free.min_by_key(|link| (link.is_doubtful(), link.streams()));
        let may_connect = set.links.len() < MOST_LINKS;
        match (best, &set.connecting) {
            (Some(link), _) if !link.is_doubtful() || !may_connect => {
                let (link, room) = (Rc::clone(link), Rc::clone(&set.room));
                Found::Lane(Lane::new(worker, link, &target.load, room, fresh))
            }
            (_, Some(connecting)) => Found::Connecting(Rc::clone(connecting)),
            (_, None) if may_connect => {
                let connecting = Rc::<Connecting>::default();
                set.connecting = Some(Rc::clone(&connecting));
                // Not a part of the request: others wait for it too, and its visitor may hang up.
                tokio::task::spawn_local(connect(
                    Rc::clone(worker),
                    Arc::clone(&target.reach),
                    Arc::clone(&target.load),
                    Rc::clone(&connecting),
                    visitor.connects_within(),
                ));
                Found::Connecting(connecting)
            }
            (_, None) => Found::Full(Rc::clone(&set.room)),
        }
    }

    /// Closes what was idle for too long.
    pub(in crate::proxy) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, set| {
            set.links.retain(|link| !link.is_over() && !link.is_stale(now));
            !set.links.is_empty() || set.is_needed()
        });
    }

    /// Closes the connections to targets that the table sends nothing to any more, each when its last request has ended.
    pub(in crate::proxy) fn keep_only(&self, table: &Table) {
        let mut sets = self.0.borrow_mut();
        if sets.is_empty() {
            return;
        }
        let pools = table.services.iter().flat_map(|route| &route.pools).filter(|pool| !pool.drained);
        let used: HashSet<_> = pools.flat_map(|pool| &pool.targets).map(|target| Arc::as_ptr(&target.load)).collect();
        sets.retain(|target, set| {
            used.contains(target) || {
                set.links.clear();
                set.is_needed()
            }
        });
    }
}

/// Waits for a request to end: whether one did in time.
async fn has_room(visitor: &Visitor, room: &Notify) -> bool {
    if visitor.phase() != Phase::Answer {
        visitor.enter(Phase::Answer);
    }
    let mut ended = pin!(room.notified());
    poll_fn(|cx| match ended.as_mut().poll(cx) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if visitor.is_overdue() => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    })
    .await
}

impl Set {
    fn of(load: &Arc<TargetLoad>) -> Self {
        Self { load: Arc::clone(load), links: Vec::new(), connecting: None, room: Rc::default() }
    }

    /// Whether a connection is being made for it, or a request is on one or waits for one to end: in another set, nobody
    /// would tell who waits.
    fn is_needed(&self) -> bool {
        self.connecting.is_some() || Rc::strong_count(&self.room) > 1
    }
}

async fn connect(
    worker: Rc<Worker>,
    reach: Arc<Reach>,
    load: Arc<TargetLoad>,
    connecting: Rc<Connecting>,
    within: Duration,
) {
    let begin = async {
        let connected = reach.connect(within).await.map_err(|error| worker.not_connected(&error))?;
        let link = Link::begin(&worker, connected).await.map_err(|_| NotConnected::Unreachable)?;
        if link.is_settled().await { Ok(link) } else { Err(NotConnected::Unreachable) }
    };
    let link = tokio::time::timeout(within, begin).await.unwrap_or(Err(NotConnected::Unreachable));
    connecting.made.set(Some(link.as_ref().map(|_| ()).map_err(|fault| *fault)));
    {
        let mut sets = worker.links.0.borrow_mut();
        let set = sets.entry(Arc::as_ptr(&load)).or_insert_with(|| Set::of(&load));
        debug_assert!(Arc::ptr_eq(&set.load, &load));
        if set.connecting.as_ref().is_some_and(|current| Rc::ptr_eq(current, &connecting)) {
            set.connecting = None;
        }
        set.links.extend(link.ok().map(Rc::new));
    }
    connecting.done.notify_waiters();
}

impl Connecting {
    /// Whether it was made, once that is known.
    async fn made(&self) -> Result<(), NotConnected> {
        loop {
            // Before the look, so that no word is missed between the two.
            let done = self.done.notified();
            if let Some(made) = self.made.get() {
                return made;
            }
            done.await;
        }
    }
}

impl Lane {
    fn new(worker: &Rc<Worker>, link: Rc<Link>, load: &Arc<TargetLoad>, room: Rc<Notify>, fresh: bool) -> Self {
        link.enter(worker.now());
        load.in_flight.of(worker.id).enter();
        Self { worker: Rc::clone(worker), link, load: Arc::clone(load), room, fresh }
    }

    /// Whether its connection was made for it.
    pub(in crate::proxy) fn is_fresh(&self) -> bool {
        self.fresh
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.load.in_flight.of(self.worker.id).leave();
        self.link.leave(self.worker.now());
        self.room.notify_one();
    }
}
