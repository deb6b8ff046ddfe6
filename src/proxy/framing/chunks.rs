//! A chunked body (RFC 9112 §7.1), byte for byte.

use super::fields;
use super::{MAX_HEAD, Read};

/// The most digits of a chunk's size: no number of 64 bits needs more.
const MAX_DIGITS: u8 = 16;

/// The longest extensions of one chunk, and of all chunks of a body, in bytes. Nobody uses them; unbounded they cost
/// work without end.
const MAX_EXTENSION: u16 = 256;
const MAX_EXTENSIONS: u16 = 16 * 1024;

/// The longest trailers; what hyper reads at most.
const MAX_TRAILERS: usize = MAX_HEAD / 2;

/// Where a chunked body stands.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    part: Part,
    /// The size of the present chunk, or how much of it is left.
    size: u64,
    /// Digits of it so far.
    digits: u8,
    /// Bytes of extensions so far: of this chunk, and of those before it.
    extension: u16,
    extensions: u16,
    /// Bytes of the trailers that have been looked at.
    seen: usize,
}

#[derive(Debug, Default, Clone, Copy)]
enum Part {
    #[default]
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// A body is broken behind so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) good: usize,
}

impl Chunks {
    /// Follows bytes of the body: how many of them may be passed on, and whether they end it. Trailers are passed on
    /// only whole.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<Read<bool>, Cut> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let step = match self.part {
                Part::Data => {
                    let left = usize::try_from(self.size).unwrap_or(usize::MAX);
                    let here = left.min(bytes.len() - at);
                    self.size -= here as u64;
                    at += here;
                    if self.size == 0 {
                        self.part = Part::DataCr;
                    }
                    continue;
                }
                // What stands before them is passed on first.
                Part::Trailers if at > 0 => break,
                Part::Trailers => return self.trailers(bytes),
                Part::Size => self.size_byte(*byte),
                Part::Extension => self.extension_byte(*byte),
                Part::SizeLf if *byte == b'\n' && self.size == 0 => Ok(Part::Trailers),
                Part::SizeLf if *byte == b'\n' => Ok(Part::Data),
                Part::DataCr if *byte == b'\r' => Ok(Part::DataLf),
                Part::DataLf if *byte == b'\n' => {
                    (self.digits, self.extension) = (0, 0);
                    Ok(Part::Size)
                }
                Part::SizeLf | Part::DataCr | Part::DataLf => Err(()),
            };
            self.part = step.map_err(|()| Cut { good: at })?;
            at += 1;
        }
        Ok(Read::Whole(at, false))
    }

    /// The trailers that begin here, and the empty line behind them.
    fn trailers(&mut self, bytes: &[u8]) -> Result<Read<bool>, Cut> {
        // As with a head, nothing can have changed before a line has ended.
        let new = bytes.get(self.seen..).unwrap_or_default();
        self.seen = bytes.len();
        match fields::read(if new.contains(&b'\n') { bytes } else { &[] }, 0, |_| {}) {
            Ok(Read::Whole(end, ())) if end <= MAX_TRAILERS => Ok(Read::Whole(end, true)),
            Ok(Read::Partial) if bytes.len() <= MAX_TRAILERS => Ok(Read::Partial),
            Ok(_) | Err(_) => Err(Cut { good: 0 }),
        }
    }

    fn size_byte(&mut self, byte: u8) -> Result<Part, ()> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.digits > 0 => return Ok(Part::SizeLf),
            b';' if self.digits > 0 => return Ok(Part::Extension),
            _ => return Err(()),
        };
        if self.digits == MAX_DIGITS {
            return Err(());
        }
        self.digits += 1;
        // What was there before is 0, or has come by at most 15 digits.
        self.size = self.size << 4 | u64::from(digit);
        Ok(Part::Size)
    }

    fn extension_byte(&mut self, byte: u8) -> Result<Part, ()> {
        match byte {
            b'\r' => return Ok(Part::SizeLf),
            b'\t' => {}
            _ if byte.is_ascii_control() => return Err(()),
            _ => {}
        }
        (self.extension, self.extensions) = (self.extension + 1, self.extensions + 1);
        if self.extension > MAX_EXTENSION || self.extensions > MAX_EXTENSIONS {
            return Err(());
        }
        Ok(Part::Extension)
    }
}
