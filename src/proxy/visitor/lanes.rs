//! All lanes of a worker, which drain and stop as one.

use super::{Leave, Phase, Visitor};
use crate::routing::{Dice, Parting, UnderWay};
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// All lanes of a worker.
#[derive(Default)]
pub(in crate::proxy) struct Visitors {
    all: RefCell<Vec<Rc<Visitor>>>,
    closing_since: Cell<Option<Instant>>,
    closing: Notify,
}

impl Visitors {
    pub(super) fn add(&self, visitor: &Rc<Visitor>) {
        let mut all = self.all.borrow_mut();
        visitor.index.set(all.len());
        visitor.closing.set(self.closing_since.get().is_some());
        all.push(Rc::clone(visitor));
    }

    pub(super) fn remove(&self, visitor: &Visitor) {
        let mut all = self.all.borrow_mut();
        let index = visitor.index.get();
        if all.get(index).is_some_and(|there| ptr::eq(Rc::as_ptr(there), visitor)) {
            all.swap_remove(index);
            if let Some(moved) = all.get(index) {
                moved.index.set(index);
            }
        }
    }

    /// How many of these requests there are.
    pub(in crate::proxy) fn count_of(&self, under_way: &UnderWay) -> u64 {
        self.all.borrow().iter().filter(|visitor| visitor.is_of(under_way)).count() as u64
    }

    /// Ends those of these requests that are tunnels, each some time before a drain is over.
    pub(in crate::proxy) fn part(&self, under_way: &UnderWay, parting: &Arc<Parting>, dice: &Dice) {
        let tunnels = |visitor: &&Rc<Visitor>| visitor.phase() == Phase::Tunnel && visitor.is_of(under_way);
        for visitor in self.all.borrow().iter().filter(tunnels) {
            let at = parting.from + dice.part_of(parting.spread);
            let leave = Leave { at, begun: Cell::new(false), parting: Arc::downgrade(parting) };
            visitor.leave.replace(Some(Box::new(leave)));
            visitor.wake();
        }
    }

    /// Cuts the connections of these requests; how many there were that had not been told to end yet.
    pub(in crate::proxy) fn cut(&self, under_way: &UnderWay) -> u64 {
        let mut count = 0;
        for visitor in self.all.borrow().iter().filter(|visitor| visitor.is_of(under_way)) {
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
        for visitor in self.all.borrow().iter() {
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
