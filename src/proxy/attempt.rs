//! One pool's attempt at a request: targets and connections are tried until the request was sent.

use super::headers::{Found, GRPC_STATUS, is_only_chunked};
use super::inbound::Inbound;
use super::outgoing::Outgoing;
use super::record::Place;
use super::upstream::{Busy, Exchanged, connect};
use super::visitor::Visitor;
use crate::model::{Happening, grpc_status_fails};
use crate::routing::{Pool, Target};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response, StatusCode};
use std::rc::Rc;

/// What came of an attempt.
pub(super) enum Tried {
    /// The head of an answer.
    Answered {
        /// The answer.
        response: Response<Inbound>,
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
/// without a word; a target that can't be connected to is suspected, and another one is tried, within `connects`.
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
    let mut but = None;
    while let Some(index) = pool.choose(worker.id, &worker.dice, but) {
        let target = &pool.targets[index];
        place.tries(index);
        match on_kept(visitor, pool, target, outgoing).await {
            Tried::Unsent => {}
            tried @ (Tried::Answered { .. } | Tried::Failed(_)) => return tried,
        }
        if *connects == 0 {
            break;
        }
        *connects -= 1;
        // Rare, so its state is kept out of what every request carries along.
        match Box::pin(on_fresh(visitor, pool, target, outgoing)).await {
            Tried::Unsent => {}
            tried @ (Tried::Answered { .. } | Tried::Failed(_)) => return tried,
        }
        worker.reports.suspect(&target.load);
        but = Some(index);
    }
    Tried::Unsent
}

/// Sends a request on a connection that was kept, if one is still good.
async fn on_kept(visitor: &Rc<Visitor>, pool: &Pool, target: &Target, outgoing: &mut Outgoing) -> Tried {
    let worker = &visitor.worker;
    while let Some(mut busy) = worker.kept.take(worker, target, outgoing.is_repeatable()) {
        match busy.exchange(visitor, pool, outgoing).await {
            Exchanged::Answered(response) => return judge(response, busy),
            // The target closed it before it saw the request.
            Exchanged::Unsent => {}
            // As far as anyone can tell, here too; and asking again, on a fresh one, does no harm.
            Exchanged::Failed(Happening::ClosedBeforeHead) if outgoing.is_repeatable() => return Tried::Unsent,
            Exchanged::Failed(happening) => return Tried::Failed(happening),
        }
    }
    Tried::Unsent
}

/// Sends a request on a new connection.
async fn on_fresh(visitor: &Rc<Visitor>, pool: &Pool, target: &Target, outgoing: &mut Outgoing) -> Tried {
    let Ok(mut busy) = connect(&visitor.worker, target).await else { return Tried::Unsent };
    match busy.exchange(visitor, pool, outgoing).await {
        Exchanged::Answered(response) => judge(response, busy),
        Exchanged::Failed(happening) => Tried::Failed(happening),
        // It accepts connections and closes them at once.
        Exchanged::Unsent => Tried::Unsent,
    }
}

/// Whether the one length that a head gives is a number (RFC 9110 §8.6).
fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (Some(length), None) => length.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_) | None, _) => false,
    }
}

/// What the head of an answer amounts to.
fn judge(response: Response<Inbound>, busy: Busy) -> Tried {
    let headers = response.headers();
    let found = Found::in_head(headers);
    let two_framings = found.transfer_encoding && (found.content_length || !is_only_chunked(headers));
    let odd_length = found.content_length && !has_one_length(headers);
    // RFC 9110 §15: there are no others.
    let odd_status = response.status() == StatusCode::SWITCHING_PROTOCOLS || response.status().as_u16() > 599;
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
