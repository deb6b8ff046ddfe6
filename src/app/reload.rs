//! Reads the configuration again when it has changed, or on SIGHUP.

use crate::config::Config;
use crate::control::Handle;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::Signal;

/// Between two looks at the file.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// By what a changed file is known: when it was written, how long it is, and which it is.
pub(super) type Stamp = (SystemTime, u64, u64);

pub(super) fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// The configuration's file, as it was when it was read last.
pub(super) struct Followed {
    file: PathBuf,
    known: Option<Stamp>,
}

impl Followed {
    /// To be made before the router starts, so that no change meanwhile is missed.
    pub(super) fn new(file: PathBuf) -> Self {
        Self { known: stamp(&file), file }
    }

    /// Follows the file for as long as it is polled.
    pub(super) async fn follow(mut self, hangup: &mut Signal, handle: &Handle) {
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            let now = stamp(&self.file);
            // A file that is being replaced may be gone for a moment.
            if asked || (now.is_some() && now != self.known) {
                self.known = now;
                reload(&self.file, handle).await;
            }
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
