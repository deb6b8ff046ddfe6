//! Wiring: from a configuration to a running router.

mod reload;
mod router;
mod secret;
mod serve;

pub use router::Router;
pub use serve::run;
