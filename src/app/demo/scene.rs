//! What there is to see at one moment, whatever it is shown on.

use super::act::Act;
use super::ratios::Sample;
use super::tally::Counts;
use crate::app::DemoFault;
use crate::model::view::{EvidenceView, HistoryView, ServiceView};
use crate::model::{Phase, PoolName};
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone)]
pub(super) struct News {
    /// Since the start.
    pub(super) at: Duration,
    /// What.
    pub(super) text: String,
}

/// One moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) fault: DemoFault,
    pub(super) act: Act,
    /// Since the start.
    pub(super) at: Duration,
    pub(super) service: &'a ServiceView,
    pub(super) evidence: &'a EvidenceView,
    /// The oldest first.
    pub(super) ratios: &'a [Sample],
    pub(super) counts: Counts,
    /// Requests per second.
    pub(super) rate: f64,
    pub(super) rescues: u64,
    /// The newest last.
    pub(super) news: &'a [News],
}

impl Scene<'_> {
    /// The share of visitors that are drawn to a pool, 0 to 1.
    pub(super) fn share(&self, pool: &PoolName) -> f64 {
        let candidate = self.service.weight / 100.0;
        let is_candidate = self.service.candidate.as_ref() == Some(pool);
        match (is_candidate, *pool == self.service.live) {
            (true, _) => candidate,
            (false, true) => 1.0 - candidate,
            (false, false) => 0.0,
        }
    }

    /// What the pool is, in a word.
    pub(super) fn role(&self, pool: &PoolName) -> &'static str {
        if *pool == self.service.live {
            "live"
        } else if self.service.candidate.as_ref() == Some(pool) {
            "candidate"
        } else {
            "spare"
        }
    }

    /// What runs in the pool.
    pub(super) fn release(&self, pool: &PoolName) -> &str {
        let release = self.service.pools.get(pool).and_then(|pool| pool.release.as_ref());
        release.map_or("?", |release| release.as_str())
    }

    /// ln E against the candidate, and the ln E that rolls it back; None while nothing is judged.
    pub(super) fn evidence(&self) -> Option<(f64, f64)> {
        let check = self.evidence.checks.first()?;
        check.ln_rollback.zip(check.ln_rollback_threshold)
    }

    /// Where the rollout stands.
    pub(super) fn standing(&self) -> String {
        match (self.service.phase, &self.service.rollout) {
            (Phase::Preview | Phase::Canary, Some(rollout)) => {
                format!("{}, step {} of {}", self.service.phase, rollout.step + 1, rollout.steps.len())
            }
            (Phase::Preview | Phase::Canary, None) | (Phase::Idle | Phase::Promoted | Phase::RolledBack, _) => {
                self.service.phase.to_string()
            }
        }
    }

    /// What the rollout waits for, if it does.
    pub(super) fn waiting_for(&self) -> Option<&str> {
        let waiting_for = self.service.rollout.as_ref().map(|rollout| rollout.waiting_for.as_str());
        waiting_for.filter(|text| !text.is_empty())
    }
}

/// A decision in a sentence.
pub(super) fn in_words(decision: &HistoryView) -> String {
    let HistoryView { decision, by, reason, .. } = decision;
    // A check's own reason begins with its name.
    let reason = reason.strip_prefix(&format!("{by}: ")).unwrap_or(reason);
    format!("{decision} by {by}: {reason}")
}
