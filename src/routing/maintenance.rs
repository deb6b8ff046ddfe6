//! The maintenance response as the table carries it: rendered before any request asks for it.

use crate::config::UnsafeStatus;
use crate::model::Timestamp;
use bytes::Bytes;
use ipnet::IpNet;
use std::time::Duration;

/// Why a visitor gets a maintenance response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was asked for.
    Planned,
    /// No pool has a healthy target.
    Unplanned,
    /// Requests wait, and this one is over a bound of that.
    Hold,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Planned, Self::Unplanned, Self::Hold];

    /// As the page, the header, the log and the metric write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Unplanned => "unplanned",
            Self::Hold => "hold",
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Planned => 0,
            Self::Unplanned => 1,
            Self::Hold => 2,
        }
    }
}

/// What `Retry-After` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// Counted down to, where it is known.
    pub until: Option<Timestamp>,
    /// Otherwise, and once that moment has passed.
    pub otherwise: Duration,
}

impl RetryAfter {
    /// In whole seconds, at least 1.
    #[must_use]
    pub fn seconds(&self, now: Timestamp) -> u64 {
        let left = self.until.map(|until| until.as_second() - now.as_second()).filter(|left| *left > 0);
        left.and_then(|left| u64::try_from(left).ok()).unwrap_or(self.otherwise.as_secs()).max(1)
    }
}

/// A maintenance response in its three forms.
#[derive(Debug, Clone)]
pub struct MaintenanceAnswer {
    /// Why.
    pub reason: Reason,
    /// When to come back.
    pub retry_after: RetryAfter,
    /// How unsafe methods are answered.
    pub unsafe_status: UnsafeStatus,
    /// Client networks that reach the application all the same.
    pub bypass: Box<[IpNet]>,
    /// For browsers.
    pub html: Bytes,
    /// For people on a terminal.
    pub text: Bytes,
    /// For API clients: an RFC 9457 problem document.
    pub json: Bytes,
}
