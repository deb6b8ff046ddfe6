//! A service, its evidence and its history as the admin API shows them and the command line reads them.

use super::{
    BasisPoints, Deploy, GatePoint, Held, Meanwhile, Mode, ModeSetting, ModeSource, Period, Phase, PoolName, ReleaseId,
    ServiceName, Strategy, Timestamp, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `GET /api/v1/services`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServicesView {
    /// All of them, in the order of the configuration.
    pub services: Vec<ServiceView>,
}

/// `GET /api/v1/services/{s}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: ServiceName,
    /// Rises with each change; the `ETag`.
    pub revision: u64,
    /// The pool that serves everyone outside the cohort.
    pub live: PoolName,
    /// The pool that a rollout is moving traffic to.
    pub candidate: Option<PoolName>,
    /// The candidate's share in percent.
    pub weight: f64,
    /// Where the rollout stands.
    pub phase: Phase,
    /// Why it does not move on by itself.
    pub held: Option<Held>,
    /// Until when the old pool stays warm after a promotion.
    pub watch_until: Option<Timestamp>,
    /// The effective mode.
    pub mode: Mode,
    /// What put it there.
    pub mode_source: ModeSource,
    /// The file that put it there, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_file: Option<String>,
    /// What was asked for.
    pub mode_setting: ModeSetting,
    /// What the router answered itself while the service did not serve, or not everything: at present, or the last time
    /// since the router's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<Meanwhile>,
    /// The pools by name.
    pub pools: BTreeMap<PoolName, PoolView>,
    /// Where the answers to health checks are looked at for the release that a target runs: `header:NAME` or
    /// `json:FIELD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_source: Option<String>,
    /// Requests that wait at this moment, over all workers: in a hold, or for a target that restarts.
    #[serde(default)]
    pub held_requests: u64,
    /// What the evidence says while a rollout is under way.
    pub verdict: Option<Verdict>,
    /// Whether the store holds all of this.
    pub durable: bool,
    /// The rollout under way, or under watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// The deploy under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Deploy>,
    /// Releases whose migration has run in a deploy, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrated: Vec<ReleaseId>,
    /// Releases that were rolled back, and are tried again by force only; the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<ReleaseId>,
    /// What an operator should know: one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A pool of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// What runs in it.
    pub release: Option<ReleaseId>,
    /// Its targets.
    pub targets: Vec<TargetView>,
    /// Requests in it at this moment, over all workers.
    pub in_flight: u64,
    /// Whether it was drained, and is left alone until it is used again.
    pub drained: bool,
}

/// A target of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetView {
    /// `host:port`.
    pub address: String,
    /// Whether it passes its health checks, so that requests are sent to it unless it is ejected.
    pub healthy: bool,
    /// Why not, as the last check said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Until when it is left alone because it failed one request after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ejected_until: Option<Timestamp>,
    /// The release that it says it runs, where its answers to health checks are read for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
}

/// The rollout of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutView {
    /// The candidate's release.
    pub release: ReleaseId,
    /// How traffic moves.
    pub strategy: Strategy,
    /// The steps.
    pub steps: Vec<StepView>,
    /// The step it is at, from 0.
    pub step: usize,
    /// When the rollout started.
    pub started: Timestamp,
    /// When the step began.
    pub step_since: Timestamp,
    /// Why it does not move on right now, in a sentence or two; empty once it is over.
    pub waiting_for: String,
    /// Candidate requests per second over the last seconds.
    pub candidate_rate: f64,
    /// Live requests per second over the last seconds, of those that were drawn.
    pub live_rate: f64,
    /// The gates that were asked last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateView>,
}

/// A step of a rollout, with what it needs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// The candidate's share in percent.
    pub weight: f64,
    /// The shortest time in it.
    pub hold: Period,
    /// Candidate requests that pass it where evidence is short.
    pub min_requests: u64,
    /// The checks that are asked in it; null for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<String>>,
    /// Whether an operator has to approve before it is left.
    pub approve: bool,
    /// About how long it will take at the present rate; null where nothing comes in.
    pub expected: Option<Period>,
}

/// A gate of a rollout, as far as it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateView {
    /// Its name.
    pub name: String,
    /// The point at which it is asked.
    pub at: GatePoint,
    /// The step that it is asked before, from 0, where it is asked before steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<usize>,
    /// `asked`, `passed`, `failed` or `ignored`.
    pub state: String,
    /// A sentence for people.
    pub detail: String,
    /// Since when it is in this state.
    pub since: Timestamp,
}

/// `GET /api/v1/services/{s}/evidence`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct EvidenceView {
    /// What it all says; null while no rollout is under way.
    pub verdict: Option<Verdict>,
    /// The sentence behind the verdict.
    pub reason: String,
    /// ln E of all guaranteed checks together, against "the candidate is no worse".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ln_rollback: Option<f64>,
    /// The ln E that rolls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ln_rollback_threshold: Option<f64>,
    /// The absolute guard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<GuardView>,
    /// Each check.
    pub checks: Vec<CheckView>,
}

/// What one check says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckView {
    /// Its name: that of its kind, or of a PromQL check.
    pub name: String,
    /// `error-ratio`, `no-head`, `cut-off`, `grpc-trailers`, `latency`, `status-ratio` or `promql`.
    pub kind: String,
    /// Whether the step that is under way asks it.
    pub asked: bool,
    /// What it says by itself.
    pub verdict: Verdict,
    /// Whether a statistical guarantee stands behind it; those without are heuristics, outside of `false_alarm`.
    pub guaranteed: bool,
    /// Its part of `false_alarm`, 0 to 1; the parts of all guaranteed checks make 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// ln E against "the candidate is no worse".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ln_rollback: Option<f64>,
    /// The ln E that rolls back by this check alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ln_rollback_threshold: Option<f64>,
    /// ln E against "the candidate is worse", in this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ln_promote: Option<f64>,
    /// The ln E that passes a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ln_promote_threshold: Option<f64>,
    /// Counts of the whole rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<CountsView>,
    /// Counts of this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<CountsView>,
    /// The ratios of the whole rollout, and between which bounds they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratios: Option<RatiosView>,
    /// Candidate requests that the step still needs, if none of them is bad; null where no number suffices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_needed: Option<u64>,
    /// About how long that takes at the present rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_needed: Option<Period>,
    /// The quantiles that a latency check compares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<QuantileView>,
    /// The resolved queries of a PromQL check, with their last values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<QueryView>,
    /// A sentence for people.
    pub detail: String,
}

impl CheckView {
    /// A check of which nothing is known but what everyone has.
    #[must_use]
    pub fn new(name: &str, kind: &str, verdict: Verdict, detail: String) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            asked: true,
            verdict,
            guaranteed: false,
            share: None,
            ln_rollback: None,
            ln_rollback_threshold: None,
            ln_promote: None,
            ln_promote_threshold: None,
            rollout: None,
            step: None,
            ratios: None,
            requests_needed: None,
            time_needed: None,
            quantiles: Vec::new(),
            queries: Vec::new(),
            detail,
        }
    }
}

/// The ratios of both pools.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatiosView {
    /// Of the candidate.
    pub candidate: RatioView,
    /// Of live.
    pub live: RatioView,
}

/// A ratio, 0 to 1, with a 95% confidence sequence: bounds that hold at every moment at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RatioView {
    /// What was seen.
    pub ratio: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// A quantile of the time that answers take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuantileView {
    /// Which one, 0 to 1.
    pub quantile: f64,
    /// The limit above which an answer of live is slow, in milliseconds; null before enough of them were seen.
    pub limit_ms: Option<f64>,
    /// The candidate's, in milliseconds.
    pub candidate_ms: Option<f64>,
    /// Live's, in milliseconds.
    pub live_ms: Option<f64>,
    /// ln E against "the candidate is no slower" at this quantile.
    pub ln_rollback: f64,
    /// Answers slower than the limit, of the whole rollout.
    pub slow: CountsView,
}

/// A query as it was asked, and what it gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QueryView {
    /// What is asked for: `value`, `bad` or `total`.
    pub what: String,
    /// Which pool is asked about.
    pub pool: Option<PoolName>,
    /// The resolved query.
    pub query: String,
    /// The last value.
    pub value: Option<f64>,
}

/// The absolute guard: how fast both pools spend the errors that the objective allows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardView {
    /// The share of good answers that the service owes.
    pub objective: f64,
    /// Whether it says that something shared is broken, or, after a promotion, that the new release is.
    pub firing: bool,
    /// Each pair of windows.
    pub windows: Vec<BurnView>,
    /// A sentence for people.
    pub detail: String,
}

/// Burn rates: 1 spends exactly what the objective allows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BurnView {
    /// The length of the window.
    pub window: Period,
    /// The rate that fires, in this window and in its partner.
    pub threshold: f64,
    /// Of the candidate, or of the release that was promoted; null with too few requests to tell.
    pub candidate: Option<f64>,
    /// Of live, but after a promotion; null with too few requests to tell.
    pub live: Option<f64>,
}

/// Drawn requests of both pools, and those that failed and count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CountsView {
    /// Requests of the candidate.
    pub candidate_requests: u64,
    /// Of those, failed and counted.
    pub candidate_failures: u64,
    /// Requests of live.
    pub live_requests: u64,
    /// Of those, failed and counted.
    pub live_failures: u64,
}

/// One entry of `GET /api/v1/services/{s}/history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryView {
    /// Rises with each entry of the state.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// The revision that it led to.
    pub revision: u64,
    /// What was decided: `start`, `step`, `hold`, `promote`, `rollback`, `switch`, …
    pub decision: String,
    /// `operator`, or the name of what decided.
    pub by: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The phase after it.
    pub phase: Phase,
    /// The live pool after it.
    pub live: PoolName,
    /// The candidate after it.
    pub candidate: Option<PoolName>,
    /// The weight after it, in basis points.
    pub weight: BasisPoints,
    /// The evidence at that moment.
    pub evidence: Option<EvidenceView>,
    /// All that the decision was made of, where it was asked for: what `cutover history --replay` decides again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<serde_json::Value>,
}

/// `GET /api/v1/services/{s}/history`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoriesView {
    /// The newest last.
    pub history: Vec<HistoryView>,
}

/// What `POST …/switch` answers besides the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SwitchView {
    /// The service after it.
    pub service: ServiceView,
    /// What became of the old pool's requests, where a drain was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// What `PUT …/mode` answers: the service after it, with what became of the requests under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeView {
    /// The service.
    #[serde(flatten)]
    pub service: ServiceView,
    /// What became of the requests under way, where a drain was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainView>,
}

/// What `POST …/preview-link` answers: a link that shows a pool to whoever has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewLinkView {
    /// The service.
    pub service: ServiceName,
    /// The pool that it shows.
    pub pool: PoolName,
    /// The whole link; null where the service answers for several hosts and none was named.
    pub url: Option<String>,
    /// The link without its host.
    pub path: String,
    /// The name of the cookie that the router sets when the link is opened.
    pub cookie: String,
    /// Its value.
    pub token: String,
    /// When the link and the cookie stop working.
    pub expires: Timestamp,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainView {
    /// Requests that were in the old pool when the switch was made; for a mode, those that came before it and were still
    /// under way when the waiting began, once the mode was durable.
    pub waited_for: u64,
    /// Of those, the ones that did not end by themselves: tunnels that were ended one by one, and what the time-out cut.
    pub cut: u64,
    /// How long it took.
    pub took: Period,
}

/// `GET /api/v1/services/{s}/explain`: where a request would go, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExplainView {
    /// The service that answers; null where none is configured for the request.
    pub service: Option<ServiceName>,
    /// The pool; null where the router answers by itself.
    pub pool: Option<PoolName>,
    /// The visitor's bucket, 0 to 9999, while a split is on and the request has a key.
    pub bucket: Option<u16>,
    /// Step by step, a sentence each.
    pub why: Vec<String>,
    /// What is known of the candidate, while a rollout of the service is under way or under watch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceView>,
}
