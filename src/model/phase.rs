//! Where a rollout stands.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The phase of a service's rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// No rollout; one pool serves all.
    Idle,
    /// A candidate is named, and gets no drawn traffic yet.
    Preview,
    /// The candidate serves its cohort.
    Canary,
    /// The candidate became live; the old pool may still be warm.
    Promoted,
    /// The candidate was taken back.
    RolledBack,
}

impl Phase {
    /// All phases, in the order of the walk.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Preview, Self::Canary, Self::Promoted, Self::RolledBack];

    /// As the API and the metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Preview => "preview",
            Self::Canary => "canary",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a rollout does not move on by itself. Judging and rollback stay on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Who or what holds it.
    pub by: HeldBy,
    /// For people.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// Who or what holds a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeldBy {
    /// A command.
    Operator,
    /// Not enough evidence within the longest hold of a step.
    Evidence,
    /// A metrics source that does not answer.
    Source,
    /// A gate that is being asked, or has said no.
    Gate,
    /// An operator has to approve.
    Approval,
    /// Both pools fail.
    Incident,
}

impl HeldBy {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Operator, Self::Evidence, Self::Source, Self::Gate, Self::Approval, Self::Incident];
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "operator",
            Self::Evidence => "evidence",
            Self::Source => "source",
            Self::Gate => "gate",
            Self::Approval => "approval",
            Self::Incident => "incident",
        })
    }
}

/// What the evidence says of the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The step may be passed.
    Healthy,
    /// The candidate is worse than tolerated.
    Regressed,
    /// Not enough evidence yet.
    Insufficient,
    /// A metrics source gave no usable answer.
    SourceDown,
    /// Both pools fail more than the service may: what they share is broken.
    SharedIncident,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Healthy => "healthy",
            Self::Regressed => "regressed",
            Self::Insufficient => "insufficient",
            Self::SourceDown => "source-down",
            Self::SharedIncident => "shared-incident",
        })
    }
}

/// What the evidence says, as far as a decision needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What it says.
    pub verdict: Verdict,
    /// The check that decided it, or `evidence` or `exposure` where all of them agree.
    pub by: String,
    /// The sentence behind it, for people.
    pub reason: String,
    /// Whether evidence alone suffices to pass the step, without any exposure.
    #[serde(default)]
    pub proven: bool,
    /// Whether a check that is asked of Prometheus has had no answer at all yet.
    #[serde(default)]
    pub unanswered: bool,
}
