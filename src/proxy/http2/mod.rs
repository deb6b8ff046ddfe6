//! HTTP/2 from visitors (RFC 9113), by h2.
//!
//! ```text
//! wire ──── h2 ──── connection ──── stream ──── request::begin
//!   frames    state    time-outs,     one lane,    as by HTTP/1.1
//!   counted,  of all   closing,       one task
//!   sifted,   streams  fairness,          kept for the
//!   in turns           what h2 refuses    next stream
//! ```
//!
//! h2 keeps the rules of the protocol, the windows and the sizes of heads. What it has no bound of its own for is kept
//! here: time, frames that bring nothing further, and the turns that connections take.
//!
//! Two of its answers are coarser than RFC 9113 has them. A block that can't be decompressed ends the connection with
//! `PROTOCOL_ERROR`, not `COMPRESSION_ERROR` (§4.3); and a field that can't be one (a name in upper case, a line break in a
//! value) ends the connection, not its stream alone (§8.1.1; §5.4.1 allows that). h2 tells nobody which fault it was, and
//! the wire can't know either without a decompressor of its own beside h2's, on every request.

mod answer;
mod connection;
pub(super) mod frames;
mod hands;
mod head;
mod hold;
mod patience;
mod refused;
pub(super) mod sieve;
mod stream;
mod wire;

pub(super) use connection::serve;
pub(super) use hands::Hands;
pub(super) use head::fit;
