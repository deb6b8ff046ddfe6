//! Ctrl-C, TERM and HUP: a deploy that is stopped leaves the site as it should be before it ends.

use crate::cli::CliError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the command was told to stop.
#[derive(Clone)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Takes signals from now on.
    pub(super) fn listen() -> Result<Self, CliError> {
        let cant = |error: std::io::Error| CliError::Start(format!("signals can't be taken: {error}"));
        let (told, receiver) = watch::channel(false);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut signals = signal(kind).map_err(cant)?;
            let told = told.clone();
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    told.send_replace(true);
                }
            });
        }
        Ok(Self(receiver))
    }

    /// Waits until it is told to stop.
    pub(super) async fn told(&self) {
        if self.0.clone().wait_for(|told| *told).await.is_err() {
            // The tasks that tell it live as long as the process.
            std::future::pending::<()>().await;
        }
    }

    /// Does it, unless told to stop before it is done.
    pub(super) async fn unless<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        tokio::select! {
            biased;
            () = self.told() => Err(stopped()),
            done = work => done,
        }
    }
}

/// What is told of a command that was stopped.
pub(super) fn stopped() -> CliError {
    CliError::Deploy("it was stopped by a signal".to_owned())
}
