//! What the router counts of both pools in a tick.

use super::Pair;
use crate::model::{Indicator, LatencyCheck, Until};

/// The drawn requests of one judged tick of 100 ms, with all that is known of them at one moment of their answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Which indicators it tells of: those that are known with the head, or those that are known with the end.
    pub known_at: Until,
    /// Of the candidate.
    pub candidate: SideTick,
    /// Of live.
    pub live: SideTick,
    /// Draws of the candidate that had not been seen before in this rollout; told with the heads, and 0 with the ends.
    pub new_draws: u64,
    /// Which quantiles had a limit all through the tick: only there are slow answers known as such.
    pub limited: [bool; LatencyCheck::QUANTILES],
}

/// One pool's part of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SideTick {
    /// Requests dispatched, but for those whose visitors hung up before the moment.
    pub requests: u64,
    /// Of those, without an outcome when the lag was over.
    pub undecided: u64,
    /// Of the requests, those that are timed: each that was drawn for itself, and of a sticky visitor one now and then,
    /// so that what is slow for one visitor is not slow hundreds of times.
    pub timed: u64,
    /// What they were, by [`Indicator::index`].
    pub bad: [Bad; Indicator::COUNT],
}

/// How many answers were bad in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bad {
    /// As they count: of a sticky visitor, one for each step; where answers are timed, of the timed ones.
    pub counted: u64,
    /// All of them.
    pub all: u64,
    /// Of the counted ones, those from draws that had not been bad so before in this rollout; of the candidate only.
    pub new_draws: u64,
}

impl Tick {
    /// As the comparison of one indicator sees it: of all requests, or of the timed ones, where that is what it counts.
    pub(super) fn pair(&self, indicator: Indicator) -> Pair {
        let at = indicator.index();
        match indicator {
            Indicator::Failed | Indicator::Status | Indicator::CutOff | Indicator::GrpcTrailers => Pair {
                candidate_requests: self.candidate.requests,
                candidate_failures: self.candidate.bad[at].counted,
                candidate_failed: self.candidate.bad[at].all,
                candidate_late: self.candidate.undecided,
                live_requests: self.live.requests,
                live_failures: self.live.bad[at].counted,
                live_failed: self.live.bad[at].all,
                live_late: self.live.undecided,
            },
            // What came too late to be seen is bad in this very way: it is counted as such, and not left out.
            Indicator::NoHead | Indicator::SlowHead(_) | Indicator::SlowEnd(_) => Pair {
                candidate_requests: self.candidate.timed,
                candidate_failures: self.candidate.bad[at].counted,
                live_requests: self.live.timed,
                live_failures: self.live.bad[at].counted,
                ..Pair::default()
            },
        }
    }

    /// Draws of the candidate that were bad in this way for the first time.
    pub(super) fn failing_draws(&self, indicator: Indicator) -> u64 {
        self.candidate.bad[indicator.index()].new_draws
    }
}
