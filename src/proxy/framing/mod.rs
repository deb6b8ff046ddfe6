//! Where the messages of a visitor's HTTP/1.1 connection begin and end, and that there is no doubt about it.
//!
//! A request whose end two programs see in different places lets a visitor slip a second one past the first program
//! (request smuggling). So the bytes are followed here before hyper reads them, and only what can be read in one way gets
//! as far as hyper; and what is not passed on by one read is shown again, with more, at the next:
//!
//! ```text
//!   stream ─ Framing::follow ─ hyper ─ request
//!               │  head      whole and without fault, or not at all
//!               │  body      by its length, or chunk by chunk
//!               └─ trailers  whole and without fault, or not at all
//! ```
//!
//! Chunks of answers are read by the same rules.
//!
//! The rules are those of RFC 9112 for a recipient that takes no chances: what it may reject is rejected. Nothing here
//! reads, writes, waits or allocates.

mod chunks;
mod fields;
mod head;
mod scan;
#[cfg(test)]
mod tests;

use chunks::Cut;
pub(super) use chunks::{Chunks, Piece};

/// The longest head of a request, in bytes.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// The most fields in a head, and in the trailers.
pub(super) const MAX_FIELDS: usize = 100;

/// The longest target of a request, in bytes.
pub(super) const MAX_TARGET: usize = 16 * 1024;

/// The longest request line: a target with a method and a version.
const MAX_LINE: usize = MAX_TARGET + 128;

/// What is wrong with the bytes that are not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A head can't be served: the status for the visitor.
    Head(u16),
    /// A body is not framed as it should be.
    Body,
}

/// Follows the bytes of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    state: State,
    /// How many of the bytes that were not passed on have been looked at.
    seen: usize,
    /// Whether the last head asks for another protocol.
    asks_for_upgrade: bool,
}

#[derive(Debug, Default)]
enum State {
    /// A head comes next.
    #[default]
    Head,
    /// Whether what comes is HTTP is for the answer to say.
    Open,
    /// So many bytes of a body are left.
    Length(u64),
    /// A chunked body is under way.
    Chunked(Chunks),
    /// Nothing more is passed on.
    Faulty(Fault),
}

/// How a request's body is framed (RFC 9112 §6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

/// What a head says of what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ahead {
    body: Body,
    /// Whether another protocol is asked for.
    upgrade: bool,
}

/// How far bytes can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read<T> {
    /// So many bytes of them, with this outcome.
    Whole(usize, T),
    /// Not yet.
    Partial,
}

impl Framing {
    /// Follows further bytes, which begin with those that were not passed on before. Gives how many of them may be passed
    /// on now, and what is wrong with those behind them, if that is known; then nothing is ever passed on again.
    #[inline]
    pub(super) fn follow(&mut self, bytes: &[u8]) -> (usize, Option<Fault>) {
        let mut passed = 0;
        while let Some(rest) = bytes.get(passed..).filter(|rest| !rest.is_empty()) {
            let step = match &mut self.state {
                State::Head if self.seen > 0 && !is_worth_reading(rest, self.seen) => Ok(Read::Partial),
                State::Head => self.head(rest),
                State::Length(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= here as u64;
                    Ok(Read::Whole(here, *left == 0))
                }
                State::Chunked(chunks) => chunks.follow(rest).map_err(|Cut { good }| {
                    passed += good;
                    Fault::Body
                }),
                State::Open => Ok(Read::Partial),
                State::Faulty(fault) => Err(*fault),
            };
            match step {
                Ok(Read::Whole(length, ends)) => {
                    passed += length;
                    self.seen = 0;
                    if ends {
                        self.state = if self.asks_for_upgrade { State::Open } else { State::Head };
                    }
                }
                Ok(Read::Partial) => {
                    self.seen = rest.len();
                    return (passed, None);
                }
                Err(fault) => {
                    self.state = State::Faulty(fault);
                    return (passed, Some(fault));
                }
            }
        }
        (passed, None)
    }

    /// Reads a head; whether its message ends with it.
    #[inline]
    fn head(&mut self, bytes: &[u8]) -> Result<Read<bool>, Fault> {
        let Read::Whole(length, ahead) = head::read(bytes).map_err(Fault::Head)? else { return Ok(Read::Partial) };
        self.asks_for_upgrade = ahead.upgrade;
        self.state = match ahead.body {
            Body::Length(0) => return Ok(Read::Whole(length, true)),
            Body::Length(length) => State::Length(length),
            Body::Chunked => State::Chunked(Chunks::default()),
        };
        Ok(Read::Whole(length, false))
    }

    /// Whether what comes next is for the answer to say: the request that came last asks for another protocol.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// The answer is there, and another request may follow.
    pub(super) fn goes_on(&mut self) {
        if self.is_open() {
            (self.state, self.seen) = (State::Head, 0);
        }
    }
}

/// Shows the name and the value of each field of trailers. Whether they are whole and without fault.
pub(super) fn trailers(text: &[u8], mut field: impl FnMut(&[u8], &[u8])) -> bool {
    matches!(fields::read(text, 0, |one| field(one.name, one.trimmed())), Ok(Read::Whole(length, ())) if length == text.len())
}

/// Whether more of a head that was not whole before can make a difference: a line has ended, or a limit is passed. So a
/// head that comes byte by byte is read once per line, not once per byte.
fn is_worth_reading(bytes: &[u8], seen: usize) -> bool {
    let more = bytes.get(seen..).unwrap_or_default();
    let passes = |limit: usize| seen <= limit && bytes.len() > limit;
    more.contains(&b'\n') || passes(MAX_LINE) || passes(MAX_HEAD)
}
