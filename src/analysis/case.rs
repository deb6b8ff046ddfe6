//! All checks of a plan at one moment, each with its evidence, ready to be judged or shown.

use super::compared::{Bar, Compared, Parts};
use super::eprocess::ln_sum;
use super::shares::{ALWAYS_ON, Shares};
use super::{CUT_OFF, Evidence, GRPC_TRAILERS, NO_HEAD};
use crate::model::view::CheckView;
use crate::model::{Check, Plan, Timestamp, Verdict};

/// The kind of a check of Prometheus.
const PROMQL: &str = "promql";

/// A check of the plan, or one that is always on.
#[derive(Debug)]
pub(super) enum Entry<'a> {
    /// With a guarantee.
    Compared(Compared<'a>),
    /// Without.
    Heuristic(CheckView),
}

impl Entry<'_> {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Compared(compared) => compared.name,
            Self::Heuristic(view) => &view.name,
        }
    }

    pub(super) fn asked(&self) -> bool {
        match self {
            Self::Compared(compared) => compared.asked,
            Self::Heuristic(view) => view.asked,
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Compared(compared) => compared.verdict(),
            Self::Heuristic(view) => view.verdict,
        }
    }

    pub(super) fn detail(&self) -> String {
        match self {
            Self::Compared(compared) => compared.detail(),
            Self::Heuristic(view) => view.detail.clone(),
        }
    }

    pub(super) fn view(&self, candidate_rate: f64) -> CheckView {
        match self {
            Self::Compared(compared) => compared.view(candidate_rate),
            Self::Heuristic(view) => view.clone(),
        }
    }
}

/// All checks at one moment.
#[derive(Debug)]
pub(super) struct Case<'a> {
    /// The plan's in its order, then those that are always on.
    pub(super) entries: Vec<Entry<'a>>,
    pub(super) bar: Bar,
    /// Whether a heuristic that the step asks has begun to speak against the candidate.
    heuristic_leans: bool,
    /// Whether a check that the step asks of Prometheus has had no answer in it yet.
    pub(super) unanswered: bool,
}

impl<'a> Case<'a> {
    pub(super) fn new(evidence: &'a Evidence, plan: &'a Plan, step: usize, now: Timestamp) -> Self {
        let step = plan.steps.get(step).or_else(|| plan.steps.last());
        let bar = Bar {
            rollback_at: -plan.false_alarm.ln(),
            promote_at: -plan.miss.ln(),
            answered: evidence.exposure(),
            of_live: evidence.late().step().live_requests,
            min_requests: step.and_then(|step| step.min_requests).unwrap_or(plan.min_requests),
        };
        let only = step.and_then(|step| step.checks.as_ref());
        let is_asked = |name: &str| only.is_none_or(|names| names.iter().any(|known| known == name));
        let shares = Shares::of(plan);
        let mut case = Self {
            entries: Vec::with_capacity(plan.checks.len() + ALWAYS_ON),
            bar,
            heuristic_leans: false,
            unanswered: false,
        };
        for check in &plan.checks {
            let (name, asked) = (check.name(), is_asked(check.name()));
            let parts = match check {
                Check::ErrorRatio(_) => evidence.error_ratio().map(Parts::Ratio),
                Check::StatusRatio(_) => evidence.status_ratio().map(Parts::Ratio),
                Check::Latency(check) => {
                    let same = |latency: &&super::LatencyEvidence| latency.check().until == check.until;
                    evidence.latency().iter().find(same).map(Parts::Latency)
                }
                Check::PromQl(_) => {
                    case.promql(evidence, name, asked, shares, now);
                    continue;
                }
            };
            if let Some(parts) = parts {
                let compared = Compared::new(name, name_of_kind(check), parts, shares.own, asked, bar);
                case.entries.push(Entry::Compared(compared));
            }
        }
        for (name, parts) in [
            (NO_HEAD, Parts::NoHead(evidence.no_head(), evidence.late())),
            (CUT_OFF, Parts::Ratio(evidence.cut_off())),
            (GRPC_TRAILERS, Parts::Ratio(evidence.grpc_trailers())),
        ] {
            case.entries.push(Entry::Compared(Compared::new(name, name, parts, shares.always_on, true, bar)));
        }
        case
    }

    fn promql(&mut self, evidence: &'a Evidence, name: &'a str, asked: bool, shares: Shares, now: Timestamp) {
        let Some(evidence) = evidence.promql().iter().find(|evidence| evidence.check().name == name) else { return };
        self.unanswered |= asked && evidence.unanswered();
        if let Some(counts) = evidence.comparison() {
            let compared = Compared::new(name, PROMQL, Parts::Counted(counts), shares.own, asked, self.bar);
            self.entries.push(Entry::Compared(compared.counted_by(evidence.view(now))));
            return;
        }
        self.heuristic_leans |= asked && evidence.leaning();
        self.entries.push(Entry::Heuristic(CheckView { asked, ..evidence.view(now) }));
    }

    pub(super) fn compared(&self) -> impl Iterator<Item = &Compared<'a>> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Compared(compared) => Some(compared),
            Entry::Heuristic(_) => None,
        })
    }

    /// ln E of all guaranteed checks together.
    pub(super) fn ln_rollback(&self) -> f64 {
        ln_sum(self.compared().map(Compared::ln_contribution))
    }

    /// The same of those alone that may give an alarm.
    pub(super) fn ln_alarm(&self) -> f64 {
        ln_sum(self.compared().filter(|compared| compared.alarm_allowed()).map(Compared::ln_contribution))
    }

    /// Whether a check that the step asks leans against the candidate.
    pub(super) fn leaning(&self) -> bool {
        self.heuristic_leans || self.compared().any(|compared| compared.asked && compared.leaning())
    }

    /// Whether evidence alone passes the step.
    pub(super) fn proven(&self) -> bool {
        self.compared().all(|compared| !compared.asked || compared.proven())
    }
}

fn name_of_kind(check: &Check) -> &'static str {
    match check {
        Check::ErrorRatio(_) => Check::ERROR_RATIO,
        Check::Latency(_) => "latency",
        Check::StatusRatio(_) => Check::STATUS_RATIO,
        Check::PromQl(_) => PROMQL,
    }
}
