//! The watch after a promotion: the new release has everyone, so that nothing is left to compare it with.
//!
//! It is tested against a fixed ratio `p0`: the one that the objective allows, or 1.5 times what the release before it
//! failed in its last healthy hour, whichever is larger. The null "each answer fails with a chance of at most p0, given
//! the past" is bet against as the candidate's ratio was: one bet `r > 1` on `n` answers of which `k` failed earns
//!
//! ```text
//! ln e(r) = k·ln r − n·p0·(r − 1)
//! ```
//!
//! whose exponential has an expectation of at most 1 under the null, since 1 + p·(r − 1) ≤ exp(p·(r − 1)) (as for a
//! Poisson count; Howard et al. 2020, Statistics of time-uniform bounds). So it may be looked at every second.
//!
//! It is a heuristic all the same, outside of `false_alarm`: real failures come in bursts, and one visitor may fail
//! again and again. An alarm therefore needs ten failures at the least. What it can't see: a fault that stays below
//! `p0`, slow answers, and whether the release or something shared is broken. When in doubt it takes the release back,
//! since the old pool is warm and nothing is lost by it.

use super::eprocess::{LateStart, WORSE, as_f64};
use super::guard::{PoolCounts, allowed};
use super::words;
use crate::model::view::GuardView;
use crate::model::{Judgement, Plan, Verdict};
use serde::{Deserialize, Serialize};

/// `Judgement::by` of the watch.
const BY_OBJECTIVE: &str = "objective";
/// How much more often than the release before it a release may fail.
const WORSE_THAN_BEFORE: f64 = 1.5;
/// Fewer failures than this are no alarm, however few requests there are.
const LEAST_FAILURES: u64 = 10;
/// With fewer answers than this there is nothing to say.
const LEAST_REQUESTS: u64 = 20;

/// How a release does since it was promoted. A plain value, stored with the evidence: a restart goes on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The ratio that is still fine.
    #[serde(with = "words::number_text")]
    fine: f64,
    /// Whether that is what the release before it did, and not the objective.
    as_before: bool,
    process: LateStart,
    counts: PoolCounts,
}

impl Watch {
    /// From a promotion on. `before` is the error ratio of the release before it in its last healthy hour, if known.
    #[must_use]
    pub fn begin(plan: &Plan, before: Option<f64>) -> Self {
        let by_objective = allowed(plan.objective);
        let by_before = before.map_or(0.0, |ratio| WORSE_THAN_BEFORE * ratio);
        Self {
            fine: by_objective.max(by_before).min(1.0),
            as_before: by_before > by_objective,
            process: LateStart::new(),
            counts: PoolCounts::default(),
        }
    }

    /// Takes in what the release has answered since the last time: about a second's worth.
    pub fn observe(&mut self, counts: PoolCounts) {
        if counts.answered == 0 {
            return;
        }
        self.counts = self.counts.and(counts);
        let (answered, failed) = (as_f64(counts.answered), as_f64(counts.failed.min(counts.answered)));
        self.process.observe_bets(&WORSE, |bet| failed * bet.ln() - answered * self.fine * (bet - 1.0));
    }

    /// What was counted since the promotion.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        self.counts
    }

    /// ln E against "it fails no more than is fine".
    #[must_use]
    pub fn ln_e(&self) -> f64 {
        self.process.ln_e()
    }

    pub(super) fn judge(&self, plan: &Plan) -> Judgement {
        let at = -plan.false_alarm.ln();
        let ln_e = self.ln_e();
        let why = if self.as_before { "1.5 times what the release before it did" } else { "the objective" };
        let seen = format!(
            "{} answers failed since the promotion, where {} is fine ({why}); ln E {ln_e:.1} of {at:.1} to roll back",
            words::share(self.counts.failed, self.counts.answered),
            words::percent(self.fine),
        );
        let (verdict, reason) = if self.counts.answered < LEAST_REQUESTS {
            (Verdict::Insufficient, format!("too few answers to tell: {seen}"))
        } else if ln_e < at {
            (Verdict::Healthy, seen)
        } else if self.counts.failed < LEAST_FAILURES {
            (Verdict::Insufficient, format!("too few failures for an alarm, which needs {LEAST_FAILURES}: {seen}"))
        } else {
            (Verdict::Regressed, format!("the promoted release fails too much: {seen}"))
        };
        Judgement { verdict, by: BY_OBJECTIVE.to_owned(), reason, proven: false, unanswered: false }
    }

    /// As the guard is shown, with the burn rates that `guard` has of the promoted release as live's.
    pub(super) fn view(&self, plan: &Plan, guard: Option<&GuardView>) -> GuardView {
        let judgement = self.judge(plan);
        let mut windows = guard.map(|guard| guard.windows.clone()).unwrap_or_default();
        for window in &mut windows {
            window.candidate = window.live.take();
        }
        GuardView {
            objective: plan.objective,
            firing: judgement.verdict == Verdict::Regressed,
            windows,
            detail: judgement.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(answered: u64, failed: u64) -> PoolCounts {
        PoolCounts { answered, failed }
    }

    fn after(before: Option<f64>, seconds: &[(usize, PoolCounts)]) -> Judgement {
        let plan = Plan::default();
        let mut watch = Watch::begin(&plan, before);
        for (times, counts) in seconds {
            (0..*times).for_each(|_| watch.observe(*counts));
        }
        watch.judge(&plan)
    }

    #[test]
    fn a_release_within_the_objective_stays() {
        assert_eq!(after(None, &[(600, counts(1000, 9))]).verdict, Verdict::Healthy);
        assert_eq!(after(None, &[(600, counts(100, 0))]).verdict, Verdict::Healthy);
        assert_eq!(after(None, &[]).verdict, Verdict::Insufficient);
    }

    #[test]
    fn a_release_that_fails_too_much_is_taken_back_and_a_late_fault_too() {
        let judgement = after(None, &[(5, counts(100, 10))]);
        assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::Regressed, "objective"));
        assert!(
            judgement.reason.starts_with(
                "the promoted release fails too much: 50 of 500 (10%) answers failed since the promotion, where 1% is \
                 fine (the objective); ln E "
            ),
            "{}",
            judgement.reason
        );
        assert_eq!(after(None, &[(500, counts(1000, 1)), (3, counts(1000, 100))]).verdict, Verdict::Regressed);
    }

    #[test]
    fn what_the_release_before_did_is_fine_too() {
        assert_eq!(after(Some(0.1), &[(600, counts(100, 14))]).verdict, Verdict::Healthy);
        assert_eq!(after(Some(0.1), &[(600, counts(100, 30))]).verdict, Verdict::Regressed);
        assert_eq!(after(Some(1.0), &[(600, counts(100, 100))]).verdict, Verdict::Healthy, "nothing is worse");
    }

    #[test]
    fn one_unlucky_visitor_takes_nothing_back() {
        assert_eq!(after(None, &[(1, counts(20, 9))]).verdict, Verdict::Insufficient);
        assert_eq!(after(None, &[(1, counts(21, 10))]).verdict, Verdict::Regressed);
    }

    #[test]
    fn it_comes_back_from_json() {
        let mut watch = Watch::begin(&Plan::default(), Some(0.01));
        watch.observe(counts(977, 13));
        let text = serde_json::to_string(&watch).unwrap();
        assert_eq!(serde_json::from_str::<Watch>(&text).unwrap(), watch);
    }
}
