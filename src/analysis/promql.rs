//! What a PromQL check says: a number against its bounds, so many times in a row. A heuristic, without a guarantee.

use super::words;
use crate::model::view::CheckView;
use crate::model::{PromQlCheck, Timestamp, Verdict};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An answer that is older than this many intervals, and a margin for a slow query, is no answer any more.
const STALE_INTERVALS: u32 = 3;
const STALE_MARGIN: Duration = Duration::from_secs(30);

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
        Self { check, bad_in_a_row: 0, last: None }
    }

    /// The check, as pinned at the rollout's start.
    #[must_use]
    pub fn check(&self) -> &PromQlCheck {
        &self.check
    }

    /// Takes in the answer of one query: one number, or why there was none.
    pub fn observe(&mut self, answer: Result<f64, String>, at: Timestamp) {
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
        match (self.check.max, self.check.min) {
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
        let value = match &self.last {
            Some(Answer { said: Said::Good(value) | Said::Bad(value), .. }) => Some(*value),
            Some(Answer { said: Said::Nothing(_), .. }) | None => None,
        };
        CheckView {
            name: self.check.name.clone(),
            kind: "promql".to_owned(),
            verdict,
            guaranteed: false,
            ln_rollback: None,
            ln_rollback_threshold: None,
            ln_promote: None,
            ln_promote_threshold: None,
            rollout: None,
            step: None,
            query: Some(self.check.query.clone()),
            value,
            detail,
        }
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
            query: "jobs".to_owned(),
            max: Some(0.5),
            min: Some(0.0),
            every: Period::from_secs(15),
            failures: 3,
        })
    }

    fn verdict_after(answers: &[Result<f64, &str>]) -> Verdict {
        let mut evidence = evidence();
        for (second, answer) in (0..).zip(answers) {
            evidence.observe(answer.map_err(str::to_owned), at(second));
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
        evidence.observe(Ok(0.1), at(0));
        assert_eq!(evidence.view(at(75)).verdict, Verdict::Healthy);
        assert_eq!(evidence.view(at(76)).verdict, Verdict::SourceDown);
        assert_eq!(evidence.view(at(-1000)).verdict, Verdict::Healthy, "a clock that went back");
        evidence.begin_step();
        assert_eq!(evidence.view(at(1)).verdict, Verdict::Insufficient);
    }

    #[test]
    fn it_comes_back_from_json_with_any_value() {
        for answer in [Ok(f64::INFINITY), Ok(0.1), Err("refused".to_owned())] {
            let mut evidence = evidence();
            evidence.observe(answer, at(5));
            let text = serde_json::to_string(&evidence).unwrap();
            assert_eq!(serde_json::from_str::<PromQlEvidence>(&text).unwrap(), evidence);
        }
    }
}
