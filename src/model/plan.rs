//! How a candidate becomes live: the steps, the risks that may be taken, the checks, the gates. It comes from the
//! configuration, is pinned when a rollout starts, and is what evidence is judged by.

use super::{BasisPoints, Period};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The plan of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// How traffic moves.
    pub strategy: Strategy,
    /// With rising weights above 0; at least one, but for a blue-green rollout, which has none.
    pub steps: Vec<Step>,
    /// The shortest time before the first step, or before the switch of a blue-green rollout.
    pub preview: Period,
    /// Whether the promotion waits for an operator.
    pub approve: bool,
    /// When a step may be passed.
    pub advance: Advance,
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
    /// The share of good answers that the service owes, between 0 and 1, for the absolute guard.
    pub objective: f64,
    /// What is asked of the evidence; the error ratio where the file names no check.
    pub checks: Vec<Check>,
    /// Who else is asked, and when.
    pub gates: Vec<Gate>,
}

impl Default for Plan {
    fn default() -> Self {
        let step = |weight, minutes: u64| Step::new(weight, Period::from_secs(60 * minutes));
        let weight = |points| BasisPoints::try_from(points).unwrap_or(BasisPoints::ALL);
        Self {
            strategy: Strategy::Canary,
            steps: vec![step(weight(100), 2), step(weight(1000), 5), step(weight(5000), 5)],
            preview: Period::from_secs(0),
            approve: false,
            advance: Advance::AfterHold,
            false_alarm: 0.01,
            miss: 0.05,
            min_requests: 300,
            max_hold: None,
            on_inconclusive: OnInconclusive::Hold,
            watch: Period::from_secs(600),
            objective: 0.99,
            checks: vec![Check::ErrorRatio(ErrorRatioCheck::default())],
            gates: Vec::new(),
        }
    }
}

impl Plan {
    /// The gates that are asked at a point, in the order in which they are asked.
    pub fn gates_at(&self, point: GatePoint) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(move |gate| gate.at.contains(&point))
    }
}

/// How traffic moves to the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Step by step.
    #[default]
    Canary,
    /// All at once, after a preview for those who may bypass maintenance.
    BlueGreen,
}

/// When a step may be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Advance {
    /// When its hold is over.
    #[default]
    AfterHold,
    /// As soon as the evidence suffices; exposure still waits for the hold.
    Early,
}

/// One step of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The candidate's share.
    pub weight: BasisPoints,
    /// The shortest time in the step.
    pub hold: Period,
    /// Candidate requests that pass this step where evidence is short; the plan's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// The names of the checks that are asked in this step; all where it is left out. The built-in checks that are
    /// always on are asked always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<String>>,
    /// Whether an operator has to approve before the step is left.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve: bool,
}

impl Step {
    /// A step that asks every check.
    #[must_use]
    pub fn new(weight: BasisPoints, hold: Period) -> Self {
        Self { weight, hold, min_requests: None, checks: None, approve: false }
    }
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
    /// The router's own clock; at most one for each [`Until`].
    Latency(LatencyCheck),
    /// How often the pools answer with certain statuses of the visitor's making; at most one per service.
    StatusRatio(StatusRatioCheck),
    /// Numbers from Prometheus.
    #[serde(rename = "promql")]
    PromQl(PromQlCheck),
}

impl Check {
    /// The name of the built-in check of the error ratio.
    pub const ERROR_RATIO: &str = "error-ratio";
    /// The name of the check of statuses.
    pub const STATUS_RATIO: &str = "status-ratio";

    /// The check of Prometheus that it is, if it is one.
    #[must_use]
    pub fn as_promql(&self) -> Option<&PromQlCheck> {
        match self {
            Self::PromQl(check) => Some(check),
            Self::ErrorRatio(_) | Self::Latency(_) | Self::StatusRatio(_) => None,
        }
    }

    /// What people call it; no two checks of a service have the same name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ErrorRatio(_) => Self::ERROR_RATIO,
            Self::Latency(check) => check.until.check_name(),
            Self::StatusRatio(_) => Self::STATUS_RATIO,
            Self::PromQl(check) => &check.name,
        }
    }
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

/// `kind = "latency"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyCheck {
    /// What is timed, from the dispatch of a request.
    pub until: Until,
    /// The quantiles that are compared, between 0 and 1: one to [`LatencyCheck::QUANTILES`] of them, rising.
    pub quantiles: Vec<f64>,
    /// By which part the candidate may be slower than live; 0.1 is 10%.
    pub tolerate: f64,
}

impl LatencyCheck {
    /// How many quantiles one check may compare.
    pub const QUANTILES: usize = 3;
}

impl Default for LatencyCheck {
    fn default() -> Self {
        Self { until: Until::Head, quantiles: vec![0.5, 0.9, 0.99], tolerate: 0.1 }
    }
}

/// Which moment of an answer is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// The answer's head.
    #[default]
    Head,
    /// The last byte of the answer.
    End,
}

impl Until {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Head, Self::End];

    /// The name of the check that times it.
    #[must_use]
    pub fn check_name(self) -> &'static str {
        match self {
            Self::Head => "latency",
            Self::End => "latency-end",
        }
    }
}

/// `kind = "status-ratio"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusRatioCheck {
    /// The statuses that are compared, 400 to 499.
    pub statuses: Vec<u16>,
    /// The absolute difference of the ratios that is still fine, 0 to 1.
    pub tolerate: f64,
}

impl Default for StatusRatioCheck {
    fn default() -> Self {
        Self { statuses: vec![401, 403, 404], tolerate: 0.01 }
    }
}

/// `kind = "promql"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromQlCheck {
    /// What people call it; differs from the other checks of the service.
    pub name: String,
    /// What is asked.
    pub ask: PromQlQuestion,
    /// Between two queries.
    pub every: Period,
    /// What `{{window}}` stands for, but in a pair, where it reaches back to some minutes before the rollout.
    pub window: Period,
    /// Bad values in a row that make the candidate regressed; at least 1. A pair has no use for it.
    pub failures: u32,
}

/// What a PromQL check asks. In each query `{{release}}`, `{{pool}}`, `{{service}}` and `{{window}}` are filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromQlQuestion {
    /// One number of the candidate, against fixed bounds.
    Bounds {
        /// The query.
        query: String,
        /// The largest value that is fine.
        max: Option<f64>,
        /// The smallest value that is fine.
        min: Option<f64>,
    },
    /// One number of each pool, the candidate's against live's.
    Compare {
        /// The query, asked once for each pool.
        query: String,
        /// By which part of live's value the candidate may be worse; 0.1 is 10%.
        tolerate: f64,
        /// Which way is worse.
        worse: Worse,
    },
    /// Two counts of each pool, compared as the router's own are.
    Pair {
        /// Counts what went wrong.
        bad: String,
        /// Counts all there was.
        total: String,
        /// The absolute difference of the ratios that is still fine, 0 to 1.
        tolerate: f64,
    },
}

/// Which way a value is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Worse {
    /// A higher value is worse.
    #[default]
    Higher,
    /// A lower value is worse.
    Lower,
}

/// Someone who is asked at certain moments of a rollout whether it may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// What people call it; differs from the other gates of the service.
    pub name: String,
    /// When it is asked; at least one.
    pub at: Vec<GatePoint>,
    /// Who is asked.
    pub ask: GateAsk,
    /// How long one try may take.
    pub timeout: Period,
    /// How often it is tried again after it could not be asked; a clear no is not asked again.
    pub retries: u32,
    /// What happens when it says no, or can't be asked.
    pub on_failure: OnGateFailure,
}

/// The points of a rollout at which gates are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatePoint {
    /// Before anyone gets the candidate.
    BeforeRollout,
    /// Before each step.
    BeforeStep,
    /// Before the candidate becomes live.
    BeforePromotion,
    /// When it has become live.
    AfterPromotion,
    /// When it was taken back.
    OnRollback,
}

impl GatePoint {
    /// All of them, in the order of a rollout.
    pub const ALL: [Self; 5] =
        [Self::BeforeRollout, Self::BeforeStep, Self::BeforePromotion, Self::AfterPromotion, Self::OnRollback];

    /// As the file and the webhooks write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeRollout => "before-rollout",
            Self::BeforeStep => "before-step",
            Self::BeforePromotion => "before-promotion",
            Self::AfterPromotion => "after-promotion",
            Self::OnRollback => "on-rollback",
        }
    }
}

impl GatePoint {
    /// Whether the rollout waits for the answer; at the other points it has moved already.
    #[must_use]
    pub fn blocks(self) -> bool {
        match self {
            Self::BeforeRollout | Self::BeforeStep | Self::BeforePromotion => true,
            Self::AfterPromotion | Self::OnRollback => false,
        }
    }
}

impl fmt::Display for GatePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A moment of a rollout at which gates are asked: a point, and for steps which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GateMoment {
    /// The point.
    pub point: GatePoint,
    /// The step that is about to begin, from 0; 0 at the other points.
    pub step: usize,
}

impl GateMoment {
    /// A point that comes once in a rollout.
    #[must_use]
    pub fn at(point: GatePoint) -> Self {
        Self { point, step: 0 }
    }

    /// Before a step, from 0.
    #[must_use]
    pub fn before_step(step: usize) -> Self {
        Self { point: GatePoint::BeforeStep, step }
    }
}

impl fmt::Display for GateMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.point {
            GatePoint::BeforeStep => write!(f, "{} {}", self.point, self.step + 1),
            GatePoint::BeforeRollout
            | GatePoint::BeforePromotion
            | GatePoint::AfterPromotion
            | GatePoint::OnRollback => self.point.fmt(f),
        }
    }
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GateAsk {
    /// A URL that answers 2xx to a POST.
    Webhook {
        /// The URL, `http` or `https`.
        url: String,
        /// The file with the key that the body is signed with.
        secret_file: Option<PathBuf>,
    },
    /// A program that ends with exit code 0.
    Command {
        /// The program and its arguments; no shell.
        command: Vec<String>,
        /// Its environment, beside what the router tells it of the rollout. The router's own is not passed on, but for
        /// `PATH`.
        env: BTreeMap<String, String>,
    },
}

/// What happens when a gate says no, or can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnGateFailure {
    /// The rollout is held.
    #[default]
    Hold,
    /// The candidate is taken back.
    Rollback,
    /// It goes on, and the log and the history say so.
    Ignore,
}
