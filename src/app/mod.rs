//! Wiring: from a configuration to a running router.

use crate::cli::{DemoOptions, RunOptions};
use std::process::ExitCode;

/// Serves until it is told to stop.
///
/// # Errors
/// When the router can't start.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{} services can't be served: the planes are not wired yet", options.config.services.len())
}

/// Shows the whole story on this machine.
///
/// # Errors
/// When it can't be shown.
pub fn demo(options: DemoOptions) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{options:?} can't be shown: the planes are not wired yet")
}
