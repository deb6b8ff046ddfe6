//! From evidence to a verdict.
//!
//! Any check may roll back: the guaranteed ones together, when the average of their e-values reaches 1/α, and each
//! heuristic by itself. To pass a step every check that it asks must agree, and the candidate must have earned it: by
//! evidence that it is no worse than tolerated, or by exposure, when it has answered enough requests and nothing leans
//! against it. Missing data is never a pass, and a source that is down decides nothing.

use super::case::{Case, Entry};
use super::compared::Compared;
use super::{Evidence, words};
use crate::model::view::EvidenceView;
use crate::model::{Judgement, Plan, Timestamp, Verdict};

/// `Judgement::by` where evidence passes a step, where exposure does, and where the absolute guard stops it.
const BY_EVIDENCE: &str = "evidence";
const BY_EXPOSURE: &str = "exposure";
const BY_GUARD: &str = "guard";

/// What all the evidence of a rollout says at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// What a decision goes by.
    pub judgement: Judgement,
    /// ln E of all guaranteed checks together, against "the candidate is no worse"; None in the watch.
    pub ln_rollback: Option<f64>,
    /// Whether the step may be passed for its exposure alone, without evidence that suffices.
    pub by_exposure: bool,
    /// Whether a check that the step asks leans to regressed.
    pub leaning: bool,
}

/// Judges the evidence by the plan, in step `step` of it, from 0; after a promotion by what the watch has seen. `now`
/// only tells whether an answer has grown old.
#[must_use]
pub fn assess(evidence: &Evidence, plan: &Plan, step: usize, now: Timestamp) -> Assessment {
    if let Some(watch) = evidence.watch() {
        return Assessment { judgement: watch.judge(plan), ln_rollback: None, by_exposure: false, leaning: false };
    }
    assess_case(&Case::new(evidence, plan, step, now), evidence)
}

/// The same for people: everything that is known of each check, while the candidate gets `candidate_rate` requests per
/// second.
#[must_use]
pub fn view(evidence: &Evidence, plan: &Plan, step: usize, now: Timestamp, candidate_rate: f64) -> EvidenceView {
    let case = Case::new(evidence, plan, step, now);
    let checks = case.entries.iter().map(|entry| entry.view(candidate_rate)).collect();
    let (judgement, guard) = match evidence.watch() {
        Some(watch) => (watch.judge(plan), Some(watch.view(plan, evidence.guard()))),
        None => (assess_case(&case, evidence).judgement, evidence.guard().cloned()),
    };
    EvidenceView {
        verdict: Some(judgement.verdict),
        reason: judgement.reason,
        ln_rollback: Some(case.ln_rollback()),
        ln_rollback_threshold: Some(case.bar.rollback_at),
        guard,
        checks,
    }
}

fn assess_case(case: &Case<'_>, evidence: &Evidence) -> Assessment {
    let judgement = judge(case, evidence);
    Assessment {
        by_exposure: judgement.verdict == Verdict::Healthy && !judgement.proven,
        judgement,
        ln_rollback: Some(case.ln_rollback()),
        leaning: case.leaning(),
    }
}

fn judge(case: &Case<'_>, evidence: &Evidence) -> Judgement {
    // The one that weighs most decides: an alarm, then an incident of both, then a silent source, then missing evidence.
    let said = |verdict, by: &str, reason| Judgement {
        verdict,
        by: by.to_owned(),
        reason,
        proven: false,
        unanswered: case.unanswered,
    };
    let of = |verdict, entry: &Entry<'_>| said(verdict, entry.name(), format!("{}: {}", entry.name(), entry.detail()));
    let heuristic = |entry: &&Entry<'_>| matches!(entry, Entry::Heuristic(view) if view.verdict == Verdict::Regressed);
    if case.ln_alarm() >= case.bar.rollback_at
        && let Some(loudest) = loudest(case.compared().filter(|compared| compared.alarm_allowed()))
    {
        return said(Verdict::Regressed, loudest.name, alarm(case, loudest));
    }
    if let Some(entry) = case.entries.iter().find(heuristic) {
        return of(Verdict::Regressed, entry);
    }
    if let Some(guard) = evidence.guard().filter(|guard| guard.firing) {
        return said(Verdict::SharedIncident, BY_GUARD, format!("something shared is broken: {}", guard.detail));
    }
    let asked_that_say = |verdict| case.entries.iter().find(move |entry| entry.asked() && entry.verdict() == verdict);
    if let Some(entry) = asked_that_say(Verdict::SourceDown) {
        return of(Verdict::SourceDown, entry);
    }
    if case.ln_rollback() >= case.bar.rollback_at
        && let Some(loudest) = loudest(case.compared())
    {
        let reason = format!("{}: {}", loudest.name, loudest.of_few_visitors());
        return said(Verdict::Insufficient, loudest.name, reason);
    }
    if let Some(entry) = asked_that_say(Verdict::Insufficient) {
        return of(Verdict::Insufficient, entry);
    }
    passed(case)
}

fn loudest<'c, 'e: 'c>(compared: impl Iterator<Item = &'c Compared<'e>>) -> Option<&'c Compared<'e>> {
    compared.max_by(|one, other| one.ln_contribution().total_cmp(&other.ln_contribution()))
}

fn alarm(case: &Case<'_>, loudest: &Compared<'_>) -> String {
    let detail = loudest.detail();
    if loudest.verdict() == Verdict::Regressed {
        return format!("{}: {detail}", loudest.name);
    }
    format!(
        "all checks together: ln E {:.1} of {:.1} to roll back, most of it by {}: {detail}",
        case.ln_alarm(),
        case.bar.rollback_at,
        loudest.name,
    )
}

fn passed(case: &Case<'_>) -> Judgement {
    let answered = words::count(case.bar.answered);
    let proven = case.proven();
    let (by, reason) = if proven {
        (BY_EVIDENCE, format!("no worse than tolerated, after {answered} candidate requests in this step"))
    } else {
        let needed = words::count(case.bar.min_requests);
        let reason = format!(
            "by exposure: {answered} candidate requests in this step, where {needed} are enough while nothing leans \
             against it"
        );
        (BY_EXPOSURE, reason)
    };
    Judgement { verdict: Verdict::Healthy, by: by.to_owned(), reason, proven, unanswered: case.unanswered }
}

#[cfg(test)]
mod tests;
