//! The second try: whether a request that failed in its pool goes to another one, and to which.
//!
//! A request that was never sent may go anywhere. One that was sent and failed goes once more only if it changes nothing,
//! the candidate failed it, and the budget allows: a *rescue*, on live.

use super::attempt::{Replay, Tried};
use super::body::RequestBody;
use super::record::{Place, Record};
use super::visitor::Visitor;
use crate::model::Happening;
use http::{HeaderValue, Request};
use std::rc::Rc;
use std::sync::Arc;

/// What follows the first attempt.
pub(super) enum Second {
    /// Nothing: it stays at what came of it.
    None(Tried),
    /// Another attempt.
    Try {
        /// In this pool.
        place: Place,
        /// With this request.
        request: Request<RequestBody>,
        /// Because of what happened in the first.
        failure: Happening,
    },
}

impl Second {
    /// Decides on a second try. `rescue` says that the first was the draw of a candidate and failed in a way that a
    /// request may be rescued from.
    pub(super) fn of(
        visitor: &Rc<Visitor>,
        record: &Record,
        host: &HeaderValue,
        tried: Tried,
        replay: Option<&Replay>,
        rescue: bool,
    ) -> Self {
        let failure = tried.happening();
        match (tried, replay) {
            (Tried::Unsent(request), _) => match elsewhere(visitor, record, host, request.uri().path(), false) {
                Some(place) => Self::Try { place, request, failure },
                None => Self::None(Tried::Unsent(request)),
            },
            (failed, Some(replay)) if rescue && visitor.worker.rescues.spend(visitor.worker.now()) => {
                match elsewhere(visitor, record, host, replay.path(), true) {
                    Some(place) => Self::Try { place, request: replay.request(), failure },
                    None => Self::None(failed),
                }
            }
            (done, Some(_) | None) => Self::None(done),
        }
    }
}

/// Another pool than the one that the request is in, by the table that is in force now; `only_live` for a rescue.
fn elsewhere(visitor: &Rc<Visitor>, record: &Record, host: &HeaderValue, path: &str, only_live: bool) -> Option<Place> {
    let failed = &record.place()?.pool().load;
    let table = visitor.worker.table();
    let (service, route) = table.find(host.to_str().unwrap_or_default(), path)?;
    let but = route.pools.iter().position(|pool| Arc::ptr_eq(&pool.load, failed));
    let pool = route.serving(route.live, but).filter(|pool| !only_live || *pool == route.live)?;
    Some(Place::take(visitor, Rc::clone(&table), service, pool))
}
