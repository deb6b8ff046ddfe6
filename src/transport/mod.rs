//! Byte streams between machines, without any HTTP: what a visitor's connection and one to a target are made of.
//!
//! ```text
//! config::Pool ─ PoolTls ─┐
//!                         ├─ Reach ─ connect ─ TargetStream
//! names (look-ups) ───────┘
//! ```

mod names;
mod stream;
mod target;
mod tls;

pub use names::{Learned, Lookup, look_up};
pub use stream::{TargetStream, VisitorStream};
pub use target::{ConnectError, Connected, Reach};
pub use tls::{Means, MeansFault};
