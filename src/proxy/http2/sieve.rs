//! Takes out of a peer's bytes, before h2 reads them, what says nothing and would still end the connection.
//!
//! h2 ends a connection at the 101st empty frame of DATA in all its life that does not end its stream. A peer may well
//! flush a stream where there is nothing to send, and on a connection of days it comes to so many. So they are taken out here,
//! and what they may cost a visitor's connection is bounded by [`super::patience`], which time restores.
//!
//! Only what has no effect at all is taken out: an empty frame on a stream that has begun and not ended. Any other is an
//! error, or ends something, and h2 must see it. So must one that is nothing but padding, which takes up room in two
//! windows: h2 gives that back, and counts it. Nobody sends such a thing for an honest purpose.

use super::frames::{Frame, Frames, HEAD, Kind, MOST};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// How many streams are known to be under way: the latest. The empty frames of others are h2's.
const MOST_STREAMS: usize = 256;

/// What stands between a peer's stream and h2. Most reads are passed on as they are.
#[derive(Debug)]
pub(in crate::proxy) struct Sieve {
    frames: Frames,
    /// The streams on which the peer may send more.
    streams: Vec<u32>,
    /// The latest of those that were let go of, on which something may be on its way.
    let_go: VecDeque<u32>,
    /// The head of a frame that came in parts, and is to be passed on.
    head: Vec<u8>,
}

impl Sieve {
    pub(in crate::proxy) fn new(frames: Frames) -> Self {
        Self { frames, streams: Vec::new(), let_go: VecDeque::new(), head: Vec::new() }
    }

    /// Whether the rest of a head of fields is awaited, so that nothing else can come.
    pub(super) fn is_within_head(&self) -> bool {
        self.frames.is_within_head()
    }

    /// Reads what is to be passed on; `each` is told of every frame that begins, passed on or not. Gives how much was read.
    pub(in crate::proxy) fn poll_read(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        mut each: impl FnMut(Frame),
    ) -> Poll<io::Result<usize>> {
        let mut read = 0;
        if !self.frames.part().is_empty() {
            read = ready!(self.poll_head(stream.as_mut(), cx, &mut each))?;
        }
        if !self.head.is_empty() {
            let count = self.head.len().min(buffer.remaining());
            buffer.put_slice(&self.head[..count]);
            self.head.drain(..count);
            return Poll::Ready(Ok(read));
        }
        let before = buffer.filled().len();
        ready!(stream.poll_read(cx, buffer))?;
        let new = &mut buffer.filled_mut()[before..];
        if new.is_empty() {
            return Poll::Ready(Ok(read));
        }
        read += new.len();
        let kept = self.sift(new, each);
        buffer.set_filled(before + kept);
        if kept == 0 {
            // Nothing read means to h2 that the peer has closed.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(read))
    }

    /// Reads the rest of a frame's head, of which a part was held back: whether it is passed on can't be told from that.
    #[cold]
    fn poll_head(
        &mut self,
        mut stream: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
        each: &mut impl FnMut(Frame),
    ) -> Poll<io::Result<usize>> {
        let mut read = 0;
        loop {
            let mut space = [0; MOST];
            let mut rest = ReadBuf::new(&mut space[..self.frames.missing()]);
            ready!(stream.as_mut().poll_read(cx, &mut rest))?;
            let rest = rest.filled();
            read += rest.len();
            let head = [self.frames.part(), rest].concat();
            if rest.is_empty() {
                // The peer has closed; h2 knows what to make of the part.
                self.frames = Frames::of_server();
                self.head = head;
                return Poll::Ready(Ok(read));
            }
            let (_, frame) = self.frames.step(rest);
            if let Some(frame) = frame {
                each(frame);
                if !self.says_nothing(frame) {
                    self.head = head;
                }
                return Poll::Ready(Ok(read));
            }
        }
    }

    /// Moves what is passed on to the beginning of these bytes; how much it is. A part of a frame's head at their end is
    /// held back.
    fn sift(&mut self, bytes: &mut [u8], mut each: impl FnMut(Frame)) -> usize {
        let (mut read, mut kept) = (0, 0);
        while read < bytes.len() {
            let (taken, frame) = self.frames.step(&bytes[read..]);
            if kept < read {
                bytes.copy_within(read..read + taken, kept);
            }
            read += taken;
            kept += taken;
            if let Some(frame) = frame {
                each(frame);
                if self.says_nothing(frame) {
                    // All of its head came with these bytes, and nothing behind it belongs to it.
                    kept -= HEAD;
                }
            }
        }
        kept - self.frames.part().len()
    }

    /// Takes note of a frame; whether it has no effect at all.
    fn says_nothing(&mut self, frame: Frame) -> bool {
        match frame.kind {
            Kind::Data if !frame.first_flag => {
                frame.length == 0 && !frame.padded && !frame.interrupts && self.knows(frame.stream)
            }
            Kind::Headers if !frame.first_flag => {
                if !self.streams.contains(&frame.stream) {
                    if self.streams.len() == MOST_STREAMS {
                        self.streams.remove(0);
                    }
                    self.streams.push(frame.stream);
                }
                false
            }
            Kind::Data | Kind::Headers | Kind::Reset => {
                self.forget(frame.stream);
                false
            }
            Kind::Settings | Kind::Ping | Kind::GoAway | Kind::WindowUpdate | Kind::Continuation | Kind::Other => false,
        }
    }

    fn knows(&self, stream: u32) -> bool {
        self.streams.contains(&stream) || self.let_go.contains(&stream)
    }

    /// A stream has ended.
    pub(super) fn forget(&mut self, stream: u32) {
        if !self.take(stream) {
            self.let_go.retain(|known| *known != stream);
        }
    }

    /// This side wants no more of a stream, which the peer may never end now: it must not take the place of one that is
    /// under way.
    pub(in crate::proxy) fn let_go(&mut self, stream: u32) {
        if self.take(stream) {
            if self.let_go.len() == MOST_STREAMS {
                self.let_go.pop_front();
            }
            self.let_go.push_back(stream);
        }
    }

    /// Takes a stream out of those that are under way, if it is one.
    fn take(&mut self, stream: u32) -> bool {
        let place = self.streams.iter().position(|known| *known == stream);
        place.is_some_and(|place| self.streams.remove(place) == stream)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::tests::{frame, frames, mutated, plainly};
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::Index;

    /// Gives the parts of what came one by one, and says in between that there is nothing yet.
    struct Parts(VecDeque<Vec<u8>>, bool);

    impl AsyncRead for Parts {
        fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            self.1 = !self.1;
            if self.1 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(part) = self.0.front_mut() {
                let count = part.len().min(buffer.remaining());
                buffer.put_slice(&part[..count]);
                part.drain(..count);
                if part.is_empty() {
                    self.0.pop_front();
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What is passed on of bytes that come cut there, read with this room at a time; and the frames that were told of.
    fn passed(bytes: &[u8], cuts: &[Index], room: &[usize]) -> (Vec<u8>, usize) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|cut| bytes[cut[0]..cut[1]].to_vec()).filter(|part| !part.is_empty());
        let (mut parts, mut sieve) = (Parts(parts.collect(), false), Sieve::new(Frames::of_server()));
        let (mut passed, mut told, mut rooms) = (Vec::new(), 0, room.iter().cycle());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for _ in 0..100_000 {
            let mut space = vec![0; *rooms.next().unwrap()];
            let mut buffer = ReadBuf::new(&mut space);
            match sieve.poll_read(Pin::new(&mut parts), &mut cx, &mut buffer, |_| told += 1) {
                Poll::Ready(read) if buffer.filled().is_empty() => {
                    assert_eq!(read.unwrap(), 0, "an end is told only when it is one");
                    assert!(sieve.streams.len() <= MOST_STREAMS && sieve.head.len() <= MOST);
                    return (passed, told);
                }
                Poll::Ready(_) => passed.extend_from_slice(buffer.filled()),
                Poll::Pending => assert!(buffer.filled().is_empty()),
            }
        }
        panic!("it never ends");
    }

    fn whole(bytes: &[u8]) -> Vec<u8> {
        passed(bytes, &[], &[8192]).0
    }

    #[test]
    fn only_what_has_no_effect_is_taken_out() {
        let begun = frame(1, 4, 1, b"head");
        let (nothing, content) = (frame(0, 0, 1, b""), frame(0, 0, 1, b"x"));
        let taken_out = [&begun[..], &nothing, &content, &nothing, &nothing, &content].concat();
        assert_eq!(whole(&taken_out), [&begun[..], &content, &content].concat());
        for (what, bytes) in [
            ("on a stream that has not begun", frame(0, 0, 1, b"")),
            ("on another stream", [&begun[..], &frame(0, 0, 3, b"")].concat()),
            ("on no stream", [&begun[..], &frame(0, 0, 0, b"")].concat()),
            ("the end of a stream", [&begun[..], &frame(0, 1, 1, b"")].concat()),
            ("behind the end", [&begun[..], &frame(0, 1, 1, b"x"), &nothing].concat()),
            ("behind a head that is all", [&frame(1, 5, 1, b"head")[..], &nothing].concat()),
            ("behind trailers", [&begun[..], &frame(1, 5, 1, b"sum"), &nothing].concat()),
            ("behind a reset", [&begun[..], &frame(3, 0, 1, &[0; 4]), &nothing].concat()),
            ("within a head", [&frame(1, 0, 1, b"he")[..], &nothing].concat()),
            ("padding alone", [&begun[..], &frame(0, 8, 1, &[2, 0, 0])].concat()),
            ("padding that is missing", [&begun[..], &frame(0, 8, 1, &[])].concat()),
            ("no DATA", [&begun[..], &frame(4, 0, 0, b""), &frame(0xab, 0, 1, b"")].concat()),
        ] {
            assert_eq!(whole(&bytes), bytes, "{what}");
        }
    }

    #[test]
    fn streams_that_were_reset_from_this_side_are_h2s() {
        let mut sieve = Sieve::new(Frames::of_server());
        let mut bytes = frame(1, 4, 1, b"head");
        assert_eq!(sieve.sift(&mut bytes, |_| {}), bytes.len());
        sieve.forget(1);
        let mut bytes = frame(0, 0, 1, b"");
        assert_eq!(sieve.sift(&mut bytes, |_| {}), bytes.len());
    }

    #[test]
    fn streams_that_were_let_go_of_take_no_others_place() {
        let mut sieve = Sieve::new(Frames::of_server());
        let last = 2 * u32::try_from(MOST_STREAMS).unwrap() + 3;
        for stream in (1..=last).step_by(2) {
            assert_eq!(sieve.sift(&mut frame(1, 4, stream, b"head"), |_| {}), HEAD + 4);
            if stream > 1 {
                sieve.let_go(stream);
            }
        }
        for (stream, kept) in [(1, 0), (3, HEAD), (5, 0), (last, 0)] {
            assert_eq!(sieve.sift(&mut frame(0, 0, stream, b""), |_| {}), kept, "{stream}");
        }
        // What ends it ends it there too.
        sieve.sift(&mut frame(3, 0, last, &[0; 4]), |_| {});
        assert_eq!(sieve.sift(&mut frame(0, 0, last, b""), |_| {}), HEAD);
    }

    odd_input! {
        fn reads_may_be_cut_anywhere(
            bytes in mutated(),
            cuts in prop::collection::vec(any::<Index>(), 0..30),
            rooms in prop::collection::vec(1_usize..40, 1..10),
        ) {
            prop_assert_eq!(passed(&bytes, &[], &[8192]), passed(&bytes, &cuts, &rooms));
        }

        fn nothing_but_empty_data_is_ever_taken_out(bytes in mutated()) {
            let passed = whole(&bytes);
            let mut left = &passed[..];
            for frame in plainly(&bytes) {
                if let Some(rest) = left.strip_prefix(frame) {
                    left = rest;
                } else {
                    prop_assert_eq!((frame.len(), frame[3], frame[4] & 9), (9, 0, 0));
                }
            }
            // A part of a head.
            prop_assert!(bytes.ends_with(left) && left.len() < 9);
        }

        fn what_was_sifted_has_nothing_to_take_out(bytes in frames()) {
            let once = whole(&bytes);
            prop_assert_eq!(&whole(&once), &once);
        }
    }
}
