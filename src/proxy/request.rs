//! A request, from its head to its place in a pool or to the router's own answer.

use super::answers::{Wanted, announce_close, refusal};
use super::assets;
use super::body::{AnswerBody, RequestBody};
use super::caching::Audience;
use super::client::{Client, Told, is_host};
use super::crowd::{self, Crowded};
use super::headers::{self, Found, X_REQUEST_ID};
use super::inbound::Inbound;
use super::inspector::NO_METHOD;
use super::journey::Journey;
use super::outgoing::Outgoing;
use super::record::{Place, Record};
use super::restriction::{self, Restricted};
use super::visitor::{Phase, Visitor};
use super::{http2, maintenance, preview, redirect, upgrade, waiting};
use crate::model::{Happening, Timestamp};
use crate::routing::{Asked, Destination, Gate, Passage, Reason, Route};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, Uri, Version};
use std::rc::Rc;
use std::sync::Arc;

/// A request for which it is decided where it goes.
pub(super) struct Begun(Result<Onward, Stopped>);

/// Decides where a request goes. Nothing is awaited on the way to its place in a pool, or to the router's own answer.
pub(super) fn begin(visitor: &Rc<Visitor>, head: Parts, body: Inbound) -> Begun {
    let mut begun = arrive(visitor, head, body);
    if let Err(Stopped::Answered(answer)) = &mut begun {
        announce_close(visitor, answer);
    }
    Begun(begun)
}

impl Begun {
    /// Sends the request where it goes, and gives what came of it.
    pub(super) async fn complete(self) -> Response<AnswerBody> {
        match self.0 {
            Ok((journey, None)) => journey.complete().await,
            Ok((journey, Some(restricted))) => Box::pin(restriction::complete(journey, restricted)).await,
            Err(Stopped::Waits(arrived)) => waiting::wait(arrived).await,
            Err(Stopped::Crowded(crowded)) => crowd::wait(crowded).await,
            Err(Stopped::Answered(answer)) => *answer,
        }
    }
}

/// What keeps a request from going to a pool.
pub(super) enum Stopped {
    /// The router has answered it.
    Answered(Box<Response<AnswerBody>>),
    /// It has to wait.
    Waits(Box<Arrived>),
    /// There is no room for it in its pool.
    Crowded(Box<Crowded>),
}

/// How a request comes to be routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// It comes just now: others that wait go first.
    Comes,
    /// It has waited, and was let go.
    Turn,
    /// It has waited for as long as it may: whatever would keep it, it is answered now.
    Last,
}

/// A request that goes to a pool, with what is left to do for it there if its service does not serve everything.
pub(super) type Onward = (Box<Journey>, Option<Box<Restricted>>);

/// A request that is fit to be passed on.
pub(super) struct Arrived {
    pub(super) visitor: Rc<Visitor>,
    pub(super) record: Record,
    pub(super) wanted: Wanted,
    pub(super) head: Parts,
    pub(super) body: RequestBody,
    pub(super) host: HeaderValue,
    pub(super) client: Client,
    /// What the target is told of that.
    pub(super) told: Told,
    /// What is in its head as the visitor sent it; `None` once the head is as the target gets it.
    pub(super) found: Option<Found>,
}

/// From the head of a request to its place in a pool, or to the router's own answer.
fn arrive(visitor: &Rc<Visitor>, head: Parts, body: Inbound) -> Result<Onward, Stopped> {
    visitor.enter(Phase::Router);
    let found = Found::in_head(&head.headers);
    // All of it where it is passed on from, so that nothing of it is moved there later.
    let mut arrived = Arrived {
        visitor: Rc::clone(visitor),
        record: Record::new(visitor, &head),
        wanted: Wanted::by(&head),
        body: RequestBody::new(body, visitor),
        host: HeaderValue::from_static(""),
        client: Client::of(visitor, &head.headers),
        told: Told::default(),
        found: Some(found),
        head,
    };
    let fit = match visitor.refused() {
        Some(status) if arrived.head.method.as_str() == NO_METHOD => Err(status),
        Some(_) | None => fit_to_pass(&mut arrived.head, found),
    };
    match fit {
        Ok(host) => arrived.host = host,
        Err(status) => {
            let mut answer = refusal(arrived.record, &arrived.wanted, Happening::BadRequest(status));
            if arrived.head.version != Version::HTTP_2 {
                // Nobody knows what else is on a connection that brings such a thing.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            return Err(Stopped::answered(answer));
        }
    }
    if let Some(line) = arrived.record.line() {
        line.client = arrived.client.address;
    }
    if let Some(port) = redirect::port(visitor, arrived.client, &arrived.head) {
        let Arrived { record, wanted, head, host, .. } = arrived;
        return Err(Stopped::answered(redirect::response(record, &wanted, &head, &host, port)));
    }
    if preview::is_in_query(&arrived.head.uri) {
        arrived = arrived.enters_preview()?;
    }
    arrived.goes_on(Pass::Comes)
}

impl Stopped {
    fn answered(answer: Response<AnswerBody>) -> Self {
        Self::Answered(Box::new(answer))
    }
}

impl Arrived {
    /// The host that is asked for.
    pub(super) fn host(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    /// To its place in a pool, by the table of this moment.
    #[inline]
    pub(super) fn goes_on(mut self, pass: Pass) -> Result<Onward, Stopped> {
        // Which service, pool and side of the split.
        let worker = &self.visitor.worker;
        let table = worker.table();
        let found = self.found.unwrap_or_else(|| Found::in_head(&self.head.headers));
        let in_cookies = found.cookie && preview::is_in_cookies(&self.head.headers);
        let asked = Asked {
            host: self.host.to_str().unwrap_or_default(),
            method: &self.head.method,
            path: self.head.uri.path(),
            query: self.head.uri.query(),
            headers: &self.head.headers,
            client: self.client.address,
            last_visitor: &self.visitor.peer.last_visitor,
            preview_at: in_cookies.then(Timestamp::now),
        };
        let stopped = |answer| Err(Stopped::answered(answer));
        let (service, pool, draw, failed_over, previewed, passage) = match table.route(&asked, &worker.settings.secret)
        {
            Destination::Pool { service, pool, draw, failed_over, previewed, passage, route } => {
                // In a hold only what is exempt has a pool, and it goes behind nobody.
                let follows = pass == Pass::Comes && !worker.queues.at_rest() && !route.hold;
                if follows && worker.queues.keeps(route) {
                    return Err(Stopped::Waits(Box::new(self)));
                }
                if route.bounds.max_body < u64::MAX && self.is_too_long(route, passage.as_ref()) {
                    self.record.is_limited_by(route);
                    return stopped(refusal(self.record, &self.wanted, Happening::BadRequest(413)));
                }
                if let Some(room) = &route.bounds.room {
                    let full = match pass {
                        Pass::Comes => crowd::keeps(worker, route, pool),
                        Pass::Turn | Pass::Last => crowd::is_full(worker, room, route, pool),
                    };
                    if full {
                        let route = Arc::clone(route);
                        return Err(self.finds_no_room(route, pool, pass));
                    }
                }
                self.visitor.is_bound_by(&route.bounds);
                (service, pool, draw, failed_over, previewed, passage)
            }
            Destination::Hold { route } if pass == Pass::Last => {
                return stopped(maintenance::response(self.record, &self.wanted, route, &route.waiting.refusal));
            }
            Destination::Hold { .. } => return Err(Stopped::Waits(Box::new(self))),
            Destination::Maintenance { route, answer } => {
                let down = answer.reason == Reason::Unplanned && route.gate(worker.now()) != Gate::Open;
                if down && pass != Pass::Last {
                    return Err(Stopped::Waits(Box::new(self)));
                }
                return stopped(maintenance::response(self.record, &self.wanted, route, answer));
            }
            Destination::Router => return stopped(assets::response(self.record, &self.wanted, &table, &asked)),
            Destination::NoService => return stopped(refusal(self.record, &self.wanted, Happening::NoService)),
        };
        let audience = Audience::of(previewed, draw.is_some(), found.service_worker);
        let mut restricted = None;
        if let Some(passage) = passage {
            if passage.as_get {
                self.visitor.keeps_its_body();
            }
            let mut found = self.found.unwrap_or_default();
            let (rest, passing) = Restricted::new(passage, &mut self.head, &mut found, self.body);
            self.body = passing;
            self.found = self.found.map(|_| found);
            restricted = Some(rest);
        }
        self.record.enters(Place::take(&self.visitor, table, service, pool), draw.as_ref(), failed_over);
        if audience == Audience::Link {
            self.record.is_unjudged();
        }
        if let Some(found) = self.found {
            self.dress(found, in_cookies);
        }
        if let Some(restricted) = &restricted {
            restricted.tell(&mut self.head.headers);
        }
        // In a box, where all of it stays: whoever has the request under way moves no more than that.
        let journey = Box::new(Journey {
            visitor: self.visitor,
            record: self.record,
            wanted: self.wanted,
            outgoing: Outgoing::new(self.head, self.body, found.upgrade, self.told),
            host: self.host,
            client: self.client,
            newcomer: draw.and_then(|draw| draw.new_visitor),
            audience,
        });
        Ok((journey, restricted))
    }

    /// Takes the token of a preview's link out of the query, or answers what brings one.
    #[cold]
    fn enters_preview(mut self) -> Result<Self, Stopped> {
        let (table, secret) = (self.visitor.worker.table(), &self.visitor.worker.settings.secret);
        let (head, of) = (&mut self.head, (&**table, &**secret));
        let entered = preview::enter(self.record, &self.wanted, head, &self.host, self.client, of);
        self.record = entered.map_err(Stopped::answered)?;
        Ok(self)
    }

    /// Whether its head says that its body is longer than the service allows, and it is to go on.
    #[cold]
    fn is_too_long(&self, route: &Route, passage: Option<&Passage<'_>>) -> bool {
        let length = self.head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        length.is_some_and(|length| length > route.bounds.max_body) && passage.is_none_or(|passage| !passage.as_get)
    }

    #[cold]
    fn finds_no_room(self, route: Arc<Route>, pool: usize, pass: Pass) -> Stopped {
        if pass == Pass::Last {
            return Stopped::answered(crowd::refused(self, &route, pool));
        }
        Stopped::Crowded(Box::new(Crowded { arrived: self, route, pool }))
    }

    /// Makes the head what the target gets.
    fn dress(&mut self, found: Found, in_cookies: bool) {
        let asked = if found.upgrade { upgrade::asked(&self.visitor, &self.head) } else { None };
        let headers = &mut self.head.headers;
        headers::strip_request(headers, found);
        if let Some(asked) = asked {
            upgrade::ask(headers, asked);
        }
        if found.forwarded && !self.visitor.peer.trusted {
            headers::strip_forwarded(headers);
        }
        if in_cookies {
            preview::strip_cookie(headers);
        }
        self.told = self.client.tell(&self.visitor, headers, &self.host, found);
        if self.host.is_empty() {
            self.record.name_host(headers);
        }
        keep_or_make_id(headers, found, &self.visitor, &mut self.record);
        self.head.version = Version::HTTP_11;
    }
}

/// Checks a head, and brings it into the form in which it goes on: the path alone, and its host. Fails with the status
/// for the visitor.
fn fit_to_pass(head: &mut Parts, found: Found) -> Result<HeaderValue, u16> {
    if head.version == Version::HTTP_2 {
        http2::fit(head)?;
    }
    if head.method == Method::CONNECT {
        return Err(501);
    }
    if found.expect && !headers::can_be_met(&head.headers) {
        return Err(417);
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => Some(host.clone()),
        // HTTP/2 has `:authority` for it.
        (None, _) if head.version != Version::HTTP_11 => None,
        (Some(_) | None, _) => return Err(400),
    };
    let Some(authority) = head.uri.authority() else { return Ok(named.unwrap_or(HeaderValue::from_static(""))) };
    // RFC 9112 §3.2.2: the host of an absolute target goes before the header.
    let host = HeaderValue::from_str(authority.as_str()).ok().filter(|host| is_host(host.as_bytes()));
    let host = host.ok_or(400_u16)?;
    let path = head.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    head.headers.insert(HOST, host.clone());
    head.uri = Uri::from(path);
    Ok(host)
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
