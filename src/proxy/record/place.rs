//! A request's place in a pool.

use crate::proxy::visitor::Visitor;
use crate::proxy::worker::Snapshot;
use crate::routing::{Pool, Route, Split};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// A request's place in a pool, counted there for as long as it lasts.
pub(in crate::proxy) struct Place {
    visitor: Rc<Visitor>,
    table: Rc<Snapshot>,
    service: usize,
    pool: usize,
    /// The index of the target that was tried last.
    target: Cell<Option<u32>>,
    /// Whether another connection was tried after one that could not be made.
    retried: Cell<bool>,
}

impl Place {
    /// Counts a request in a pool. Nothing may be awaited between the reading of the table and this.
    pub(in crate::proxy) fn take(visitor: &Rc<Visitor>, table: Rc<Snapshot>, service: usize, pool: usize) -> Self {
        let place = Self {
            visitor: Rc::clone(visitor),
            table,
            service,
            pool,
            target: Cell::new(None),
            retried: Cell::new(false),
        };
        let load = &place.pool().load;
        load.of(visitor.worker.id).in_flight.enter();
        visitor.is_in(load);
        place
    }

    /// The service.
    pub(in crate::proxy) fn route(&self) -> &Route {
        &self.table.services[self.service]
    }

    /// The service, for longer than the place is held. Costs a count that is shared by all workers.
    pub(in crate::proxy) fn shared_route(&self) -> Arc<Route> {
        Arc::clone(&self.table.services[self.service])
    }

    /// The pool.
    pub(in crate::proxy) fn pool(&self) -> &Pool {
        &self.route().pools[self.pool]
    }

    /// The request goes to this target.
    pub(in crate::proxy) fn tries(&self, target: usize) {
        self.target.set(u32::try_from(target).ok());
    }

    /// The target that it went to last.
    pub(in crate::proxy) fn tried(&self) -> Option<usize> {
        self.target.get().and_then(|target| usize::try_from(target).ok())
    }

    /// Another connection is tried, for one could not be made.
    pub(in crate::proxy) fn tries_again(&self) {
        self.retried.set(true);
    }

    /// Whether another was.
    pub(super) fn is_retried(&self) -> bool {
        self.retried.get()
    }

    /// The version of the table that the request was routed by.
    pub(super) fn version(&self) -> u64 {
        self.table.version
    }

    /// The draw of a rollout, while there is one.
    pub(super) fn split(&self) -> Option<&Split> {
        self.route().split.as_ref()
    }

    /// Whether the pool is the candidate of a rollout.
    pub(super) fn is_candidate(&self) -> bool {
        self.split().is_some_and(|split| split.candidate == self.pool)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let load = &self.pool().load;
        let worker = &self.visitor.worker;
        load.of(worker.id).in_flight.leave();
        self.visitor.has_left(load);
        if !worker.lines.at_rest() {
            worker.lines.left(worker, load);
        }
    }
}
