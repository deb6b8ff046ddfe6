//! A body on its way in.

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body that comes from a visitor, by whatever version of HTTP.
#[derive(Debug)]
pub(super) enum Inbound {
    /// By HTTP/1.1.
    Http1(Incoming),
    /// By HTTP/2.
    Http2(RecvStream),
}

/// Why no more of a body comes.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection, or what came on it.
    #[error(transparent)]
    Http1(#[from] hyper::Error),
    /// The stream, or the connection that it is on.
    #[error(transparent)]
    Http2(#[from] h2::Error),
    /// Its length, which is more than the service allows.
    #[error("the body is longer than the service allows")]
    TooLarge,
    /// It has another length than its head says.
    #[error("the body has another length than its head says")]
    OtherLength,
    /// Where its chunks begin and end is not known.
    #[error("the body's chunks are malformed")]
    Chunks,
    /// It ended too soon.
    #[error("the connection was closed before the end of the body")]
    Early,
    /// The connection that it came by.
    #[error(transparent)]
    Connection(#[from] io::Error),
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Broken::from),
            Self::Http2(stream) => poll_stream(stream, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(stream) => size_of_stream(stream),
        }
    }
}

/// What comes next of a body by HTTP/2.
pub(super) fn poll_stream(stream: &mut RecvStream, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
    match ready!(stream.poll_data(cx)) {
        Some(Ok(data)) => {
            // It is asked for only when there is room for it, so its place is free again.
            let released = stream.flow_control().release_capacity(data.len());
            Poll::Ready(Some(released.map(|()| Frame::data(data)).map_err(Broken::from)))
        }
        Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
        None => match ready!(stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        },
    }
}

/// How much is left of a body by HTTP/2.
pub(super) fn size_of_stream(stream: &RecvStream) -> SizeHint {
    if stream.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
}
