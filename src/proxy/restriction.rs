//! A request to a service that is read-only or anonymous. Rare, so its state is boxed and kept apart from the walk that
//! every request takes.

use super::answers::announce_close;
use super::body::{AnswerBody, RequestBody};
use super::headers::{Found, X_CUTOVER_MODE};
use super::journey::Journey;
use super::visitor::{Phase, Visitor};
use crate::routing::{Passage, Restriction, is_override_header, without_method_fields};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE,
    EXPECT, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TRAILER,
    TRANSFER_ENCODING,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, Method, Response, Uri};
use hyper::body::Body;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const DIGEST: HeaderName = HeaderName::from_static("digest");

/// What speaks of a body that is not sent on.
const OF_THE_BODY: [HeaderName; 12] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    TRAILER,
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_MD5,
    CONTENT_DIGEST,
    REPR_DIGEST,
    DIGEST,
];

/// What makes a write depend on what is there. A GET would be answered with a part, or with nothing.
const CONDITIONS: [HeaderName; 6] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];

/// The most of an unwanted body that is read so that the connection can be kept. As much as after a refusal.
const MOST_READ: usize = 1024 * 1024;

/// What is left to do for a request that passes a restriction.
pub(super) struct Restricted {
    restriction: Arc<Restriction>,
    /// The body that is not sent on, where there is one.
    unwanted: Option<Unwanted>,
    /// Whether there is more of it to come that nobody reads.
    unread: bool,
}

struct Unwanted {
    body: RequestBody,
    /// Whether the visitor waits for a word before it sends the body, which it does not get.
    waits: bool,
}

impl Restricted {
    /// Changes the head of a request to what may pass, and gives the body that goes on with it.
    pub(super) fn new(
        passage: Passage<'_>,
        head: &mut Parts,
        found: &mut Found,
        body: RequestBody,
    ) -> (Box<Self>, RequestBody) {
        let restriction = Arc::clone(passage.restriction);
        if let Some(cookies) = &restriction.anonymous {
            cookies.leave_request(&mut head.headers);
            head.headers.remove(AUTHORIZATION);
        }
        if !passage.as_get {
            return (Box::new(Self { restriction, unwanted: None, unread: false }), body);
        }
        let waits = head.headers.contains_key(EXPECT);
        make_get(head);
        found.transfer_encoding = false;
        found.content_length = false;
        let unwanted = (!body.is_end_stream()).then_some(Unwanted { body, waits });
        (Box::new(Self { restriction, unwanted, unread: false }), RequestBody::Empty)
    }

    /// Tells the application of the mode.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(X_CUTOVER_MODE, self.restriction.name.clone());
    }

    /// Whether it does what another one has done already.
    pub(super) fn repeats(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.restriction, &other.restriction) && self.unwanted.is_none()
    }

    /// Reads the body that is not sent on, so that the next request can follow it. Fails with the status for a visitor
    /// who sends it wrongly, or not in time.
    pub(super) async fn receive(&mut self, visitor: &Visitor) -> Result<(), u16> {
        let Some(unwanted) = &mut self.unwanted else { return Ok(()) };
        let read = if unwanted.waits { Ok(false) } else { read_away(visitor, &mut unwanted.body).await };
        self.unread = read != Ok(true);
        // No target waits for it.
        visitor.set_body_due(false);
        read.map(|_| ())
    }

    /// Changes the answer to what may pass; what the router answers by itself stays as it is.
    pub(super) fn settle(&self, visitor: &Visitor, response: &mut Response<AnswerBody>) {
        if matches!(response.body(), AnswerBody::Relayed(_) | AnswerBody::Tunnel) {
            self.answers(response.headers_mut());
        }
        if self.unread {
            visitor.set_body_due(true);
            announce_close(visitor, response);
        }
    }

    /// Changes the answer of an application to what may pass.
    fn answers(&self, headers: &mut HeaderMap) {
        if let Some(cookies) = &self.restriction.anonymous {
            cookies.leave_answer(headers);
        }
        headers.insert(X_CUTOVER_MODE, self.restriction.name.clone());
    }
}

/// Turns a request into a GET of the same resource as it is now.
fn make_get(head: &mut Parts) {
    head.method = Method::GET;
    for name in OF_THE_BODY.into_iter().chain(CONDITIONS) {
        head.headers.remove(name);
    }
    let asks_otherwise = |name: &&HeaderName| is_override_header(name.as_str());
    let asking: Vec<HeaderName> = head.headers.keys().filter(asks_otherwise).cloned().collect();
    for name in asking {
        head.headers.remove(name);
    }
    if let Some(query) = head.uri.query().and_then(without_method_fields) {
        let path = head.uri.path();
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        // A part of what was a target is one as well.
        head.uri = Uri::from(PathAndQuery::try_from(target).unwrap_or(PathAndQuery::from_static("/")));
    }
}

/// From the place in a pool to the head of an answer, for a request that passed a restriction.
pub(super) async fn complete(journey: Box<Journey>, mut restricted: Box<Restricted>) -> Response<AnswerBody> {
    let visitor = Rc::clone(journey.visitor());
    let mut response = match restricted.receive(&visitor).await {
        Ok(()) => journey.complete().await,
        Err(status) => journey.refuse(status),
    };
    restricted.settle(&visitor, &mut response);
    response
}

/// Reads a body that nobody wants, within bounds, so that the next request can follow it. False when the bound came first;
/// fails with the status for a visitor who sends it wrongly, or not in time.
async fn read_away(visitor: &Visitor, body: &mut RequestBody) -> Result<bool, u16> {
    visitor.enter(Phase::Upload);
    let mut read = 0;
    let whole = poll_fn(|cx| {
        loop {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(Ok(true)),
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(visitor.body_fault())),
                Poll::Ready(Some(Ok(frame))) => {
                    read += frame.data_ref().map_or(0, bytes::Bytes::len);
                    if read > MOST_READ {
                        return Poll::Ready(Ok(false));
                    }
                }
                Poll::Pending if visitor.is_overdue() => return Poll::Ready(Err(408)),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    visitor.enter(Phase::Router);
    whole
}
