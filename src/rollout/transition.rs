//! What follows from a decision.

use super::ServiceState;
use serde::{Deserialize, Serialize};
use std::fmt;

/// `Decision::by` of a command.
pub const OPERATOR: &str = "operator";

/// A change of state, with what has to follow from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The next state; its revision is one higher.
    pub state: ServiceState,
    /// What was decided, for the history.
    pub decision: Decision,
    /// Whether it may be acted on before the store has it: it only takes risk away. Everything else has to be durable
    /// before any request sees it.
    pub protective: bool,
    /// What becomes of the evidence.
    pub evidence: EvidenceChange,
}

/// A decision, as the history tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub name: DecisionName,
    /// [`OPERATOR`], the name of a check, or what else decided: `evidence`, `exposure`, `health`, `time`.
    pub by: String,
    /// Why, in a sentence.
    pub reason: String,
}

/// The kinds of decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecisionName {
    /// A rollout begins.
    Start,
    /// The next step.
    Step,
    /// The rollout does not move on by itself any more.
    Hold,
    /// It does again.
    Resume,
    /// The candidate's weight, by command.
    Weight,
    /// The candidate becomes live.
    Promote,
    /// The candidate is taken back, or the old pool becomes live again.
    Rollback,
    /// All traffic to a pool, by command.
    Switch,
    /// Another mode.
    Mode,
    /// The time is over in which a promotion can be rolled back.
    WatchOver,
    /// An operator approves.
    Approve,
    /// Gates are asked, or have answered.
    Gate,
    /// A deploy has come a step further.
    Deploy,
}

impl DecisionName {
    /// As the history and the metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Step => "step",
            Self::Hold => "hold",
            Self::Resume => "resume",
            Self::Weight => "weight",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Switch => "switch",
            Self::Mode => "mode",
            Self::WatchOver => "watch-over",
            Self::Approve => "approve",
            Self::Gate => "gate",
            Self::Deploy => "deploy",
        }
    }
}

impl fmt::Display for DecisionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of the evidence after a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceChange {
    /// It goes on as it is.
    Keep,
    /// A rollout begins: there is none yet.
    Begin,
    /// The weight has changed within a step.
    WeightChanged,
    /// A step begins: the weight has changed, and evidence for promotion starts anew.
    NewStep,
    /// The candidate was promoted: the split is over, and what it does as live is watched.
    Watch,
    /// The rollout is over: nothing more is gathered.
    End,
}
