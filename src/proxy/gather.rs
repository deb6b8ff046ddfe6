//! A stream that sends a few small pieces as one: one plain `send` costs the kernel less than a gathering `writev`.

use crate::transport::{VisitorStream, forward};
use futures_util::FutureExt;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

/// Pieces of up to this many bytes together are copied; more than a head and a small page is not worth it.
const SMALL: usize = 4096;

/// A stream whose small writes are gathered.
#[derive(Debug)]
pub(super) struct Gather<'a>(pub(super) &'a mut VisitorStream);

impl Gather<'_> {
    /// Whether the peer has closed its side, even where bytes that it sent before are still unread.
    pub(super) fn is_closed_by_peer(&self) -> bool {
        let ready = self.0.tcp().ready(Interest::READABLE).now_or_never();
        ready.is_some_and(|ready| ready.is_ok_and(Ready::is_read_closed))
    }
}

impl AsyncRead for Gather<'_> {
    forward!(0: poll_read);
}

impl AsyncWrite for Gather<'_> {
    forward!(0: poll_write, is_write_vectored, poll_flush, poll_shutdown);

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [slice] = slices {
            return Pin::new(&mut *self.0).poll_write(cx, slice);
        }
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if length > SMALL {
            return Pin::new(&mut *self.0).poll_write_vectored(cx, slices);
        }
        let mut space = [MaybeUninit::uninit(); SMALL];
        let mut together = ReadBuf::uninit(&mut space);
        for slice in slices {
            together.put_slice(slice);
        }
        Pin::new(&mut *self.0).poll_write(cx, together.filled())
    }
}
