//! A request on its way out by HTTP/1.1: its head, and its body as it comes.

use crate::proxy::body::RequestBody;
use crate::proxy::inbound::Broken;
use crate::proxy::outgoing::Text;
use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// What was made of a request and has not gone.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// A head, the size of a chunk, or trailers; and how much of it has gone.
    text: Vec<u8>,
    gone: usize,
    /// Behind it, a part of the body.
    data: Bytes,
    /// And what ends a chunk.
    end: &'static [u8],
}

/// A body that is to be sent.
pub(super) struct Upload {
    body: RequestBody,
    framing: Framing,
}

/// How the target is to know where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// By its length, of which so much is left.
    Length(u64),
    Chunked,
}

impl Output {
    /// Begins with a head.
    pub(super) fn head(&mut self, head: Text) {
        *self = Self { text: head.into_bytes(), ..Self::default() };
    }

    /// The head that it began with, whether it has gone or not.
    pub(super) fn take_head(&mut self) -> Text {
        self.gone = 0;
        Text::of_written(std::mem::take(&mut self.text))
    }

    /// Whether all has gone.
    pub(super) fn is_empty(&self) -> bool {
        self.gone == self.text.len() && self.data.is_empty() && self.end.is_empty()
    }

    /// Writes some of it.
    pub(super) fn poll_write(
        &mut self,
        stream: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let text = self.text.get(self.gone..).unwrap_or_default();
        // Most requests are a head alone: one plain `send`.
        let written = if self.data.is_empty() && self.end.is_empty() {
            ready!(stream.poll_write(cx, text))?
        } else {
            let slices = [IoSlice::new(text), IoSlice::new(&self.data), IoSlice::new(self.end)];
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        let of_text = written.min(text.len());
        self.gone += of_text;
        let of_data = (written - of_text).min(self.data.len());
        self.data.advance(of_data);
        self.end = self.end.get(written - of_text - of_data..).unwrap_or_default();
        Poll::Ready(Ok(written))
    }

    fn text(&mut self) -> &mut Vec<u8> {
        self.gone = 0;
        self.text.clear();
        &mut self.text
    }

    fn chunk(&mut self, data: Bytes) {
        // Into memory, which takes all.
        let _ = write!(self.text(), "{:X}\r\n", data.len());
        (self.data, self.end) = (data, b"\r\n");
    }

    fn last_chunk(&mut self, trailers: &HeaderMap) {
        let text = self.text();
        text.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                text.extend_from_slice(part);
            }
        }
        text.extend_from_slice(b"\r\n");
    }
}

impl Upload {
    /// What is to be sent behind a head, which says how long it is or that it comes in chunks.
    pub(super) fn of(head: &mut Parts, body: RequestBody) -> Option<Box<Self>> {
        let framing = if head.headers.contains_key(TRANSFER_ENCODING) {
            Framing::Chunked
        } else if body.is_end_stream() {
            return None;
        } else {
            let length = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
            length.map_or(Framing::Chunked, Framing::Length)
        };
        if framing == Framing::Chunked {
            head.headers.remove(CONTENT_LENGTH);
            head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Some(Box::new(Self { body, framing }))
    }

    /// The body, of which nothing was sent.
    pub(super) fn into_body(self) -> RequestBody {
        self.body
    }

    /// Puts the next part of it into an empty output; whether there may be another behind it.
    pub(super) fn poll_next(&mut self, output: &mut Output, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        if self.framing == Framing::Length(0) && self.body.is_end_stream() {
            return Poll::Ready(Ok(false));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)).transpose()?;
        let Some(frame) = frame else { return Poll::Ready(self.ends(output, &HeaderMap::new())) };
        match (frame.into_data(), &mut self.framing) {
            (Ok(data), _) if data.is_empty() => {}
            (Ok(data), Framing::Chunked) => output.chunk(data),
            (Ok(data), Framing::Length(left)) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Broken::OtherLength)?;
                output.data = data;
            }
            (Err(frame), _) => {
                let trailers = frame.into_trailers().unwrap_or_default();
                return Poll::Ready(self.ends(output, &trailers));
            }
        }
        Poll::Ready(Ok(true))
    }

    fn ends(&self, output: &mut Output, trailers: &HeaderMap) -> Result<bool, Broken> {
        match self.framing {
            Framing::Chunked => output.last_chunk(trailers),
            // It has no room for trailers.
            Framing::Length(0) => {}
            Framing::Length(_) => return Err(Broken::OtherLength),
        }
        Ok(false)
    }
}
