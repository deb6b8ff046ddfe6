//! Byte streams between machines, without any HTTP: what a visitor's connection and one to a target are made of.
//!
//! A visitor's connection may begin with a PROXY header, and may be TLS by the certificate that the name it asks for
//! has:
//!
//! ```text
//! files ─► certificate ─► resolver (by SNI; swapped whole) ─► certificates (what is in force, what was refused)
//! ```
//!
//! A target may be reached by its name, and by TLS:
//!
//! ```text
//! config::Pool ─► means ─┐
//!                        ├─► reach ─► connect ─► TargetStream
//! names (look-ups) ──────┘
//! ```

mod certificate;
mod certificates;
mod file;
mod forward;
mod names;
pub mod proxy_header;
mod resolver;
mod stream;
mod target;
mod tls;

pub use certificate::{Certificate, CertificateFault, CertificatePart};
pub use certificates::{Certificates, Expiry, Reloaded};
pub(crate) use forward::forward;
pub use names::{Learned, Lookup, look_up};
pub use stream::{Rewound, TargetStream, VisitorStream};
pub use target::{ConnectError, Connected, Reach};
pub use tls::{Means, MeansFault};
