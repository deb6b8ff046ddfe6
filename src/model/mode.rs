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
    /// Requests get the maintenance response.
    Maintenance,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serve => "serve",
            Self::Maintenance => "maintenance",
        })
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
    /// How long clients are told to wait, where it differs from the configured time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Period>,
    /// When the maintenance is expected to end: `Retry-After` counts down to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// For the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
