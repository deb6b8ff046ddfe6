//! One pool's attempt at a request: targets and connections are tried until the request was sent.

use super::body::RequestBody;
use super::headers::{Found, GRPC_STATUS, is_only_chunked, name_pool};
use super::record::Place;
use super::upstream::{Busy, Exchanged, connect};
use super::visitor::Visitor;
use crate::model::{Happening, grpc_status_fails};
use crate::routing::{Pool, Target};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::{Body, Incoming};
use std::rc::Rc;

/// What it takes to send a request again: only one that changes nothing and has no body.
pub(super) struct Replay {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Replay {
    /// Of a request that may be sent again.
    pub(super) fn of(request: &Request<RequestBody>) -> Option<Self> {
        let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        (changes_nothing && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    /// The request once more.
    pub(super) fn request(&self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The path that it asks for.
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }
}

/// What came of an attempt.
pub(super) enum Tried {
    /// The head of an answer.
    Answered {
        /// The answer.
        response: Response<Incoming>,
        /// The connection that brings the rest of it.
        busy: Busy,
        /// What it amounts to.
        happening: Happening,
        /// What is in its head.
        found: Found,
    },
    /// No usable answer.
    Failed(Happening),
    /// No target could be connected to.
    Unsent(Request<RequestBody>),
}

impl Tried {
    /// What it amounts to.
    pub(super) fn happening(&self) -> Happening {
        match self {
            Self::Answered { happening, .. } | Self::Failed(happening) => *happening,
            Self::Unsent(_) => Happening::ConnectFailed,
        }
    }
}

/// Sends a request to a target of the pool that it is in. A connection that turns out to be closed already is replaced
/// without a word; a target that can't be connected to is suspected, and another one is tried, within `connects`.
pub(super) async fn attempt(
    visitor: &Rc<Visitor>,
    place: Option<&Place>,
    mut request: Request<RequestBody>,
    replay: Option<&Replay>,
    connects: &mut u32,
) -> Tried {
    // A request that is in no pool is sent nowhere.
    let Some(place) = place else { return Tried::Unsent(request) };
    let worker = &visitor.worker;
    let pool = place.pool();
    name_pool(request.headers_mut(), pool);
    let mut but = None;
    while let Some(index) = pool.choose(worker.id, &worker.dice, but) {
        let target = &pool.targets[index];
        place.tries(index);
        request = match on_kept(visitor, pool, target, request, replay).await {
            Sent::Tried(tried) => return tried,
            Sent::Not(request) => request,
        };
        if *connects == 0 {
            break;
        }
        *connects -= 1;
        if let Ok(mut busy) = connect(worker, target).await {
            match busy.exchange(visitor, request).await {
                Exchanged::Answered(response) => return judge(response, busy),
                Exchanged::Failed(happening) => return Tried::Failed(happening),
                // It accepts connections and closes them at once.
                Exchanged::Unsent(unsent) => request = unsent,
            }
        }
        worker.reports.suspect(&target.load);
        but = Some(index);
    }
    Tried::Unsent(request)
}

/// What came of the connections that were kept.
enum Sent {
    /// The request was sent.
    Tried(Tried),
    /// It was not, or may be sent again.
    Not(Request<RequestBody>),
}

/// Sends a request on a connection that was kept, if one is still good.
async fn on_kept(
    visitor: &Rc<Visitor>,
    pool: &Pool,
    target: &Target,
    mut request: Request<RequestBody>,
    replay: Option<&Replay>,
) -> Sent {
    let worker = &visitor.worker;
    while let Some(mut busy) = worker.kept.take(worker, target, replay.is_some()) {
        match (busy.exchange(visitor, request).await, replay) {
            (Exchanged::Answered(response), _) => return Sent::Tried(judge(response, busy)),
            // The target closed it before it saw the request.
            (Exchanged::Unsent(unsent), _) => request = unsent,
            // As far as anyone can tell, here too; and asking again does no harm.
            (Exchanged::Failed(Happening::ClosedBeforeHead), Some(replay)) => {
                let mut again = replay.request();
                name_pool(again.headers_mut(), pool);
                return Sent::Not(again);
            }
            (Exchanged::Failed(happening), _) => return Sent::Tried(Tried::Failed(happening)),
        }
    }
    Sent::Not(request)
}

/// What the head of an answer amounts to.
fn judge(response: Response<Incoming>, busy: Busy) -> Tried {
    let headers = response.headers();
    let found = Found::in_head(headers);
    let two_framings = found.transfer_encoding && (found.content_length || !is_only_chunked(headers));
    if two_framings || response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Tried::Failed(Happening::MalformedHead);
    }
    let status = response.status().as_u16();
    let call_failed = found.grpc_status
        && headers.get(GRPC_STATUS).is_some_and(|status| grpc_status_fails(status.as_bytes()))
        && status < 500;
    let happening = if call_failed { Happening::GrpcFailedInHead(status) } else { Happening::Answered(status) };
    Tried::Answered { response, busy, happening, found }
}
