//! The second try: where a request goes that failed in its pool, by the table that is in force by then.
//!
//! One that was never sent may go anywhere. One that was sent and failed goes once more only if it changes nothing, the
//! candidate failed it, and the budget allows: a *rescue*, on live.

use super::crowd;
use super::record::{Place, Record};
use super::visitor::Visitor;
use http::HeaderValue;
use std::rc::Rc;
use std::sync::Arc;

/// Live, for a request that the candidate failed. It is counted there at once.
pub(super) fn on_live(visitor: &Rc<Visitor>, record: &Record, host: &HeaderValue, path: &str) -> Option<Place> {
    if !visitor.worker.rescues.spend(visitor.worker.now()) {
        return None;
    }
    place(visitor, record, host, path, true)
}

/// Any other pool that can serve. The request is counted there at once.
pub(super) fn elsewhere(visitor: &Rc<Visitor>, record: &Record, host: &HeaderValue, path: &str) -> Option<Place> {
    place(visitor, record, host, path, false)
}

fn place(visitor: &Rc<Visitor>, record: &Record, host: &HeaderValue, path: &str, only_live: bool) -> Option<Place> {
    let failed = &record.place()?.pool().load;
    let table = visitor.worker.table();
    let (service, route) = table.find(host.to_str().unwrap_or_default(), path)?;
    // In a hold nothing enters another pool: the one who waits for it to be empty must not be fooled.
    if route.hold {
        return None;
    }
    let but = route.pools.iter().position(|pool| Arc::ptr_eq(&pool.load, failed));
    let pool = route.serving(route.live, but).filter(|pool| !only_live || *pool == route.live)?;
    let pool = Some(pool).filter(|pool| !crowd::keeps(&visitor.worker, route, *pool))?;
    Some(Place::take(visitor, Rc::clone(&table), service, pool))
}
