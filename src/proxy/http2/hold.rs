//! Holds what is written to a visitor's connection until the end of its turn, so that the answers of many streams go out
//! together: h2 flushes its stream behind each part of a body.

use crate::proxy::turn::pay;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// The most that is held, in bytes. What is longer costs more to copy than to send.
const MOST: usize = 16 * 1024;

/// A stream, and what is still to be written to it.
#[derive(Debug)]
pub(super) struct Hold<S> {
    pub(super) stream: S,
    held: Vec<u8>,
    /// So much of it has been sent.
    sent: usize,
    /// Whether the stream would take no more of what is held when it was tried last.
    blocked: bool,
    /// The same of what was too long to be held.
    refused: bool,
}

impl<S: AsyncWrite + Unpin> Hold<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), sent: 0, blocked: false, refused: false }
    }

    /// Takes what is to be written: holds it, or sends it behind what is held. `took` is told of what the visitor took.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        mut took: impl FnMut(usize),
    ) -> Poll<io::Result<usize>> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.held.len() + length > MOST {
            ready!(self.poll_send(cx, &mut took))?;
        }
        if length > MOST {
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
            self.refused = written.is_pending();
            let written = ready!(written)?;
            took(written);
            pay(written, cx);
            return Poll::Ready(Ok(written));
        }
        if self.held.capacity() == 0 {
            self.held.reserve_exact(MOST);
        }
        for slice in slices {
            self.held.extend_from_slice(slice);
        }
        Poll::Ready(Ok(length))
    }

    /// Whether the other side takes nothing: what is held meanwhile changes nothing of that, nor does it that nothing is.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked || self.refused
    }

    /// Whether there is something that is still to be sent.
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Sends all that is held.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, mut took: impl FnMut(usize)) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            let written = Pin::new(&mut self.stream).poll_write(cx, &self.held[self.sent..]);
            self.blocked = written.is_pending();
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            took(written);
            pay(written, cx);
            self.sent += written;
        }
        // A connection that rests keeps no room for it.
        (self.held, self.sent) = (Vec::new(), 0);
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.blocked = flushed.is_pending();
        flushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Takes so many bytes a time while it is open.
    #[derive(Default)]
    struct Sink {
        taken: Vec<u8>,
        writes: usize,
        room: usize,
    }

    impl AsyncWrite for Sink {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Poll::Pending;
            }
            self.room -= count;
            self.writes += 1;
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn hold(room: usize) -> Hold<Sink> {
        Hold::new(Sink { room, ..Sink::default() })
    }

    fn write(hold: &mut Hold<Sink>, bytes: &[u8]) -> Option<usize> {
        let mut cx = Context::from_waker(Waker::noop());
        match hold.poll_write(&mut cx, &[IoSlice::new(bytes)], drop) {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    fn send(hold: &mut Hold<Sink>) -> (bool, usize) {
        let (mut cx, mut took) = (Context::from_waker(Waker::noop()), 0);
        let sent = hold.poll_send(&mut cx, |count| took += count);
        (sent.is_ready(), took)
    }

    #[test]
    fn small_writes_go_out_as_one() {
        let mut hold = hold(usize::MAX);
        for part in [&b"head"[..], b"body", b"head"] {
            assert_eq!(write(&mut hold, part), Some(4));
        }
        assert_eq!(hold.stream.writes, 0);
        assert_eq!(send(&mut hold), (true, 12));
        assert_eq!((hold.stream.writes, &hold.stream.taken[..]), (1, &b"headbodyhead"[..]));
        assert_eq!((send(&mut hold), hold.stream.writes), ((true, 0), 1));
        assert_eq!(hold.held.capacity(), 0);
    }

    #[test]
    fn what_is_long_goes_out_behind_what_is_held() {
        let (mut hold, long) = (hold(usize::MAX), vec![b'x'; MOST + 1]);
        write(&mut hold, b"head");
        assert_eq!(write(&mut hold, &long), Some(long.len()));
        assert_eq!(hold.stream.taken, [&b"head"[..], &long].concat());
    }

    #[test]
    fn who_takes_nothing_is_held_little_for() {
        let mut hold = hold(0);
        let part = [b'x'; 1000];
        let parts = std::iter::from_fn(|| write(&mut hold, &part)).count();
        assert_eq!(parts, MOST / part.len());
        hold.stream.room = 500;
        assert_eq!((send(&mut hold), hold.is_blocked()), ((false, 500), true));
        assert_eq!(write(&mut hold, &part), None);
        hold.stream.room = usize::MAX;
        assert_eq!(send(&mut hold), (true, parts * part.len() - 500));
        assert_eq!((hold.stream.taken.len(), hold.is_blocked()), (parts * part.len(), false));
    }

    #[test]
    fn who_takes_nothing_of_what_is_long_is_blocked_though_nothing_is_held() {
        let (mut hold, long) = (hold(0), vec![b'x'; MOST + 1]);
        assert_eq!(write(&mut hold, &long), None);
        assert_eq!((send(&mut hold), hold.is_blocked()), ((true, 0), true));
        hold.stream.room = usize::MAX;
        assert_eq!((write(&mut hold, &long), hold.is_blocked()), (Some(long.len()), false));
    }

    #[test]
    fn what_is_merely_held_is_no_sign_that_anything_is_taken() {
        let mut hold = hold(0);
        write(&mut hold, b"answer");
        assert!(!hold.is_blocked(), "nobody has tried");
        assert_eq!((send(&mut hold), hold.is_blocked()), ((false, 0), true));
        assert_eq!((write(&mut hold, b"answer"), hold.is_blocked()), (Some(6), true));
        hold.stream.room = usize::MAX;
        assert_eq!((send(&mut hold), hold.is_blocked()), ((true, 12), false));
    }
}
