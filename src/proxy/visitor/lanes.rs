//! All lanes of a worker, which drain and stop as one.

use super::rest::LOOK;
use super::{Leave, Phase, Visitor};
use crate::routing::{Dice, Parting, UnderWay};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How many connections come to rest at a time at the most: requests wait meanwhile.
const MOST_AT_ONCE: usize = 128;

/// How soon the next ones do, if there are more.
const NEXT: Duration = Duration::from_millis(20);

/// All lanes of a worker. None of those that rest has a request under way.
#[derive(Default)]
pub(in crate::proxy) struct Visitors {
    awake: RefCell<Vec<Rc<Visitor>>>,
    /// Those on whose connection nothing comes, of which little is kept.
    resting: RefCell<Vec<Rc<Visitor>>>,
    closing_since: Cell<Option<Instant>>,
    closing: Notify,
}

impl Visitors {
    pub(super) fn add(&self, visitor: Rc<Visitor>) {
        visitor.closing.set(self.closing_since.get().is_some());
        self.insert(visitor);
    }

    fn insert(&self, visitor: Rc<Visitor>) {
        let mut list = self.list_of(&visitor).borrow_mut();
        visitor.index.set(list.len());
        list.push(visitor);
    }

    pub(super) fn remove(&self, visitor: &Visitor) -> Option<Rc<Visitor>> {
        let mut list = self.list_of(visitor).borrow_mut();
        let index = visitor.index.get();
        if !list.get(index).is_some_and(|there| ptr::eq(Rc::as_ptr(there), visitor)) {
            return None;
        }
        let removed = list.swap_remove(index);
        if let Some(moved) = list.get(index) {
            moved.index.set(index);
        }
        Some(removed)
    }

    fn list_of(&self, visitor: &Visitor) -> &RefCell<Vec<Rc<Visitor>>> {
        if visitor.is_resting() { &self.resting } else { &self.awake }
    }

    /// The visitor's connection rests from now on, or no more.
    pub(super) fn set_resting(&self, visitor: &Visitor, resting: bool) {
        if let Some(visitor) = self.remove(visitor) {
            visitor.resting.set(resting);
            self.insert(visitor);
        }
    }

    /// Has connections rest on which nothing has come for a while. No request pays for that: only those are woken that
    /// can rest. When to look again.
    ///
    /// Half of them at the most, so that there are always some that come after the others: the allocator gives back to the
    /// system what was freed only when more is freed, some time later, and in a worker with nothing to do nothing else is.
    pub(in crate::proxy) fn look(&self, now: Instant) -> Duration {
        let quiet = |visitor: &&Rc<Visitor>| visitor.can_rest(now) && !visitor.is_asked_to_rest();
        let awake = self.awake.borrow();
        let many = awake.iter().filter(quiet).take(2 * MOST_AT_ONCE).count().div_ceil(2);
        for visitor in awake.iter().filter(quiet).take(many) {
            visitor.ask_to_rest();
        }
        if many == MOST_AT_ONCE { NEXT } else { LOOK }
    }

    /// How many of these requests there are.
    pub(in crate::proxy) fn count_of(&self, under_way: &UnderWay) -> u64 {
        self.awake.borrow().iter().filter(|visitor| visitor.is_of(under_way)).count() as u64
    }

    /// Ends those of these requests that are tunnels, each some time before a drain is over.
    pub(in crate::proxy) fn part(&self, under_way: &UnderWay, parting: &Arc<Parting>, dice: &Dice) {
        let tunnels = |visitor: &&Rc<Visitor>| visitor.phase() == Phase::Tunnel && visitor.is_of(under_way);
        for visitor in self.awake.borrow().iter().filter(tunnels) {
            let at = parting.from + dice.part_of(parting.spread);
            let leave = Leave { at, begun: Cell::new(false), parting: Arc::downgrade(parting) };
            visitor.leave.replace(Some(Box::new(leave)));
            visitor.wake();
        }
    }

    /// Cuts the connections of these requests; how many there were that had not been told to end yet.
    pub(in crate::proxy) fn cut(&self, under_way: &UnderWay) -> u64 {
        let mut count = 0;
        for visitor in self.awake.borrow().iter().filter(|visitor| visitor.is_of(under_way)) {
            let told = visitor.leave.borrow().as_ref().is_some_and(|leave| leave.begun.get());
            visitor.cut.set(true);
            visitor.wake();
            count += u64::from(!told);
        }
        count
    }

    /// Closes each connection, and each that is still to come, once its request has ended, if there is one.
    pub(in crate::proxy) fn close(&self, now: Instant) {
        self.closing_since.set(Some(now));
        self.closing.notify_waiters();
        for visitor in self.awake.borrow().iter().chain(self.resting.borrow().iter()) {
            visitor.closing.set(true);
            visitor.wake();
        }
    }

    /// Resolves once connections are closed.
    pub(in crate::proxy) async fn closed(&self) {
        let told = self.closing.notified();
        if self.closing_since.get().is_none() {
            told.await;
        }
    }

    /// Since when connections are closed.
    pub(in crate::proxy) fn closing_since(&self) -> Option<Instant> {
        self.closing_since.get()
    }
}
