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
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        for kind in kinds.into_iter().filter(|kind| *kind != SignalKind::hangup() || !is_ignored(*kind)) {
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

/// Whether the process was begun with this signal ignored, as `nohup` does so that it outlives its terminal.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignores(&status, kind.as_raw_value())
}

/// The kernel shows a mask in hexadecimal, whose lowest bit is that of signal 1.
fn ignores(status: &str, number: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    mask.checked_shr(u32::try_from(number - 1).unwrap_or(u32::MAX)).is_some_and(|mask| mask & 1 == 1)
}

/// What is told of a command that was stopped.
pub(super) fn stopped() -> CliError {
    CliError::Deploy("it was stopped by a signal".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        let status = "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        let ignored: Vec<i32> = (1..=64).filter(|number| ignores(status, *number)).collect();
        assert_eq!(ignored, [1, 13]);
        assert!(!ignores("", 1));
    }

    odd_input! {
        fn each_bit_of_the_mask_is_a_signal(mask in any::<u64>(), number in 1..=64_i32, odd in ".{0,12}") {
            let status = format!("Name:\t{odd}\nSigIgn:\t{mask:016x}\nSigCgt:\tffffffffffffffff\n");
            prop_assert_eq!(ignores(&status, number), mask >> (number - 1) & 1 == 1);
            let (status, ignored) = (format!("SigIgn:{odd}g"), false);
            prop_assert_eq!(ignores(&status, number), ignored);
        }
    }
}
