//! A request in its pool, from its place there to the head of the answer.

use super::answers::{Wanted, add_cookie, announce_close, refusal};
use super::attempt::{Tried, attempt};
use super::body::AnswerBody;
use super::caching::{self, Audience};
use super::client::Client;
use super::headers::{self, Found};
use super::outgoing::Outgoing;
use super::record::{Move, Place, Record};
use super::request::Arrived;
use super::tunnel::Tunnel;
use super::upstream::Busy;
use super::visitor::Visitor;
use super::waiting::{self, Waits};
use super::{maintenance, preview, second, skew, upgrade};
use crate::config::Caching;
use crate::model::Happening;
use crate::routing::VisitorId;
use crate::routing::counters::RetryReason;
use http::{HeaderValue, Response, StatusCode, Version, response};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;

/// Connections that may be tried for one request.
const MOST_CONNECTS: u32 = 3;

/// A request that goes to a pool.
pub(super) struct Journey {
    pub(super) visitor: Rc<Visitor>,
    pub(super) record: Record,
    pub(super) wanted: Wanted,
    pub(super) outgoing: Outgoing,
    pub(super) host: HeaderValue,
    pub(super) client: Client,
    pub(super) newcomer: Option<VisitorId>,
    pub(super) audience: Audience,
}

/// One more attempt. In a box, for it is rare.
type Again<'a> = Pin<Box<dyn Future<Output = Tried> + 'a>>;

impl Journey {
    /// From the place in a pool to the head of an answer.
    pub(super) async fn complete(mut self: Box<Self>) -> Response<AnswerBody> {
        let tried = self.attempts().await;
        match self.finish_or_wait(tried) {
            Ok(response) => response,
            Err(waits) => waits.await,
        }
    }

    /// Sends the request: to its pool, and once more where that failed and it may be.
    pub(super) async fn attempts(&mut self) -> Tried {
        let mut connects = MOST_CONNECTS;
        let tried = {
            let Self { visitor, record, outgoing, .. } = self;
            let mut first = pin!(attempt(visitor, record.place(), outgoing, &mut connects));
            poll_fn(|cx| {
                let tried = first.as_mut().poll(cx);
                record.is_on_its_way();
                tried
            })
            .await
        };
        match self.try_again(tried, connects) {
            Ok(tried) => tried,
            Err(again) => again.await,
        }
    }

    /// What came of the first attempt; or one more, perhaps at a second pool, or at the same one by another connection.
    // Nothing is awaited here: what the first attempt gave would have to be kept where it is awaited.
    fn try_again(&mut self, tried: Tried, mut connects: u32) -> Result<Tried, Again<'_>> {
        let failure = tried.happening();
        let rescue = self.record.judges(failure) && self.outgoing.is_repeatable();
        let again = match self.second_place(&tried, rescue) {
            Some(place) => {
                self.record.moves(place, failure, if rescue { Move::Rescue } else { Move::FailOver });
                true
            }
            None => self.is_sent_again(&tried),
        };
        if again {
            return Err(Box::pin(async move {
                // The connection that it came on is not for the second attempt.
                let _first = tried;
                attempt(&self.visitor, self.record.place(), &mut self.outgoing, &mut connects).await
            }));
        }
        if skew::is_missing(&tried) && self.may_look_elsewhere() {
            let Self { visitor, record, outgoing, host, .. } = self;
            return Err(Box::pin(
                async move { skew::look(visitor, record, outgoing, host, tried, &mut connects).await },
            ));
        }
        Ok(tried)
    }

    /// The head as the visitor gets it, or what it comes from once the request has waited.
    fn finish_or_wait(self: Box<Self>, tried: Tried) -> Result<Response<AnswerBody>, Waits> {
        match tried {
            Tried::Unsent if self.may_wait() => Err(waiting::wait_for_restart(self)),
            tried => Ok(self.finish(tried)),
        }
    }

    /// The head as the visitor gets it.
    pub(super) fn finish(mut self: Box<Self>, tried: Tried) -> Response<AnswerBody> {
        let mut response = match tried {
            Tried::Answered { response, busy, happening, found } => {
                let (mut head, ()) = response.into_parts();
                let agreed = self.outgoing.asked().and_then(|asked| upgrade::agreed(asked, &head.headers));
                headers::strip_response(&mut head.headers, found);
                if busy.is_stream() && !self.visitor.peer.multiplexes.get() {
                    headers::name_trailers_of_call(&mut head.headers);
                }
                head.version = Version::HTTP_11;
                if self.audience != Audience::Everyone {
                    self.limit_caching(&mut head, found);
                }
                self.record.answers(happening, head.status.as_u16());
                match agreed.filter(|_| head.status == StatusCode::SWITCHING_PROTOCOLS) {
                    None => Response::from_parts(head, AnswerBody::relayed(busy, self.record)),
                    Some(agreed) => switch(&self.visitor, head, agreed, busy, self.record),
                }
            }
            Tried::Failed(happening) => {
                if happening == Happening::RouterLimit
                    && let Some(route) = self.record.place().map(Place::shared_route)
                {
                    self.record.is_limited_by(&route);
                }
                refusal(self.record, &self.wanted, happening)
            }
            Tried::Unsent => maintenance::unplanned(self.record, &self.wanted),
        };
        if let Some(newcomer) = self.newcomer {
            let secret = &self.visitor.worker.settings.secret;
            add_cookie(response.headers_mut(), newcomer, secret, self.client.secure);
        }
        announce_close(&self.visitor, &mut response);
        response
    }

    /// Whose request it is.
    pub(super) fn visitor(&self) -> &Rc<Visitor> {
        &self.visitor
    }

    /// Goes no further, by the visitor's own fault.
    pub(super) fn refuse(self: Box<Self>, status: u16) -> Response<AnswerBody> {
        refusal(self.record, &self.wanted, Happening::BadRequest(status))
    }

    /// Whether a request that could not be sent waits until it can be.
    fn may_wait(&self) -> bool {
        let table = self.visitor.worker.table();
        let path = self.outgoing.path().unwrap_or_default();
        let found = table.find(self.host.to_str().unwrap_or_default(), path);
        found.is_some_and(|(_, route)| route.hold || !route.waiting.restart.is_zero())
    }

    /// Back to where it came from, out of its pool, if it can still be sent.
    pub(super) fn turn_back(mut self: Box<Self>) -> Result<Box<Arrived>, Box<Self>> {
        if self.audience == Audience::Link {
            // Its cookie is taken off by now: routed anew, it would be shown another pool.
            return Err(self);
        }
        let Some((request, told)) = self.outgoing.turn_back() else { return Err(self) };
        self.record.steps_out();
        let (head, body) = request.into_parts();
        let Self { visitor, record, wanted, host, client, .. } = *self;
        Ok(Box::new(Arrived { visitor, record, wanted, head, body, host, client, told, found: None }))
    }

    /// Whether a request whose connection broke before an answer goes to the same pool once more. Its targets may be
    /// replacing their workers one by one.
    fn is_sent_again(&mut self, tried: &Tried) -> bool {
        let broken = matches!(tried, Tried::Failed(Happening::ClosedBeforeHead));
        let Some(place) = self.record.place().filter(|_| broken && self.outgoing.is_repeatable()) else { return false };
        let worker = &self.visitor.worker;
        let again = worker.retries.spend(worker, place.route(), RetryReason::Closed);
        if again {
            self.record.is_sent_again(Happening::ClosedBeforeHead);
        }
        again
    }

    /// The pool for a second try, if there is to be one.
    fn second_place(&self, tried: &Tried, rescue: bool) -> Option<Place> {
        let Self { visitor, record, host, outgoing, .. } = self;
        if self.audience == Audience::Link {
            // Who was promised one pool is not shown another.
            return None;
        }
        match tried {
            Tried::Unsent => second::elsewhere(visitor, record, host, outgoing.path()?),
            Tried::Answered { .. } | Tried::Failed(_) if rescue => {
                second::on_live(visitor, record, host, outgoing.path()?)
            }
            Tried::Answered { .. } | Tried::Failed(_) => None,
        }
    }

    /// Whether what the pool does not have may be looked for in another.
    fn may_look_elsewhere(&self) -> bool {
        let warm = self.record.place().is_some_and(|place| place.route().skew.is_some());
        warm && self.audience != Audience::Link
    }

    /// Says in an answer that it is not for everyone.
    fn limit_caching(&mut self, head: &mut response::Parts, found: Found) {
        let Some(place) = self.record.place() else { return };
        let rule = (place.route().caching, &place.route().sticky);
        if found.caching && rule.0 != Caching::AsIs && caching::never_changes(&head.headers, head.status) {
            // A cookie would keep it out of the caches that it is for; the visitor gets one with the next page.
            self.newcomer = None;
        }
        let limit = if found.caching { caching::limit } else { caching::limit_silent };
        limit(&mut head.headers, head.status, self.audience, rule, self.newcomer.is_some());
        if self.audience == Audience::Link {
            preview::name_shown(&mut head.headers, &place.pool().name_header);
        }
    }
}

/// The head of a 101. Behind it the visitor's connection and the target's become a tunnel.
fn switch(
    visitor: &Visitor,
    mut head: response::Parts,
    agreed: HeaderValue,
    busy: Busy,
    record: Record,
) -> Response<AnswerBody> {
    visitor.goes_on_as(Tunnel::new(busy, record, upgrade::is_websocket(&agreed)));
    upgrade::agree(&mut head.headers, agreed);
    Response::from_parts(head, AnswerBody::Tunnel)
}
