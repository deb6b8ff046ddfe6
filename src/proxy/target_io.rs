//! A target's stream as HTTP/1.1 uses it.
//!
//! A target that answers before it has read the whole request, with a 413 say, and closes, resets the connection. What is
//! written then fails, but the answer that came before can still be read. hyper gives up at the first write that fails; so
//! it is not told, and goes on reading until the answer or the end of the stream.

use super::outgoing::Copy;
use crate::transport::{TargetStream, forward};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known and wanted of a stream by who has its connection.
#[derive(Debug)]
pub(super) struct Watch {
    /// Asks for one look at the socket itself before anything else is done with the stream.
    pub(super) look: Cell<bool>,
    /// How many bytes may still be read; none comes when there are none left. So no head is waited for that never ends,
    /// however fast interim answers come.
    pub(super) allowance: Cell<u64>,
    /// Whether nothing more can be read until the task is woken.
    drained: Cell<bool>,
    /// Asks for a copy of what is written next: a head without a body, which hyper writes at once, as one piece.
    pub(super) copies: Cell<bool>,
    pub(super) copy: RefCell<Option<Copy>>,
    /// Whether all that was written before has gone.
    flushed: Cell<bool>,
    /// The task that is woken when the stream can be read or written. It is not asked of who polls the stream: hyper
    /// would wake it for its own ends as well.
    task: RefCell<Waker>,
}

impl Watch {
    /// It is this task, which runs just now, from now on.
    pub(super) fn wakes(&self, task: &Waker) {
        self.task.borrow_mut().clone_from(task);
        self.drained.set(false);
    }
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
        let watch = Rc::new(Watch {
            look: Cell::new(false),
            allowance: Cell::new(u64::MAX),
            drained: Cell::new(false),
            copies: Cell::new(false),
            copy: RefCell::new(None),
            flushed: Cell::new(true),
            task: RefCell::new(Waker::noop().clone()),
        });
        (Self { stream, deaf: false, watch: Rc::clone(&watch) }, watch)
    }

    /// The stream itself.
    pub(super) fn into_inner(self) -> TargetStream {
        self.stream
    }

    /// Calls a method of the stream that writes, while the target takes what is written.
    fn write<T>(
        &mut self,
        method: impl FnOnce(Pin<&mut TargetStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.deaf {
            return Poll::Pending;
        }
        let written = method(Pin::new(&mut self.stream), &mut Context::from_waker(&self.watch.task.borrow()));
        if matches!(written, Poll::Ready(Err(_))) {
            self.deaf = true;
            // What has come, or the end of it, wakes who reads.
            return Poll::Pending;
        }
        written
    }
}

impl AsyncRead for TargetIo {
    fn poll_read(self: Pin<&mut Self>, _cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, watch, .. } = self.get_mut();
        if watch.look.replace(false) && !stream.is_quiet() {
            // Closed, or about to be: the end of an idle stream.
            return Poll::Ready(Ok(()));
        }
        let allowance = watch.allowance.get();
        if watch.drained.get() {
            // hyper asks after each of its steps.
            return Poll::Pending;
        }
        if allowance == 0 {
            // Who has set the limit looks whether it was reached, so nobody has to be woken.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(stream).poll_read(&mut Context::from_waker(&watch.task.borrow()), buffer);
        watch.allowance.set(allowance.saturating_sub((buffer.filled().len() - before) as u64));
        watch.drained.set(read.is_pending());
        read
    }
}

impl AsyncWrite for TargetIo {
    fn poll_write(mut self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // hyper flushes when its own buffer is empty. Behind a rest of another request there is no head to be had.
        let alone = self.watch.flushed.replace(false);
        if self.watch.copies.replace(false) && alone {
            self.watch.copy.replace(Some(Copy::of_written(bytes)));
        }
        self.write(|stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream, cx| stream.poll_write_vectored(cx, slices))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.watch.flushed.set(true);
        self.write(TargetStream::poll_flush)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, watch, .. } = self.get_mut();
        Pin::new(stream).poll_shutdown(&mut Context::from_waker(&watch.task.borrow()))
    }

    forward!(stream: is_write_vectored);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;
    use tokio::net::UnixStream;

    fn connected() -> (TargetIo, Rc<Watch>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (io, watch) = TargetIo::new(TargetStream::Unix(ours));
        (io, watch, theirs)
    }

    #[tokio::test]
    async fn only_a_head_that_is_asked_for_and_goes_out_alone_is_copied() {
        let (mut io, watch, _theirs) = connected();
        for (asked, flushed_before, is_copied) in
            [(true, true, true), (false, true, false), (true, false, false), (true, true, true)]
        {
            if flushed_before {
                io.flush().await.unwrap();
            }
            watch.copies.set(asked);
            io.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            io.write_all(b"and no more of it").await.unwrap();
            assert_eq!(watch.copy.take().is_some(), is_copied, "{asked} {flushed_before}");
        }
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn what_comes_wakes_the_task_that_was_told_and_is_read_when_it_runs_again() {
        let (mut io, watch, mut theirs) = connected();
        let mut read = |space: &mut [u8]| {
            let mut buffer = ReadBuf::new(space);
            let read = Pin::new(&mut io).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
            read.map(|read| read.map(|()| buffer.filled().len()).unwrap())
        };
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let task = Waker::from(Arc::clone(&flag));
        watch.wakes(&task);
        let mut space = [0; 8];
        assert!(read(&mut space).is_pending());
        theirs.write_all(b"abc").await.unwrap();
        let woken = async {
            while !flag.0.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), woken).await.unwrap();
        watch.wakes(&task);
        assert_eq!(read(&mut space), Poll::Ready(3));
    }
}
