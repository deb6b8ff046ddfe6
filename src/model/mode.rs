//! What a service does with requests.

use super::{Period, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The mode of a service. Every place that acts on a mode matches all of them, so that a further mode
/// has to say at each what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Requests go to a pool.
    #[default]
    Serve,
    /// Everyone appears logged out.
    Anonymous,
    /// Only requests that change nothing go to a pool.
    ReadOnly,
    /// Requests wait.
    Hold,
    /// Requests get the maintenance response.
    Maintenance,
}

impl Mode {
    /// All modes, from the one that lets everything pass to the one that lets nothing pass.
    pub const ALL: [Self; 5] = [Self::Serve, Self::Anonymous, Self::ReadOnly, Self::Hold, Self::Maintenance];

    /// As the API, the command line and the metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Anonymous => "anonymous",
            Self::ReadOnly => "read-only",
            Self::Hold => "hold",
            Self::Maintenance => "maintenance",
        }
    }

    /// How much it keeps from visitors: its place in [`Self::ALL`].
    #[must_use]
    pub fn severity(self) -> usize {
        match self {
            Self::Serve => 0,
            Self::Anonymous => 1,
            Self::ReadOnly => 2,
            Self::Hold => 3,
            Self::Maintenance => 4,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What put a service into its effective mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeSource {
    /// An operator's command, or the mode that a service starts with.
    Command,
    /// The flag file is there.
    File,
    /// No pool has a healthy target.
    NoHealthyPool,
}

impl fmt::Display for ModeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command",
            Self::File => "file",
            Self::NoHealthyPool => "no-healthy-pool",
        })
    }
}

/// The mode that was asked for, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ModeSetting {
    /// The mode.
    pub mode: Mode,
    /// Whether everyone appears logged out besides, in [`Mode::ReadOnly`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
    /// How long clients are told to wait, where it differs from the configured time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Period>,
    /// When it is to end: the mode is left then by itself, once a pool can serve. `Retry-After` counts down to it where
    /// `retry_after` is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// For the page of an answer that the router gives in this mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ModeSetting {
    /// A mode without any details.
    #[must_use]
    pub fn of(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Whether everyone appears logged out.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.mode == Mode::Anonymous || self.anonymous
    }
}
