//! From what Prometheus has counted since a moment to whole numbers that came in since the answer before.
//!
//! Prometheus extrapolates an `increase()` to the edges of its window, so its values are fractions, and a later one may
//! be smaller than an earlier one. Windows that begin anew with each answer would add that error up, and lose what came
//! in between the last sample of one and the first of the next. So all windows begin at the same moment: whatever an
//! answer has too much or too little, the next one makes good, and an answer that was missed is part of the next.

use super::BadOfTotal;
use crate::analysis::Pair;
use crate::model::Timestamp;
use serde::{Deserialize, Serialize};

/// Beyond this a 64-bit float leaves out whole numbers.
const LARGEST: f64 = 9_007_199_254_740_992.0;
/// A count that falls below this part of what it was is not the same one any more; less is extrapolation.
const LOST: f64 = 0.5;
/// Small counts fall by that much through extrapolation alone.
const EXTRAPOLATED: f64 = 10.0;

/// What has been taken in of both pools.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Counting {
    since: Option<Timestamp>,
    candidate: Side,
    live: Side,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Side {
    /// What the first answer said: that much came before.
    before: BadOfTotal,
    bad: u64,
    total: u64,
}

impl Counting {
    /// What came in since the answer before; of the first answer nothing, since what it counts may have come before the
    /// rollout.
    ///
    /// # Errors
    /// When the numbers can't be counts, or are far below what was counted before: data was lost, or several servers with
    /// different memories answer. To count on from there would count twice what one of them still knows. The sentence
    /// says which.
    pub(super) fn count(&mut self, since: Timestamp, candidate: BadOfTotal, live: BadOfTotal) -> Result<Pair, String> {
        plausible("the candidate", candidate)?;
        plausible("live", live)?;
        if self.since != Some(since) {
            *self = Self { since: Some(since), candidate: Side::from(candidate), live: Side::from(live) };
        }
        self.candidate.goes_on("the candidate", candidate)?;
        self.live.goes_on("live", live)?;
        let (candidate_failures, candidate_requests) = self.candidate.count(candidate);
        let (live_failures, live_requests) = self.live.count(live);
        Ok(Pair { candidate_requests, candidate_failures, live_requests, live_failures, ..Pair::default() })
    }
}

impl From<BadOfTotal> for Side {
    fn from(before: BadOfTotal) -> Self {
        Self { before, bad: 0, total: 0 }
    }
}

impl Side {
    fn goes_on(&self, pool: &str, now: BadOfTotal) -> Result<(), String> {
        for (what, now, before, counted) in
            [("bad", now.bad, self.before.bad, self.bad), ("total", now.total, self.before.total, self.total)]
        {
            let known = before + crate::analysis::eprocess::as_f64(counted);
            if now + EXTRAPOLATED < LOST * known {
                return Err(format!(
                    "`{what}` of {pool} fell from {known} to {now}; did Prometheus lose data, or do several servers answer?"
                ));
            }
        }
        Ok(())
    }

    /// The bad and all of them that were not counted yet.
    fn count(&mut self, now: BadOfTotal) -> (u64, u64) {
        let total = whole(now.total - self.before.total).saturating_sub(self.total);
        // What is bad is one of all: where Prometheus saw it first among the bad, it waits for its fellow.
        let bad = whole(now.bad - self.before.bad).saturating_sub(self.bad).min(total);
        self.total += total;
        self.bad += bad;
        (bad, total)
    }
}

/// The nearest whole number; 0 for what is below it.
// Between 0 and 2^53 by `plausible`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(count: f64) -> u64 {
    count.round().max(0.0) as u64
}

fn plausible(pool: &str, counts: BadOfTotal) -> Result<(), String> {
    let BadOfTotal { bad, total } = counts;
    for (what, count) in [("bad", bad), ("total", total)] {
        if !(0.0..LARGEST).contains(&count) {
            return Err(format!("`{what}` of {pool} is {count}, which is no count"));
        }
    }
    // Extrapolation alone makes no such difference.
    if bad > 2.0 * total + EXTRAPOLATED {
        return Err(format!("`bad` of {pool} is {bad}, more than its `total` of {total}; does it count a part of it?"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bad: f64, total: f64) -> BadOfTotal {
        BadOfTotal { bad, total }
    }

    fn start() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn counted(counting: &mut Counting, candidate: BadOfTotal) -> (u64, u64) {
        let pair = counting.count(start(), candidate, of(0.0, 0.0)).unwrap();
        (pair.candidate_failures, pair.candidate_requests)
    }

    #[test]
    fn the_first_answer_only_says_what_came_before() {
        let mut counting = Counting::default();
        assert_eq!(counted(&mut counting, of(5.0, 100.0)), (0, 0));
        assert_eq!(counted(&mut counting, of(7.0, 130.0)), (2, 30));
        assert_eq!(counted(&mut counting, of(7.0, 130.0)), (0, 0), "nothing is counted twice");
    }

    #[test]
    fn fractions_and_steps_back_are_made_good_by_the_next_answer() {
        let mut counting = Counting::default();
        counted(&mut counting, of(0.0, 0.0));
        let mut sum = (0, 0);
        for (bad, total) in [(0.4, 3.4), (0.8, 6.8), (1.2, 6.1), (1.6, 9.9), (1.6, 9.4), (3.0, 20.0)] {
            let (more_bad, more) = counted(&mut counting, of(bad, total));
            sum = (sum.0 + more_bad, sum.1 + more);
        }
        assert_eq!(sum, (3, 20));
    }

    #[test]
    fn a_bad_one_waits_until_it_is_one_of_all() {
        let mut counting = Counting::default();
        counted(&mut counting, of(0.0, 0.0));
        assert_eq!(counted(&mut counting, of(3.0, 1.0)), (1, 1));
        assert_eq!(counted(&mut counting, of(3.0, 10.0)), (2, 9));
    }

    #[test]
    fn what_another_server_does_not_know_is_told_and_never_counted_twice() {
        let mut counting = Counting::default();
        counted(&mut counting, of(0.0, 0.0));
        counted(&mut counting, of(10.0, 1000.0));
        for _ in 0..3 {
            let told = counting.count(start(), of(1.0, 100.0), of(0.0, 0.0)).unwrap_err();
            assert!(told.contains("`total` of the candidate fell from 1000 to 100"), "{told}");
            assert_eq!(counted(&mut counting, of(10.0, 1000.0)), (0, 0));
        }
        assert_eq!(counted(&mut counting, of(10.0, 1001.0)), (0, 1));
        let later = Timestamp::from_second(3600).unwrap();
        let pair = counting.count(later, of(1.0, 400.0), of(0.0, 0.0)).unwrap();
        assert_eq!(pair, Pair::default(), "another moment to count from");
    }

    #[test]
    fn numbers_that_are_no_counts_are_told() {
        for (counts, sentence) in [
            (of(-1.0, 5.0), "`bad` of the candidate is -1"),
            (of(0.0, 1e17), "`total` of the candidate is"),
            (of(100.0, 5.0), "more than its `total`"),
        ] {
            let told = Counting::default().count(start(), counts, of(0.0, 0.0)).unwrap_err();
            assert!(told.contains(sentence), "{told}");
        }
    }

    odd_input! {
        fn sums_are_right_however_the_answers_come(answers in prop::collection::vec((0u32..50, 0u32..50, -0.5f64..0.5, any::<bool>()), 1..60)) {
            let mut counting = Counting::default();
            counted(&mut counting, of(0.0, 0.0));
            let (mut bad, mut good, mut sum) = (0, 0, (0, 0));
            for (more_bad, more_good, noise, missed) in answers {
                bad += u64::from(more_bad);
                good += u64::from(more_good);
                if missed {
                    continue;
                }
                let total = crate::analysis::eprocess::as_f64(bad + good);
                let (more_bad, more) = counted(&mut counting, of(crate::analysis::eprocess::as_f64(bad), (total + noise).max(0.0)));
                sum = (sum.0 + more_bad, sum.1 + more);
                prop_assert!(sum.0 <= sum.1 && sum.1 <= bad + good + 1 && sum.0 <= bad);
            }
            let total = crate::analysis::eprocess::as_f64(bad + good);
            let (more_bad, more) = counted(&mut counting, of(crate::analysis::eprocess::as_f64(bad), total));
            prop_assert_eq!(sum.0 + more_bad, bad);
            prop_assert!((bad + good..=bad + good + 1).contains(&(sum.1 + more)));
        }
    }
}
