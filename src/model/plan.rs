//! How a candidate becomes live: the steps, the risks that may be taken, the checks. It comes from the configuration,
//! is pinned when a rollout starts, and is what evidence is judged by.

use super::{BasisPoints, Period};
use serde::{Deserialize, Serialize};

/// The plan of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// At least one, with rising weights above 0.
    pub steps: Vec<Step>,
    /// The chance that a whole rollout of a release no worse than live is rolled back; between 0 and 1.
    pub false_alarm: f64,
    /// The chance that a step is passed, by evidence, by a release worse than tolerated; between 0 and 1.
    pub miss: f64,
    /// Candidate requests that pass a step where evidence is short.
    pub min_requests: u64,
    /// The longest time in one step; ten times its hold where it is left out.
    pub max_hold: Option<Period>,
    /// What happens after `max_hold`.
    pub on_inconclusive: OnInconclusive,
    /// How long the old pool stays warm.
    pub watch: Period,
    /// What is asked of the evidence; the error ratio where the file names no check.
    pub checks: Vec<Check>,
}

impl Default for Plan {
    fn default() -> Self {
        let step = |weight, minutes: u64| Step { weight, hold: Period::from_secs(60 * minutes) };
        let weight = |points| BasisPoints::try_from(points).unwrap_or(BasisPoints::ALL);
        Self {
            steps: vec![step(weight(100), 2), step(weight(1000), 5), step(weight(5000), 5)],
            false_alarm: 0.01,
            miss: 0.05,
            min_requests: 300,
            max_hold: None,
            on_inconclusive: OnInconclusive::Hold,
            watch: Period::from_secs(600),
            checks: vec![Check::ErrorRatio(ErrorRatioCheck::default())],
        }
    }
}

/// One step of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The candidate's share.
    pub weight: BasisPoints,
    /// The shortest time in the step.
    pub hold: Period,
}

/// What happens when a step stays inconclusive for its longest time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnInconclusive {
    /// Wait for an operator or more evidence.
    #[default]
    Hold,
    /// Go on all the same.
    Promote,
    /// Take the candidate back.
    Rollback,
}

/// One question asked of the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Check {
    /// The router's own counts; at most one per service.
    ErrorRatio(ErrorRatioCheck),
    /// A number from Prometheus.
    #[serde(rename = "promql")]
    PromQl(PromQlCheck),
}

/// `kind = "error-ratio"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorRatioCheck {
    /// The absolute difference of the ratios that is still fine, 0 to 1.
    pub tolerate: f64,
}

impl Default for ErrorRatioCheck {
    fn default() -> Self {
        Self { tolerate: 0.001 }
    }
}

/// `kind = "promql"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromQlCheck {
    /// What people call it; differs from the other checks of the service.
    pub name: String,
    /// The query, with `{{release}}`, `{{pool}}` and `{{service}}` to be filled in for the candidate.
    pub query: String,
    /// The largest value that is fine.
    pub max: Option<f64>,
    /// The smallest value that is fine.
    pub min: Option<f64>,
    /// Between two queries.
    pub every: Period,
    /// Bad values in a row that make the candidate regressed; at least 1.
    pub failures: u32,
}
