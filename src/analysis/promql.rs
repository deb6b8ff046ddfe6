//! What a PromQL check says: a number against its bounds, so many times in a row. A heuristic, without a guarantee.

use super::words;
use crate::model::view::{CheckView, QueryView};
use crate::model::{PromQlCheck, PromQlQuestion, Timestamp, Verdict};
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
    /// What has been counted of each pool since the answer before.
    Counts {
        /// Of the candidate.
        candidate: BadOfTotal,
        /// Of live.
        live: BadOfTotal,
    },
}

/// Two counts of one pool; a rate that Prometheus extrapolates makes them fractions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
}

/// What the source said last in this step, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    at: Timestamp,
    said: Said,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    /// Within its bounds; as text, since JSON has no infinity.
    Good(#[serde(with = "words::number_text")] f64),
    /// Out of its bounds.
    Bad(#[serde(with = "words::number_text")] f64),
    /// Nothing usable.
    Nothing(String),
}

impl PromQlEvidence {
    /// Nothing yet.
    #[must_use]
    pub fn new(check: PromQlCheck) -> Self {
        Self { check, bad_in_a_row: 0, last: None, queries: Vec::new() }
    }

    /// The check, as pinned at the rollout's start.
    #[must_use]
    pub fn check(&self) -> &PromQlCheck {
        &self.check
    }

    /// Takes in one answer, or why there was none.
    pub fn observe(&mut self, report: PromQlReport, at: Timestamp) {
        self.queries = report.queries;
        let answer = report.answer.and_then(|answer| match answer {
            PromQlAnswer::Value(value) => Ok(value),
            PromQlAnswer::Compared { .. } | PromQlAnswer::Counts { .. } => {
                Err("an answer to another question".to_owned())
            }
        });
        let said = match answer {
            Err(fault) => Said::Nothing(fault),
            Ok(value) if value.is_nan() => Said::Nothing("the query gave NaN".to_owned()),
            Ok(value) if self.fault_of(value).is_some() => Said::Bad(value),
            Ok(value) => Said::Good(value),
        };
        match said {
            Said::Good(_) => self.bad_in_a_row = 0,
            Said::Bad(_) => self.bad_in_a_row = self.bad_in_a_row.saturating_add(1),
            Said::Nothing(_) => {}
        }
        self.last = Some(Answer { at, said });
    }

    /// A step begins: what was said of a smaller share does not pass this one. Bad values in a row stay.
    pub fn begin_step(&mut self) {
        self.last = None;
    }

    /// Whether bad values have begun to come.
    pub(super) fn leaning(&self) -> bool {
        self.bad_in_a_row > 0
    }

    fn fault_of(&self, value: f64) -> Option<String> {
        let PromQlQuestion::Bounds { max, min, .. } = &self.check.ask else { return None };
        match (*max, *min) {
            (Some(max), _) if value > max => Some(format!("{value} is above {max}")),
            (_, Some(min)) if value < min => Some(format!("{value} is below {min}")),
            (Some(_) | None, Some(_) | None) => None,
        }
    }

    fn verdict(&self, now: Timestamp) -> (Verdict, String) {
        let failures = self.check.failures.max(1);
        let row = self.bad_in_a_row;
        match &self.last {
            last if row >= failures => {
                let what = match last {
                    Some(Answer { said: Said::Bad(value), .. }) => self.fault_of(*value),
                    Some(Answer { said: Said::Good(_) | Said::Nothing(_), .. }) | None => None,
                };
                let what = what.unwrap_or_else(|| "the value was out of its bounds".to_owned());
                (Verdict::Regressed, format!("{what}, {row} times in a row"))
            }
            None => (Verdict::Insufficient, "no answer yet in this step".to_owned()),
            Some(Answer { said: Said::Nothing(fault), .. }) => {
                (Verdict::SourceDown, format!("Prometheus gave no usable answer: {fault}"))
            }
            Some(Answer { at, .. }) if self.stale(*at, now) => {
                (Verdict::SourceDown, format!("Prometheus has not answered since {at:.0}"))
            }
            Some(Answer { said: Said::Bad(value), .. }) => {
                let what = self.fault_of(*value).unwrap_or_default();
                (Verdict::Insufficient, format!("{what}, {row} of {failures} times in a row"))
            }
            Some(Answer { said: Said::Good(value), .. }) => (Verdict::Healthy, format!("{value} is within its bounds")),
        }
    }

    fn stale(&self, at: Timestamp, now: Timestamp) -> bool {
        let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
        age > self.check.every.get().saturating_mul(STALE_INTERVALS).saturating_add(STALE_MARGIN)
    }

    /// What the check says at this moment.
    #[must_use]
    pub fn view(&self, now: Timestamp) -> CheckView {
        let (verdict, detail) = self.verdict(now);
        CheckView { queries: self.queries.clone(), ..CheckView::new(&self.check.name, "promql", verdict, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Period;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn evidence() -> PromQlEvidence {
        PromQlEvidence::new(PromQlCheck {
            name: "failed jobs".to_owned(),
            ask: PromQlQuestion::Bounds { query: "jobs".to_owned(), max: Some(0.5), min: Some(0.0) },
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
        assert_eq!(verdict_after(&[Ok(0.9), Ok(-0.1), Ok(f64::INFINITY)]), Verdict::Regressed);
        assert_eq!(verdict_after(&[Ok(0.9), Ok(0.9), Ok(0.5), Ok(0.9)]), Verdict::Insufficient);
    }

    #[test]
    fn a_silent_source_neither_passes_nor_fails_nor_ends_a_row() {
        assert_eq!(verdict_after(&[Err("refused")]), Verdict::SourceDown);
        assert_eq!(verdict_after(&[Ok(f64::NAN); 5]), Verdict::SourceDown);
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
        evidence.begin_step();
        assert_eq!(evidence.view(at(1)).verdict, Verdict::Insufficient);
    }

    #[test]
    fn it_comes_back_from_json_with_any_value() {
        for answer in [Ok(0.2), Ok(0.1), Err("refused")] {
            let mut evidence = evidence();
            evidence.observe(report(answer), at(5));
            let text = serde_json::to_string(&evidence).unwrap();
            assert_eq!(serde_json::from_str::<PromQlEvidence>(&text).unwrap(), evidence);
        }
    }
}
