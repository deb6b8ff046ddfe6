//! Wiring: from a configuration to a running router.

mod reload;
mod router;
mod secret;
mod serve;

pub use router::Router;
pub use serve::run;

/// TEMP
pub fn demo(_: crate::cli::DemoOptions) -> anyhow::Result<std::process::ExitCode> {
    anyhow::bail!("not yet")
}
