//! A request on a stream: its head and body out, the head of the answer in.

use super::links::Lane;
use super::remembered::Remembered;
use crate::model::Happening;
use crate::proxy::body::RequestBody;
use crate::proxy::headers::{X_FORWARDED_PROTO, X_REQUEST_ID};
use crate::proxy::inbound::{Broken, poll_stream, size_of_stream};
use crate::proxy::outgoing::{Outgoing, Text};
use crate::proxy::pump::{Halted, Pump};
use crate::proxy::visitor::{Phase, Visitor};
use crate::routing::Pool;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::task::AbortHandle;

/// What came of a request on a stream.
pub(in crate::proxy) enum Streamed {
    /// The head of an answer.
    Answered(Response<()>, Streaming),
    /// The target has not looked at it; it can be sent again.
    Unsent,
    /// No request could begin on the connection any more; it can be sent on another.
    Over,
    /// The connection has ended before an answer.
    Lost,
    /// It failed.
    Failed(Happening),
}

/// A stream whose answer is under way. Dropped, it sends no more of the request.
pub(in crate::proxy) struct Streaming {
    answer: RecvStream,
    upload: Option<AbortHandle>,
    _lane: Lane,
}

impl Streaming {
    /// The next part of the answer's body.
    pub(in crate::proxy) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        poll_stream(&mut self.answer, cx)
    }

    /// Whether all of the answer was taken.
    pub(in crate::proxy) fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    /// How much of the answer is left.
    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        size_of_stream(&self.answer)
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}

/// How the wait for the head of an answer ended.
enum Waited {
    Answer(Result<Response<RecvStream>, h2::Error>),
    /// The visitor's body broke off.
    Broken,
    Overdue(Phase),
}

impl Lane {
    /// Sends a request and awaits the head of the answer.
    pub(in crate::proxy) async fn exchange(self, visitor: &Visitor, pool: &Pool, outgoing: &mut Outgoing) -> Streamed {
        let repeatable = outgoing.is_repeatable();
        if !repeatable {
            self.link.listens().await;
        }
        if self.link.is_over() {
            return Streamed::Over;
        }
        let Some(request) = outgoing.take() else { return Streamed::Failed(Happening::ClosedBeforeHead) };
        let (mut parts, body) = request.into_parts();
        let mut headers = if repeatable {
            outgoing.was_sent(Text::of(&parts, None));
            std::mem::take(&mut parts.headers)
        } else {
            parts.headers.clone()
        };
        outgoing.said(pool).put(&mut headers);
        let Some(head) = head_for_http2(&parts, headers) else {
            return Streamed::Failed(Happening::BadRequest(400));
        };
        let mut sender = self.link.sender();
        let ends = body.is_end_stream();
        let ready = poll_fn(|cx| sender.poll_ready(cx)).await;
        let Ok((answer, stream)) = ready.and_then(|()| sender.send_request(head, ends)) else {
            self.link.retire();
            give_back(outgoing, parts, body);
            return Streamed::Over;
        };
        visitor.enter(Phase::Answer);
        let mut upload = Upload { pump: Pump::new(Remembered::new(body), stream), going: !ends };
        let waited = wait(visitor, &mut upload, answer).await;
        visitor.enter(Phase::Router);
        match waited {
            Waited::Answer(Ok(response)) => {
                let upload = upload.going.then(|| tokio::task::spawn_local(upload.finish()).abort_handle());
                let (head, answer) = response.into_parts();
                Streamed::Answered(Response::from_parts(head, ()), Streaming { answer, upload, _lane: self })
            }
            Waited::Answer(Err(error)) if was_not_looked_at(&error) => {
                if error.is_go_away() {
                    self.link.retire();
                }
                match upload.pump.into_body().again() {
                    Some(body) => {
                        give_back(outgoing, parts, body);
                        Streamed::Unsent
                    }
                    None => Streamed::Failed(Happening::ClosedBeforeHead),
                }
            }
            Waited::Answer(Err(_)) | Waited::Broken if visitor.is_broken() => {
                Streamed::Failed(Happening::BadRequest(visitor.body_fault()))
            }
            Waited::Answer(Err(error)) if error.is_library() => Streamed::Failed(Happening::MalformedHead),
            Waited::Answer(Err(error)) if !error.is_reset() => Streamed::Lost,
            Waited::Answer(Err(_)) | Waited::Broken => Streamed::Failed(Happening::ClosedBeforeHead),
            Waited::Overdue(Phase::Upload) => Streamed::Failed(Happening::BadRequest(408)),
            Waited::Overdue(_) => Streamed::Failed(Happening::HeadTimeout),
        }
    }
}

/// The request was not sent after all.
fn give_back(outgoing: &mut Outgoing, parts: Parts, body: RequestBody) {
    if !outgoing.is_repeatable() {
        outgoing.give_back(Request::from_parts(parts, body));
    }
}

/// Sends the body while the head of the answer is awaited. A target that wants no more of it may still answer.
async fn wait(visitor: &Visitor, upload: &mut Upload, mut answer: ResponseFuture) -> Waited {
    poll_fn(|cx| {
        if let Poll::Ready(Err(Halted::Body(_))) = upload.poll(cx) {
            return Poll::Ready(Waited::Broken);
        }
        match Pin::new(&mut answer).poll(cx) {
            Poll::Ready(answered) => Poll::Ready(Waited::Answer(answered)),
            Poll::Pending if visitor.is_overdue() => Poll::Ready(Waited::Overdue(visitor.phase())),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// A request's body on its way.
struct Upload {
    pump: Pump<Remembered>,
    /// Whether there is more to send.
    going: bool,
}

impl Upload {
    /// Ready when there is no more to send.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Halted>> {
        if !self.going {
            return Poll::Ready(Ok(()));
        }
        let polled = self.pump.poll(cx, |_| {});
        self.going = polled.is_pending();
        if let Poll::Ready(Err(Halted::Body(_))) = polled {
            self.pump.reset(Reason::CANCEL);
        }
        polled
    }

    /// Sends the rest, beside the answer: neither waits for the other.
    async fn finish(mut self) {
        // How it ended shows in the answer.
        let _ = poll_fn(|cx| self.poll(cx)).await;
    }
}

/// Whether a target says that it has not looked at a request (RFC 9113 §8.7). h2 gives a stream the fault of a `GOAWAY`
/// only if it is beyond the last one that the target has seen.
fn was_not_looked_at(error: &h2::Error) -> bool {
    error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM))
}

/// What belongs to a connection by HTTP/1.1 only (RFC 9113 §8.2.2).
static OF_HTTP1: [HeaderName; 5] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// A head with these fields as HTTP/2 has it: the host as `:authority`, and the visitor's scheme. `None` when the host is
/// no authority.
fn head_for_http2(parts: &Parts, mut headers: HeaderMap) -> Option<Request<()>> {
    let host = headers.remove(HOST)?;
    if headers.keys().any(|name| OF_HTTP1.contains(name)) {
        for name in &OF_HTTP1 {
            headers.remove(name);
        }
    }
    if let Some(id) = headers.get_mut(X_REQUEST_ID) {
        // No other request has it: h2 must not remember it for the next ones, and look through all that it remembers.
        id.set_sensitive(true);
    }
    let secure = headers.get(X_FORWARDED_PROTO) == Some(&HeaderValue::from_static("https"));
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    uri.path_and_query = Some(parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = Uri::from_parts(uri).ok()?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(target: &str, headers: &[(&str, &str)]) -> Option<Request<()>> {
        let builder =
            headers.iter().fold(Request::builder().uri(target), |builder, (name, value)| builder.header(*name, *value));
        let parts = builder.body(()).unwrap().into_parts().0;
        head_for_http2(&parts, parts.headers.clone())
    }

    #[test]
    fn a_head_says_in_http2_what_it_said_before() {
        let headers = [
            ("host", "shop.example:81"),
            ("x-forwarded-proto", "https"),
            ("connection", "te, upgrade"),
            ("upgrade", "websocket"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("x-mine", "1"),
        ];
        let made = head("/a?b=c", &headers).unwrap();
        assert_eq!(made.uri(), "https://shop.example:81/a?b=c");
        let names: Vec<_> = made.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(["x-forwarded-proto", "te", "x-mine"].iter().all(|name| names.contains(name)), "{names:?}");
    }

    #[test]
    fn a_scheme_that_nobody_told_is_http_and_a_star_stays_one() {
        let made = head("*", &[("host", "a")]).unwrap();
        assert_eq!((made.uri().scheme_str(), made.uri().path()), (Some("http"), "*"));
        for host in ["a b", "a[", ""] {
            assert!(head("/", &[("host", host)]).is_none(), "{host:?}");
        }
        assert!(head("/", &[]).is_none());
    }
}
