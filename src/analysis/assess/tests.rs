//! What the checks say together.

use super::*;
use crate::analysis::{Bad, CUT_OFF, PromQlAnswer, PromQlReport, SideTick, Tick};
use crate::model::{
    BasisPoints, Check, ErrorRatioCheck, Indicator, LatencyCheck, Period, PromQlCheck, PromQlQuestion,
    StatusRatioCheck, Until,
};
use crate::odd_input::{misplace, odd_value};
use proptest::prelude::*;

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

/// All requests are timed, and none of them is in want of a head.
fn side(requests: u64, failures: u64) -> SideTick {
    let mut side = SideTick { requests, timed: requests, ..SideTick::default() };
    side.bad[Indicator::Failed.index()] = Bad { counted: failures, all: failures, new_draws: 0 };
    side
}

fn tick(candidate_requests: u64, candidate_failures: u64, live_requests: u64, live_failures: u64) -> Tick {
    Tick {
        known_at: Until::Head,
        candidate: side(candidate_requests, candidate_failures),
        live: side(live_requests, live_failures),
        new_draws: 0,
        limited: [false; LatencyCheck::QUANTILES],
    }
}

/// The same, of different draws.
fn drawn(tick: &Tick, seen: u64, failing: u64) -> Tick {
    let mut tick = Tick { new_draws: seen, ..*tick };
    tick.candidate.bad[Indicator::Failed.index()].new_draws = failing;
    tick
}

/// The ends of answers of which none was bad.
fn ends(tick: &Tick) -> Tick {
    Tick {
        known_at: Until::End,
        candidate: side(tick.candidate.requests, 0),
        live: side(tick.live.requests, 0),
        ..*tick
    }
}

/// Takes in a tick whose answers have all come to a good end.
fn observe_whole(evidence: &mut Evidence, tick: &Tick) {
    evidence.observe(tick);
    evidence.observe(&ends(tick));
}

fn assess_first(evidence: &Evidence, plan: &Plan) -> Assessment {
    assess(evidence, plan, 0, now())
}

#[test]
fn no_data_is_never_a_pass_and_says_what_is_missing() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    evidence.observe(&tick(120, 0, 120, 0));
    let assessment = assess_first(&evidence, &plan);
    assert_eq!(assessment.judgement.verdict, Verdict::Insufficient);
    assert_eq!(
        assessment.judgement.reason,
        "error-ratio: not enough evidence: 120 of 300 candidate requests in this step, ln E 0.1 of 3.0 to promote"
    );
    assert_eq!(assess_first(&begun(&plan), &plan).judgement.verdict, Verdict::Insufficient);
}

#[test]
fn exposure_passes_where_nothing_leans() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    observe_whole(&mut evidence, &tick(300, 0, 300, 0));
    let assessment = assess_first(&evidence, &plan);
    assert_eq!((assessment.judgement.verdict, assessment.by_exposure), (Verdict::Healthy, true));
    assert_eq!(assessment.judgement.by, BY_EXPOSURE);
    evidence.observe(&drawn(&tick(300, 7, 300, 0), 300, 7));
    let assessment = assess_first(&evidence, &plan);
    assert!(assessment.leaning, "{assessment:?}");
    assert_eq!(assessment.judgement.verdict, Verdict::Insufficient);
}

#[test]
fn evidence_passes_and_says_so() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    for _ in 0..100 {
        evidence.observe(&tick(100, 0, 100, 0));
    }
    assert!(!assess_first(&evidence, &plan).judgement.proven, "nothing is known of the ends yet");
    for _ in 0..100 {
        evidence.observe(&ends(&tick(100, 0, 100, 0)));
    }
    let assessment = assess_first(&evidence, &plan);
    assert_eq!((assessment.judgement.verdict, assessment.by_exposure), (Verdict::Healthy, false));
    assert!(assessment.judgement.proven);
    assert_eq!(assessment.judgement.by, BY_EVIDENCE);
}

#[test]
fn an_alarm_waits_for_three_failing_visitors() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    evidence.observe(&drawn(&tick(400, 20, 400, 0), 400, 2));
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Insufficient);
    evidence.observe(&drawn(&tick(0, 0, 0, 0), 0, 1));
    let assessment = assess_first(&evidence, &plan);
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
        let judgement = assess_first(evidence, &plan).judgement;
        (judgement.verdict, judgement.by)
    };
    observe_whole(&mut evidence, &tick(300, 0, 300, 0));
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

fn hanging(tick: &Tick, candidate: u64, live: u64) -> Tick {
    let mut tick = *tick;
    tick.candidate.undecided = candidate;
    tick.live.undecided = live;
    tick
}

/// The timed requests of a tick hang in the same proportion.
fn timed_hanging(tick: &Tick, candidate: u64, live: u64) -> Tick {
    let mut tick = hanging(tick, candidate, live);
    let bad = |count| Bad { counted: count, all: count, new_draws: count };
    tick.candidate.bad[Indicator::NoHead.index()] = bad(candidate);
    tick.live.bad[Indicator::NoHead.index()] = bad(live);
    tick
}

#[test]
fn a_candidate_that_gives_no_answer_passes_no_step_though_one_visitor_may_be_all_of_it() {
    let plan = plan(vec![compared()]);
    for hang in [100, 10] {
        let mut evidence = begun(&plan);
        for _ in 0..500 {
            evidence.observe(&hanging(&tick(100, 0, 100, 0), hang, 0));
        }
        let assessment = assess_first(&evidence, &plan);
        assert_eq!(assessment.judgement.verdict, Verdict::Insufficient, "{hang} of 100 hang: {assessment:?}");
        assert!(assessment.leaning);
    }
    let mut evidence = begun(&plan);
    for _ in 0..500 {
        observe_whole(&mut evidence, &hanging(&tick(100, 0, 100, 0), 10, 10));
    }
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy, "live is as slow");
}

#[test]
fn a_candidate_that_leaves_many_visitors_without_an_answer_is_taken_back() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    for _ in 0..10 {
        evidence.observe(&drawn(&timed_hanging(&tick(100, 0, 100, 0), 10, 0), 100, 0));
    }
    let judgement = assess_first(&evidence, &plan).judgement;
    assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::Regressed, "no-head"), "{judgement:?}");
    assert!(judgement.reason.contains("100 of 1,000 (10%) timed candidate requests got no answer"), "{judgement:?}");
}

#[test]
fn a_release_that_fails_for_its_few_visitors_passes_no_step() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    let again_and_again = |counted| {
        let mut tick = tick(10, counted, 10, 0);
        tick.candidate.bad[Indicator::Failed.index()].all = 8;
        tick
    };
    evidence.observe(&drawn(&again_and_again(2), 2, 2));
    for _ in 0..200 {
        evidence.observe(&again_and_again(0));
    }
    let assessment = assess_first(&evidence, &plan);
    assert_eq!(assessment.judgement.verdict, Verdict::Insufficient, "{assessment:?}");
    assert!(assessment.judgement.reason.contains("2 of the few visitors"), "{assessment:?}");
}

#[test]
fn without_a_comparison_of_failures_exposure_is_still_needed() {
    let plan = plan(vec![promql("jobs")]);
    let mut evidence = begun(&plan);
    evidence.answer("jobs", report(Ok(0.0)), now());
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Insufficient);
    observe_whole(&mut evidence, &tick(300, 300, 300, 0));
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy);
}

/// Answers of which so many are slow, at the first quantile.
fn slow(candidate: u64, live: u64) -> Tick {
    let mut tick = drawn(&tick(100, 0, 100, 0), 100, 0);
    tick.limited[0] = true;
    let bad = |count| Bad { counted: count, all: count, new_draws: count };
    tick.candidate.bad[Indicator::SlowHead(0).index()] = bad(candidate);
    tick.live.bad[Indicator::SlowHead(0).index()] = bad(live);
    tick
}

fn latency() -> Check {
    Check::Latency(LatencyCheck::default())
}

#[test]
fn a_slower_candidate_is_taken_back_and_a_shared_slow_down_is_not() {
    let plan = plan(vec![compared(), latency()]);
    let mut evidence = begun(&plan);
    (0..40).for_each(|_| evidence.observe(&slow(90, 50)));
    let judgement = assess_first(&evidence, &plan).judgement;
    assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::Regressed, "latency"), "{judgement:?}");
    let mut evidence = begun(&plan);
    (0..40).for_each(|_| observe_whole(&mut evidence, &slow(98, 98)));
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy);
}

#[test]
fn what_was_never_timed_is_no_pass() {
    let plan = plan(vec![compared(), latency()]);
    let mut evidence = begun(&plan);
    evidence.observe(&tick(1000, 0, 1000, 0));
    let judgement = assess_first(&evidence, &plan).judgement;
    assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::Insufficient, "latency"), "{judgement:?}");
}

#[test]
fn a_step_asks_the_checks_that_it_names_and_any_check_may_take_back() {
    let mut plan = plan(vec![compared(), latency(), promql("jobs")]);
    plan.steps[0].checks = Some(vec!["error-ratio".to_owned()]);
    plan.steps[0].min_requests = Some(50);
    let mut evidence = begun(&plan);
    observe_whole(&mut evidence, &tick(50, 0, 50, 0));
    evidence.answer("jobs", report(Err("timed out")), now());
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy, "the others are not asked");
    assert_eq!(assess(&evidence, &plan, 1, now()).judgement.verdict, Verdict::SourceDown, "in the next step they are");
    (0..40).for_each(|_| evidence.observe(&slow(90, 50)));
    assert_eq!(assess_first(&evidence, &plan).judgement.by, "latency");
    let mut evidence = begun(&plan);
    evidence.answer("jobs", report(Ok(2.0)), now());
    evidence.answer("jobs", report(Ok(2.0)), now());
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Regressed);
}

#[test]
fn each_check_alone_is_judged_by_its_share_and_all_together_by_the_whole() {
    let plan = plan(vec![compared(), latency(), Check::StatusRatio(StatusRatioCheck::default())]);
    let evidence = begun(&plan);
    let view = view(&evidence, &plan, 0, now(), 0.0);
    let shares: f64 = view.checks.iter().filter_map(|check| check.share).sum();
    assert!((shares - 1.0).abs() < 1e-12, "{shares}");
    let names: Vec<&str> = view.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["error-ratio", "latency", "status-ratio", "no-head", "cut-off", "grpc-trailers"]);
    for check in &view.checks {
        let threshold = check.ln_rollback_threshold.unwrap() + check.share.unwrap().ln();
        assert!((threshold - 100f64.ln()).abs() < 1e-9, "{check:?}");
    }
    assert!(view.ln_rollback.unwrap().abs() < 1e-9);
}

#[test]
fn two_checks_that_each_nearly_give_an_alarm_give_one_together() {
    let plan = plan(vec![
        compared(),
        latency(),
        Check::StatusRatio(StatusRatioCheck { tolerate: 0.0, ..StatusRatioCheck::default() }),
    ]);
    let mut evidence = begun(&plan);
    let mut seen = false;
    for _ in 0..200 {
        let mut tick = drawn(&tick(100, 3, 100, 1), 100, 3);
        tick.candidate.bad[Indicator::Status.index()] = Bad { counted: 3, all: 3, new_draws: 3 };
        tick.live.bad[Indicator::Status.index()] = Bad { counted: 1, all: 1, new_draws: 0 };
        evidence.observe(&tick);
        let judgement = assess_first(&evidence, &plan).judgement;
        if judgement.verdict == Verdict::Regressed {
            seen = judgement.reason.starts_with("all checks together: ln E ");
            break;
        }
    }
    assert!(seen);
}

#[test]
fn an_incident_of_both_pools_passes_nothing_and_takes_nothing_back() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    observe_whole(&mut evidence, &tick(1000, 0, 1000, 0));
    let mut guard = crate::model::view::GuardView {
        objective: 0.99,
        firing: true,
        windows: Vec::new(),
        detail: "both pools fail".to_owned(),
    };
    evidence.set_guard(guard.clone());
    let judgement = assess_first(&evidence, &plan).judgement;
    assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::SharedIncident, "guard"));
    guard.firing = false;
    evidence.set_guard(guard);
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy);
}

#[test]
fn people_see_how_much_is_missing_and_for_how_long() {
    let plan = plan(vec![compared(), latency()]);
    let mut evidence = begun(&plan);
    evidence.observe(&tick(100, 0, 100, 0));
    let view = view(&evidence, &plan, 0, now(), 10.0);
    assert_eq!((view.checks[0].requests_needed, view.checks[0].time_needed), (Some(200), Some(Period::from_secs(20))));
    let ratios = view.checks[0].ratios.unwrap();
    assert!(ratios.candidate.ratio.abs() < 1e-12 && ratios.candidate.high < 0.1, "{ratios:?}");
    assert_eq!(view.checks[1].quantiles.len(), 3);
    let silent = super::view(&evidence, &plan, 0, now(), 0.0);
    assert_eq!((silent.checks[0].requests_needed, silent.checks[0].time_needed), (Some(200), None));
}

#[test]
fn what_an_older_version_stored_goes_on_and_new_checks_begin() {
    let plan = plan(vec![compared(), promql("jobs")]);
    let mut evidence = begun(&plan);
    evidence.observe(&drawn(&tick(400, 20, 400, 0), 400, 20));
    let mut stored = serde_json::to_value(&evidence).unwrap();
    let known = ["error_ratio", "late", "promql", "exposure"];
    stored.as_object_mut().unwrap().retain(|field, _| known.contains(&field.as_str()));
    let restored: Evidence = serde_json::from_value(stored).unwrap();
    assert_eq!(restored.error_ratio(), evidence.error_ratio());
    assert_eq!(assess_first(&restored, &plan).judgement.verdict, Verdict::Regressed);
}

#[test]
fn a_step_is_not_passed_by_exposure_while_no_answer_is_known_to_have_ended_well() {
    let plan = plan(vec![compared()]);
    let mut evidence = begun(&plan);
    let good = drawn(&tick(400, 0, 400, 0), 400, 0);
    evidence.observe(&good);
    let judgement = assess_first(&evidence, &plan).judgement;
    assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::Insufficient, CUT_OFF), "{}", judgement.reason);
    evidence.observe(&ends(&good));
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy);
}

#[test]
fn a_candidate_that_has_all_traffic_is_compared_with_nothing_and_passes_no_step() {
    let plan = plan(vec![compared()]);
    let mut evidence = Evidence::begin(&plan);
    evidence.begin_step(BasisPoints::ALL);
    for _ in 0..100 {
        evidence.observe(&tick(100, 100, 0, 0));
    }
    let judgement = assess(&evidence, &plan, 0, now()).judgement;
    assert_eq!(judgement.verdict, Verdict::Insufficient, "{judgement:?}");
    assert!(judgement.reason.contains("too little has been compared"), "{judgement:?}");
}

#[test]
fn what_was_never_answered_is_told_apart() {
    let plan = plan(vec![compared(), promql("jobs")]);
    let mut evidence = begun(&plan);
    let unanswered = |evidence: &Evidence| assess(evidence, &plan, 0, now()).judgement.unanswered;
    assert!(unanswered(&evidence));
    evidence.answer("jobs", report(Err("no series")), now());
    assert!(!unanswered(&evidence), "that there is no answer is one");
}

/// Eight timed answers of the candidate, and as many of live as the share says, half of which are beyond its median.
fn eight_timed(percent: f64, slow: u64) -> (Plan, Evidence) {
    let plan = plan(vec![compared(), latency()]);
    let mut evidence = Evidence::begin(&plan);
    evidence.begin_step(BasisPoints::from_percent(percent).unwrap());
    for _ in 0..2 {
        let mut tick = drawn(&tick(4, 0, 76, 0), 4, 0);
        tick.limited = [true, true, false];
        let bad = |count| Bad { counted: count, all: count, new_draws: count };
        for (quantile, of_live) in [(0, 38), (1, 8)] {
            tick.candidate.bad[Indicator::SlowHead(quantile).index()] = bad(slow);
            tick.live.bad[Indicator::SlowHead(quantile).index()] = bad(of_live);
        }
        observe_whole(&mut evidence, &tick);
    }
    // The further requests of the same visitors are answered, and not timed.
    let mut untimed = tick(400, 0, 7600, 0);
    (untimed.candidate.timed, untimed.live.timed) = (0, 0);
    observe_whole(&mut evidence, &untimed);
    (plan, evidence)
}

#[test]
fn a_few_visitors_pass_a_step_with_a_latency_check_and_take_the_candidate_back_when_all_of_them_wait() {
    let (plan, evidence) = eight_timed(5.0, 0);
    assert_eq!(assess_first(&evidence, &plan).judgement.verdict, Verdict::Healthy);
    let (plan, evidence) = eight_timed(5.0, 4);
    let judgement = assess_first(&evidence, &plan).judgement;
    assert_eq!((judgement.verdict, judgement.by.as_str()), (Verdict::Regressed, "latency"), "{judgement:?}");
}

#[test]
fn evidence_of_a_latency_check_without_its_comparisons_is_not_read_back() {
    let evidence = begun(&plan(vec![latency()]));
    let mut document = serde_json::to_value(&evidence).unwrap();
    assert_eq!(serde_json::from_value::<Evidence>(document.clone()).unwrap(), evidence);
    let comparisons = document.pointer_mut("/latency/0/quantiles").unwrap().as_array_mut().unwrap();
    comparisons.pop();
    let told = serde_json::from_value::<Evidence>(document).unwrap_err().to_string();
    assert!(told.contains("comparisons of times for"), "{told}");
}

odd_input! {
    fn evidence_that_is_read_back_with_an_odd_value_is_judged_and_shown(
        odd in prop::collection::vec((any::<usize>(), odd_value()), 1..3), requests in 0..1000_u64, failures in 0..10_u64,
    ) {
        let plan = plan(vec![compared(), promql("jobs"), Check::Latency(LatencyCheck::default())]);
        let mut evidence = begun(&plan);
        evidence.observe(&tick(requests + failures, failures, requests + failures, failures));
        let mut document = serde_json::to_value(&evidence).unwrap();
        for (at, value) in odd {
            misplace(&mut document, at, value);
        }
        if let Ok(evidence) = serde_json::from_value::<Evidence>(document) {
            let again = serde_json::to_string(&evidence).unwrap();
            prop_assert_eq!(serde_json::from_str::<Evidence>(&again).unwrap(), evidence.clone());
            let judged = assess(&evidence, &plan, 0, now());
            prop_assert!(judged.ln_rollback.is_none_or(|it| !it.is_nan()));
            let _ = view(&evidence, &plan, 0, now(), 1.0);
        }
    }
}
