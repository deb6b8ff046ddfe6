//! Whether a request may go on or has to wait, as the table says it, and the bounds of waiting.

use super::maintenance::MaintenanceAnswer;
use super::table::Route;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the requests of a service wait. Numbers and bytes are a worker's share.
#[derive(Debug)]
pub struct Waiting {
    /// The longest that a request waits.
    pub max_wait: Duration,
    /// The most requests that wait at once.
    pub max_requests: u64,
    /// The most bytes of their heads.
    pub max_bytes: u64,
    /// How long requests wait for a target that has stopped listening; zero for not at all.
    pub restart: Duration,
    /// What a request gets that is over a bound.
    pub refusal: Arc<MaintenanceAnswer>,
}

/// Whether requests go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They do: to a pool, or to the router's own answer.
    Open,
    /// They wait until the hold is left.
    Held,
    /// No pool can serve since this moment, which is so recent that it may be a restart: they wait for its end.
    Down(Instant),
}

impl Route {
    /// What becomes of a request that comes at this moment.
    #[must_use]
    pub fn gate(&self, now: Instant) -> Gate {
        // First: who may pass maintenance waits in a hold, too.
        if self.hold {
            return Gate::Held;
        }
        if self.planned.is_some() {
            return Gate::Open;
        }
        match self.outage {
            Some(since) if now.saturating_duration_since(since) < self.waiting.restart => Gate::Down(since),
            Some(_) | None => Gate::Open,
        }
    }
}
