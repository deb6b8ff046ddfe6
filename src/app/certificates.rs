//! The certificates: read at the start, and followed as their files change, or on SIGHUP.

use super::reload::{EVERY, Stamp, stamp};
use crate::config::Tls;
use crate::model::Timestamp;
use crate::transport::Certificates;
use anyhow::anyhow;
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio::task::spawn_blocking;

/// Looks after which certificates that were refused are read again: one may have come before its time.
const SECOND_CHANCE: u32 = 60;

/// Reads what visitors are shown, where TLS is spoken.
///
/// # Errors
/// With all that can't be used.
pub(super) fn read(tls: Option<&Tls>) -> anyhow::Result<Option<Arc<Certificates>>> {
    let Some(tls) = tls else { return Ok(None) };
    let told = |faults: Vec<_>| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        anyhow!("TLS can't be spoken: {}", faults.join("; "))
    };
    Ok(Some(Arc::new(Certificates::read(tls).map_err(told)?)))
}

/// Certificates, as their files were when they were read last.
pub(super) struct FollowedCertificates {
    certificates: Arc<Certificates>,
    /// The files at the last look, and when they were read.
    seen: Vec<Option<Stamp>>,
    read: Vec<Option<Stamp>>,
    /// Looks since they were read.
    looks: u32,
    /// What was told already.
    told: Vec<String>,
}

impl FollowedCertificates {
    /// What was written since they were read is noticed at the first look.
    pub(super) fn new(certificates: Arc<Certificates>) -> Self {
        Self { certificates, seen: Vec::new(), read: Vec::new(), looks: 0, told: Vec::new() }
    }

    /// Follows the files for as long as it is polled.
    pub(super) async fn follow(mut self, hangup: &mut Signal) {
        loop {
            self.tell();
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            let now = self.apart(|certificates| certificates.files().map(stamp).collect::<Vec<_>>()).await;
            // The two files of a certificate are replaced one after the other: they are read when both are at rest.
            let at_rest = now == self.seen;
            self.looks += 1;
            let again = self.looks >= SECOND_CHANCE && self.certificates.has_refused();
            if asked || (at_rest && (now != self.read || again)) {
                self.read.clone_from(&now);
                self.looks = 0;
                for file in self.apart(|certificates| certificates.reload(Timestamp::now()).changed).await {
                    tracing::info!(file, "a new certificate is in force");
                }
            }
            self.seen = now;
        }
    }

    /// What comes of a look at the files, on a thread of its own: a file system that hangs must hold nothing else up.
    async fn apart<T: Default + Send + 'static>(&self, look: impl FnOnce(&Certificates) -> T + Send + 'static) -> T {
        let certificates = Arc::clone(&self.certificates);
        // It fails only while the router ends.
        spawn_blocking(move || look(&certificates)).await.unwrap_or_default()
    }

    /// Tells what has not been told yet.
    fn tell(&mut self) {
        let warnings = self.certificates.warnings(Timestamp::now());
        for warning in warnings.iter().filter(|warning| !self.told.contains(warning)) {
            tracing::error!("{warning}");
        }
        self.told = warnings;
    }
}
