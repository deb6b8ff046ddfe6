//! The frames of a WebSocket (RFC 6455 §5.2) as they pass: where one ends, so that a close frame can be put behind it.

use bytes::Bytes;

/// The bit beside a length that says that a mask follows.
const MASKED: u8 = 0x80;

/// A close frame for a visitor: the server goes away (status 1001). A browser can connect anew.
pub(super) fn going_away() -> Bytes {
    Bytes::from_static(b"\x88\x0c\x03\xe9going away")
}

/// The same for a server: what it gets is masked, with a key that differs each time (RFC 6455 §5.3).
pub(super) fn going_away_masked(key: [u8; 4]) -> Bytes {
    let frame = going_away();
    let payload = frame[2..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key);
    [frame[0], frame[1] | MASKED].into_iter().chain(key).chain(payload).collect()
}

/// The longest head of a frame: two bytes, eight of length and four of mask.
const LONGEST_HEAD: usize = 14;

const CLOSE: u8 = 8;

/// Where the frames of one direction stand.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; LONGEST_HEAD],
    /// Bytes of the head that have passed.
    have: usize,
    /// Bytes of the payload that are still to pass; `None` while the head is not whole.
    left: Option<u64>,
    closed: bool,
}

impl Frames {
    /// Whether no frame is under way.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0
    }

    /// Whether a close frame has passed: nothing may follow it.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Follows what passes.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.pass(bytes)..];
        }
    }

    /// Follows what passes, up to the end of the frame that is under way, or of the first one. How many bytes these are:
    /// all of them where the frame does not end in them.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while self.left.is_none() {
            let Some(byte) = bytes.get(passed) else { return passed };
            self.head[self.have] = *byte;
            self.have += 1;
            passed += 1;
            self.left = self.length();
        }
        let left = self.left.unwrap_or_default();
        let rest = bytes.len() - passed;
        let now = usize::try_from(left).map_or(rest, |left| left.min(rest));
        if now as u64 == left {
            self.closed |= self.head[0] & 0x0f == CLOSE;
            (self.have, self.left) = (0, None);
        } else {
            self.left = Some(left - now as u64);
        }
        passed + now
    }

    /// The length of the payload, once the head is whole.
    fn length(&self) -> Option<u64> {
        let [_, second, extended @ ..] = self.head;
        let (bytes, short) = match second & 0x7f {
            127 => (8, 0),
            126 => (2, 0),
            short => (0, u64::from(short)),
        };
        let mask = if second & MASKED == 0 { 0 } else { 4 };
        let long = extended[..bytes].iter().fold(short, |length, byte| length << 8 | u64::from(*byte));
        (self.have == 2 + bytes + mask).then_some(long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as RFC 6455 writes it.
    fn frame(opcode: u8, masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x80 | opcode];
        match length {
            0..=125 => frame.push(mask | u8::try_from(length).unwrap()),
            126..=0xffff => {
                frame.push(mask | 0x7e);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(std::iter::repeat_n(0x81, length + if masked { 4 } else { 0 }));
        frame
    }

    odd_input! {
        fn the_end_of_each_frame_is_found_however_the_bytes_come(
            frames in prop::collection::vec((0_u8..8, any::<bool>(), prop_oneof![0_usize..300, 65_500_usize..65_600]), 1..6),
            piece in 1_usize..70_000,
        ) {
            let frames: Vec<_> = frames.iter().map(|(opcode, masked, length)| frame(*opcode, *masked, *length)).collect();
            let ends: Vec<usize> = frames.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let all = frames.concat();
            let (mut followed, mut at, mut found) = (Frames::default(), 0, Vec::new());
            while at < all.len() {
                at += followed.pass(&all[at..all.len().min(at + piece)]);
                if followed.is_between() {
                    found.push(at);
                }
            }
            prop_assert_eq!(found, ends);
            prop_assert!(!followed.is_closed());
        }

        fn whatever_comes_means_the_same_in_pieces(bytes in prop::collection::vec(any::<u8>(), 0..4096), piece in 1_usize..600) {
            let (mut whole, mut in_pieces) = (Frames::default(), Frames::default());
            whole.follow(&bytes);
            bytes.chunks(piece).for_each(|piece| in_pieces.follow(piece));
            prop_assert_eq!((whole.have, whole.left, whole.closed), (in_pieces.have, in_pieces.left, in_pieces.closed));
        }
    }

    #[test]
    fn a_close_frame_is_noticed_once_it_has_passed() {
        let mut frames = Frames::default();
        frames.follow(&frame(2, false, 200));
        assert!(!frames.is_closed());
        frames.follow(&going_away()[..5]);
        assert!(!frames.is_closed() && !frames.is_between());
        frames.follow(&going_away()[5..]);
        assert!(frames.is_closed() && frames.is_between());
    }

    #[test]
    fn a_server_reads_the_same_from_its_close_frame_as_a_visitor() {
        let key = [1, 2, 3, 255];
        let (plain, masked) = (going_away(), going_away_masked(key));
        let mut frames = Frames::default();
        assert_eq!(frames.pass(&masked), masked.len());
        assert!(frames.is_closed() && frames.is_between());
        let payload: Vec<u8> = masked[6..].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        assert_eq!((&payload[..], masked[0]), (&plain[2..], plain[0]));
        assert_eq!(payload[..2], 1001_u16.to_be_bytes());
    }
}
