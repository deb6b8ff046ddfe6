//! What is counted and logged of a request. Each thing is counted by a guard that counts it back when it is dropped,
//! so that no way out of a request (an answer, a time-out, a visitor who hangs up) can miss it.

mod place;

pub(super) use place::Place;

use super::access_log::{Ending, Line};
use super::visitor::{Phase, Visitor};
use crate::model::{Happening, Indicator, Until};
use crate::routing::counters::CodeClass;
use crate::routing::{Dice, Dispatch, Draw, Reason, Route, Side, VisitorKey};
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// A drawn request whose outcome is not known yet.
#[derive(Clone, Copy)]
enum Drawn {
    /// Its visitor still owes a part of it, so that no target is to blame for the time that it takes. It is not counted
    /// yet.
    Coming(Side, VisitorKey),
    /// The target has all of it, and owes this of an answer.
    Dispatched(Dispatch, Until),
}

/// Why a request moves from one pool to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// It was sent, failed, and changes nothing.
    Rescue,
    /// It could not be sent.
    FailOver,
    /// It asked for an asset that the first does not have.
    SkewGuard,
}

/// What is known of a request, until it is counted.
#[allow(clippy::struct_excessive_bools)] // a set of marks, each asked for by name
pub(super) struct Record {
    visitor: Rc<Visitor>,
    arrived: Instant,
    place: Option<Place>,
    /// A drawn request whose outcome is not known yet.
    drawn: Cell<Option<Drawn>>,
    /// The head that the visitor got.
    status: Option<u16>,
    happening: Happening,
    /// Whether the last byte of the answer was passed on.
    complete: bool,
    /// Whether the target owes the next byte.
    target_owes: bool,
    /// Whether the target broke the answer off.
    broken: bool,
    /// Whether what the pool answers says nothing of how its release does: nobody was drawn to it.
    unjudged: bool,
    /// Whether the visitor's connection has become a tunnel.
    tunnel: bool,
    sent: u64,
    line: Option<Box<Line>>,
}

impl Record {
    /// Of a request that came just now.
    pub(super) fn new(visitor: &Rc<Visitor>, head: &Parts) -> Self {
        Self {
            visitor: Rc::clone(visitor),
            arrived: visitor.worker.now(),
            place: None,
            drawn: Cell::new(None),
            status: None,
            happening: Happening::VisitorGone,
            complete: false,
            target_owes: false,
            broken: false,
            unjudged: false,
            tunnel: false,
            sent: 0,
            line: visitor.worker.log.line(visitor.peer.address, head),
        }
    }

    /// The access log's line of the request, if it gets one.
    pub(super) fn line(&mut self) -> Option<&mut Line> {
        self.line.as_deref_mut()
    }

    /// What the worker draws lots with.
    pub(super) fn dice(&self) -> &Dice {
        &self.visitor.worker.dice
    }

    /// The request goes to a pool, because it was drawn for it, or in place of the one it was drawn for.
    pub(super) fn enters(&mut self, place: Place, draw: Option<&Draw>, failed_over: bool) {
        let worker = &self.visitor.worker;
        if let Some(line) = self.line.as_deref_mut() {
            line.failed_over = failed_over;
        }
        if let (Some(split), Some(draw)) = (place.split(), draw) {
            worker.rescues.earn();
            if failed_over {
                if draw.candidate {
                    split.draws.reached_candidate(worker.id, false);
                }
            } else {
                let side = if draw.candidate { Side::Candidate } else { Side::Live };
                self.drawn.set(Some(if self.visitor.is_body_due() {
                    Drawn::Coming(side, draw.key)
                } else {
                    let dispatch = split.draws.dispatched(worker.id, self.arrived, side, draw.key, &split.seen);
                    Drawn::Dispatched(dispatch, Until::Head)
                }));
            }
        }
        self.visitor.is_routed_by(place.version());
        self.place = Some(place);
    }

    /// What comes of the request counts neither for nor against the pool's release.
    pub(super) fn is_unjudged(&mut self) {
        self.unjudged = true;
    }

    /// Counts a drawn request as dispatched, once its visitor has sent all of it.
    pub(super) fn is_on_its_way(&self) {
        if let Some(Drawn::Coming(side, key)) = self.drawn.get()
            && !self.visitor.is_body_due()
            && let Some(split) = self.place.as_ref().and_then(Place::split)
        {
            let worker = &self.visitor.worker;
            let dispatch = split.draws.dispatched(worker.id, worker.now(), side, key, &split.seen);
            self.drawn.set(Some(Drawn::Dispatched(dispatch, Until::Head)));
        }
    }

    /// The pool that the request is in.
    pub(super) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Gives a request that names no host the name of a target: HTTP/1.1 can't do without.
    pub(super) fn name_host(&self, headers: &mut HeaderMap) {
        let target = self.place.as_ref().and_then(|place| place.pool().targets.first());
        let name = target.and_then(|target| HeaderValue::try_from(target.reach.address().host_header()).ok());
        if let Some(name) = name.filter(|_| !headers.contains_key(HOST)) {
            headers.insert(HOST, name);
        }
    }

    /// The outcome of the pool's attempt. Whether it was the draw of a candidate, which failed in a way that a safe
    /// request may be rescued from.
    pub(super) fn judges(&mut self, happening: Happening) -> bool {
        let (Some(drawn), Some(place)) = (self.drawn.get(), &self.place) else { return false };
        let Some(split) = place.split() else { return false };
        let worker = &self.visitor.worker;
        let now = worker.now();
        let is_of_target = happening.is_of_target();
        let dispatch = match drawn {
            // It was judged by the head of its answer.
            Drawn::Dispatched(_, Until::End) => return false,
            Drawn::Dispatched(dispatch, Until::Head) => dispatch,
            Drawn::Coming(..) if !is_of_target => {
                self.drawn.set(None);
                return false;
            }
            // The target did not wait for the rest.
            Drawn::Coming(side, key) => split.draws.dispatched(worker.id, now, side, key, &split.seen),
        };
        self.drawn.set(None);
        if !is_of_target {
            // The target owes no answer any more, and gave none.
            split.draws.withdrawn(worker.id, now, &dispatch, Until::Head);
            return false;
        }
        let ruling = happening.ruling();
        let bad = match happening {
            _ if ruling.counts => Some(Indicator::Failed),
            Happening::Answered(status) if split.draws.compares(status) => Some(Indicator::Status),
            _ => None,
        };
        if matches!(happening, Happening::Answered(_) | Happening::GrpcFailedInHead(_)) {
            split.draws.begins_answer(worker.id, now, &dispatch);
            self.drawn.set(Some(Drawn::Dispatched(dispatch, Until::End)));
        }
        split.draws.decided(worker.id, now, &dispatch, Until::Head, bad, &split.seen);
        if !place.is_candidate() {
            return false;
        }
        split.draws.reached_candidate(worker.id, happening != Happening::ConnectFailed);
        ruling.rescue
    }

    /// The request has come to nothing in its pool and goes to another.
    pub(super) fn moves(&mut self, to: Place, after: Happening, why: Move) {
        // Nobody gets the answer that has begun.
        self.ends(Happening::VisitorGone);
        let worker = &self.visitor.worker;
        if let Some(from) = self.place.replace(to) {
            let pool = from.pool();
            let tally = pool.tally.of(worker.id);
            tally.judged(after);
            tally.ended(CodeClass::Status(after.ruling().status), worker.now() - self.arrived);
            match why {
                Move::Rescue => pool.load.of(worker.id).rescues.add(1),
                Move::FailOver => {}
                Move::SkewGuard => {
                    from.route().tally.of(worker.id).skew_guarded.add(1);
                    // Its draw was counted by the first answer.
                    self.unjudged = true;
                }
            }
        }
        if let Some(line) = self.line.as_deref_mut() {
            match why {
                Move::Rescue => line.rescued = true,
                Move::FailOver => line.failed_over = true,
                Move::SkewGuard => line.skew_guarded = true,
            }
        }
    }

    /// The request leaves its pool, where nothing came of it, and waits.
    pub(super) fn steps_out(&mut self) {
        self.place = None;
    }

    /// The request has waited for so long, and goes on: what its pool is judged by begins now.
    pub(super) fn sets_out(&mut self, waited: Duration) {
        self.arrived = self.visitor.worker.now();
        if let Some(line) = self.line.as_deref_mut() {
            line.waited = waited;
        }
    }

    /// How long the request has waited until it went on, as far as it is logged.
    pub(super) fn waited(&self) -> Duration {
        self.line.as_ref().map_or(Duration::ZERO, |line| line.waited)
    }

    /// A limit of the router keeps the request from its service, and no pool is charged with that.
    pub(super) fn is_limited_by(&mut self, route: &Route) {
        self.place = None;
        if let Some(line) = self.line.as_deref_mut() {
            line.service = Some(route.service.clone());
        }
    }

    /// The request goes to its pool once more, by another connection.
    pub(super) fn is_sent_again(&mut self, after: Happening) {
        self.ends(Happening::VisitorGone);
        if let Some(place) = self.place.as_ref().filter(|_| !self.unjudged) {
            let worker = &self.visitor.worker;
            place.pool().tally.of(worker.id).judged(after);
        }
        if let Some(line) = self.line.as_deref_mut() {
            line.retried = true;
        }
    }

    /// No pool serves the request.
    pub(super) fn in_maintenance(&mut self, route: &Route, reason: Reason, method: &Method) {
        let worker = &self.visitor.worker;
        route.tally.of(worker.id).maintenance_response(reason, method);
        if let Some(line) = self.line.as_deref_mut() {
            line.service = Some(route.service.clone());
            line.maintenance = Some(reason);
        }
        if let Some(left) = self.place.take() {
            let class = CodeClass::Status(Happening::ConnectFailed.ruling().status);
            let tally = left.pool().tally.of(worker.id);
            if !self.unjudged {
                tally.judged(Happening::ConnectFailed);
            }
            tally.ended(class, worker.now() - self.arrived);
        }
    }

    /// The visitor gets this head.
    pub(super) fn answers(&mut self, happening: Happening, status: u16) {
        self.happening = happening;
        self.status = Some(status);
        if let Happening::BadRequest(status) = happening {
            self.visitor.worker.reports.refuses(status);
        }
        if let Some(place) = self.place.as_ref().filter(|_| !self.unjudged) {
            place.pool().tally.of(self.visitor.worker.id).judged(happening);
        }
        self.visitor.enter(Phase::Body);
    }

    /// The visitor's connection goes on as a tunnel, which counts as one of the service for as long as the record is kept.
    /// As a request it is over, and answered.
    pub(super) fn opens_tunnel(&mut self) {
        self.completes();
        // Nobody can tell from a tunnel's end how its release does.
        self.ends(Happening::VisitorGone);
        self.count_end();
        self.tunnel = true;
        if let Some(place) = &self.place {
            place.route().tally.of(self.visitor.worker.id).tunnels.enter();
        }
    }

    /// So many bytes of the answer's body go to the visitor.
    pub(super) fn passes(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// Whether the target owes the next byte.
    pub(super) fn awaits_target(&mut self, owes: bool) {
        self.target_owes = owes;
    }

    /// The target broke the answer off.
    pub(super) fn breaks_off(&mut self) {
        self.broken = true;
    }

    /// The trailers of the answer say that the call failed.
    pub(super) fn failed_in_trailers(&mut self) {
        if let Happening::Answered(status) = self.happening {
            // A failure that its head has told already is no second one.
            let known = self.happening.ruling().counts || self.unjudged;
            self.happening = Happening::GrpcFailedInTrailers(status);
            if let Some(place) = self.place.as_ref().filter(|_| !known) {
                place.pool().tally.of(self.visitor.worker.id).failed.add(1);
            }
        }
    }

    /// How the answer of a drawn request's pool ended.
    fn ends(&mut self, happening: Happening) {
        let Some(Drawn::Dispatched(dispatch, Until::End)) = self.drawn.get() else { return };
        self.drawn.set(None);
        let Some(split) = self.place.as_ref().and_then(Place::split) else { return };
        let worker = &self.visitor.worker;
        let bad = match happening {
            Happening::VisitorGone => {
                split.draws.withdrawn(worker.id, worker.now(), &dispatch, Until::End);
                return;
            }
            Happening::CutAfterHead(_) => Some(Indicator::CutOff),
            Happening::GrpcFailedInTrailers(_) => Some(Indicator::GrpcTrailers),
            _ => None,
        };
        split.draws.decided(worker.id, worker.now(), &dispatch, Until::End, bad, &split.seen);
    }

    /// The answer is whole.
    pub(super) fn completes(&mut self) {
        self.complete = true;
    }

    /// Counts the request among those that have ended in its pool.
    fn count_end(&self) {
        let Some(place) = &self.place else { return };
        let class = match (self.happening, self.status) {
            // Half an answer is none, whatever its head promised.
            (Happening::CutAfterHead(_), _) | (_, None) => CodeClass::Aborted,
            (_, Some(status)) => CodeClass::Status(status),
        };
        place.pool().tally.of(self.visitor.worker.id).ended(class, self.lasted());
    }

    fn lasted(&self) -> Duration {
        self.visitor.worker.now().saturating_duration_since(self.arrived)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.status.is_none() && self.visitor.is_broken() {
            // Its own stream is closed by now, so nobody could tell the visitor.
            self.answers(Happening::BadRequest(400), 400);
            self.completes();
        }
        if let Some(status) = self.status
            && !self.complete
        {
            // A request that the visitor broke off takes its answer with it.
            let broken = self.broken && !self.visitor.is_broken();
            self.happening = if broken || (self.target_owes && self.visitor.is_overdue()) {
                Happening::CutAfterHead(status)
            } else {
                Happening::VisitorGone
            };
        }
        // A visitor who is gone is nobody's failure.
        self.judges(Happening::VisitorGone);
        self.ends(self.happening);
        let worker = &self.visitor.worker;
        match &self.place {
            Some(place) if self.tunnel => place.route().tally.of(worker.id).tunnels.leave(),
            Some(_) | None => self.count_end(),
        }
        if let Some(mut line) = self.line.take() {
            if let Some(place) = &self.place {
                line.in_pool(place.route(), place.pool(), place.tried());
                line.retried |= place.is_retried();
            }
            let ending = Ending { happening: self.happening, duration: self.lasted(), sent: self.sent };
            worker.log.write(*line, ending);
        }
        self.visitor.enter(Phase::Tail);
    }
}
