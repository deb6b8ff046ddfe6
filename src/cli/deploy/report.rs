//! What was done, how long it took, and what it cost.

use super::course::Step;
use crate::cli::output::{columns, plain};
use crate::model::{Period, PoolName, ReleaseId, ServiceName};
use serde::Serialize;
use std::time::Instant;

/// The report of a deploy, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) service: ServiceName,
    pub(super) pool: PoolName,
    pub(super) release: ReleaseId,
    /// How it ended.
    pub(super) outcome: Outcome,
    pub(super) exit_code: u8,
    /// In a sentence.
    pub(super) told: String,
    pub(super) took: Period,
    pub(super) steps: Vec<Done>,
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Outcome {
    Promoted,
    Switched,
    /// It was before.
    AlreadyLive,
    RolledBack,
    Held,
    /// The router did not come back while its rollout was waited for.
    Lost,
    Failed,
}

/// What became of a step.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    pub(super) step: &'static str,
    pub(super) state: State,
    pub(super) took: Period,
    pub(super) detail: String,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    Done,
    /// It was done before this run.
    Already,
    Failed,
}

impl Done {
    pub(super) fn new(step: Step, state: State, since: Instant, detail: String) -> Self {
        Self { step: step.name(), state, took: taken(since), detail }
    }
}

/// The time since then, in whole milliseconds.
pub(super) fn taken(since: Instant) -> Period {
    Period::from_millis(u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX))
}

impl Report {
    /// For people: a sentence, and a line for each step.
    pub(super) fn text(&self) -> String {
        let row = |done: &Done| {
            let took = match done.state {
                State::Done => rounded(done.took),
                State::Already => "before".to_owned(),
                State::Failed => "failed".to_owned(),
            };
            [format!("  {}", done.step), took, plain(&done.detail)]
        };
        let rows: Vec<_> = self.steps.iter().map(row).collect();
        format!("{}\n{}", self.told, columns(&rows))
    }
}

/// Tenths of a second below ten of them, whole seconds above.
fn rounded(took: Period) -> String {
    let seconds = took.get().as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1}s") } else { Period::from_secs(took.get().as_secs()).to_string() }
}
