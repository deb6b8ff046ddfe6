//! What can be told of the other side's frames by their heads (RFC 9113 §4.1), as the bytes come by.

/// What a client says first (RFC 9113 §3.4); a frame of SETTINGS follows.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// The head of a frame.
const HEAD: usize = 9;

/// The kinds of frames that the router tells apart (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Kind {
    Data,
    Headers,
    Reset,
    Settings,
    Ping,
    WindowUpdate,
    Continuation,
    /// What changes nothing, or is unknown.
    Other,
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Frame {
    pub(in crate::proxy) kind: Kind,
    /// `ACK` of SETTINGS and PING, `END_STREAM` of the others: the same bit.
    pub(super) first_flag: bool,
    end_headers: bool,
    pub(super) length: usize,
}

impl Frame {
    fn parse([high, middle, low, kind, flags, ..]: [u8; HEAD]) -> Self {
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::Headers,
            3 => Kind::Reset,
            4 => Kind::Settings,
            6 => Kind::Ping,
            8 => Kind::WindowUpdate,
            9 => Kind::Continuation,
            _ => Kind::Other,
        };
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        Self { kind, first_flag: flags & 1 != 0, end_headers: flags & 4 != 0, length }
    }
}

/// Where among its frames a connection is.
#[derive(Debug)]
pub(in crate::proxy) struct Frames {
    /// The bytes that come before the next frame's head: of the preface, or of a frame's content.
    before: usize,
    head: [u8; HEAD],
    /// So many bytes of the head are there.
    known: usize,
    /// A block of fields has begun and has not ended.
    in_block: bool,
}

impl Frames {
    /// Of a client, before its preface.
    pub(super) fn new() -> Self {
        Self { before: PREFACE, ..Self::of_server() }
    }

    /// Of a server, which has no preface but its first frame.
    pub(in crate::proxy) fn of_server() -> Self {
        Self { before: 0, head: [0; HEAD], known: 0, in_block: false }
    }

    /// Takes note of what was read; `each` is told of every frame that begins.
    pub(in crate::proxy) fn pass(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.before.min(bytes.len());
            self.before -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = (HEAD - self.known).min(bytes.len());
            self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known < HEAD {
                return;
            }
            self.known = 0;
            let frame = Frame::parse(self.head);
            self.before = frame.length;
            self.in_block = match frame.kind {
                Kind::Headers | Kind::Continuation => !frame.end_headers,
                _ => false,
            };
            each(frame);
        }
    }

    /// Whether the rest of a head is awaited, so that nothing else can come.
    pub(super) fn is_within_head(&self) -> bool {
        self.in_block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(content.len()).unwrap(), kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(content);
        frame
    }

    fn kinds(bytes: &[u8], at_once: usize) -> (Vec<(Kind, bool, usize)>, Frames) {
        let (mut seen, mut frames) = (Vec::new(), Frames::new());
        for part in bytes.chunks(at_once) {
            frames.pass(part, |frame| seen.push((frame.kind, frame.first_flag, frame.length)));
        }
        (seen, frames)
    }

    #[test]
    fn every_frame_is_seen_once_however_the_bytes_come() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, content) in
            [(4, 0, &b"123456"[..]), (1, 5, b"abc"), (6, 1, b"12345678"), (0, 0, b""), (0, 1, b"xy"), (77, 0, b"z")]
        {
            bytes.extend(frame(kind, flags, content));
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
            bytes.extend(frame(kind, flags, b"x"));
            assert_eq!(kinds(&bytes, 7).1.is_within_head(), within, "{kind} {flags}");
        }
    }
}
