//! All the evidence of a rollout.

use super::comparison::observe_each;
use super::latency::{LatencyEvidence, QuantileTimes};
use super::watch::Watch;
use super::{ComparisonEvidence, Pair, PromQlEvidence, PromQlReport, Tick};
use crate::model::view::GuardView;
use crate::model::{BasisPoints, Check, Indicator, LatencyCheck, Plan, Timestamp, Until};
use serde::{Deserialize, Serialize};

/// What is still fine of what the checks that are always on look at: a tenth of a percent.
pub(super) const ALWAYS_ON_TOLERATE: f64 = 0.001;

/// More than what sums of logarithms lose.
const ROUNDING: f64 = 1e-6;

/// All the evidence of a rollout: a plain value that is stored as JSON and taken up again after a restart, so that a
/// restart never starts a fresh α.
///
/// What a version without a check has stored comes back with that check's evidence at its start, and all other evidence
/// as it was: each check's share of `false_alarm` is its own, so that nothing is spent twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    error_ratio: Option<ComparisonEvidence>,
    /// Of all requests, and not of the timed ones alone: it holds a step and takes nothing back.
    late: ComparisonEvidence,
    #[serde(default = "always_on")]
    no_head: ComparisonEvidence,
    #[serde(default = "always_on")]
    cut_off: ComparisonEvidence,
    #[serde(default = "always_on")]
    grpc_trailers: ComparisonEvidence,
    #[serde(default)]
    status_ratio: Option<ComparisonEvidence>,
    #[serde(default)]
    latency: Vec<LatencyEvidence>,
    promql: Vec<PromQlEvidence>,
    exposure: u64,
    /// What the absolute guard said last.
    #[serde(default)]
    guard: Option<GuardView>,
    /// How the release does since it was promoted.
    #[serde(default)]
    watch: Option<Watch>,
}

fn always_on() -> ComparisonEvidence {
    ComparisonEvidence::new(ALWAYS_ON_TOLERATE)
}

impl Evidence {
    /// Of a rollout that begins: nothing yet.
    #[must_use]
    pub fn begin(plan: &Plan) -> Self {
        let mut evidence = Self {
            error_ratio: None,
            late: always_on(),
            no_head: always_on(),
            cut_off: always_on(),
            grpc_trailers: always_on(),
            status_ratio: None,
            latency: Vec::new(),
            promql: Vec::new(),
            exposure: 0,
            guard: None,
            watch: None,
        };
        for check in &plan.checks {
            match check {
                Check::ErrorRatio(check) => evidence.error_ratio = Some(ComparisonEvidence::new(check.tolerate)),
                Check::Latency(check) => evidence.latency.push(LatencyEvidence::new(check)),
                Check::StatusRatio(check) => evidence.status_ratio = Some(ComparisonEvidence::new(check.tolerate)),
                Check::PromQl(check) => evidence.promql.push(PromQlEvidence::new(check.clone())),
            }
        }
        evidence
    }

    /// Takes in one judged tick. Those of the heads and those of the ends come each in their own order.
    pub fn observe(&mut self, tick: &Tick) {
        match tick.known_at {
            Until::Head => self.observe_heads(tick),
            Until::End => self.observe_ends(tick),
        }
        self.latency.iter_mut().filter(|latency| latency.until() == tick.known_at).for_each(|it| it.observe(tick));
    }

    fn observe_heads(&mut self, tick: &Tick) {
        if tick.new_draws > 0 {
            self.counted().for_each(|comparison| comparison.add_draws(tick.new_draws, 0));
        }
        let failed = tick.pair(Indicator::Failed);
        self.exposure = self.exposure.saturating_add(failed.candidate_answered());
        // Those that seldom see anything stand side by side: what is the same for them is reckoned once.
        let rare = [(&mut self.late, failed.late_as_failures()), drawn(&mut self.no_head, tick, Indicator::NoHead)];
        let statuses = self.status_ratio.as_mut().map(|comparison| drawn(comparison, tick, Indicator::Status));
        let errors = self.error_ratio.as_mut().map(|comparison| drawn(comparison, tick, Indicator::Failed));
        observe_each(rare.into_iter().chain(statuses).chain(errors));
    }

    fn observe_ends(&mut self, tick: &Tick) {
        observe_each([
            drawn(&mut self.cut_off, tick, Indicator::CutOff),
            drawn(&mut self.grpc_trailers, tick, Indicator::GrpcTrailers),
        ]);
    }

    /// Takes in the answer of the PromQL check of that name: what it asked for, or why there was none.
    pub fn answer(&mut self, check: &str, report: PromQlReport, at: Timestamp) {
        if let Some(evidence) = self.promql.iter_mut().find(|evidence| evidence.check().name == check) {
            evidence.observe(report, at);
        }
    }

    /// Takes in how long answers take at the moment, at the quantiles of the latency check of that moment, in their
    /// order. For people: nothing is decided by it.
    pub fn set_times(&mut self, until: Until, times: [QuantileTimes; LatencyCheck::QUANTILES]) {
        self.latency.iter_mut().filter(|latency| latency.until() == until).for_each(|it| it.set_times(times));
    }

    /// Takes in what the absolute guard says at this moment.
    pub fn set_guard(&mut self, guard: GuardView) {
        self.guard = Some(guard);
    }

    /// The weight is another one from the next tick on.
    pub fn weight_changed(&mut self, weight: BasisPoints) {
        self.counted().for_each(|comparison| comparison.weight_changed(weight));
        self.promql.iter_mut().for_each(|promql| promql.weight_changed(weight));
    }

    /// A step begins, at this weight.
    pub fn begin_step(&mut self, weight: BasisPoints) {
        self.exposure = 0;
        self.counted().for_each(|comparison| comparison.begin_step(weight));
        self.promql.iter_mut().for_each(|promql| promql.begin_step(weight));
    }

    /// The candidate was promoted, and is watched from now on.
    pub fn begin_watch(&mut self, watch: Watch) {
        self.guard = None;
        self.watch = Some(watch);
    }

    /// The comparisons of the router's own counts.
    fn counted(&mut self) -> impl Iterator<Item = &mut ComparisonEvidence> {
        [&mut self.late, &mut self.no_head, &mut self.cut_off, &mut self.grpc_trailers]
            .into_iter()
            .chain(&mut self.error_ratio)
            .chain(&mut self.status_ratio)
            .chain(self.latency.iter_mut().flat_map(LatencyEvidence::comparisons_mut))
    }

    /// Whether any comparison of the router's own counts has come far enough for an alarm. Where none has, all together
    /// have not either, since an average is never above its largest part. It takes far less time than
    /// [`assess`](super::assess), for whoever looks at a great many ticks.
    #[must_use]
    pub fn may_alarm(&self, false_alarm: f64) -> bool {
        let nearly = -false_alarm.ln() - ROUNDING;
        let own = [&self.late, &self.no_head, &self.cut_off, &self.grpc_trailers];
        let asked = self.error_ratio.iter().chain(&self.status_ratio);
        let timed = self.latency.iter().flat_map(|latency| latency.quantiles().map(|(_, comparison, _)| comparison));
        // Without anything bad of the candidate E is at most 1.
        let bad = |comparison: &&ComparisonEvidence| comparison.rollout().candidate_failures > 0;
        own.into_iter().chain(asked).chain(timed).filter(bad).any(|comparison| comparison.ln_rollback() >= nearly)
    }

    /// How often no head came within the lag, of all requests.
    #[must_use]
    pub fn late(&self) -> &ComparisonEvidence {
        &self.late
    }

    /// How often no head came within the lag, of the timed requests.
    #[must_use]
    pub fn no_head(&self) -> &ComparisonEvidence {
        &self.no_head
    }

    /// How often answers were cut off after their heads.
    #[must_use]
    pub fn cut_off(&self) -> &ComparisonEvidence {
        &self.cut_off
    }

    /// How often trailers had a failing gRPC status.
    #[must_use]
    pub fn grpc_trailers(&self) -> &ComparisonEvidence {
        &self.grpc_trailers
    }

    /// Candidate requests of this step that were answered.
    #[must_use]
    pub fn exposure(&self) -> u64 {
        self.exposure
    }

    /// The error ratio's part, where the plan has that check.
    #[must_use]
    pub fn error_ratio(&self) -> Option<&ComparisonEvidence> {
        self.error_ratio.as_ref()
    }

    /// The statuses' part, where the plan has that check.
    #[must_use]
    pub fn status_ratio(&self) -> Option<&ComparisonEvidence> {
        self.status_ratio.as_ref()
    }

    /// The latency checks' parts, in the order of the plan.
    #[must_use]
    pub fn latency(&self) -> &[LatencyEvidence] {
        &self.latency
    }

    /// The PromQL checks' parts, in the order of the plan.
    #[must_use]
    pub fn promql(&self) -> &[PromQlEvidence] {
        &self.promql
    }

    /// What the absolute guard said last, while the rollout is under way.
    #[must_use]
    pub fn guard(&self) -> Option<&GuardView> {
        self.guard.as_ref()
    }

    /// How the release does since it was promoted; None while the rollout is under way.
    #[must_use]
    pub fn watch(&self) -> Option<&Watch> {
        self.watch.as_ref()
    }

    /// The same, to take in what is counted.
    pub fn watch_mut(&mut self) -> Option<&mut Watch> {
        self.watch.as_mut()
    }
}

/// A comparison that knows the tick's draws of an indicator, with the counts of it that are to be observed.
fn drawn<'a>(
    comparison: &'a mut ComparisonEvidence,
    tick: &Tick,
    indicator: Indicator,
) -> (&'a mut ComparisonEvidence, Pair) {
    comparison.add_draws(0, tick.failing_draws(indicator));
    (comparison, tick.pair(indicator))
}
