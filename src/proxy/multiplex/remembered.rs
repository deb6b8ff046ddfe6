//! A request's body whose beginning is remembered while it is sent: a target may say that it has not looked at the
//! request, and then it can be sent again, whatever it asks for.

use crate::proxy::body::RequestBody;
use crate::proxy::inbound::Broken;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The most of a body that is remembered; as much as one is sent of before the target has to make room.
const MOST: usize = 64 * 1024;

/// A body on its way to a target.
pub(super) struct Remembered {
    body: RequestBody,
    /// What has gone of it; `None` when that is too much.
    gone: Option<Beginning>,
}

/// The beginning of a body that is sent again.
#[derive(Default)]
pub(in crate::proxy) struct Beginning {
    parts: VecDeque<Bytes>,
    size: usize,
    trailers: Option<HeaderMap>,
}

impl Remembered {
    pub(super) fn new(body: RequestBody) -> Self {
        Self { body, gone: Some(Beginning::default()) }
    }

    /// The body as it was before anything was taken from it; `None` when too much was.
    pub(super) fn again(self) -> Option<RequestBody> {
        let gone = self.gone?;
        if gone.is_empty() { Some(self.body) } else { Some(RequestBody::again(gone, self.body)) }
    }
}

impl Beginning {
    /// Whether there is nothing of it (any more).
    pub(in crate::proxy) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.trailers.is_none()
    }

    /// The next part of it.
    pub(in crate::proxy) fn next(&mut self) -> Option<Frame<Bytes>> {
        let part = self.parts.pop_front().map(Frame::data);
        part.or_else(|| self.trailers.take().map(Frame::trailers))
    }

    fn add(mut self, frame: &Frame<Bytes>) -> Option<Self> {
        if let Some(data) = frame.data_ref() {
            self.size += data.len();
            self.parts.push_back(data.clone());
        } else {
            self.trailers = frame.trailers_ref().cloned();
        }
        (self.size <= MOST && self.parts.len() <= MOST_PARTS).then_some(self)
    }
}

/// Each part has a cost of its own, however small it is.
const MOST_PARTS: usize = 64;

impl Body for Remembered {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.gone = self.gone.take().and_then(|gone| gone.add(frame));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_given_again_in_its_order_and_only_within_bounds() {
        let mut gone = Beginning::default();
        assert!(gone.is_empty() && gone.next().is_none());
        for part in ["a", "b"] {
            gone = gone.add(&Frame::data(part.into())).unwrap();
        }
        gone = gone.add(&Frame::trailers(HeaderMap::new())).unwrap();
        let parts: Vec<_> = std::iter::from_fn(|| gone.next()).map(|frame| frame.into_data().ok()).collect();
        assert_eq!(parts, [Some("a".into()), Some("b".into()), None]);
        assert!(gone.is_empty());
        let whole = Beginning::default().add(&Frame::data(Bytes::from(vec![0; MOST]))).unwrap();
        assert!(whole.add(&Frame::data("a".into())).is_none());
        let crumbs = (0..=MOST_PARTS).try_fold(Beginning::default(), |gone, _| gone.add(&Frame::data("a".into())));
        assert!(crumbs.is_none());
    }
}
