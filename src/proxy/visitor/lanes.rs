//! All lanes of a worker, which drain and stop as one.

use super::Visitor;
use crate::routing::UnderWay;
use std::cell::{Cell, RefCell};
use std::ptr;
use std::rc::Rc;
use std::time::Instant;

/// All lanes of a worker.
#[derive(Default)]
pub(in crate::proxy) struct Visitors {
    all: RefCell<Vec<Rc<Visitor>>>,
    closing_since: Cell<Option<Instant>>,
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

    /// Cuts the connections of these requests; how many there were.
    pub(in crate::proxy) fn cut(&self, under_way: &UnderWay) -> u64 {
        let mut count = 0;
        for visitor in self.all.borrow().iter().filter(|visitor| visitor.is_of(under_way)) {
            visitor.cut.set(true);
            visitor.wake();
            count += 1;
        }
        count
    }

    /// Closes each connection, and each that is still to come, once its request has ended, if there is one.
    pub(in crate::proxy) fn close(&self, now: Instant) {
        self.closing_since.set(Some(now));
        for visitor in self.all.borrow().iter() {
            visitor.closing.set(true);
            visitor.wake();
        }
    }

    /// Since when connections are closed.
    pub(in crate::proxy) fn closing_since(&self) -> Option<Instant> {
        self.closing_since.get()
    }
}
