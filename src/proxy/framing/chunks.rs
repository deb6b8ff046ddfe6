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
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::proxy) struct Chunks {
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
    /// Whether white space may stand behind a size.
    padded: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    Padding,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
}

/// A body is broken behind so many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) struct Cut {
    pub(super) good: usize,
}

/// So many bytes of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Piece {
    /// Sizes and what else stands between the data.
    Framing(usize),
    /// Data.
    Data(usize),
    /// Trailers, and the empty line that ends them and the body.
    End(usize),
    /// Trailers that have not come whole.
    Partial,
}

impl Chunks {
    /// Chunks as answers may have them: there may be white space behind a size, which some servers fill up to a fixed width.
    pub(in crate::proxy) fn of_answer() -> Self {
        Self { padded: true, ..Self::default() }
    }

    /// Follows bytes of the body: how many of them may be passed on, and whether they end it. Trailers are passed on
    /// only whole.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<Read<bool>, Cut> {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            // What stands before trailers is passed on first.
            if rest.is_empty() || at > 0 && matches!(self.part, Part::Trailers) {
                return Ok(Read::Whole(at, false));
            }
            match self.next(rest).map_err(|cut| Cut { good: at + cut.good })? {
                Piece::Framing(length) | Piece::Data(length) => at += length,
                Piece::Partial => return Ok(Read::Partial),
                Piece::End(length) => return Ok(Read::Whole(length, true)),
            }
        }
    }

    /// What stands at the beginning of these bytes, which are not empty.
    pub(in crate::proxy) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Cut> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            match self.part {
                Part::Data | Part::Trailers if at > 0 => break,
                Part::Data => {
                    let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len());
                    self.size -= here as u64;
                    if self.size == 0 {
                        self.part = Part::DataCr;
                    }
                    return Ok(Piece::Data(here));
                }
                Part::Trailers => return self.trailers(bytes),
                Part::Size | Part::Padding | Part::Extension | Part::SizeLf | Part::DataCr | Part::DataLf => {
                    self.part = self.step(*byte).map_err(|()| Cut { good: at })?;
                    at += 1;
                }
            }
        }
        Ok(Piece::Framing(at))
    }

    /// Behind a byte between the data.
    fn step(&mut self, byte: u8) -> Result<Part, ()> {
        match (self.part, byte) {
            (Part::Size, _) => self.size_byte(byte),
            (Part::Padding, b' ' | b'\t' | b'\r' | b';') => self.padding_byte(byte),
            (Part::Extension, _) => self.extension_byte(byte),
            (Part::SizeLf, b'\n') if self.size == 0 => Ok(Part::Trailers),
            (Part::SizeLf, b'\n') => Ok(Part::Data),
            (Part::DataCr, b'\r') => Ok(Part::DataLf),
            (Part::DataLf, b'\n') => {
                (self.digits, self.extension) = (0, 0);
                Ok(Part::Size)
            }
            _ => Err(()),
        }
    }

    /// The trailers that begin here, and the empty line behind them.
    fn trailers(&mut self, bytes: &[u8]) -> Result<Piece, Cut> {
        // As with a head, nothing can have changed before a line has ended.
        let new = bytes.get(self.seen..).unwrap_or_default();
        self.seen = bytes.len();
        match fields::read(if new.contains(&b'\n') { bytes } else { &[] }, 0, |_| {}) {
            Ok(Read::Whole(end, ())) if end <= MAX_TRAILERS => Ok(Piece::End(end)),
            Ok(Read::Partial) if bytes.len() <= MAX_TRAILERS => Ok(Piece::Partial),
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
            b' ' | b'\t' if self.digits > 0 && self.padded => return Ok(Part::Padding),
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

    fn padding_byte(&mut self, byte: u8) -> Result<Part, ()> {
        match self.extension_byte(byte)? {
            Part::Extension if byte != b';' => Ok(Part::Padding),
            next => Ok(next),
        }
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
