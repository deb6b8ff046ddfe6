//! Runs a program as a gate: no shell, an environment of its own, its output kept to the last lines, and its whole
//! process group ended when it takes too long.

use super::webhook::on_one_line;
use crate::control::ports::{GateFault, GateQuestion};
use crate::model::Period;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

/// `EX_TEMPFAIL` of sysexits.h: try again later.
const TRY_AGAIN: i32 = 75;
/// Of the output, so much is kept.
const KEPT: usize = 4096;
/// Of its end, so many lines are told.
const TOLD_LINES: usize = 3;
/// What a program left running may hold its output open; it is not waited for any longer.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Ends a process group when it is dropped, unless its leader has ended by itself.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended meanwhile, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs the program once; the sentence says how it ended.
pub(super) async fn run(
    command: &[String],
    env: &BTreeMap<String, String>,
    question: &GateQuestion,
    timeout: Period,
) -> Result<String, GateFault> {
    let mut child = start(command, env, question)?;
    let mut group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let output = Mutex::new(Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let reading = async { tokio::join!(keep_the_end(stdout, &output), keep_the_end(stderr, &output)) };
    tokio::pin!(reading);
    let ended = async {
        tokio::select! {
            status = child.wait() => (status, false),
            _ = &mut reading => (child.wait().await, true),
        }
    };
    match tokio::time::timeout(timeout.get(), ended).await {
        Ok((Ok(status), all_read)) => {
            group.0 = None;
            if !all_read {
                // Its answer is known: what it has left running is no reason to take it for late.
                let _ = tokio::time::timeout(LAST_WORDS, reading).await;
            }
            judge(status, &last_lines(&output))
        }
        Ok((Err(error), _)) => Err(GateFault::Unanswered(format!("the program was lost: {error}"))),
        Err(_) => {
            drop(group);
            // So that nothing is left of it. Killed, it ends at once.
            let _ = tokio::time::timeout(LAST_WORDS, child.wait()).await;
            let said = with(&last_lines(&output));
            Err(GateFault::Unanswered(format!("the program did not end within {timeout} and was killed{said}")))
        }
    }
}

fn start(command: &[String], env: &BTreeMap<String, String>, question: &GateQuestion) -> Result<Child, GateFault> {
    let (program, arguments) =
        command.split_first().ok_or_else(|| GateFault::No("the gate names no program".to_owned()))?;
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .envs(env)
        .envs(told(question))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let told = format!("{program} can't be started: {error}");
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::InvalidInput => GateFault::No(told),
                _ => GateFault::Unanswered(told),
            }
        })
}

/// What the program is told of the rollout.
fn told(question: &GateQuestion) -> [(&'static str, String); 10] {
    [
        ("CUTOVER_GATE", question.gate.clone()),
        ("CUTOVER_AT", question.at.to_string()),
        ("CUTOVER_SERVICE", question.service.to_string()),
        ("CUTOVER_POOL", question.pool.to_string()),
        ("CUTOVER_RELEASE", question.release.to_string()),
        ("CUTOVER_LIVE", question.live.to_string()),
        ("CUTOVER_WEIGHT", question.weight.to_string()),
        ("CUTOVER_STEP", question.step.map(|step| step.to_string()).unwrap_or_default()),
        // A reason may quote what others said.
        ("CUTOVER_REASON", question.reason.replace('\0', " ")),
        ("CUTOVER_ID", question.id.clone()),
    ]
}

async fn keep_the_end(pipe: Option<impl AsyncRead + Unpin>, output: &Mutex<Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = [0; 4096];
    // A pipe that can't be read has come to its end for us.
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend_from_slice(&chunk[..read]);
        let excess = output.len().saturating_sub(KEPT);
        output.drain(..excess);
    }
}

fn last_lines(output: &Mutex<Vec<u8>>) -> String {
    let output = output.lock().unwrap_or_else(PoisonError::into_inner);
    let text = String::from_utf8_lossy(&output);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(TOLD_LINES);
    on_one_line(&lines[from..].join(" | "))
}

fn with(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}

fn judge(status: ExitStatus, said: &str) -> Result<String, GateFault> {
    let said = with(said);
    match status.code() {
        Some(0) => Ok(format!("exit code 0{said}")),
        Some(TRY_AGAIN) => Err(GateFault::Unanswered(format!("exit code {TRY_AGAIN}{said}"))),
        Some(code) => Err(GateFault::No(format!("exit code {code}{said}"))),
        None => Err(GateFault::No(format!("the program was ended by a signal{said}"))),
    }
}
