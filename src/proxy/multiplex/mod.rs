//! HTTP/2 to targets: few connections, with many requests on each at once.
//!
//! ```text
//! attempt ─ Links::lane ─ Lane::exchange ─ Streaming (until the answer's last byte)
//!            │  a worker's connections to a target; one more when their streams are taken
//!            └─ Link, driven by a task of its own: liveness, and the end
//! ```
//!
//! What a target promises not to have looked at (`REFUSED_STREAM`, a stream beyond the last one of its `GOAWAY`) is
//! sent again, whatever it asks for (RFC 9113 §8.7); what it may have looked at is not. So what can't be sent again
//! begins only when all that lay unread in the socket was read, the end of the connection too.

mod exchange;
mod link;
mod links;
mod remembered;

pub(super) use exchange::{Streamed, Streaming};
pub(super) use links::{Links, NoLane};
pub(super) use remembered::Beginning;
