//! A connection to a target by HTTP/1.1: one request after the other, each driven by the task that it belongs to.
//!
//! ```text
//! is_fit ─ send ─ poll_answer ─ poll_frame… ─ is_free
//!           the head at once,    a part at a time, as
//!           the body meanwhile   it is asked for
//! ```
//!
//! A target that answers before it has read the whole request, with a 413 say, and closes, resets the connection. What is
//! written then fails, but the answer that came before can still be read: so nothing more is written, and what comes is
//! read until the answer or the end of the stream.

use super::answer::{self, Answer, MAX_HEAD, Malformed};
use super::content::{Content, Next};
use super::sending::{Output, Upload};
use crate::proxy::body::RequestBody;
use crate::proxy::connection::MAX_BUFFER;
use crate::proxy::inbound::Broken;
use crate::proxy::outgoing::{Said, Text};
use crate::proxy::turn::TURN;
use crate::transport::TargetStream;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio_util::io::poll_read_buf;

/// The most that is read of a target before the head of its answer: that and interim answers.
const MAX_BEFORE_ANSWER: usize = 2 * MAX_HEAD;

/// What is read at once of what is usually small.
const USUAL_READ: usize = 8 * 1024;

/// A connection to a target.
#[allow(clippy::struct_excessive_bools)] // a set of marks, each asked for by name
pub(super) struct Http1 {
    stream: TargetStream,
    /// What was read, and belongs to what is still to come.
    input: Bytes,
    /// How much is read next.
    room: usize,
    output: Output,
    upload: Option<Box<Upload>>,
    /// Whether something was written and may be held back on its way to the socket, by TLS.
    held_back: bool,
    /// Whether a byte of the request has gone.
    begun: bool,
    /// Whether the target takes no more.
    deaf: bool,
    /// Whether nothing was read from it yet.
    fresh: bool,
    /// How much may still come before the head of the answer.
    allowance: usize,
    method: Method,
    /// Memory for the fields of an answer.
    fields: HeaderMap,
    content: Content,
    /// Whether another request may follow this one.
    keeps: bool,
    /// Whether HTTP is over on it, so that only its stream is of use any more.
    over: bool,
}

/// Why there is no answer.
pub(super) enum Fault {
    /// Nothing of the request has gone: the connection was closed before.
    Unsent,
    /// The connection has ended.
    Ended,
    /// What came is no answer.
    Malformed,
    /// The request's body broke off.
    Body,
}

impl From<Malformed> for Fault {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl Http1 {
    pub(super) fn new(stream: TargetStream) -> Self {
        Self {
            stream,
            input: Bytes::new(),
            room: USUAL_READ,
            output: Output::default(),
            upload: None,
            held_back: false,
            begun: false,
            deaf: false,
            fresh: true,
            allowance: 0,
            method: Method::GET,
            fields: HeaderMap::new(),
            content: Content::NONE,
            keeps: true,
            over: false,
        }
    }

    /// Whether the stream is open and nothing has come that nobody asked for, as far as the runtime has heard; where it is
    /// to `look`, as the kernel knows. On a new one a server may say at once that it is too busy: that is its answer.
    pub(super) async fn is_fit(&mut self, look: bool) -> bool {
        self.keeps = if self.fresh {
            !self.stream.is_closed()
        } else {
            // Not put off by tokio's budget: what was not looked for would pass for the answer.
            let quiet = unconstrained(poll_fn(|cx| Poll::Ready(self.has_nothing_to_read(cx))));
            quiet.await && (!look || self.stream.is_quiet())
        };
        self.keeps
    }

    /// Begins to send a request on a connection that is free.
    pub(super) fn send(&mut self, request: Request<RequestBody>, said: Said<'_>) {
        let (mut head, body) = request.into_parts();
        self.upload = Upload::of(&mut head, body);
        self.output.head(Text::of(&head, Some(said)));
        self.method = head.method;
        self.fields = head.headers;
        self.fields.clear();
        (self.begun, self.keeps, self.held_back) = (false, false, true);
        (self.room, self.allowance) = (USUAL_READ, MAX_BEFORE_ANSWER);
    }

    /// The head of the request, which had no body. No more of it is sent.
    pub(super) fn take_text(&mut self) -> Text {
        // The target has answered, or never will.
        self.deaf |= !self.output.is_empty();
        self.output.take_head()
    }

    /// The request, of which nothing has gone.
    pub(super) fn take_back(&mut self) -> Option<Request<RequestBody>> {
        let mut request = self.output.take_head().request()?;
        if let Some(upload) = self.upload.take() {
            *request.body_mut() = upload.into_body();
        }
        Some(request)
    }

    /// Sends what there is of the request, and reads up to the end of the head of the answer.
    pub(super) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Fault>> {
        self.poll_send(cx).map_err(|_| Fault::Body)?;
        if self.deaf && !self.begun && !self.fresh {
            return Poll::Ready(Err(Fault::Unsent));
        }
        loop {
            let known = self.input.len();
            match ready!(self.poll_read(cx)) {
                Ok(read @ 1..) if read <= self.allowance => self.allowance -= read,
                // Interim answers without end, most likely.
                Ok(1..) => return Poll::Ready(Err(Fault::Malformed)),
                Ok(0) | Err(_) if self.begun => return Poll::Ready(Err(Fault::Ended)),
                Ok(0) | Err(_) => return Poll::Ready(Err(Fault::Unsent)),
            }
            if !answer::is_worth_reading(&self.input, known) {
                continue;
            }
            let Some(Answer { response, content, keeps }) =
                answer::read(&mut self.input, &self.method, &mut self.fields)?
            else {
                continue;
            };
            self.over = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            (self.content, self.keeps) = (content, keeps && !self.over);
            return Poll::Ready(Ok(response));
        }
    }

    /// The next part of the answer's body; meanwhile the rest of the request is sent.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Err(broken) = self.poll_send(cx) {
            return Poll::Ready(Some(Err(broken)));
        }
        loop {
            match self.content.next(&mut self.input) {
                Ok(Next::Frame(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(Next::End) => return Poll::Ready(None),
                // So much at once as is left of it, if that is known.
                Ok(Next::More(Some(left))) => {
                    self.room = usize::try_from(left).unwrap_or(MAX_BUFFER).clamp(USUAL_READ, MAX_BUFFER);
                }
                Ok(Next::More(None)) => {}
                Err(Malformed) => return Poll::Ready(Some(Err(Broken::Chunks))),
            }
            match ready!(self.poll_read(cx)) {
                Ok(1..) => {}
                Ok(0) if self.content.ends_here() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(Broken::Early))),
                Err(error) => return Poll::Ready(Some(Err(Broken::Connection(error)))),
            }
        }
    }

    /// Not even its end.
    fn has_nothing_to_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        self.stream.poll_readable(cx).is_pending()
            || Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }

    /// Whether all of the answer was taken.
    pub(super) fn is_end_stream(&self) -> bool {
        self.content.is_over()
    }

    /// How much of the answer is left.
    pub(super) fn size_hint(&self) -> SizeHint {
        self.content.size_hint()
    }

    /// Whether both messages have ended, and another request may follow.
    pub(super) fn is_free(&self) -> bool {
        self.keeps
            && !self.deaf
            && self.content.is_over()
            && self.upload.is_none()
            && self.output.is_empty()
            && !self.held_back
            && self.input.is_empty()
    }

    /// Keeps nothing of the last request and its answer while it waits for the next.
    pub(super) fn rest(&mut self) {
        (self.input, self.output, self.fields) = (Bytes::new(), Output::default(), HeaderMap::new());
    }

    /// Whether HTTP is over on it, by a 101.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Its stream, and what came on it behind the last answer.
    pub(super) fn into_stream(self) -> (TargetStream, Bytes) {
        (self.stream, self.input)
    }

    /// Writes what there is, and what the visitor sends meanwhile. Fails when that broke off.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        let mut sent = 0;
        while !self.deaf {
            if sent >= TURN {
                cx.waker().wake_by_ref();
                break;
            }
            if !self.output.is_empty() {
                match self.output.poll_write(Pin::new(&mut self.stream), cx) {
                    Poll::Ready(Ok(count @ 1..)) => {
                        sent += count;
                        (self.begun, self.held_back) = (true, true);
                    }
                    Poll::Ready(Ok(0) | Err(_)) => self.deaf = true,
                    Poll::Pending => break,
                }
                continue;
            }
            if let Some(upload) = &mut self.upload {
                match upload.poll_next(&mut self.output, cx) {
                    Poll::Ready(Ok(true)) => continue,
                    Poll::Ready(Ok(false)) => {
                        self.upload = None;
                        continue;
                    }
                    Poll::Ready(Err(broken)) => return Err(broken),
                    Poll::Pending => {}
                }
            }
            if self.held_back {
                match Pin::new(&mut self.stream).poll_flush(cx) {
                    Poll::Ready(Ok(())) => self.held_back = false,
                    Poll::Ready(Err(_)) => self.deaf = true,
                    Poll::Pending => {}
                }
            }
            break;
        }
        Ok(())
    }

    /// Reads once, behind what was read before.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // No memory is taken for what has not come.
        ready!(self.stream.poll_readable(cx))?;
        let mut buffer = if self.input.is_empty() {
            BytesMut::with_capacity(self.room)
        } else {
            let begun = std::mem::take(&mut self.input);
            begun.try_into_mut().unwrap_or_else(|begun| BytesMut::from(&*begun))
        };
        buffer.reserve(self.room.min(USUAL_READ));
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut buffer);
        self.input = buffer.freeze();
        if let Poll::Ready(Ok(read @ 1..)) = read {
            self.fresh = false;
            if read >= self.room {
                self.room = (2 * self.room).min(MAX_BUFFER);
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;
    use tokio::task::coop::{has_budget_remaining, poll_proceed};

    fn connected() -> (Http1, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Http1::new(TargetStream::Unix(ours)), theirs)
    }

    #[tokio::test]
    async fn a_new_connection_that_was_closed_at_once_is_not_fit_but_one_with_an_answer_is() {
        let (mut http1, mut theirs) = connected();
        assert!(http1.is_fit(false).await);
        theirs.write_all(b"HTTP/1.1 503 Busy\r\n\r\n").await.unwrap();
        drop(theirs);
        assert!(http1.is_fit(false).await);
        let (mut http1, theirs) = connected();
        drop(theirs);
        assert!(!http1.is_fit(false).await);
    }

    #[tokio::test]
    async fn a_connection_that_is_kept_holds_no_head_of_a_request() {
        let (mut http1, _theirs) = connected();
        http1.output.head(Text::of_written(b"POST / HTTP/1.1\r\n\r\n".to_vec()));
        poll_fn(|cx| Poll::Ready(http1.poll_send(cx))).await.unwrap();
        assert!(http1.is_free());
        http1.rest();
        assert!(http1.is_free() && http1.take_text().into_bytes().is_empty());
    }

    #[tokio::test]
    async fn what_nobody_asked_for_is_seen_by_a_task_that_has_done_much() {
        let (mut http1, mut theirs) = connected();
        http1.fresh = false;
        assert!(http1.is_fit(false).await);
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        // The runtime hears of it.
        poll_fn(|cx| http1.stream.poll_readable(cx)).await.unwrap();
        let fit = poll_fn(|cx| {
            while has_budget_remaining() {
                if let Poll::Ready(step) = poll_proceed(cx) {
                    step.made_progress();
                }
            }
            pin!(http1.is_fit(false)).poll(cx)
        });
        assert!(!fit.await);
    }
}
