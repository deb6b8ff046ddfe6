//! The lines of a head or of trailers.

use super::scan::{control, is_token};
use super::{MAX_FIELDS, Read};

/// A field, as it stands in its line, without the white space around its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'b> {
    pub(super) name: &'b [u8],
    pub(super) value: &'b [u8],
}

/// Why lines are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// A line is none: a bare CR or LF, a fold, another control character, a name that is no token.
    Malformed,
    /// There are too many.
    TooMany,
}

/// The end of the line that begins at `start`: the place of its CRLF. Fails on any other control character but HTAB.
#[inline]
pub(super) fn line_end(bytes: &[u8], start: usize) -> Result<Option<usize>, Refused> {
    let mut from = start;
    while let Some(at) = control(bytes, from) {
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(at)),
            (Some(b'\r'), None) => return Ok(None),
            (Some(b'\t'), _) => from = at + 1,
            _ => return Err(Refused::Malformed),
        }
    }
    Ok(None)
}

/// Reads lines up to the empty one, and shows each field.
#[inline]
pub(super) fn read(bytes: &[u8], start: usize, mut field: impl FnMut(Field<'_>)) -> Result<Read<()>, Refused> {
    let (mut at, mut count) = (start, 0);
    loop {
        let Some(end) = line_end(bytes, at)? else { return Ok(Read::Partial) };
        if end == at {
            return Ok(Read::Whole(end + 2, ()));
        }
        count += 1;
        if count > MAX_FIELDS {
            return Err(Refused::TooMany);
        }
        let line = bytes.get(at..end).unwrap_or_default();
        // A line that begins with white space is a fold, and has no name either.
        let length = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
        match line.split_at_checked(length) {
            Some((name @ [_, ..], [b':', value @ ..])) => field(Field { name, value }),
            _ => return Err(Refused::Malformed),
        }
        at = end + 2;
    }
}

impl Field<'_> {
    /// Its value without the white space around it.
    pub(super) fn trimmed(&self) -> &[u8] {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = self.value.iter().position(|byte| !is_space(byte)).unwrap_or(self.value.len());
        let end = self.value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
        self.value.get(start..end).unwrap_or_default()
    }
}
