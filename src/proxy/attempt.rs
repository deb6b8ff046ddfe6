//! One pool's attempt at a request: targets and connections are tried until the request was sent.

use super::headers::{Found, GRPC_STATUS, is_only_chunked};
use super::multiplex::{Links, NoLane, Streamed};
use super::outgoing::Outgoing;
use super::record::Place;
use super::upgrade::agreed;
use super::upstream::{Busy, Exchanged, NotConnected, connect};
use super::visitor::Visitor;
use super::worker::Worker;
use crate::config::Protocol;
use crate::model::{Happening, grpc_status_fails};
use crate::routing::counters::RetryReason;
use crate::routing::{Pool, Route, Target};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};
use std::rc::Rc;

/// What came of an attempt.
pub(super) enum Tried {
    /// The head of an answer.
    Answered {
        /// The answer.
        response: Response<()>,
        /// The connection that brings the rest of it.
        busy: Busy,
        /// What it amounts to.
        happening: Happening,
        /// What is in its head.
        found: Found,
    },
    /// No usable answer.
    Failed(Happening),
    /// No target could be connected to; the request can still be sent.
    Unsent,
}

impl Tried {
    /// What it amounts to.
    pub(super) fn happening(&self) -> Happening {
        match self {
            Self::Answered { happening, .. } | Self::Failed(happening) => *happening,
            Self::Unsent => Happening::ConnectFailed,
        }
    }
}

/// Sends a request to a target of the pool that it is in. A connection that turns out to be closed already is replaced
/// without a word; a target that can't be connected to is suspected, and another one is tried, within `connects` and the
/// budget of retries.
pub(super) async fn attempt(
    visitor: &Rc<Visitor>,
    place: Option<&Place>,
    outgoing: &mut Outgoing,
    connects: &mut u32,
) -> Tried {
    // A request that is in no pool is sent nowhere.
    let Some(place) = place else { return Tried::Unsent };
    let worker = &visitor.worker;
    let pool = place.pool();
    let mut refused = false;
    while let Some(index) = choose(worker, place, refused) {
        let target = &pool.targets[index];
        place.tries(index);
        if pool.protocol == Protocol::H1 {
            match on_kept(visitor, pool, target, outgoing).await {
                Tried::Unsent => {}
                tried @ (Tried::Answered { .. } | Tried::Failed(_)) => {
                    note(worker, place.route(), target, tried.happening());
                    return tried;
                }
            }
        }
        if *connects == 0 || (refused && !may_connect_again(worker, place)) {
            break;
        }
        *connects -= 1;
        // Rare or large, so its state is kept out of what every request carries along.
        let tried = match pool.protocol {
            Protocol::H1 => Box::pin(on_fresh(visitor, place, target, outgoing)).await,
            Protocol::H2 => Box::pin(on_stream(visitor, place, target, outgoing)).await,
        };
        match tried {
            Tried::Unsent => {}
            tried @ (Tried::Answered { .. } | Tried::Failed(_)) => {
                note(worker, place.route(), target, tried.happening());
                return tried;
            }
        }
        note(worker, place.route(), target, Happening::ConnectFailed);
        worker.reports.suspect(&target.load);
        refused = true;
    }
    Tried::Unsent
}

/// A target of the pool, and not the one that was tried last, unless there is no other and it could be connected to.
fn choose(worker: &Worker, place: &Place, refused: bool) -> Option<usize> {
    let (pool, now) = (place.pool(), worker.now());
    let chosen = pool.choose(worker.id, &worker.dice, place.tried(), now);
    if chosen.is_none() && !refused { pool.choose(worker.id, &worker.dice, None, now) } else { chosen }
}

/// Sends a request on a connection that was kept, if one is still good.
async fn on_kept(visitor: &Rc<Visitor>, pool: &Pool, target: &Target, outgoing: &mut Outgoing) -> Tried {
    let worker = &visitor.worker;
    while let Some(mut busy) = worker.kept.take(worker, target, outgoing.is_repeatable()) {
        match busy.exchange(visitor, pool, outgoing).await {
            Exchanged::Answered(response) => return judge(response, busy, outgoing),
            // The target closed it before it saw the request.
            Exchanged::Unsent => worker.kept.was_closed(&busy),
            // As far as anyone can tell, here too; and asking again, on a fresh one, does no harm.
            Exchanged::Failed(happening @ Happening::ClosedBeforeHead) => {
                worker.kept.was_closed(&busy);
                return if outgoing.is_repeatable() { Tried::Unsent } else { Tried::Failed(happening) };
            }
            Exchanged::Failed(happening) => return Tried::Failed(happening),
        }
    }
    Tried::Unsent
}

/// Sends a request on a new connection.
async fn on_fresh(visitor: &Rc<Visitor>, place: &Place, target: &Target, outgoing: &mut Outgoing) -> Tried {
    let worker = &visitor.worker;
    let mut busy = match connect(worker, target, visitor.connects_within()).await {
        Ok(busy) => busy,
        Err(NotConnected::LimitHere) => return Tried::Failed(Happening::RouterLimit),
        Err(NotConnected::Unreachable) => return Tried::Unsent,
    };
    match busy.exchange(visitor, place.pool(), outgoing).await {
        Exchanged::Answered(response) => judge(response, busy, outgoing),
        Exchanged::Failed(happening) => Tried::Failed(happening),
        // It accepts connections and closes them at once.
        Exchanged::Unsent => Tried::Unsent,
    }
}

/// Streams that a request is tried on which the target does not look at, one after the other. A second one costs
/// nothing: a goodbye that crosses a request is nobody's fault. A third one is within the budget, for a target that
/// refuses all it gets must not get all of it three times.
const MOST_UNLOOKED_AT: u32 = 3;

/// Sends a request on a stream of a connection by HTTP/2.
async fn on_stream(visitor: &Rc<Visitor>, place: &Place, target: &Target, outgoing: &mut Outgoing) -> Tried {
    let (worker, pool) = (&visitor.worker, place.pool());
    let (mut unlooked_at, mut lost) = (0, false);
    while unlooked_at < MOST_UNLOOKED_AT {
        if unlooked_at > 1 && !worker.retries.spend(worker, place.route(), RetryReason::Refused) {
            break;
        }
        let lane = match Links::lane(visitor, target).await {
            Ok(lane) => lane,
            Err(NoLane::Unreachable) => return Tried::Unsent,
            Err(NoLane::LimitHere | NoLane::Full) => return Tried::Failed(Happening::RouterLimit),
        };
        let fresh = lane.is_fresh();
        match lane.exchange(visitor, pool, outgoing).await {
            Streamed::Answered(response, streaming) => {
                return judge(response, Busy::on_stream(worker, streaming), outgoing);
            }
            // The connection is used no more, so there are only so many of these.
            Streamed::Over if !fresh => {}
            Streamed::Unsent | Streamed::Over => unlooked_at += 1,
            // As far as anyone can tell, the target has closed a connection that was idle. Asking again does no harm.
            Streamed::Lost if !fresh && !lost && outgoing.is_repeatable() => lost = true,
            Streamed::Lost => return Tried::Failed(Happening::ClosedBeforeHead),
            Streamed::Failed(happening) => return Tried::Failed(happening),
        }
    }
    Tried::Unsent
}

/// Whether one connection more may be tried for a request that one could not be made for.
#[cold]
fn may_connect_again(worker: &Worker, place: &Place) -> bool {
    let may = worker.retries.spend(worker, place.route(), RetryReason::Connect);
    if may {
        place.tries_again();
    }
    may
}

/// Takes a note of what came of a request at a target: too many failures in a row are told.
fn note(worker: &Worker, route: &Route, target: &Target, happening: Happening) {
    if !happening.is_of_target() {
        return;
    }
    let requests = target.load.in_flight.of(worker.id);
    if !happening.ruling().counts {
        requests.succeeded();
    } else if route.bounds.errors.is_some_and(|errors| requests.failed(errors)) {
        worker.reports.fails(&target.load);
    }
}

/// Whether the one length that a head gives is a number (RFC 9110 §8.6).
fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None) => !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_) | None, _) => false,
    }
}

/// What the head of an answer amounts to.
fn judge(response: Response<()>, busy: Busy, outgoing: &Outgoing) -> Tried {
    let headers = response.headers();
    let found = Found::in_head(headers);
    let two_framings = found.transfer_encoding && (found.content_length || !is_only_chunked(headers));
    let odd_length = found.content_length && !has_one_length(headers);
    let unasked = || !busy.is_handed_over() || outgoing.asked().and_then(|asked| agreed(asked, headers)).is_none();
    let status = response.status();
    // RFC 9110 §15: there are no statuses above 599.
    let odd_status = status.as_u16() > 599 || status == StatusCode::SWITCHING_PROTOCOLS && unasked();
    if two_framings || odd_length || odd_status {
        return Tried::Failed(Happening::MalformedHead);
    }
    let status = response.status().as_u16();
    let call_failed = found.grpc_status
        && headers.get(GRPC_STATUS).is_some_and(|status| grpc_status_fails(status.as_bytes()))
        && status < 500;
    let happening = if call_failed { Happening::GrpcFailedInHead(status) } else { Happening::Answered(status) };
    Tried::Answered { response, busy, happening, found }
}
