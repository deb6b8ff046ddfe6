//! How many rescues a worker may make: each puts a request of the candidate's on live as well.

use std::cell::Cell;
use std::time::Instant;

/// Rescues earned by each drawn request. A candidate that fails everything at a share of up to one half is rescued
/// wholly, as far as its visitors ask for what may be asked again; live carries at most half as much again.
const PER_REQUEST: f64 = 0.5;

/// Rescues earned by each second, so that a service with little traffic loses no visitor either.
const PER_SECOND: f64 = 20.0;

/// The most that can be saved up: enough for all requests that a busy candidate lets hang until they time out together.
const MOST: f64 = 1000.0;

/// What a worker may still spend on rescues.
#[derive(Debug)]
pub(super) struct RescueBudget {
    left: Cell<f64>,
    filled: Cell<Instant>,
}

impl RescueBudget {
    /// One that holds a second's worth.
    pub(super) fn new(now: Instant) -> Self {
        Self { left: Cell::new(PER_SECOND), filled: Cell::new(now) }
    }

    /// A request was drawn.
    pub(super) fn earn(&self) {
        self.left.set((self.left.get() + PER_REQUEST).min(MOST));
    }

    /// Takes one rescue, if there is one.
    pub(super) fn spend(&self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.filled.get()).as_secs_f64() * PER_SECOND;
        self.filled.set(now);
        let left = (self.left.get() + earned).min(MOST);
        let enough = left >= 1.0;
        self.left.set(if enough { left - 1.0 } else { left });
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_candidate_that_fails_everything_at_a_small_share_is_rescued_wholly() {
        let start = Instant::now();
        let budget = RescueBudget::new(start);
        for request in 0..2000_u32 {
            budget.earn();
            let now = start + Duration::from_millis(5) * request;
            assert!(request % 20 != 0 || budget.spend(now), "request {request}");
        }
    }

    #[test]
    fn a_flood_of_failures_is_bounded_by_half_the_requests_and_a_floor() {
        let start = Instant::now();
        let budget = RescueBudget::new(start);
        let mut rescued = 0;
        for request in 0..10_000_u32 {
            budget.earn();
            rescued += u32::from(budget.spend(start + Duration::from_micros(100) * request));
        }
        assert!((5000..=5050).contains(&rescued), "{rescued}");
    }
}
