//! A deploy: the walk of a deploy script around a rollout or a switch, as far as it has to outlive the script.

use super::{Mode, ModeSetting, PoolName, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The deploy under way, or the last one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The pool that is to become live.
    pub pool: PoolName,
    /// What runs in it.
    pub release: ReleaseId,
    /// Who walks it: the last one that began it or went on with it.
    pub by: String,
    /// When it began.
    pub started: Timestamp,
    /// What is done, in its order, each once.
    #[serde(default)]
    pub done: Vec<DeployStep>,
    /// The mode that it put the service into, and has to leave again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<DeployGuard>,
    /// How it ended; under way where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<DeployEnd>,
}

impl Deploy {
    /// Whether it is the deploy of this release to this pool.
    #[must_use]
    pub fn is_of(&self, pool: &PoolName, release: &ReleaseId) -> bool {
        self.pool == *pool && self.release == *release
    }

    /// Whether it has not come to an end.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.ended.is_none()
    }

    /// What was asked for before this mode, where it is this deploy that has put the service into it and has to leave it.
    #[must_use]
    pub fn before(&self, mode: Mode) -> Option<&ModeSetting> {
        let guard = self.guard.as_ref().filter(|guard| self.is_under_way() && guard.mode == mode)?;
        Some(&guard.before)
    }
}

/// A step that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployStep {
    /// Every target was up, and said the expected release where it is asked.
    Ready,
    /// The gate command has passed.
    Gate,
    /// The migration has run.
    Migrated,
}

impl DeployStep {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ready, Self::Gate, Self::Migrated];
}

/// A mode that a deploy has put a service into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployGuard {
    /// The mode.
    pub mode: Mode,
    /// What was asked for before it, or has been by somebody else since, and is again after it.
    pub before: ModeSetting,
}

/// How a deploy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployEnd {
    /// Its rollout was promoted.
    Promoted,
    /// All traffic was switched to its pool.
    Switched,
    /// Its rollout was rolled back.
    RolledBack,
    /// It failed or was stopped before that, or something else took its place.
    Stopped,
}

impl DeployEnd {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Promoted, Self::Switched, Self::RolledBack, Self::Stopped];
}

impl fmt::Display for DeployEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Promoted => "promoted",
            Self::Switched => "switched",
            Self::RolledBack => "rolled back",
            Self::Stopped => "stopped",
        })
    }
}
