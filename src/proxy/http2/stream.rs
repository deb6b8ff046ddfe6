//! A stream: one request and its answer.

use super::answer;
use super::connection::Lane;
use super::head;
use crate::proxy::body::AnswerBody;
use crate::proxy::inbound::Inbound;
use crate::proxy::pump::{Halted, Pump};
use crate::proxy::request;
use crate::proxy::visitor::{Phase, Visitor};
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::EXPECT;
use http::{Method, Request, Response, StatusCode};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Serves a request, until its answer has gone or nobody wants it any more.
pub(super) async fn serve(lane: Lane, mut request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let visitor = &lane.visitor;
    head::complete(&mut request);
    let is_head = request.method() == Method::HEAD;
    let Some(answer) = answered(visitor, request, &mut respond).await else { return };
    let (head, body) = answer::into_http2(answer, is_head, visitor.worker.date());
    let ends = body.is_none();
    let Ok(stream) = respond.send_response(head, ends) else {
        return respond.send_reset(Reason::INTERNAL_ERROR);
    };
    if let Some(body) = body {
        send(visitor, body, stream).await;
    }
}

/// The answer; `None` when the stream has ended before it.
async fn answered(
    visitor: &std::rc::Rc<Visitor>,
    request: Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<AnswerBody>> {
    let mut expects = !request.body().is_end_stream() && request.headers().contains_key(EXPECT);
    let (head, body) = request.into_parts();
    let mut answer = pin!(request::serve(visitor, head, Inbound::Http2(body)));
    poll_fn(|cx| {
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
        let answer = answer.as_mut().poll(cx);
        if expects && visitor.phase() == Phase::Upload {
            expects = false;
            let mut more = Response::new(());
            *more.status_mut() = StatusCode::CONTINUE;
            // If it can't be sent, the stream has ended, and the next look at it shows that.
            let _ = respond.send_informational(more);
        }
        answer.map(Result::ok)
    })
    .await
}

/// Sends the body of an answer.
async fn send(visitor: &Visitor, body: AnswerBody, stream: SendStream<Bytes>) {
    let mut pump = Pump::new(body, stream);
    poll_fn(|cx| {
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
    })
    .await;
}

/// What a visitor is told whose stream is cut.
fn why_cut(visitor: &Visitor) -> Reason {
    if visitor.is_overdue() { Reason::CANCEL } else { Reason::INTERNAL_ERROR }
}
