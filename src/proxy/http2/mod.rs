//! HTTP/2 from visitors (RFC 9113), by h2.
//!
//! ```text
//! wire ──── h2 ──── connection ──── stream ──── request::serve
//!   frames    state    time-outs,     one lane,    as by HTTP/1.1
//!   counted,  of all   closing,       one task
//!   sifted,   streams  fairness,
//!   in turns           what h2 refuses
//! ```
//!
//! h2 keeps the rules of the protocol, the windows and the sizes of heads. What it has no bound of its own for is kept
//! here: time, frames that bring nothing further, and the turns that connections take.

mod answer;
mod connection;
pub(super) mod frames;
mod head;
mod patience;
mod refused;
pub(super) mod sieve;
mod stream;
mod wire;

pub(super) use connection::serve;
pub(super) use head::fit;
