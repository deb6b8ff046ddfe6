//! A target's stream as HTTP/1.1 uses it.
//!
//! A target that answers before it has read the whole request, with a 413 say, and closes, resets the connection. What is
//! written then fails, but the answer that came before can still be read. hyper gives up at the first write that fails; so
//! it is not told, and goes on reading until the answer or the end of the stream.

use crate::transport::{TargetStream, forward};
use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known and wanted of a stream by who has its connection.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Asks for one look at the socket itself before anything else is done with the stream.
    pub(super) look: Cell<bool>,
    /// How many bytes may still be read; none comes when there are none left. So no head is waited for that never ends,
    /// however fast interim answers come.
    pub(super) allowance: Cell<u64>,
}

/// A stream that can be read when it can't be written to any more.
#[derive(Debug)]
pub(super) struct TargetIo {
    stream: TargetStream,
    /// Whether the target takes no more.
    deaf: bool,
    watch: Rc<Watch>,
}

impl TargetIo {
    /// Over a stream.
    pub(super) fn new(stream: TargetStream) -> (Self, Rc<Watch>) {
        let watch = Rc::<Watch>::default();
        (Self { stream, deaf: false, watch: Rc::clone(&watch) }, watch)
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> TargetStream {
        self.stream
    }

    /// What was written, while the target takes it.
    fn taken<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) {
            self.deaf = true;
            // What has come, or the end of it, wakes who reads.
            return Poll::Pending;
        }
        written
    }
}

impl AsyncRead for TargetIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.watch.look.replace(false) && !self.stream.is_quiet() {
            // Closed, or about to be: the end of an idle stream.
            return Poll::Ready(Ok(()));
        }
        let allowance = self.watch.allowance.get();
        if allowance == 0 {
            // Who has set the limit looks whether it was reached, so nobody has to be woken.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.watch.allowance.set(allowance.saturating_sub((buffer.filled().len() - before) as u64));
        read
    }
}

impl AsyncWrite for TargetIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.taken(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.taken(written)
    }

    forward!(stream: is_write_vectored, poll_shutdown);

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Pending;
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.taken(flushed)
    }
}
