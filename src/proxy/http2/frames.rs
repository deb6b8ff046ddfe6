//! What can be told of frames by their heads (RFC 9113 §4.1), as the bytes come by.

use std::io::IoSlice;

/// What a client says first (RFC 9113 §3.4); a frame of SETTINGS follows.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The head of a frame.
pub(super) const HEAD: usize = 9;

/// What of a frame is looked at, at the most: its head, and in a `GOAWAY` the last stream and the error behind that.
pub(super) const MOST: usize = HEAD + 8;

/// The kinds of frames that the router tells apart (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// What changes nothing, or is unknown.
    Other,
}

impl From<u8> for Kind {
    fn from(kind: u8) -> Self {
        match kind {
            0 => Self::Data,
            1 => Self::Headers,
            3 => Self::Reset,
            4 => Self::Settings,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Other,
        }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)] // flags of the wire
pub(in crate::proxy) struct Frame {
    pub(in crate::proxy) kind: Kind,
    pub(in crate::proxy) stream: u32,
    /// `ACK` of SETTINGS and PING, `END_STREAM` of the others: the same bit.
    pub(super) first_flag: bool,
    end_headers: bool,
    pub(super) padded: bool,
    pub(super) length: usize,
    /// The error of a `RST_STREAM` or `GOAWAY`; 0 of anything else.
    pub(super) error: u32,
    /// Whether it comes before the end of a head, where only more of that may come.
    pub(super) interrupts: bool,
}

impl Frame {
    fn parse([high, middle, low, kind, flags, a, b, c, d]: [u8; HEAD], error: u32, interrupted: bool) -> Self {
        let kind = Kind::from(kind);
        Self {
            kind,
            // The highest bit is reserved.
            stream: u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1),
            first_flag: flags & 1 != 0,
            end_headers: flags & 4 != 0,
            padded: flags & 8 != 0,
            length: length([high, middle, low]),
            error,
            interrupts: interrupted && kind != Kind::Continuation,
        }
    }
}

fn length([high, middle, low]: [u8; 3]) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

/// How much is looked at of the frame that begins with this head, behind that.
fn behind([high, middle, low, kind, ..]: &[u8; HEAD]) -> usize {
    match (Kind::from(*kind), length([*high, *middle, *low])) {
        (Kind::Reset, 4) => 4,
        (Kind::GoAway, 8..) => 8,
        _ => 0,
    }
}

/// Where among its frames a connection is.
#[derive(Debug)]
pub(in crate::proxy) struct Frames {
    /// The bytes that come before the next frame's head: of the preface, or of a frame's content.
    before: usize,
    /// What is looked at of a frame.
    head: [u8; MOST],
    /// So many bytes of that are there.
    known: usize,
    /// A block of fields has begun and has not ended.
    in_block: bool,
}

impl Frames {
    /// Of a client, before its preface.
    pub(in crate::proxy) fn new() -> Self {
        Self { before: PREFACE, ..Self::of_server() }
    }

    /// Of a server, which has no preface but its first frame.
    pub(in crate::proxy) fn of_server() -> Self {
        Self { before: 0, head: [0; MOST], known: 0, in_block: false }
    }

    /// Takes note of what was read; `each` is told of every frame that begins.
    pub(super) fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let (taken, frame) = self.step(bytes);
            bytes = &bytes[taken..];
            if let Some(frame) = frame {
                each(frame);
            }
        }
    }

    /// Takes note of what was written of these slices: the first so many bytes.
    pub(in crate::proxy) fn pass_written(
        &mut self,
        slices: &[IoSlice<'_>],
        mut count: usize,
        mut each: impl FnMut(Frame),
    ) {
        for slice in slices {
            let here = count.min(slice.len());
            self.pass(&slice[..here], &mut each);
            count -= here;
        }
    }

    /// Takes note of the next bytes, up to the next head or to the end of it: how many that are (some, if there are any),
    /// and the frame that is known now.
    pub(super) fn step(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        if self.before > 0 {
            let skipped = self.before.min(bytes.len());
            self.before -= skipped;
            return (skipped, None);
        }
        // Most heads come whole, and of most frames no more is looked at.
        if self.known == 0
            && let Some(head) = bytes.first_chunk()
            && behind(head) == 0
        {
            return (HEAD, Some(self.begins(*head, &[])));
        }
        let taken = self.missing().min(bytes.len());
        self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
        self.known += taken;
        if self.missing() > 0 {
            return (taken, None);
        }
        let all = self.head;
        let (head, behind) = all[..self.known].split_first_chunk().unwrap_or((&[0; HEAD], &[]));
        self.known = 0;
        (taken, Some(self.begins(*head, behind)))
    }

    /// A frame begins with this head, and what is looked at behind it.
    fn begins(&mut self, head: [u8; HEAD], behind: &[u8]) -> Frame {
        let error = behind.last_chunk().map_or(0, |error| u32::from_be_bytes(*error));
        let frame = Frame::parse(head, error, self.in_block);
        self.before = frame.length.saturating_sub(behind.len());
        self.in_block = match frame.kind {
            Kind::Headers | Kind::Continuation => !frame.end_headers,
            _ => false,
        };
        frame
    }

    /// What is known of a frame of which more must come before it can be told what it is.
    pub(super) fn part(&self) -> &[u8] {
        &self.head[..self.known]
    }

    /// How much of what is looked at of the next frame is missing, as far as can be told.
    pub(super) fn missing(&self) -> usize {
        let wanted = match self.part().first_chunk() {
            Some(head) => HEAD + behind(head),
            None => HEAD,
        };
        wanted - self.known
    }

    /// Whether the rest of a head is awaited, so that nothing else can come.
    pub(super) fn is_within_head(&self) -> bool {
        self.in_block
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    pub(in super::super) fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(content.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend_from_slice(content);
        frame
    }

    fn seen(frames: &mut Frames, bytes: &[u8]) -> Vec<Frame> {
        let mut seen = Vec::new();
        frames.pass(bytes, |frame| seen.push(frame));
        seen
    }

    fn kinds(bytes: &[u8], at_once: usize) -> (Vec<(Kind, bool, usize)>, Frames) {
        let (mut all, mut frames) = (Vec::new(), Frames::new());
        for part in bytes.chunks(at_once) {
            all.extend(seen(&mut frames, part).iter().map(|frame| (frame.kind, frame.first_flag, frame.length)));
        }
        (all, frames)
    }

    #[test]
    fn every_frame_is_seen_once_however_the_bytes_come() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, content) in
            [(4, 0, &b"123456"[..]), (1, 5, b"abc"), (6, 1, b"12345678"), (0, 0, b""), (0, 1, b"xy"), (77, 0, b"z")]
        {
            bytes.extend(frame(kind, flags, 1, content));
        }
        let expected = vec![
            (Kind::Settings, false, 6),
            (Kind::Headers, true, 3),
            (Kind::Ping, true, 8),
            (Kind::Data, false, 0),
            (Kind::Data, true, 2),
            (Kind::Other, false, 1),
        ];
        for at_once in 1..bytes.len() {
            assert_eq!(kinds(&bytes, at_once).0, expected, "{at_once} at once");
        }
    }

    #[test]
    fn a_head_lasts_until_its_last_frame() {
        let mut bytes = vec![b' '; PREFACE];
        for (kind, flags, within) in [(1, 0, true), (9, 0, true), (9, 4, false), (0, 0, false), (1, 4, false)] {
            bytes.extend(frame(kind, flags, 1, b"x"));
            assert_eq!(kinds(&bytes, 7).1.is_within_head(), within, "{kind} {flags}");
        }
    }

    #[test]
    fn a_reset_is_known_with_its_error_and_a_malformed_one_without() {
        let bytes = frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 1, 9, b'w', b'h', b'y']);
        let farewell = seen(&mut Frames::of_server(), &[&bytes[..], &bytes].concat());
        assert!(farewell.len() == 2 && farewell[1].error == 265, "{farewell:?}");
        for (content, error) in [(&[0, 0, 1, 7][..], 263), (&[], 0), (&[0, 0, 7], 0), (&[0, 0, 0, 7, 0], 0)] {
            let bytes = [frame(3, 0, 5, content), frame(6, 0, 0, b"12345678")].concat();
            let frames = seen(&mut Frames::of_server(), &bytes);
            let expected = [(Kind::Reset, 5, content.len(), error), (Kind::Ping, 0, 8, 0)];
            let known: Vec<_> =
                frames.iter().map(|frame| (frame.kind, frame.stream, frame.length, frame.error)).collect();
            assert_eq!(known, expected, "{content:?}");
        }
    }

    /// Frames as they may come, and what else may be sent for one.
    pub(in super::super) fn frames() -> impl Strategy<Value = Vec<u8>> {
        let stream = select(vec![0_u32, 1, 3, 5, 2, 1 << 31 | 1]);
        let content = prop_oneof![
            4 => Just(vec![]),
            4 => prop::collection::vec(any::<u8>(), 0..20),
            1 => prop::collection::vec(any::<u8>(), 200..300),
        ];
        let likely = (select(vec![0_u8, 0, 0, 1, 1, 3, 4, 6, 7, 8, 9]), select(vec![0_u8, 0, 1, 4, 5, 8, 9]));
        let kind = prop_oneof![8 => likely, 1 => any::<(u8, u8)>()];
        let right =
            (kind, stream, content).prop_map(|((kind, flags), stream, content)| frame(kind, flags, stream, &content));
        prop::collection::vec(right, 0..20).prop_map(|frames| frames.concat())
    }

    /// The same, with bytes of them changed, left out or put in.
    pub(in super::super) fn mutated() -> impl Strategy<Value = Vec<u8>> {
        (frames(), prop::collection::vec((0..3_u8, any::<Index>(), any::<u8>()), 0..6)).prop_map(
            |(mut bytes, changes)| {
                for (change, place, byte) in changes {
                    match (change, place.index(bytes.len().max(1))) {
                        (0, place) => bytes.insert(place.min(bytes.len()), byte),
                        (_, place) if place >= bytes.len() => {}
                        (1, place) => bytes[place] = byte,
                        (_, place) => drop(bytes.remove(place)),
                    }
                }
                bytes
            },
        )
    }

    /// The frames as a plain reader takes them who has all of them before him.
    pub(in super::super) fn plainly(mut bytes: &[u8]) -> Vec<&[u8]> {
        let mut frames = Vec::new();
        while let Some(head) = bytes.get(..HEAD) {
            let length = usize::from(head[0]) * 65_536 + usize::from(head[1]) * 256 + usize::from(head[2]);
            let end = (HEAD + length).min(bytes.len());
            frames.push(&bytes[..end]);
            bytes = &bytes[end..];
        }
        frames
    }

    /// What comes of bytes that come in pieces.
    fn in_pieces(bytes: &[u8], cuts: &[Index]) -> (Vec<Frame>, Frames) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let mut frames = Frames::of_server();
        let all = cuts.windows(2).flat_map(|cut| seen(&mut frames, &bytes[cut[0]..cut[1]])).collect();
        (all, frames)
    }

    odd_input! {
        fn reads_may_be_cut_anywhere(bytes in mutated(), cuts in prop::collection::vec(any::<Index>(), 0..30)) {
            let (at_once, in_pieces) = (in_pieces(&bytes, &[]), in_pieces(&bytes, &cuts));
            prop_assert_eq!(at_once.0, in_pieces.0);
            prop_assert_eq!(at_once.1.is_within_head(), in_pieces.1.is_within_head());
            prop_assert_eq!(at_once.1.part(), in_pieces.1.part());
        }

        fn a_plain_reader_sees_the_same_frames(bytes in mutated()) {
            let (mut known, frames) = in_pieces(&bytes, &[]);
            let mut expected = plainly(&bytes);
            // The error of the last one may be missing.
            if known.len() < expected.len() {
                let last = expected.pop().unwrap();
                prop_assert!(matches!(last[3], 3 | 7) && last.len() < MOST && frames.part() == last);
            }
            for frame in &mut known {
                let bytes = expected.remove(0);
                prop_assert_eq!(Kind::from(bytes[3]), frame.kind);
                prop_assert_eq!(length([bytes[0], bytes[1], bytes[2]]), frame.length);
                prop_assert_eq!(u32::from_be_bytes([bytes[5] & 127, bytes[6], bytes[7], bytes[8]]), frame.stream);
                if frame.kind == Kind::Reset && frame.length == 4 {
                    prop_assert_eq!(u32::from_be_bytes([bytes[9], bytes[10], bytes[11], bytes[12]]), frame.error);
                } else if frame.kind == Kind::GoAway && frame.length >= 8 {
                    prop_assert_eq!(u32::from_be_bytes([bytes[13], bytes[14], bytes[15], bytes[16]]), frame.error);
                } else {
                    prop_assert_eq!(frame.error, 0);
                }
            }
        }

        fn noise_is_no_more_than_a_head_that_is_kept(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            let (known, frames) = in_pieces(&bytes, &[]);
            prop_assert!(known.len() <= bytes.len() / HEAD && frames.part().len() < MOST);
        }
    }
}
