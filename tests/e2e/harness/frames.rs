//! HTTP/2 frame by frame (RFC 9113), for what no well-behaved client would send.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Frames (RFC 9113 §6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// A whole head that ends its stream.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

// Errors (RFC 9113 §7).
pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const SETTINGS_TIMEOUT: u32 = 4;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame, as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(content);
    frame
}

/// Fields as HPACK writes them without any table or compression (RFC 7541 §6.2.2).
pub fn fields(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in pairs {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(u8::try_from(length).unwrap());
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// The fields of an ordinary request.
pub fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "shop.example.com")]
}

/// A GET, in one frame.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &fields(&request("GET", path)))
}

/// A frame that was received.
#[derive(Debug, Clone)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub content: Vec<u8>,
}

impl Frame {
    /// The four bytes from there on: an error, or the size of a window.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.content[at..at + 4].try_into().unwrap())
    }

    /// The status at the beginning of a head, which a table of size 0 makes the encoder spell out; `None` if it does
    /// otherwise.
    pub fn status(&self) -> Option<u16> {
        let mut block = self.content.as_slice();
        // The announcement that the table has that size.
        while let [0x20, rest @ ..] = block {
            block = rest;
        }
        // RFC 7541, appendix A: the indexes 8 to 14 are statuses, and each of them gives the name.
        match *block {
            [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
            [0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e, length, ref rest @ ..] if length & 128 != 0 => {
                rest.get(..usize::from(length & 127)).map(digits)
            }
            [0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e, length, ref rest @ ..] => {
                String::from_utf8_lossy(rest.get(..usize::from(length))?).parse().ok()
            }
            _ => None,
        }
    }
}

/// Three digits by the code of RFC 7541, appendix B: five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value * 2 + u16::from(*bit));
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = value(&bits[at..at + 5]);
        let (digit, length) = if short < 3 { (short, 5) } else { (value(&bits[at..at + 6]) - 22, 6) };
        number = number * 10 + digit;
        at += length;
    }
    number
}

/// A connection that a test writes and reads frame by frame.
pub struct FrameConnection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl FrameConnection {
    /// Connects, and says nothing.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Connects, with these settings besides an empty table of fields.
    pub async fn with_settings(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self::silent(address).await;
        let mut content = vec![0, 1, 0, 0, 0, 0];
        for (name, value) in settings {
            content.extend(name.to_be_bytes());
            content.extend(value.to_be_bytes());
        }
        connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, &content)].concat()).await;
        connection.until("the server has settings", |frame| frame.kind == SETTINGS && frame.flags == 0).await;
        connection.send(&frame(SETTINGS, ACK, 0, &[])).await;
        connection.until("the settings are acknowledged", |frame| frame.kind == SETTINGS && frame.flags == ACK).await;
        connection
    }

    /// Connects as a client does.
    pub async fn open(address: SocketAddr) -> Self {
        Self::with_settings(address, &[]).await
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// As [`Self::send`], for a peer that may have closed, or may read no more.
    pub async fn try_send(&mut self, bytes: &[u8]) -> bool {
        timeout(Duration::from_secs(2), self.stream.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// The next frame; `None` once the peer has closed, or when none comes in that time.
    pub async fn next(&mut self, within: Duration) -> Option<Frame> {
        timeout(within, self.read_frame()).await.ok().flatten()
    }

    async fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(&[high, middle, low, kind, flags, a, b, c, d]) = self.read.get(..9) {
                let end = 9 + usize::try_from(u32::from_be_bytes([0, high, middle, low])).unwrap();
                if self.read.len() >= end {
                    let content = self.read[9..end].to_vec();
                    self.read.drain(..end);
                    return Some(Frame { kind, flags, stream: u32::from_be_bytes([a, b, c, d]), content });
                }
            }
            let mut buffer = vec![0; 16 * 1024];
            let count = self.stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
            self.read.extend_from_slice(&buffer[..count]);
        }
    }

    /// Reads until a frame of that kind.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Frame {
        let mut before = Vec::new();
        while let Some(frame) = self.next(super::SHORT).await {
            if wanted(&frame) {
                return frame;
            }
            before.push(frame);
        }
        panic!("{what}: it never was so, after {before:?}");
    }

    /// Whether the peer has closed by then.
    pub async fn closes(&mut self, within: Duration) -> bool {
        timeout(within, async { while self.read_frame().await.is_some() {} }).await.is_ok()
    }

    /// What comes of all that was sent: on this stream, or for the connection.
    pub async fn reaction(&mut self, stream: u32) -> Reaction {
        // Whoever answers it has seen all that was sent before.
        self.try_send(&frame(PING, 0, 0, b"reaction")).await;
        let mut ponged = false;
        loop {
            let within = if ponged { Duration::from_secs(2) } else { super::SHORT };
            let Some(frame) = self.next(within).await else {
                return if ponged { Reaction::None } else { Reaction::Closed };
            };
            match frame.kind {
                GOAWAY => return Reaction::GoAway(frame.number(4)),
                RST_STREAM if frame.stream == stream => return Reaction::Reset(frame.number(0)),
                HEADERS if frame.stream == stream => match frame.status() {
                    // An interim answer.
                    Some(100..200) => {}
                    status => return Reaction::Status(status.unwrap_or_else(|| panic!("no status in {frame:?}"))),
                },
                PING if frame.content == b"reaction" => ponged = true,
                _ => {}
            }
        }
    }
}

/// What comes of what was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    Status(u16),
    /// The stream was reset, with this error.
    Reset(u32),
    /// The connection was ended, with this error.
    GoAway(u32),
    Closed,
    /// Nothing within two seconds.
    None,
}
