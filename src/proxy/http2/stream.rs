//! A stream: one request and its answer.

use super::answer;
use super::hands::Work;
use super::head;
use crate::proxy::body::AnswerBody;
use crate::proxy::inbound::Inbound;
use crate::proxy::pump::{Halted, Pump};
use crate::proxy::request;
use crate::proxy::visitor::{Phase, Visitor};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::EXPECT;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// Serves the request of a stream, until its answer has gone or nobody wants it any more.
pub(super) async fn serve(work: &RefCell<Option<Work>>) {
    let Some(Work { lane, request, mut respond }) = work.take() else { return };
    let visitor = &lane.visitor;
    let (head, body, Asks { is_head, mut expects }) = read(request);
    let answered = {
        let mut answer = pin!(request::begin(visitor, head, Inbound::Http2(body)).complete());
        poll_fn(|cx| poll_answer(visitor, answer.as_mut(), &mut respond, &mut expects, cx)).await
    };
    let Some(answer) = answered else { return };
    if let Some(mut pump) = send_head(visitor, answer, &mut respond, is_head) {
        poll_fn(|cx| poll_body(visitor, &mut pump, cx)).await;
    }
}

/// What a stream's request asks of the stream.
struct Asks {
    /// Nothing but the head of the answer.
    is_head: bool,
    /// A word before the visitor sends its body.
    expects: bool,
}

/// Takes a request apart, its head as it would have been by HTTP/1.1.
// As what follows the head of the answer, no part of `serve`, whose task would keep room for all that it moves.
fn read(mut request: Request<RecvStream>) -> (Parts, RecvStream, Asks) {
    head::complete(&mut request);
    let (head, body) = request.into_parts();
    let expects = !body.is_end_stream() && head.headers.contains_key(EXPECT);
    let is_head = head.method == Method::HEAD;
    (head, body, Asks { is_head, expects })
}

/// Sends the head of an answer; what sends its body, if there is one.
fn send_head(
    visitor: &Visitor,
    mut answer: Response<AnswerBody>,
    respond: &mut SendResponse<Bytes>,
    is_head: bool,
) -> Option<Pump<AnswerBody>> {
    let ends = answer::complete(&mut answer, is_head, visitor.worker.date());
    let (head, body) = answer.into_parts();
    let body = (!ends).then_some(body);
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), ends) else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return None;
    };
    body.map(|body| Pump::new(body, stream))
}

/// The answer; `None` when the stream has ended before it. `expects` says that the visitor waits for a word before it
/// sends its body.
fn poll_answer(
    visitor: &Visitor,
    answer: Pin<&mut impl Future<Output = Response<AnswerBody>>>,
    respond: &mut SendResponse<Bytes>,
    expects: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<Option<Response<AnswerBody>>> {
    visitor.worker.tick();
    visitor.woken_by(cx.waker());
    if visitor.is_cut() {
        respond.send_reset(why_cut(visitor));
        return Poll::Ready(None);
    }
    // The visitor has reset it, or has gone.
    if respond.poll_reset(cx).is_ready() {
        return Poll::Ready(None);
    }
    let answer = answer.poll(cx);
    if *expects && visitor.phase() == Phase::Upload {
        *expects = false;
        let mut more = Response::new(());
        *more.status_mut() = StatusCode::CONTINUE;
        // If it can't be sent, the stream has ended, and the next look at it shows that.
        let _ = respond.send_informational(more);
    }
    answer.map(Some)
}

/// Sends the body of an answer; ready when no more of it will be sent.
fn poll_body(visitor: &Visitor, pump: &mut Pump<AnswerBody>, cx: &mut Context<'_>) -> Poll<()> {
    visitor.worker.tick();
    visitor.woken_by(cx.waker());
    if visitor.is_cut() {
        pump.reset(why_cut(visitor));
        return Poll::Ready(());
    }
    pump.poll(cx, |_| visitor.has_received()).map(|sent| match sent {
        Err(Halted::Body(_)) => pump.reset(Reason::INTERNAL_ERROR),
        // Nobody is left to tell.
        Ok(()) | Err(Halted::Reset(_) | Halted::Stream(_)) => {}
    })
}

/// What a visitor is told whose stream is cut.
fn why_cut(visitor: &Visitor) -> Reason {
    if visitor.is_overdue() { Reason::CANCEL } else { Reason::INTERNAL_ERROR }
}
