//! What a PromQL check says.
//!
//! A single number is compared with its bounds or with live's, so many times in a row: a heuristic, without a
//! guarantee. A pair of counts of each pool goes through the same comparison as the router's own counts, and keeps its
//! guarantee.

mod counts;

use self::counts::Counting;
use super::{ComparisonEvidence, words};
use crate::model::view::{CheckView, QueryView};
use crate::model::{BasisPoints, PromQlCheck, PromQlQuestion, Timestamp, Verdict, Worse};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An answer that is older than this many intervals, and a margin for a slow query, is no answer any more.
const STALE_INTERVALS: u32 = 3;
const STALE_MARGIN: Duration = Duration::from_secs(30);

/// What came of asking a PromQL check once.
#[derive(Debug, Clone, PartialEq)]
pub struct PromQlReport {
    /// The queries as they were asked, with their values.
    pub queries: Vec<QueryView>,
    /// The answer, or in a sentence why there is none.
    pub answer: Result<PromQlAnswer, String>,
}

/// What the queries of one PromQL check gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromQlAnswer {
    /// The number that bounds are for.
    Value(f64),
    /// The number of each pool.
    Compared {
        /// The candidate's.
        candidate: f64,
        /// Live's.
        live: f64,
    },
    /// What has been counted of each pool since a moment, which stays the same from answer to answer: what came in
    /// between two answers is their difference, however many were missed.
    Counts {
        /// The moment.
        since: Timestamp,
        /// Of the candidate.
        candidate: BadOfTotal,
        /// Of live.
        live: BadOfTotal,
    },
}

/// Two counts of one pool; Prometheus extrapolates, which makes them fractions.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct BadOfTotal {
    /// What went wrong.
    pub bad: f64,
    /// All there was.
    pub total: f64,
}

/// The evidence of one PromQL check.
///
/// A source that gives no usable answer neither adds to the bad values in a row nor ends the row: it says nothing of
/// the candidate. If it ended the row, a source that fails now and then would hide a bad release; if it added to it,
/// missing data would roll back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromQlEvidence {
    check: PromQlCheck,
    bad_in_a_row: u32,
    last: Option<Answer>,
    /// As they were asked last.
    queries: Vec<QueryView>,
    /// Of a pair.
    pair: Option<Pair>,
}

/// What a pair has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair {
    counting: Counting,
    comparison: ComparisonEvidence,
}

/// What the source said last in this step, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    at: Timestamp,
    said: Said,
}

/// Each with its sentence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// Within its bounds, or counts.
    Good(String),
    /// Out of its bounds.
    Bad(String),
    /// Nothing usable.
    Nothing(String),
}

impl PromQlEvidence {
    /// Nothing yet.
    #[must_use]
    pub fn new(check: PromQlCheck) -> Self {
        let pair = match &check.ask {
            PromQlQuestion::Bounds { .. } | PromQlQuestion::Compare { .. } => None,
            PromQlQuestion::Pair { tolerate, .. } => {
                Some(Pair { counting: Counting::default(), comparison: ComparisonEvidence::new(*tolerate) })
            }
        };
        Self { check, bad_in_a_row: 0, last: None, queries: Vec::new(), pair }
    }

    /// The check, as pinned at the rollout's start.
    #[must_use]
    pub fn check(&self) -> &PromQlCheck {
        &self.check
    }

    /// What the counts of a pair say; none for a check of single numbers, which is a heuristic.
    #[must_use]
    pub fn comparison(&self) -> Option<&ComparisonEvidence> {
        self.pair.as_ref().map(|pair| &pair.comparison)
    }

    /// Takes in one answer, or why there was none.
    pub fn observe(&mut self, report: PromQlReport, at: Timestamp) {
        self.queries = report.queries;
        let said = match report.answer {
            Ok(answer) => self.judge(answer),
            Err(fault) => Said::Nothing(fault),
        };
        match said {
            Said::Good(_) => self.bad_in_a_row = 0,
            Said::Bad(_) => self.bad_in_a_row = self.bad_in_a_row.saturating_add(1),
            Said::Nothing(_) => {}
        }
        self.last = Some(Answer { at, said });
    }

    fn judge(&mut self, answer: PromQlAnswer) -> Said {
        if !answer.is_finite() {
            return Said::Nothing("a query gave a value that is no number".to_owned());
        }
        match (&self.check.ask, answer) {
            (PromQlQuestion::Bounds { max, min, .. }, PromQlAnswer::Value(value)) => within(value, *max, *min),
            (PromQlQuestion::Compare { tolerate, worse, .. }, PromQlAnswer::Compared { candidate, live }) => {
                compared(candidate, live, *tolerate, *worse)
            }
            (PromQlQuestion::Pair { .. }, PromQlAnswer::Counts { since, candidate, live }) => {
                self.pair.as_mut().map_or_else(another_question, |pair| pair.count(since, candidate, live))
            }
            (
                PromQlQuestion::Bounds { .. } | PromQlQuestion::Compare { .. } | PromQlQuestion::Pair { .. },
                PromQlAnswer::Value(_) | PromQlAnswer::Compared { .. } | PromQlAnswer::Counts { .. },
            ) => another_question(),
        }
    }

    /// The weight is another one from the next answer on.
    pub fn weight_changed(&mut self, weight: BasisPoints) {
        if let Some(pair) = &mut self.pair {
            pair.comparison.weight_changed(weight);
        }
    }

    /// A step begins, at this weight: what was said of a smaller share does not pass this one. Bad values in a row stay.
    pub fn begin_step(&mut self, weight: BasisPoints) {
        self.last = None;
        if let Some(pair) = &mut self.pair {
            pair.comparison.begin_step(weight);
        }
    }

    /// Whether bad values have begun to come. What the counts of a pair say is not looked at.
    pub(super) fn leaning(&self) -> bool {
        self.bad_in_a_row > 0
    }

    /// Whether nothing has been answered in this step, not even that nothing can be.
    pub(super) fn unanswered(&self) -> bool {
        self.last.is_none()
    }

    fn verdict(&self, now: Timestamp) -> (Verdict, String) {
        let failures = self.check.failures.max(1);
        let row = self.bad_in_a_row;
        match &self.last {
            last if row >= failures => {
                let what = match last {
                    Some(Answer { said: Said::Bad(what), .. }) => what,
                    Some(Answer { said: Said::Good(_) | Said::Nothing(_), .. }) | None => {
                        "the value was out of its bounds"
                    }
                };
                (Verdict::Regressed, format!("{what}, {row} times in a row"))
            }
            None => (Verdict::Insufficient, "no answer yet in this step".to_owned()),
            Some(Answer { said: Said::Nothing(fault), .. }) => {
                (Verdict::SourceDown, format!("Prometheus gave no usable answer: {fault}"))
            }
            Some(Answer { at, .. }) if self.stale(*at, now) => {
                (Verdict::SourceDown, format!("Prometheus has not answered since {at:.0}"))
            }
            Some(Answer { said: Said::Bad(what), .. }) => {
                (Verdict::Insufficient, format!("{what}, {row} of {failures} times in a row"))
            }
            Some(Answer { said: Said::Good(what), .. }) => (Verdict::Healthy, what.clone()),
        }
    }

    fn stale(&self, at: Timestamp, now: Timestamp) -> bool {
        let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        age > self.check.every.get().saturating_mul(STALE_INTERVALS).saturating_add(STALE_MARGIN)
    }

    /// What the check says at this moment: of a pair, only whether its counts come in.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> CheckView {
        let (verdict, detail) = self.verdict(now);
        CheckView { queries: self.queries.clone(), ..CheckView::new(&self.check.name, "promql", verdict, detail) }
    }
}

impl Pair {
    fn count(&mut self, since: Timestamp, candidate: BadOfTotal, live: BadOfTotal) -> Said {
        match self.counting.count(since, candidate, live) {
            Err(fault) => Said::Nothing(fault),
            Ok(counted) => {
                self.comparison.observe(counted);
                // Prometheus knows no visitors: each count is taken for a draw of its own.
                self.comparison.add_draws(counted.candidate_requests, counted.candidate_failures);
                let rollout = self.comparison.rollout();
                Said::Good(format!(
                    "{} of the candidate counted, {} of live",
                    words::share(rollout.candidate_failures, rollout.candidate_requests),
                    words::share(rollout.live_failures, rollout.live_requests),
                ))
            }
        }
    }
}

impl PromQlAnswer {
    fn is_finite(self) -> bool {
        match self {
            Self::Value(value) => value.is_finite(),
            Self::Compared { candidate, live } => candidate.is_finite() && live.is_finite(),
            Self::Counts { candidate, live, .. } => {
                [candidate.bad, candidate.total, live.bad, live.total].into_iter().all(f64::is_finite)
            }
        }
    }
}

fn another_question() -> Said {
    Said::Nothing("an answer to another question".to_owned())
}

fn within(value: f64, max: Option<f64>, min: Option<f64>) -> Said {
    match (max, min) {
        (Some(max), _) if value > max => Said::Bad(format!("{value} is above {max}")),
        (_, Some(min)) if value < min => Said::Bad(format!("{value} is below {min}")),
        (Some(_) | None, Some(_) | None) => Said::Good(format!("{value} is within its bounds")),
    }
}

fn compared(candidate: f64, live: f64, tolerate: f64, worse: Worse) -> Said {
    // The part is one of the distance from 0, so that it widens the limit for negative values too.
    let slack = live.abs() * tolerate;
    let (limit, is_worse, side) = match worse {
        Worse::Higher => (live + slack, candidate > live + slack, "above"),
        Worse::Lower => (live - slack, candidate < live - slack, "below"),
    };
    if is_worse {
        Said::Bad(format!("the candidate's {candidate} is {side} {limit}, the limit by live's {live}"))
    } else {
        Said::Good(format!("the candidate's {candidate} is not {side} {limit}, the limit by live's {live}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Period;

    const NOON: i64 = 43_200;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn evidence() -> PromQlEvidence {
        asking(PromQlQuestion::Bounds { query: "jobs".to_owned(), max: Some(0.5), min: Some(0.0) })
    }

    fn asking(ask: PromQlQuestion) -> PromQlEvidence {
        PromQlEvidence::new(PromQlCheck {
            name: "failed jobs".to_owned(),
            ask,
            window: Period::from_secs(60),
            every: Period::from_secs(15),
            failures: 3,
        })
    }

    fn report(answer: Result<f64, &str>) -> PromQlReport {
        let value = answer.ok();
        let query = QueryView { what: "value".to_owned(), pool: None, query: "jobs".to_owned(), value };
        PromQlReport { queries: vec![query], answer: answer.map(PromQlAnswer::Value).map_err(str::to_owned) }
    }

    fn verdict_after(answers: &[Result<f64, &str>]) -> Verdict {
        let mut evidence = evidence();
        for (second, answer) in (0..).zip(answers) {
            evidence.observe(report(*answer), at(second));
        }
        evidence.view(at(10)).verdict
    }

    #[test]
    fn only_bad_values_in_a_row_regress_and_a_good_one_ends_the_row() {
        assert_eq!(verdict_after(&[]), Verdict::Insufficient);
        assert_eq!(verdict_after(&[Ok(0.1)]), Verdict::Healthy);
        assert_eq!(verdict_after(&[Ok(0.9), Ok(0.9)]), Verdict::Insufficient);
        assert_eq!(verdict_after(&[Ok(0.9), Ok(-0.1), Ok(1e300)]), Verdict::Regressed);
        assert_eq!(verdict_after(&[Ok(0.9), Ok(0.9), Ok(0.5), Ok(0.9)]), Verdict::Insufficient);
    }

    #[test]
    fn a_silent_source_neither_passes_nor_fails_nor_ends_a_row() {
        assert_eq!(verdict_after(&[Err("refused")]), Verdict::SourceDown);
        assert_eq!(verdict_after(&[Ok(f64::NAN); 5]), Verdict::SourceDown);
        assert_eq!(verdict_after(&[Ok(f64::INFINITY); 5]), Verdict::SourceDown);
        assert_eq!(verdict_after(&[Ok(0.9), Ok(0.9), Err("timed out")]), Verdict::SourceDown);
        assert_eq!(verdict_after(&[Ok(0.9), Ok(0.9), Err("timed out"), Ok(0.9)]), Verdict::Regressed);
        assert_eq!(verdict_after(&[Err("timed out"), Ok(0.1)]), Verdict::Healthy);
    }

    #[test]
    fn an_old_answer_is_none_and_so_is_one_of_the_step_before() {
        let mut evidence = evidence();
        evidence.observe(report(Ok(0.1)), at(0));
        assert_eq!(evidence.view(at(75)).verdict, Verdict::Healthy);
        assert_eq!(evidence.view(at(76)).verdict, Verdict::SourceDown);
        assert_eq!(evidence.view(at(-1000)).verdict, Verdict::Healthy, "a clock that went back");
        evidence.begin_step(BasisPoints::ALL);
        assert_eq!(evidence.view(at(1)).verdict, Verdict::Insufficient);
    }

    #[test]
    fn the_candidate_is_compared_with_live_the_way_that_is_worse() {
        let verdict = |worse, candidate, live| match compared(candidate, live, 0.1, worse) {
            Said::Good(_) => "good",
            Said::Bad(_) => "bad",
            Said::Nothing(_) => "nothing",
        };
        for (worse, candidate, live, expected) in [
            (Worse::Higher, 110.0, 100.0, "good"),
            (Worse::Higher, 111.0, 100.0, "bad"),
            (Worse::Higher, 1.0, 100.0, "good"),
            (Worse::Higher, -95.0, -100.0, "good"),
            (Worse::Higher, -89.0, -100.0, "bad"),
            (Worse::Higher, 0.0, 0.0, "good"),
            (Worse::Higher, 0.1, 0.0, "bad"),
            (Worse::Lower, 90.0, 100.0, "good"),
            (Worse::Lower, 89.0, 100.0, "bad"),
            (Worse::Lower, -111.0, -100.0, "bad"),
            (Worse::Lower, 1000.0, 100.0, "good"),
        ] {
            assert_eq!(verdict(worse, candidate, live), expected, "{worse:?} {candidate} {live}");
        }
    }

    #[test]
    fn a_comparison_regresses_by_bad_values_in_a_row_and_needs_both_numbers() {
        let ask = PromQlQuestion::Compare { query: "q".to_owned(), tolerate: 0.1, worse: Worse::Higher };
        let mut evidence = asking(ask);
        let mut observe = |candidate, live| {
            let answer = Ok(PromQlAnswer::Compared { candidate, live });
            evidence.observe(PromQlReport { queries: Vec::new(), answer }, at(0));
            evidence.view(at(0)).verdict
        };
        assert_eq!(observe(1.0, 1.0), Verdict::Healthy);
        assert_eq!(observe(f64::NAN, 1.0), Verdict::SourceDown);
        assert_eq!(observe(2.0, 1.0), Verdict::Insufficient);
        assert_eq!(observe(2.0, f64::NAN), Verdict::SourceDown);
        assert_eq!(observe(2.0, 1.0), Verdict::Insufficient);
        assert_eq!(observe(2.0, 1.0), Verdict::Regressed);
    }

    fn pair() -> PromQlEvidence {
        asking(PromQlQuestion::Pair { bad: "b".to_owned(), total: "t".to_owned(), tolerate: 0.0 })
    }

    fn counts(evidence: &mut PromQlEvidence, candidate: (f64, f64), live: (f64, f64)) {
        let of = |(bad, total)| BadOfTotal { bad, total };
        let answer = PromQlAnswer::Counts { since: at(0), candidate: of(candidate), live: of(live) };
        evidence.observe(PromQlReport { queries: Vec::new(), answer: Ok(answer) }, at(NOON));
    }

    #[test]
    fn a_pair_is_judged_as_the_routers_own_counts_are() {
        let weight = BasisPoints::from_percent(50.0).unwrap();
        let (mut evidence, mut own) = (pair(), ComparisonEvidence::new(0.0));
        evidence.begin_step(weight);
        own.begin_step(weight);
        counts(&mut evidence, (7.0, 1000.0), (7.0, 1000.0));
        for answer in 1..=20 {
            let n = f64::from(answer);
            counts(&mut evidence, (7.0 + n, 1000.0 + 50.0 * n), (7.0, 1000.0 + 50.0 * n));
            own.observe(super::super::Pair {
                candidate_requests: 50,
                candidate_failures: 1,
                live_requests: 50,
                ..super::super::Pair::default()
            });
        }
        let comparison = evidence.comparison().unwrap();
        assert!((comparison.ln_rollback() - own.ln_rollback()).abs() < 1e-9);
        assert!(comparison.ln_rollback() > 100f64.ln() && comparison.alarm_allowed());
        let view = evidence.view(at(NOON));
        assert_eq!(view.detail, "20 of 1,000 (2%) of the candidate counted, 0 of 1,000 (0%) of live");
        assert_eq!(view.verdict, Verdict::Healthy, "whether it regressed is for the comparison to say");
    }

    #[test]
    fn a_pair_that_can_not_be_asked_is_a_source_that_is_down_and_counts_nothing() {
        let mut evidence = pair();
        counts(&mut evidence, (0.0, 0.0), (0.0, 0.0));
        evidence.observe(report(Err("refused")), at(NOON));
        assert_eq!(evidence.view(at(NOON)).verdict, Verdict::SourceDown);
        counts(&mut evidence, (f64::NAN, 10.0), (0.0, 10.0));
        assert_eq!(evidence.view(at(NOON)).verdict, Verdict::SourceDown);
        evidence.observe(report(Ok(1.0)), at(NOON));
        assert_eq!(evidence.view(at(NOON)).verdict, Verdict::SourceDown, "one number is no pair");
        assert_eq!(evidence.comparison().unwrap().rollout(), crate::model::view::CountsView::default());
    }

    #[test]
    fn it_comes_back_from_json_with_any_value() {
        for answer in [Ok(0.2), Ok(0.1), Err("refused")] {
            let mut evidence = evidence();
            evidence.observe(report(answer), at(5));
            let text = serde_json::to_string(&evidence).unwrap();
            assert_eq!(serde_json::from_str::<PromQlEvidence>(&text).unwrap(), evidence);
        }
        let mut evidence = pair();
        counts(&mut evidence, (0.1, 0.7), (0.2, 5.3));
        counts(&mut evidence, (1.6, 20.7), (0.2, 15.4));
        let text = serde_json::to_string(&evidence).unwrap();
        assert_eq!(serde_json::from_str::<PromQlEvidence>(&text).unwrap(), evidence);
    }
}
