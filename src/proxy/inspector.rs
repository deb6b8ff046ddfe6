//! Lets through of a visitor's bytes only what is framed beyond doubt, on their way to hyper.
//!
//! A head that can't be served is replaced by one that says so, [`NO_REQUEST`]. So hyper answers the requests before it
//! first, and the refusal is counted, logged and written as every other is.

use super::framing::{Fault, Framing};
use super::visitor::{Phase, Visitor};
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// The method of a request that stands for one that could not be read. A visitor may use it too: without a fault on their
/// connection it is a method like any other.
pub(super) const NO_METHOD: &str = "-";

/// What hyper reads in place of a head that can't be served.
const NO_REQUEST: &[u8] = b"- * HTTP/1.1\r\nconnection: close\r\n\r\n";

/// The status for a head that takes too long.
const TOO_SLOW: u16 = 408;

/// How much is read at a time behind a part that is kept.
const PART: usize = 4096;

/// What stands between a visitor's stream and hyper. Most reads are passed on as they are; what can't be understood yet is
/// kept until more has come.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    framing: Framing,
    /// What has come and was not passed on: a part of a head or of trailers.
    kept: Vec<u8>,
    /// How much of that may be passed on.
    passable: usize,
    fault: Option<Fault>,
}

impl Inspector {
    /// Reads what may be passed on.
    pub(super) fn poll_read(
        &mut self,
        stream: Pin<&mut impl AsyncRead>,
        visitor: &Visitor,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.kept.is_empty() && self.fault.is_none() && !self.framing.is_open() {
            if visitor.is_drained() {
                // hyper asks after each of its steps.
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            let mut stream = stream;
            let read = stream.as_mut().poll_read(cx, buffer);
            visitor.set_drained(read.is_pending());
            ready!(read)?;
            let new = buffer.filled().get(before..).unwrap_or_default();
            if new.is_empty() {
                return Poll::Ready(Ok(()));
            }
            visitor.has_sent();
            let (passed, fault) = self.framing.follow(new);
            if passed == new.len() {
                return Poll::Ready(Ok(()));
            }
            self.kept.extend_from_slice(new.get(passed..).unwrap_or_default());
            self.settle(0, fault, visitor);
            buffer.set_filled(before + passed);
            if passed > 0 {
                return Poll::Ready(Ok(()));
            }
            return self.poll_kept(stream, visitor, cx, buffer);
        }
        self.poll_kept(stream, visitor, cx, buffer)
    }

    /// The same while something is kept.
    #[cold]
    fn poll_kept(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        visitor: &Visitor,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let under_way = !matches!(visitor.phase(), Phase::Head { .. } | Phase::Idle | Phase::Tail);
        if self.framing.is_open() && self.passable == 0 && !under_way {
            self.framing.goes_on();
            let (passed, fault) = self.framing.follow(&self.kept);
            self.settle(passed, fault, visitor);
        }
        if visitor.is_overdue() && matches!(visitor.phase(), Phase::Head { .. }) && self.fault.is_none() {
            self.settle(0, Some(Fault::Head(TOO_SLOW)), visitor);
        }
        loop {
            if self.passable > 0 {
                let count = self.passable.min(buffer.remaining());
                buffer.put_slice(self.kept.get(..count).unwrap_or_default());
                self.kept.drain(..count);
                self.passable -= count;
                if self.kept.is_empty() {
                    self.kept = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            match self.fault {
                // Nothing that comes makes a difference any more.
                Some(Fault::Head(_)) => return Poll::Pending,
                Some(Fault::Body) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                // Enough is known of who does not wait for the answer.
                None if self.framing.is_open() && !self.kept.is_empty() => return Poll::Pending,
                None => {}
            }
            let mut part = [0; PART];
            let mut part = ReadBuf::new(&mut part);
            ready!(stream.as_mut().poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            visitor.has_sent();
            self.kept.extend_from_slice(part.filled());
            let (passed, fault) = self.framing.follow(&self.kept);
            self.settle(passed, fault, visitor);
        }
    }

    /// Whether a part of something has come that was not passed on: behind an answer, of the next request.
    pub(super) fn keeps_a_part(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether what has come is not passed on before the answer says what it is.
    pub(super) fn holds_back(&self) -> bool {
        self.framing.is_open() && self.keeps_a_part()
    }

    /// What was passed on and not read is passed on again.
    pub(super) fn take_back(&mut self, passed: &[u8]) {
        self.kept.splice(..0, passed.iter().copied());
        self.passable += passed.len();
    }

    /// What has come behind the last request, when it goes on as something else than HTTP: what was passed on and not
    /// read, and what was not.
    pub(super) fn rest_behind(&self, passed: Bytes) -> Bytes {
        if self.kept.is_empty() {
            return passed;
        }
        [passed.as_ref(), &self.kept].concat().into()
    }

    /// So much of what is kept may be passed on, and this is wrong with what is behind it.
    fn settle(&mut self, passable: usize, fault: Option<Fault>, visitor: &Visitor) {
        self.passable = passable;
        let Some(fault) = fault else { return };
        self.fault = Some(fault);
        self.kept.truncate(passable);
        if let Fault::Head(status) = fault {
            visitor.refuses(status);
            self.kept.extend_from_slice(NO_REQUEST);
            self.passable = self.kept.len();
        }
        visitor.leave_unread();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_stands_before_what_was_kept_and_may_be_passed_on() {
        let mut inspector = Inspector::default();
        inspector.take_back(b"");
        assert!(!inspector.keeps_a_part());
        inspector.kept.extend_from_slice(b"part");
        inspector.take_back(b"passed");
        assert!(inspector.keeps_a_part());
        assert_eq!((&inspector.kept[..], inspector.passable), (&b"passedpart"[..], 6));
    }
}
