//! Reads the configuration again when it has changed, or on SIGHUP.

use crate::config::Config;
use crate::control::Handle;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// Between two looks at the file.
const EVERY: Duration = Duration::from_secs(1);

fn stamp(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Follows the file for as long as it is polled.
pub(super) async fn follow(file: PathBuf, handle: Handle) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut known = stamp(&file);
    loop {
        let asked = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        let now = stamp(&file);
        // A file that is being replaced may be gone for a moment.
        if asked || (now.is_some() && now != known) {
            known = now;
            reload(&file, &handle).await;
        }
    }
}

async fn reload(file: &Path, handle: &Handle) {
    let faults = match Config::load(file) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                tracing::warn!(file = %file.display(), "{warning}");
            }
            match handle.reload(parsed.config).await {
                Ok(()) => {
                    tracing::info!(file = %file.display(), "the configuration was read again and is in force");
                    return;
                }
                Err(faults) => faults.join("; "),
            }
        }
        Err(faults) => faults.to_string(),
    };
    tracing::error!(file = %file.display(), "the configuration was refused, the old one stays in force: {faults}");
}
