//! Runs a command of the operator's: by `sh -c`, as a deploy script would, with its output passed through.

use super::interrupt::Interrupt;
use crate::model::Period;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// After TERM, a command has so long to end in order.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks whether all that it has started has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a command to its end. It has a process group of its own, so that Ctrl-C reaches it through us, in order, and
/// whatever it has started ends with it.
///
/// # Errors
/// A sentence, where it did not exit with 0.
pub(super) async fn run(
    command: &str,
    environment: &[(&str, String)],
    limit: Period,
    interrupt: &Interrupt,
) -> Result<(), String> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        // Standard output is for the report alone.
        .stdout(Stdio::from(std::io::stderr()))
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("sh can't be started: {error}"))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let told = tokio::select! {
        ended = child.wait() => {
            return ended.map_err(|error| format!("it was lost: {error}")).and_then(judge);
        }
        () = interrupt.told() => "it was ended by a signal to this command".to_owned(),
        () = tokio::time::sleep(limit.get()) => format!("it did not end within {limit}, and was ended"),
    };
    end(&mut child, group).await;
    Err(told)
}

async fn end(child: &mut Child, group: Option<Pid>) {
    let send = |signal| {
        if let Some(group) = group {
            // It may have ended meanwhile, which is what is wanted.
            let _ = kill_process_group(group, signal);
        }
    };
    send(Signal::TERM);
    if tokio::time::timeout(GRACE, ended(child, group)).await.is_err() {
        send(Signal::KILL);
        let _ = child.wait().await;
    }
}

/// Waits for the end of all of it. The shell is gone at once, and what it has started may still be at work on the database
/// that the mode protects.
async fn ended(child: &mut Child, group: Option<Pid>) {
    let _ = child.wait().await;
    while group.is_some_and(|group| test_kill_process_group(group).is_ok()) {
        tokio::time::sleep(LOOK).await;
    }
}

fn judge(status: ExitStatus) -> Result<(), String> {
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(format!("it exited with {code}")),
        None => Err("it was ended by a signal".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run_for(command: &str, limit: Period) -> Result<(), String> {
        let interrupt = Interrupt::listen().unwrap();
        run(command, &[("CUTOVER_POOL", "server1".to_owned())], limit, &interrupt).await
    }

    #[tokio::test]
    async fn a_command_is_judged_by_its_exit_code() {
        let long = Period::from_secs(60);
        assert_eq!(run_for("test \"$CUTOVER_POOL\" = server1", long).await, Ok(()));
        assert_eq!(run_for("exit 7", long).await, Err("it exited with 7".to_owned()));
        assert_eq!(run_for("kill -KILL $$", long).await, Err("it was ended by a signal".to_owned()));
        assert_eq!(run_for("no-such-command 2>/dev/null", long).await, Err("it exited with 127".to_owned()));
    }

    #[tokio::test]
    async fn what_a_command_has_started_is_waited_for_while_it_ends_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in-order");
        let child = format!("trap 'sleep 1; touch {}; exit' TERM; while :; do sleep 0.1; done", file.display());
        let told = run_for(&format!("({child}) & wait"), Period::from_secs(5)).await.unwrap_err();
        assert!(told.contains("did not end within 5s"), "{told}");
        assert!(file.exists(), "it was at work still");
    }

    #[tokio::test]
    async fn a_command_that_does_not_end_is_ended_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("child");
        let command = format!("sleep 3600 & echo $! > {}; wait", file.display());
        let told = run_for(&command, Period::from_secs(2)).await.unwrap_err();
        assert!(told.contains("did not end within 2s"), "{told}");
        let child = std::fs::read_to_string(&file).unwrap();
        let is_running =
            || std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).is_ok_and(|stat| !stat.contains(") Z "));
        let since = std::time::Instant::now();
        while is_running() {
            assert!(since.elapsed() < Duration::from_secs(15), "its child runs still");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
