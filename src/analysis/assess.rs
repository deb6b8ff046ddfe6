//! From evidence to a verdict.
//!
//! Any check may roll back. To pass a step every check must agree, and the candidate must have earned it: by evidence
//! that it is no worse than tolerated, or by exposure, when it has answered enough requests and nothing leans against
//! it. Missing data is never a pass, and a source that is down decides nothing.

use super::{ComparisonEvidence, Evidence, PromQlEvidence, words};
use crate::model::view::{CheckView, EvidenceView};
use crate::model::{Judgement, Plan, Timestamp, Verdict};

/// The name of the built-in check of the error ratio.
pub const ERROR_RATIO: &str = "error-ratio";
/// The name of the built-in check for answers that don't come within the lag. It is always on, and only ever holds a
/// step: it counts requests, not visitors, and one visitor's slow requests must not take a release back.
const NO_HEAD: &str = "no-head";
/// `Judgement::by` where evidence passes a step, and where exposure does.
const BY_EVIDENCE: &str = "evidence";
const BY_EXPOSURE: &str = "exposure";

/// What all the evidence of a rollout says at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessment {
    /// What a decision goes by.
    pub judgement: Judgement,
    /// What each check says: the error ratio, the missing answers, then the PromQL checks.
    pub checks: Vec<CheckView>,
    /// Whether the step may be passed for its exposure alone, without evidence that suffices.
    pub by_exposure: bool,
    /// Whether a check leans to regressed.
    pub leaning: bool,
}

impl Assessment {
    /// As the API shows it and the history keeps it.
    #[must_use]
    pub fn view(&self) -> EvidenceView {
        EvidenceView {
            verdict: Some(self.judgement.verdict),
            reason: self.judgement.reason.clone(),
            ln_rollback: None,
            ln_rollback_threshold: None,
            guard: None,
            checks: self.checks.clone(),
        }
    }
}

/// Judges the evidence by the plan. `now` only tells whether an answer has grown old.
#[must_use]
pub fn assess(evidence: &Evidence, plan: &Plan, now: Timestamp) -> Assessment {
    let error_ratio = evidence.error_ratio().map(|compared| Comparison::new(compared, evidence.exposure(), plan));
    let late = Comparison::new(evidence.late(), evidence.exposure(), plan);
    let promql = evidence.promql();
    let checks: Vec<CheckView> = error_ratio
        .iter()
        .map(Comparison::view)
        .chain([late.no_head_view()])
        .chain(promql.iter().map(|evidence| evidence.view(now)))
        .collect();
    let leaning = error_ratio.as_ref().is_some_and(Comparison::leaning)
        || late.leaning()
        || promql.iter().any(PromQlEvidence::leaning);
    let proven = error_ratio.as_ref().is_some_and(Comparison::proven);
    let judgement = judge(&checks, proven, evidence.exposure(), plan);
    let by_exposure = judgement.verdict == Verdict::Healthy && !proven;
    Assessment { judgement, checks, by_exposure, leaning }
}

fn judge(checks: &[CheckView], proven: bool, exposure: u64, plan: &Plan) -> Judgement {
    // The one that weighs most decides: an alarm, then a silent source, then missing evidence.
    for verdict in [Verdict::Regressed, Verdict::SourceDown, Verdict::Insufficient] {
        let mut that_say_so = checks.iter().filter(|check| check.verdict == verdict);
        if let Some(check) = that_say_so.next() {
            return Judgement {
                verdict,
                by: check.name.clone(),
                reason: format!("{}: {}", check.name, check.detail),
                proven,
            };
        }
    }
    let answered = words::count(exposure);
    if proven {
        let reason = format!("no worse than tolerated, after {answered} candidate requests in this step");
        return Judgement { verdict: Verdict::Healthy, by: BY_EVIDENCE.to_owned(), reason, proven };
    }
    let needed = words::count(plan.min_requests);
    if exposure < plan.min_requests {
        // Only where no check compares the pools: the error ratio has said so itself.
        let reason = format!("not enough exposure: {answered} of {needed} candidate requests in this step");
        return Judgement { verdict: Verdict::Insufficient, by: BY_EXPOSURE.to_owned(), reason, proven };
    }
    let reason = format!(
        "by exposure: {answered} candidate requests in this step, where {needed} are enough while nothing leans \
         against it"
    );
    Judgement { verdict: Verdict::Healthy, by: BY_EXPOSURE.to_owned(), reason, proven }
}

/// The error ratio's evidence against its thresholds.
struct Comparison<'a> {
    evidence: &'a ComparisonEvidence,
    ln_rollback: f64,
    rollback_at: f64,
    ln_promote: f64,
    promote_at: f64,
    answered: u64,
    min_requests: u64,
}

impl<'a> Comparison<'a> {
    fn new(evidence: &'a ComparisonEvidence, answered: u64, plan: &Plan) -> Self {
        Self {
            evidence,
            ln_rollback: evidence.ln_rollback(),
            // The α of the whole rollout is this check's alone, while no other has a guarantee to share it with.
            rollback_at: -plan.false_alarm.ln(),
            ln_promote: evidence.ln_promote(),
            promote_at: -plan.miss.ln(),
            answered,
            min_requests: plan.min_requests,
        }
    }

    fn over_threshold(&self) -> bool {
        self.ln_rollback >= self.rollback_at
    }

    /// From half of its threshold on, exposure does not pass a step.
    fn leaning(&self) -> bool {
        self.ln_rollback >= self.rollback_at / 2.0
    }

    /// Where a good part of all visitors fails, what they do again and again holds a step, though it is no alarm.
    fn few_fail_much(&self) -> bool {
        self.evidence.ln_every() >= self.rollback_at && self.evidence.many_of_them_fail()
    }

    /// An alarm that only waits for more draws to fail is no time to pass a step, whatever this step alone says.
    fn proven(&self) -> bool {
        self.ln_promote >= self.promote_at && !self.over_threshold()
    }

    fn exposed(&self) -> bool {
        self.answered >= self.min_requests
    }

    fn verdict(&self) -> (Verdict, String) {
        let rollout = self.evidence.rollout();
        let against = format!(
            "{} candidate requests failed, {} of live; ln E {:.1} of {:.1} to roll back",
            words::share(rollout.candidate_failures, rollout.candidate_requests),
            words::share(rollout.live_failures, rollout.live_requests),
            self.ln_rollback,
            self.rollback_at,
        );
        let short = format!(
            "{} of {} candidate requests in this step, ln E {:.1} of {:.1} to promote",
            words::count(self.answered),
            words::count(self.min_requests),
            self.ln_promote,
            self.promote_at,
        );
        if self.over_threshold() && self.evidence.alarm_allowed() {
            (Verdict::Regressed, format!("the candidate fails more than live: {against}"))
        } else if self.over_threshold() {
            let draws = self.evidence.failing_draws();
            (
                Verdict::Insufficient,
                format!("only {draws} different visitors have failed, too few for an alarm: {against}"),
            )
        } else if self.few_fail_much() {
            let draws = self.evidence.failing_draws();
            (
                Verdict::Insufficient,
                format!("{draws} of the few visitors fail again and again, which is no alarm and no pass: {against}"),
            )
        } else if self.proven() {
            (Verdict::Healthy, format!("no worse than tolerated: {against}; {short}"))
        } else if self.leaning() {
            (Verdict::Insufficient, format!("the evidence leans against the candidate: {against}; {short}"))
        } else if self.exposed() {
            (Verdict::Healthy, format!("enough exposure, and nothing leans against the candidate: {against}; {short}"))
        } else {
            (Verdict::Insufficient, format!("not enough evidence: {short}"))
        }
    }

    /// As the check for answers that don't come.
    fn no_head_view(&self) -> CheckView {
        let rollout = self.evidence.rollout();
        let verdict = if self.leaning() { Verdict::Insufficient } else { Verdict::Healthy };
        let detail = format!(
            "{} candidate requests got no answer within 2 s, {} of live; ln E {:.1}, and {:.1} holds the step",
            words::share(rollout.candidate_failures, rollout.candidate_requests),
            words::share(rollout.live_failures, rollout.live_requests),
            self.ln_rollback,
            self.rollback_at / 2.0,
        );
        CheckView {
            rollout: Some(rollout),
            step: Some(self.evidence.step()),
            ..CheckView::new(NO_HEAD, NO_HEAD, verdict, detail)
        }
    }

    fn view(&self) -> CheckView {
        let (verdict, detail) = self.verdict();
        CheckView {
            guaranteed: true,
            ln_rollback: Some(self.ln_rollback),
            ln_rollback_threshold: Some(self.rollback_at),
            ln_promote: Some(self.ln_promote),
            ln_promote_threshold: Some(self.promote_at),
            rollout: Some(self.evidence.rollout()),
            step: Some(self.evidence.step()),
            ..CheckView::new(ERROR_RATIO, ERROR_RATIO, verdict, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::{Pair, PromQlAnswer, PromQlReport};
    use crate::model::{BasisPoints, Check, ErrorRatioCheck, Period, PromQlCheck, PromQlQuestion};

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn promql(name: &str) -> Check {
        Check::PromQl(PromQlCheck {
            name: name.to_owned(),
            ask: PromQlQuestion::Bounds { query: "up".to_owned(), max: Some(1.0), min: None },
            window: Period::from_secs(60),
            every: Period::from_secs(15),
            failures: 2,
        })
    }

    fn report(answer: Result<f64, &str>) -> PromQlReport {
        PromQlReport { queries: Vec::new(), answer: answer.map(PromQlAnswer::Value).map_err(str::to_owned) }
    }

    fn plan(checks: Vec<Check>) -> Plan {
        Plan { checks, ..Plan::default() }
    }

    fn compared() -> Check {
        Check::ErrorRatio(ErrorRatioCheck::default())
    }

    fn begun(plan: &Plan) -> Evidence {
        let mut evidence = Evidence::begin(plan);
        evidence.begin_step(BasisPoints::from_percent(50.0).unwrap());
        evidence
    }

    fn tick(candidate_requests: u64, candidate_failures: u64, live_requests: u64, live_failures: u64) -> Pair {
        Pair { candidate_requests, candidate_failures, live_requests, live_failures, ..Pair::default() }
    }

    #[test]
    fn no_data_is_never_a_pass_and_says_what_is_missing() {
        let plan = plan(vec![compared()]);
        let mut evidence = begun(&plan);
        evidence.observe_failures(tick(120, 0, 120, 0));
        let assessment = assess(&evidence, &plan, now());
        assert_eq!(assessment.judgement.verdict, Verdict::Insufficient);
        assert_eq!(
            assessment.judgement.reason,
            "error-ratio: not enough evidence: 120 of 300 candidate requests in this step, ln E 0.1 of 3.0 to promote"
        );
        assert_eq!(assess(&begun(&plan), &plan, now()).judgement.verdict, Verdict::Insufficient);
    }

    #[test]
    fn exposure_passes_where_nothing_leans() {
        let plan = plan(vec![compared()]);
        let mut evidence = begun(&plan);
        evidence.observe_failures(tick(300, 0, 300, 0));
        let assessment = assess(&evidence, &plan, now());
        assert_eq!((assessment.judgement.verdict, assessment.by_exposure), (Verdict::Healthy, true));
        assert_eq!(assessment.judgement.by, BY_EXPOSURE);
        evidence.add_draws(300, 7);
        evidence.observe_failures(tick(300, 7, 300, 0));
        let assessment = assess(&evidence, &plan, now());
        assert!(assessment.leaning, "{assessment:?}");
        assert_eq!(assessment.judgement.verdict, Verdict::Insufficient);
    }

    #[test]
    fn evidence_passes_and_says_so() {
        let plan = plan(vec![compared()]);
        let mut evidence = begun(&plan);
        for _ in 0..100 {
            evidence.observe_failures(tick(100, 0, 100, 0));
        }
        let assessment = assess(&evidence, &plan, now());
        assert_eq!((assessment.judgement.verdict, assessment.by_exposure), (Verdict::Healthy, false));
        assert_eq!(assessment.judgement.by, BY_EVIDENCE);
    }

    #[test]
    fn an_alarm_waits_for_three_failing_visitors() {
        let plan = plan(vec![compared()]);
        let mut evidence = begun(&plan);
        evidence.observe_failures(tick(400, 20, 400, 0));
        evidence.add_draws(400, 2);
        assert_eq!(assess(&evidence, &plan, now()).judgement.verdict, Verdict::Insufficient);
        evidence.add_draws(0, 1);
        let assessment = assess(&evidence, &plan, now());
        assert_eq!(assessment.judgement.verdict, Verdict::Regressed);
        assert!(
            assessment.judgement.reason.starts_with(
                "error-ratio: the candidate fails more than live: 20 of 400 (5%) candidate requests failed, 0 of 400 \
                 (0%) of live; ln E "
            ),
            "{}",
            assessment.judgement.reason
        );
    }

    #[test]
    fn every_check_must_agree_and_any_may_roll_back() {
        let plan = plan(vec![promql("queue"), compared(), promql("jobs")]);
        let mut evidence = begun(&plan);
        let verdict = |evidence: &Evidence| {
            let judgement = assess(evidence, &plan, now()).judgement;
            (judgement.verdict, judgement.by)
        };
        evidence.observe_failures(tick(300, 0, 300, 0));
        assert_eq!(verdict(&evidence), (Verdict::Insufficient, "queue".to_owned()));
        evidence.answer("queue", report(Ok(0.0)), now());
        evidence.answer("jobs", report(Err("timed out")), now());
        assert_eq!(verdict(&evidence), (Verdict::SourceDown, "jobs".to_owned()));
        evidence.answer("jobs", report(Ok(1.0)), now());
        assert_eq!(verdict(&evidence), (Verdict::Healthy, BY_EXPOSURE.to_owned()));
        evidence.answer("jobs", report(Err("timed out")), now());
        evidence.answer("queue", report(Ok(2.0)), now());
        evidence.answer("queue", report(Ok(2.0)), now());
        assert_eq!(verdict(&evidence), (Verdict::Regressed, "queue".to_owned()));
    }

    #[test]
    fn a_candidate_that_gives_no_answer_passes_no_step() {
        let plan = plan(vec![compared()]);
        for hanging in [100, 10] {
            let mut evidence = begun(&plan);
            for _ in 0..500 {
                evidence.observe_failures(Pair { candidate_late: hanging, ..tick(100, 0, 100, 0) });
            }
            let assessment = assess(&evidence, &plan, now());
            assert_eq!(assessment.judgement.verdict, Verdict::Insufficient, "{hanging} of 100 hang: {assessment:?}");
            assert!(assessment.leaning);
            assert_eq!(assessment.checks[1].verdict, Verdict::Insufficient);
        }
        let mut evidence = begun(&plan);
        for _ in 0..500 {
            evidence.observe_failures(Pair { candidate_late: 10, live_late: 10, ..tick(100, 0, 100, 0) });
        }
        assert_eq!(assess(&evidence, &plan, now()).judgement.verdict, Verdict::Healthy, "live is as slow");
    }

    #[test]
    fn a_release_that_fails_for_its_few_visitors_passes_no_step() {
        let plan = plan(vec![compared()]);
        let mut evidence = begun(&plan);
        evidence.add_draws(2, 2);
        evidence.observe_failures(Pair { candidate_failed: 2, ..tick(10, 2, 10, 0) });
        for _ in 0..200 {
            evidence.observe_failures(Pair { candidate_failed: 8, ..tick(10, 0, 10, 0) });
        }
        let assessment = assess(&evidence, &plan, now());
        assert_eq!(assessment.judgement.verdict, Verdict::Insufficient, "{assessment:?}");
        assert!(assessment.judgement.reason.contains("2 of the few visitors"), "{assessment:?}");
    }

    #[test]
    fn without_a_comparison_exposure_is_still_needed() {
        let plan = plan(vec![promql("jobs")]);
        let mut evidence = begun(&plan);
        evidence.answer("jobs", report(Ok(0.0)), now());
        assert_eq!(assess(&evidence, &plan, now()).judgement.verdict, Verdict::Insufficient);
        evidence.observe_failures(tick(300, 300, 300, 0));
        assert_eq!(assess(&evidence, &plan, now()).judgement.verdict, Verdict::Healthy);
    }
}
