//! What counts of both pools say: does the candidate fail more often than live, over the same seconds?

use super::eprocess::{LateStart, NO_WORSE, Null, Plain, WORSE, as_f64};
use super::expect::first_that_suffices;
use crate::model::{BasisPoints, view::CountsView};
use serde::{Deserialize, Serialize};

/// The drawn requests of one judged tick of 100 ms, and those of them that failed and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pair {
    /// Requests of the candidate.
    pub candidate_requests: u64,
    /// Of those, failed and counted: of a sticky visitor, one for each step.
    pub candidate_failures: u64,
    /// Of those, failed at all; 0 where only the counted ones are known.
    pub candidate_failed: u64,
    /// Of those, without an outcome when the lag was over.
    pub candidate_late: u64,
    /// Requests of live.
    pub live_requests: u64,
    /// Of those, failed and counted: of a sticky visitor, one for each step.
    pub live_failures: u64,
    /// Of those, failed at all; 0 where only the counted ones are known.
    pub live_failed: u64,
    /// Of those, without an outcome when the lag was over.
    pub live_late: u64,
}

/// An alarm needs failures from this many different draws, unless fewer have been seen at all: one visitor who tries
/// again and again is not many failures.
const DRAWS_FOR_AN_ALARM: u64 = 3;

/// Where this part of all visitors fails, and again and again, a step is not passed, though it may be too few of them
/// for an alarm. On a site where every hundredth visitor has a bad line, that one in ten fails is no bad luck.
const MANY_OF_THEM: u64 = 10;

/// Ticks are joined until this many requests of each side are to be expected, and this many in all. A tick in which
/// only one side was asked says nothing in a comparison within ticks, and on a small site nearly all are such. The
/// bound holds for joined ticks too: it is their number of requests that ends them, whatever pools these were drawn
/// for, so that within them failures fall on the pools as the draws did; and a draw without replacement is no more
/// scattered than the one that the bets reckon with (Hoeffding 1963).
const JOINED_PER_SIDE: u64 = 2;
const JOINED_IN_ALL: u64 = 10;

/// The evidence of one comparison; `tolerate` is the absolute difference of the ratios that is still fine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonEvidence {
    tolerate: f64,
    weight: BasisPoints,
    rollback: LateStart,
    /// As `rollback`, of all failures: what one visitor does again and again is in it too.
    every: LateStart,
    promote: Plain,
    joined: Pair,
    rollout: CountsView,
    step: CountsView,
    failing_draws: u64,
    draws_seen: u64,
}

impl ComparisonEvidence {
    /// Nothing yet.
    #[must_use]
    pub fn new(tolerate: f64) -> Self {
        Self {
            tolerate,
            weight: BasisPoints::ZERO,
            rollback: LateStart::new(),
            every: LateStart::new(),
            promote: Plain::new(),
            joined: Pair::default(),
            rollout: CountsView::default(),
            step: CountsView::default(),
            failing_draws: 0,
            draws_seen: 0,
        }
    }

    /// Takes in one judged tick.
    pub fn observe(&mut self, tick: Pair) {
        if let Some(joined) = self.join(tick) {
            self.judge(joined);
        }
    }

    /// Counts a tick; gives the joined ones once they are enough to be judged.
    fn join(&mut self, tick: Pair) -> Option<Pair> {
        count(&mut self.rollout, tick);
        count(&mut self.step, tick);
        self.joined = self.joined.and(tick);
        (self.joined.requests() >= requests_to_join(self.weight)).then(|| std::mem::take(&mut self.joined))
    }

    fn judge(&mut self, tick: Pair) {
        let null = Null { ratio: 1.0, tolerate: self.tolerate };
        let every = tick.with_every_failure();
        // Until a visitor fails twice in a step both have seen the same, and one reckoning is enough.
        let alike = every == tick && self.every == self.rollback;
        self.rollback.observe(tick, &WORSE, null);
        if alike {
            self.every = self.rollback.clone();
        } else {
            self.every.observe(every, &WORSE, null);
        }
        self.promote.observe(tick.as_bad_as_can_be(), &NO_WORSE, null);
    }

    fn standing(&self) -> Standing {
        let (rollback, every, promote) = (self.rollback.clone(), self.every.clone(), self.promote.clone());
        Standing { tolerate: self.tolerate, rollback, every, promote }
    }

    /// The weight is another one from the next tick on.
    pub fn weight_changed(&mut self, weight: BasisPoints) {
        let joined = std::mem::take(&mut self.joined);
        self.judge(joined);
        self.weight = weight;
        self.rollback.weight_changed();
        self.every.weight_changed();
    }

    /// A step begins, at this weight: evidence for promotion starts anew, that for rollback goes on.
    pub fn begin_step(&mut self, weight: BasisPoints) {
        self.weight_changed(weight);
        self.promote = Plain::new();
        self.step = CountsView::default();
    }

    /// So many more distinct draws of the candidate have been seen, and so many have failed for the first time.
    pub(super) fn add_draws(&mut self, seen: u64, failing: u64) {
        self.draws_seen = self.draws_seen.saturating_add(seen);
        self.failing_draws = self.failing_draws.saturating_add(failing);
    }

    /// Whether enough different draws have failed for an alarm.
    #[must_use]
    pub fn alarm_allowed(&self) -> bool {
        self.failing_draws >= self.draws_seen.clamp(1, DRAWS_FOR_AN_ALARM)
    }

    /// Whether so many of the visitors fail that their further failures, which are no part of an alarm, speak too.
    #[must_use]
    pub fn many_of_them_fail(&self) -> bool {
        self.failing_draws > 0 && self.failing_draws.saturating_mul(MANY_OF_THEM) >= self.draws_seen
    }

    /// ln E against "the candidate is no worse", of all failures, over the whole rollout.
    #[must_use]
    pub fn ln_every(&self) -> f64 {
        self.every.ln_e()
    }

    /// Distinct draws of the candidate that were seen.
    pub(super) fn draws_seen(&self) -> u64 {
        self.draws_seen
    }

    /// Distinct draws of the candidate that have failed.
    #[must_use]
    pub fn failing_draws(&self) -> u64 {
        self.failing_draws
    }

    /// ln E against "the candidate is no worse", over the whole rollout.
    #[must_use]
    pub fn ln_rollback(&self) -> f64 {
        self.rollback.ln_e()
    }

    /// ln E against "the candidate is worse", in this step.
    #[must_use]
    pub fn ln_promote(&self) -> f64 {
        self.promote.ln_e()
    }

    /// Candidate requests of this step that are still needed until ln E for promotion is at `promote_at`, if none of
    /// either pool is bad; None where no number suffices.
    pub(super) fn requests_to_promote(&self, promote_at: f64) -> Option<u64> {
        let null = Null { ratio: 1.0, tolerate: self.tolerate };
        first_that_suffices(|requests| {
            self.promote.ln_after_clean_run(&NO_WORSE, null, self.weight.ratio(), as_f64(requests)) >= promote_at
        })
    }

    /// Counts of the whole rollout.
    #[must_use]
    pub fn rollout(&self) -> CountsView {
        self.rollout
    }

    /// Counts of this step.
    #[must_use]
    pub fn step(&self) -> CountsView {
        self.step
    }
}

/// All that a comparison's next judgement depends on, beside the tick.
#[derive(PartialEq)]
struct Standing {
    tolerate: f64,
    rollback: LateStart,
    every: LateStart,
    promote: Plain,
}

/// Takes in a tick of several comparisons. Where two stand alike and see the same, the second takes over what the first
/// has come to, to the last bit: most comparisons never see anything bad, and are the same all the time.
pub(super) fn observe_each<'a>(comparisons: impl IntoIterator<Item = (&'a mut ComparisonEvidence, Pair)>) {
    let mut judged: Option<(Pair, Standing, &ComparisonEvidence)> = None;
    for (comparison, tick) in comparisons {
        let Some(joined) = comparison.join(tick) else { continue };
        let before = comparison.standing();
        if let Some((same, standing, other)) = &judged
            && *same == joined
            && *standing == before
        {
            comparison.rollback = other.rollback.clone();
            comparison.every = other.every.clone();
            comparison.promote = other.promote.clone();
        } else {
            comparison.judge(joined);
            judged = Some((joined, before, comparison));
        }
    }
}

impl Pair {
    /// Of both pools.
    #[must_use]
    pub fn requests(self) -> u64 {
        self.candidate_requests.saturating_add(self.live_requests)
    }

    /// Both ticks as one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            candidate_requests: self.candidate_requests.saturating_add(other.candidate_requests),
            candidate_failures: self.candidate_failures.saturating_add(other.candidate_failures),
            candidate_failed: self.candidate_failed.saturating_add(other.candidate_failed),
            candidate_late: self.candidate_late.saturating_add(other.candidate_late),
            live_requests: self.live_requests.saturating_add(other.live_requests),
            live_failures: self.live_failures.saturating_add(other.live_failures),
            live_failed: self.live_failed.saturating_add(other.live_failed),
            live_late: self.live_late.saturating_add(other.live_late),
        }
    }

    /// With the further failures of sticky visitors.
    #[must_use]
    pub fn with_every_failure(self) -> Self {
        Self {
            candidate_failures: self.candidate_failures.max(self.candidate_failed),
            live_failures: self.live_failures.max(self.live_failed),
            ..self
        }
    }

    /// As it counts for a promotion: with every failure of the candidate, and without its requests that have no
    /// outcome, since what is not answered speaks for nobody.
    #[must_use]
    pub fn as_bad_as_can_be(self) -> Self {
        Self {
            candidate_requests: self.candidate_answered(),
            candidate_failures: self.candidate_failures.max(self.candidate_failed),
            ..self
        }
    }

    /// Requests of the candidate that have an outcome.
    #[must_use]
    pub fn candidate_answered(self) -> u64 {
        self.candidate_requests.saturating_sub(self.candidate_late)
    }

    /// With the requests that are late as those that fail.
    #[must_use]
    pub fn late_as_failures(self) -> Self {
        Self {
            candidate_requests: self.candidate_requests,
            candidate_failures: self.candidate_late,
            live_requests: self.live_requests,
            live_failures: self.live_late,
            ..Self::default()
        }
    }
}

fn count(counts: &mut CountsView, tick: Pair) {
    counts.candidate_requests = counts.candidate_requests.saturating_add(tick.candidate_requests);
    counts.candidate_failures = counts.candidate_failures.saturating_add(tick.candidate_failures);
    counts.live_requests = counts.live_requests.saturating_add(tick.live_requests);
    counts.live_failures = counts.live_failures.saturating_add(tick.live_failures);
}

fn requests_to_join(weight: BasisPoints) -> u64 {
    let all = u64::from(BasisPoints::ALL.get());
    let candidate = u64::from(weight.get());
    // At 0% and 100% there is nothing to compare with, and so nothing to wait for.
    match candidate.min(all - candidate) {
        0 => 1,
        smaller => (JOINED_PER_SIDE * all).div_ceil(smaller).max(JOINED_IN_ALL),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(percent: f64) -> ComparisonEvidence {
        let mut evidence = ComparisonEvidence::new(0.0);
        evidence.begin_step(BasisPoints::from_percent(percent).unwrap());
        evidence
    }

    fn tick(candidate_requests: u64, candidate_failures: u64, live_requests: u64, live_failures: u64) -> Pair {
        Pair { candidate_requests, candidate_failures, live_requests, live_failures, ..Pair::default() }
    }

    #[test]
    fn ticks_of_a_busy_site_are_judged_one_by_one_as_the_reference_says() {
        let mut evidence = evidence(5.0);
        let lns: Vec<f64> = [tick(50, 2, 950, 1), tick(60, 1, 900, 2), tick(100, 0, 900, 1), tick(500, 6, 500, 1)]
            .into_iter()
            .map(|tick| {
                evidence.observe(tick);
                evidence.ln_rollback()
            })
            .collect();
        for (ln, expected) in lns.iter().zip([2.778_750, 3.261_616, 2.433_570, 4.113_605]) {
            assert!((ln - expected).abs() < 1e-6, "{ln} is not {expected}");
        }
    }

    #[test]
    fn a_site_with_one_request_per_tick_sees_a_failing_candidate_too() {
        let mut evidence = evidence(50.0);
        for _ in 0..20 {
            evidence.observe(tick(1, 1, 0, 0));
            evidence.observe(tick(0, 0, 1, 0));
        }
        assert!(evidence.ln_rollback() > 100f64.ln(), "{}", evidence.ln_rollback());
    }

    #[test]
    fn joined_ticks_are_judged_before_the_weight_changes() {
        let mut evidence = evidence(1.0);
        evidence.observe(tick(5, 5, 95, 0));
        assert!(evidence.ln_rollback().abs() < 1e-12, "judged too early");
        evidence.weight_changed(BasisPoints::from_percent(5.0).unwrap());
        assert!(evidence.ln_rollback() > 5.0);
    }

    #[test]
    fn a_step_starts_promotion_anew_and_keeps_rollback() {
        let mut evidence = ComparisonEvidence::new(0.01);
        evidence.begin_step(BasisPoints::from_percent(50.0).unwrap());
        for _ in 0..10 {
            evidence.observe(tick(50, 0, 50, 0));
        }
        let rollback = evidence.ln_rollback();
        assert!(evidence.ln_promote() > 1.0 && evidence.step().candidate_requests == 500);
        evidence.begin_step(BasisPoints::ALL);
        assert!(evidence.ln_promote().abs() < 1e-12 && evidence.step().candidate_requests == 0);
        assert!((evidence.ln_rollback() - rollback).abs() < 1e-12);
        assert_eq!(evidence.rollout().candidate_requests, 500);
    }

    #[test]
    fn an_alarm_needs_three_failing_draws_unless_fewer_were_seen() {
        let mut evidence = evidence(5.0);
        assert!(!evidence.alarm_allowed(), "nobody fails");
        evidence.add_draws(1, 1);
        assert!(evidence.alarm_allowed(), "the only one fails");
        evidence.add_draws(50, 0);
        assert!(!evidence.alarm_allowed(), "one of many fails");
        assert!(!evidence.many_of_them_fail());
        evidence.add_draws(0, 2);
        assert!(evidence.alarm_allowed(), "three fail");
        evidence.add_draws(0, 3);
        assert!(evidence.many_of_them_fail());
    }

    #[test]
    fn comparisons_that_see_the_same_come_to_the_same_as_each_by_itself() {
        let begun = |tolerate| ComparisonEvidence { tolerate, ..evidence(5.0) };
        let mut together = [0.0, 0.001, 0.001, 0.001].map(begun);
        let mut alone = together.clone();
        for number in 0..200 {
            let clean = tick(number % 11, 0, 95 + number % 7, 0);
            // The last one sees failures from a certain tick on, some of them those of one visitor again and again.
            let bad = Pair {
                candidate_failures: u64::from(number % 40 == 39).min(clean.candidate_requests),
                candidate_failed: u64::from(number > 100).min(clean.candidate_requests),
                live_failures: u64::from(number % 30 == 29),
                ..clean
            };
            let ticks = [clean, clean, clean, bad];
            observe_each(together.iter_mut().zip(ticks));
            for (comparison, tick) in alone.iter_mut().zip(ticks) {
                comparison.observe(tick);
            }
            assert_eq!(serde_json::to_string(&together).unwrap(), serde_json::to_string(&alone).unwrap());
        }
        assert!(together[1] == together[2] && together[0] != together[1] && together[3] != together[2]);
        assert_ne!(together[3].rollback, together[3].every);
    }

    #[test]
    fn evidence_comes_back_from_json_bit_by_bit() {
        let mut evidence = evidence(5.0);
        evidence.observe(tick(7, 1, 99, 3));
        evidence.observe(tick(1, 0, 3, 0));
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<ComparisonEvidence>(&text).unwrap(), evidence);
    }
}
