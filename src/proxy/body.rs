//! Bodies on their way: from the visitor to a target, and back. Each part is passed on as it comes, and the next one
//! is taken only when there is room for it; so a slow reader slows the writer, and nothing is held whole.

use super::inbound::{Broken, Inbound};
use super::multiplex::Beginning;
use super::record::Record;
use super::trailers;
use super::upstream::Busy;
use super::visitor::Visitor;
use crate::model::grpc_status_fails;
use crate::proxy::headers::GRPC_STATUS;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A request's body on its way to a target.
pub(super) enum RequestBody {
    /// There is none.
    Empty,
    /// It comes from the visitor.
    Streamed {
        /// What comes.
        incoming: Inbound,
        /// Whose it is.
        visitor: Rc<Visitor>,
        /// Whether all of it has come.
        done: bool,
    },
    /// It was sent in part to a target that did not look at it.
    Again(Box<Again>),
}

/// A body whose beginning is sent again.
pub(super) struct Again {
    beginning: Beginning,
    rest: RequestBody,
}

impl RequestBody {
    /// The body of a visitor's request.
    pub(super) fn new(incoming: Inbound, visitor: &Rc<Visitor>) -> Self {
        visitor.set_body_due(!incoming.is_end_stream());
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        Self::Streamed { incoming, visitor: Rc::clone(visitor), done: false }
    }

    /// The body that begins with what was taken from it before.
    pub(super) fn again(beginning: Beginning, rest: Self) -> Self {
        Self::Again(Box::new(Again { beginning, rest }))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Again(again) => match again.beginning.next() {
                Some(frame) => Poll::Ready(Some(Ok(frame))),
                None => Pin::new(&mut again.rest).poll_frame(cx),
            },
            Self::Streamed { incoming, visitor, done } => {
                let Poll::Ready(mut frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
                    visitor.awaits_upload();
                    return Poll::Pending;
                };
                visitor.uploads();
                if frame.as_ref().is_some_and(|frame| {
                    frame.as_ref().is_ok_and(|frame| !visitor.has_room_for(frame.data_ref().map_or(0, Bytes::len)))
                }) {
                    frame = Some(Err(Broken::TooLarge));
                }
                match &mut frame {
                    Some(Ok(frame)) => {
                        if let Some(fields) = frame.trailers_mut() {
                            trailers::strip(fields);
                            *done = true;
                        }
                    }
                    Some(Err(_)) => visitor.set_broken(),
                    None => *done = true,
                }
                visitor.set_body_due(!(*done || incoming.is_end_stream()));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Again(again) => again.beginning.is_empty() && again.rest.is_end_stream(),
            Self::Streamed { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Again(again) if again.beginning.is_empty() => again.rest.size_hint(),
            Self::Again(_) => SizeHint::default(),
            Self::Streamed { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        match self {
            Self::Streamed { incoming, visitor, done: false } if !incoming.is_end_stream() => visitor.leave_unread(),
            // What is left of one that is sent again says it itself.
            Self::Empty | Self::Again(_) | Self::Streamed { .. } => {}
        }
    }
}

/// An answer's body on its way to the visitor. What is known of it is in a box: an answer goes through many hands, each of
/// which moves it.
pub(super) enum AnswerBody {
    /// It comes from a target.
    Relayed(Box<Relay>),
    /// The router made it.
    Whole(Box<Whole>),
    /// There is none: what follows the head is another protocol.
    Tunnel,
}

/// A body that the router made.
pub(super) struct Whole {
    content: Option<Bytes>,
    record: Record,
}

/// A body that comes from a target. It carries what it takes to receive the rest, and the request's record, which is
/// closed when the last byte has been passed on or nobody wants it any more.
pub(super) struct Relay {
    busy: Busy,
    record: Record,
    done: bool,
    /// Why there will be no more of it.
    fault: Option<Broken>,
}

impl AnswerBody {
    /// The rest of a target's answer.
    pub(super) fn relayed(busy: Busy, record: Record) -> Self {
        Self::Relayed(Box::new(Relay { busy, record, done: false, fault: None }))
    }

    /// A whole body.
    pub(super) fn whole(content: Bytes, mut record: Record) -> Self {
        record.completes();
        Self::Whole(Box::new(Whole { content: Some(content), record }))
    }
}

impl Relay {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(fault) = self.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        let frame = self.busy.poll_frame(cx);
        self.record.awaits_target(frame.is_pending());
        match ready!(frame) {
            Some(Ok(mut frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.record.passes(data.len());
                } else if let Some(trailers) = frame.trailers_mut() {
                    self.done = true;
                    trailers::strip(trailers);
                    if trailers.get(GRPC_STATUS).is_some_and(|status| grpc_status_fails(status.as_bytes())) {
                        self.record.failed_in_trailers();
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                self.record.breaks_off();
                // hyper drops what it has not written yet when it sees the fault, even the head.
                self.fault = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                self.done = true;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.done || self.busy.is_end_stream() {
            self.record.completes();
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Relayed(relay) => relay.poll_frame(cx),
            Self::Whole(whole) => {
                let content = whole.content.take();
                whole.record.passes(content.as_ref().map_or(0, Bytes::len));
                Poll::Ready(content.map(|content| Ok(Frame::data(content))))
            }
            Self::Tunnel => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Relayed(relay) => relay.busy.is_end_stream(),
            Self::Whole(whole) => whole.content.is_none(),
            Self::Tunnel => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Relayed(relay) => relay.busy.size_hint(),
            Self::Whole(whole) => {
                SizeHint::with_exact(whole.content.as_ref().map_or(0, |content| content.len() as u64))
            }
            Self::Tunnel => SizeHint::with_exact(0),
        }
    }
}
