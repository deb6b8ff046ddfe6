//! A request that waits: in a hold, behind others that were held, or for a target that restarts.
//!
//! It is in no pool meanwhile, and its body stays with its sender. When it is let go it is routed anew, by the table of
//! that moment. All of this is rare, so it is boxed, and no other request carries any of it along.

use super::answers::{announce_close, refusal};
use super::attempt::Tried;
use super::body::AnswerBody;
use super::crowd;
use super::journey::Journey;
use super::maintenance;
use super::queue::{Ticket, Waited};
use super::request::{Arrived, Pass, Stopped};
use super::restriction::Restricted;
use super::visitor::{Phase, Visitor};
use crate::model::Happening;
use crate::routing::Gate;
use http::Response;
use http::request::Parts;
use std::future::Future;
use std::pin::Pin;

/// An answer that takes its time.
pub(super) type Waits = Pin<Box<dyn Future<Output = Response<AnswerBody>>>>;

/// What a header takes up besides its text.
const PER_HEADER: usize = 4;

/// What a head takes up.
fn bytes(head: &Parts) -> u64 {
    let headers = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + PER_HEADER);
    let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    (headers.sum::<usize>() + target) as u64
}

/// A request that may not go on yet.
pub(super) fn wait(arrived: Box<Arrived>) -> Waits {
    Box::pin(async move {
        match line_up(&arrived, false) {
            Some(ticket) => go_on(arrived, ticket).await,
            None => over_a_bound(*arrived),
        }
    })
}

/// A request that no target could be connected to for.
pub(super) fn wait_for_restart(journey: Box<Journey>) -> Waits {
    Box::pin(async move {
        match journey.turn_back() {
            Ok(arrived) => match line_up(&arrived, true) {
                Some(ticket) => go_on(arrived, ticket).await,
                None => over_a_bound(*arrived),
            },
            Err(journey) => journey.finish(Tried::Unsent),
        }
    })
}

fn line_up(arrived: &Arrived, refused: bool) -> Option<Ticket> {
    let table = arrived.visitor.worker.table();
    let (_, route) = table.find(arrived.host(), arrived.head.uri.path())?;
    Ticket::take(&arrived.visitor, route, bytes(&arrived.head), refused)
}

/// The answer to a request that there is no room for.
fn over_a_bound(arrived: Arrived) -> Response<AnswerBody> {
    let visitor = std::rc::Rc::clone(&arrived.visitor);
    let table = visitor.worker.table();
    let mut answer = match table.find(arrived.host(), arrived.head.uri.path()) {
        None => refusal(arrived.record, &arrived.wanted, Happening::NoService),
        Some((_, route)) => {
            let answer = match route.gate(visitor.worker.now()) {
                Gate::Down(_) => &route.unplanned,
                Gate::Open | Gate::Held => &route.waiting.refusal,
            };
            maintenance::response(arrived.record, &arrived.wanted, route, answer)
        }
    };
    announce_close(&visitor, &mut answer);
    answer
}

/// From a place in the line to the head of an answer.
async fn go_on(mut arrived: Box<Arrived>, ticket: Ticket) -> Response<AnswerBody> {
    let visitor = std::rc::Rc::clone(&arrived.visitor);
    let mut passed = Vec::new();
    let mut answer = loop {
        visitor.enter(Phase::Waiting);
        let waited = ticket.turn().await;
        visitor.enter(Phase::Router);
        let last = waited == Waited::Enough;
        arrived.record.sets_out(ticket.waited());
        match arrived.goes_on(if last { Pass::Last } else { Pass::Turn }) {
            Ok((mut journey, restricted)) => {
                if let Err(status) = receive(restricted, &mut passed, &visitor).await {
                    break journey.refuse(status);
                }
                let tried = journey.attempts().await;
                if matches!(tried, Tried::Unsent) && !last {
                    match journey.turn_back() {
                        Ok(again) => {
                            arrived = again;
                            back(&arrived, &ticket, true);
                            continue;
                        }
                        Err(sent) => journey = sent,
                    }
                }
                ticket.answered(!matches!(tried, Tried::Unsent), !tried.happening().ruling().counts);
                break journey.finish(tried);
            }
            Err(Stopped::Answered(answer)) => break *answer,
            Err(Stopped::Crowded(crowded)) => {
                // From now on it waits in another line.
                drop(ticket);
                break crowd::wait(crowded).await;
            }
            Err(Stopped::Waits(again)) => {
                arrived = again;
                back(&arrived, &ticket, false);
            }
        }
    };
    announce_close(&visitor, &mut answer);
    for restricted in passed.iter().rev() {
        restricted.settle(&visitor, &mut answer);
    }
    answer
}

/// What a restriction has taken off a request stays off when it goes back: it is kept until the answer.
async fn receive(
    restricted: Option<Box<Restricted>>,
    passed: &mut Vec<Restricted>,
    visitor: &Visitor,
) -> Result<(), u16> {
    let Some(restricted) = restricted.filter(|new| !passed.iter().any(|old| new.repeats(old))) else {
        return Ok(());
    };
    let mut restricted = *restricted;
    let received = restricted.receive(visitor).await;
    passed.push(restricted);
    received
}

fn back(arrived: &Arrived, ticket: &Ticket, refused: bool) {
    let table = arrived.visitor.worker.table();
    if let Some((_, route)) = table.find(arrived.host(), arrived.head.uri.path()) {
        ticket.back(route, refused);
    }
}
