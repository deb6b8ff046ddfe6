//! A request, from its head to the head of the answer.

use super::answers::{Wanted, add_cookie, refusal};
use super::attempt::{Tried, attempt};
use super::body::{AnswerBody, RequestBody};
use super::caching::{self, Audience};
use super::client::{Client, is_host};
use super::headers::{self, Found, X_REQUEST_ID};
use super::outgoing::Outgoing;
use super::record::{Move, Place, Record};
use super::visitor::{Phase, Visitor};
use super::{maintenance, preview, second, skew};
use crate::config::Caching;
use crate::model::{Happening, Timestamp};
use crate::routing::{Asked, Destination, Previewed, VisitorId};
use futures_util::future::{Either, ready};
use http::header::{CONNECTION, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, response};
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

/// Connections that may be tried for one request.
const MOST_CONNECTS: u32 = 3;

/// Serves a request: decides where it goes, sends it there, and gives the visitor what came of it.
pub(super) fn serve(
    visitor: &Rc<Visitor>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + use<> {
    match begin(visitor, request) {
        Ok(journey) => Either::Left(journey.complete()),
        Err(mut answer) => {
            announce_close(visitor, &mut answer);
            Either::Right(ready(Ok(answer)))
        }
    }
}

/// Says that the connection will be closed behind this answer, where the request's body has not come to its end: who
/// is not told sends the next request into nothing.
fn announce_close(visitor: &Visitor, answer: &mut Response<AnswerBody>) {
    if visitor.is_body_due() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A request that goes to a pool.
struct Journey {
    visitor: Rc<Visitor>,
    record: Record,
    wanted: Wanted,
    outgoing: Outgoing,
    host: HeaderValue,
    client: Client,
    newcomer: Option<VisitorId>,
    audience: Audience,
}

/// From the head of a request to its place in a pool, or to the router's own answer. Nothing is awaited on the way.
#[allow(clippy::result_large_err)] // both are on their way to the same place
fn begin(visitor: &Rc<Visitor>, request: Request<Incoming>) -> Result<Journey, Response<AnswerBody>> {
    visitor.enter(Phase::Router);
    let (mut head, body) = request.into_parts();
    let mut record = Record::new(visitor, &head);
    let wanted = Wanted::by(&head);
    let body = RequestBody::new(body, visitor);
    let found = Found::in_head(&head.headers);
    let host = match fit_to_pass(&mut head, found) {
        Ok(host) => host,
        Err(status) => return Err(refusal(record, &wanted, Happening::BadRequest(status))),
    };
    let client = Client::of(visitor, &head.headers);
    if let Some(line) = record.line() {
        line.client = client.address;
    }

    // Which service, pool and side of the split.
    let table = visitor.worker.table();
    let secret = &visitor.worker.settings.secret;
    if preview::is_in_query(&head.uri) {
        record = preview::enter(record, &wanted, &mut head, &host, client, (&table, secret))?;
    }
    let in_cookies = found.cookie && preview::is_in_cookies(&head.headers);
    let asked = Asked {
        host: host.to_str().unwrap_or_default(),
        path: head.uri.path(),
        headers: &head.headers,
        client: client.address,
        preview_at: in_cookies.then(Timestamp::now),
    };
    let (service, pool, draw, failed_over, previewed) = match table.route(&asked, secret) {
        Destination::NoService => return Err(refusal(record, &wanted, Happening::NoService)),
        Destination::Maintenance { route, answer } => {
            return Err(maintenance::response(record, &wanted, route, answer));
        }
        Destination::Pool { service, pool, draw, failed_over, previewed, .. } => {
            (service, pool, draw, failed_over, previewed)
        }
    };
    let audience = match (previewed, draw) {
        (None, None) => Audience::Everyone,
        (None, Some(_)) if found.service_worker => Audience::CohortWorker,
        (None, Some(_)) => Audience::Cohort,
        (Some(Previewed::ByNetwork), _) => Audience::Network,
        (Some(Previewed::ByLink), _) => Audience::Link,
    };
    record.enters(Place::take(visitor, table, service, pool), draw.as_ref(), failed_over);
    if audience == Audience::Link {
        record.is_unjudged();
    }

    // The head as the target gets it.
    headers::strip_request(&mut head.headers, found);
    if found.forwarded && !visitor.trusted {
        headers::strip_forwarded(&mut head.headers);
    }
    if in_cookies {
        preview::strip_cookie(&mut head.headers);
    }
    client.tell(visitor, &mut head.headers, &host);
    if host.is_empty() {
        record.name_host(&mut head.headers);
    }
    keep_or_make_id(&mut head.headers, found, visitor, &mut record);
    head.version = Version::HTTP_11;
    let outgoing = Outgoing::new(Request::from_parts(head, body));
    let newcomer = draw.and_then(|draw| draw.new_visitor);
    Ok(Journey { visitor: Rc::clone(visitor), record, wanted, outgoing, host, client, newcomer, audience })
}

impl Journey {
    /// From the place in a pool to the head of an answer.
    #[allow(clippy::manual_async_fn)] // an `async fn` holds its `self` twice, and every request carries it along
    fn complete(mut self) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> {
        async move {
            let mut connects = MOST_CONNECTS;
            let mut tried = {
                let Self { visitor, record, outgoing, .. } = &mut self;
                let mut first = pin!(attempt(visitor, record.place(), outgoing, &mut connects));
                poll_fn(|cx| {
                    let tried = first.as_mut().poll(cx);
                    record.is_on_its_way();
                    tried
                })
                .await
            };

            // Perhaps a second pool.
            let failure = tried.happening();
            let rescue = self.record.judges(failure) && self.outgoing.is_repeatable();
            if let Some(place) = self.second_place(&tried, rescue) {
                self.record.moves(place, failure, if rescue { Move::Rescue } else { Move::FailOver });
                let second = attempt(&self.visitor, self.record.place(), &mut self.outgoing, &mut connects);
                tried = Box::pin(second).await;
            } else if skew::is_missing(&tried) && self.may_look_elsewhere() {
                let Self { visitor, record, outgoing, host, .. } = &mut self;
                tried = Box::pin(skew::look(visitor, record, outgoing, host, tried, &mut connects)).await;
            }

            // The head as the visitor gets it.
            let mut response = match tried {
                Tried::Answered { response, busy, happening, found } => {
                    let (mut head, body) = response.into_parts();
                    headers::strip_response(&mut head.headers, found);
                    head.version = Version::HTTP_11;
                    if self.audience != Audience::Everyone {
                        self.limit_caching(&mut head);
                    }
                    self.record.answers(happening, head.status.as_u16());
                    Response::from_parts(head, AnswerBody::relayed(body, busy, self.record))
                }
                Tried::Failed(happening) => refusal(self.record, &self.wanted, happening),
                Tried::Unsent => maintenance::unplanned(self.record, &self.wanted),
            };
            if let Some(newcomer) = self.newcomer {
                let secret = &self.visitor.worker.settings.secret;
                add_cookie(response.headers_mut(), newcomer, secret, self.client.secure);
            }
            announce_close(&self.visitor, &mut response);
            Ok(response)
        }
    }

    /// The pool for a second try, if there is to be one.
    fn second_place(&self, tried: &Tried, rescue: bool) -> Option<Place> {
        let Self { visitor, record, host, outgoing, .. } = self;
        if self.audience == Audience::Link {
            // Who was promised one pool is not shown another.
            return None;
        }
        let path = outgoing.path()?;
        match tried {
            Tried::Unsent => second::elsewhere(visitor, record, host, path),
            Tried::Answered { .. } | Tried::Failed(_) if rescue => second::on_live(visitor, record, host, path),
            Tried::Answered { .. } | Tried::Failed(_) => None,
        }
    }

    /// Whether what the pool does not have may be looked for in another.
    fn may_look_elsewhere(&self) -> bool {
        let warm = self.record.place().is_some_and(|place| place.route().skew.is_some());
        warm && self.audience != Audience::Link
    }

    /// Says in an answer that it is not for everyone.
    fn limit_caching(&mut self, head: &mut response::Parts) {
        let Some(place) = self.record.place() else { return };
        let rule = (place.route().caching, &place.route().sticky);
        if rule.0 != Caching::AsIs && caching::never_changes(&head.headers, head.status) {
            // A cookie would keep it out of the caches that it is for; the visitor gets one with the next page.
            self.newcomer = None;
        }
        caching::limit(&mut head.headers, head.status, self.audience, rule, self.newcomer.is_some());
        if self.audience == Audience::Link {
            preview::name_shown(&mut head.headers, &place.pool().name_header);
        }
    }
}

/// Checks a head, and brings it into the form in which it goes on: the path alone, and its host. Fails with the status
/// for the visitor.
fn fit_to_pass(head: &mut Parts, found: Found) -> Result<HeaderValue, u16> {
    if head.method == Method::CONNECT {
        return Err(501);
    }
    if found.transfer_encoding && !headers::is_only_chunked(&head.headers) {
        return Err(501);
    }
    if let Some(authority) = head.uri.authority() {
        // RFC 9112 §3.2.2: the host of an absolute target goes before the header.
        let authority = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = HeaderValue::from_str(authority).map_err(|_| 400_u16)?;
        let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        head.headers.insert(HOST, host);
        head.uri = Uri::from(path);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Ok(host.clone()),
        (None, _) if head.version == Version::HTTP_10 => Ok(HeaderValue::from_static("")),
        (Some(_) | None, _) => Err(400),
    }
}

fn keep_or_make_id(headers: &mut HeaderMap, found: Found, visitor: &Visitor, record: &mut Record) {
    let kept = found.request_id && headers.get(X_REQUEST_ID).is_some_and(headers::is_request_id);
    let id = match headers.get(X_REQUEST_ID).filter(|_| kept) {
        Some(id) => id.clone(),
        None => visitor.worker.request_ids.make(),
    };
    if let Some(line) = record.line() {
        line.request_id = Some(id.clone());
    }
    headers.insert(X_REQUEST_ID, id);
}
