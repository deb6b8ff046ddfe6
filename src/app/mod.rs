//! Wiring: from a configuration to a running router.

mod certificates;
mod demo;
mod options;
mod reload;
mod router;
mod secret;
mod serve;
pub mod simulate;

pub use demo::demo;
pub use options::{DemoFault, DemoOptions, RunOptions};
pub use router::Router;
pub use serve::run;
