//! Approvals, early steps, blue-green, the watch, and incidents that both pools share.

use super::{Story, at, percent, plan, pool, start_of, switch, tick};
use crate::model::{
    Advance, BasisPoints, HeldBy, Judgement, OnInconclusive, Period, Phase, Plan, Strategy, Timestamp, Verdict,
};
use crate::rollout::{DecisionName, Event, EvidenceChange, OPERATOR, Refusal, Start, decide};

fn blue_green() -> Plan {
    let preview = Period::from_secs(30);
    Plan { strategy: Strategy::BlueGreen, steps: Vec::new(), preview, ..Plan::default() }
}

fn proven() -> Event {
    let judgement = Judgement {
        verdict: Verdict::Healthy,
        by: "evidence".to_owned(),
        reason: "ln E".to_owned(),
        proven: true,
        unanswered: false,
    };
    Event::Tick(Some(judgement))
}

#[test]
fn a_step_that_wants_approval_is_left_when_it_is_healthy_and_approved() {
    let mut plan = plan();
    plan.steps[0].approve = true;
    let mut story = Story::in_canary_by(plan);
    assert_eq!(story.refused(2, &Event::Approve), Refusal::NothingToApprove);
    assert_eq!(story.run(60, &tick(Verdict::Healthy)), None, "its hold is not over");
    assert_eq!(story.run(61, &tick(Verdict::Healthy)), Some(DecisionName::Hold));
    assert_eq!((story.held_by(), story.state.weight), (Some(HeldBy::Approval), percent(5.0)));
    assert!(story.last().decision.reason.contains("the step to 25% waits for `cutover rollout approve`"));
    assert_eq!(story.run(9000, &tick(Verdict::Healthy)), None, "nobody has approved");
    assert_eq!(story.refused(9001, &Event::Resume), Refusal::ApprovalNeeded);
    assert_eq!(story.run(9001, &Event::Approve), Some(DecisionName::Approve));
    assert_eq!((story.held_by(), story.last().decision.by.as_str()), (None, OPERATOR));
    assert_eq!(story.run(9002, &tick(Verdict::Insufficient)), None, "an approval is no evidence");
    assert_eq!(story.run(9003, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    assert_eq!(story.run(9063, &tick(Verdict::Healthy)), Some(DecisionName::Promote), "the next step needs none");
}

#[test]
fn a_plan_may_want_an_approval_before_the_promotion_only() {
    let mut story = Story::in_canary_by(Plan { approve: true, ..plan() });
    assert_eq!(story.run(61, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    assert_eq!(story.run(121, &tick(Verdict::Healthy)), Some(DecisionName::Hold));
    assert!(story.last().decision.reason.starts_with("the promotion waits"), "{:?}", story.last());
    assert_eq!(story.run(122, &tick(Verdict::Regressed)), Some(DecisionName::Rollback), "judging stays on");
    assert_eq!(story.refused(123, &Event::Approve), Refusal::NoRollout);
}

#[test]
fn an_inconclusive_step_that_goes_on_all_the_same_waits_for_its_approval() {
    let mut story = Story::in_canary_by(Plan { approve: true, on_inconclusive: OnInconclusive::Promote, ..plan() });
    assert_eq!(story.run(601, &tick(Verdict::Insufficient)), Some(DecisionName::Step));
    assert_eq!(story.run(1201, &tick(Verdict::Insufficient)), Some(DecisionName::Hold));
    assert_eq!(story.held_by(), Some(HeldBy::Approval));
    assert_eq!(story.run(5000, &Event::Approve), Some(DecisionName::Approve));
    assert_eq!(story.run(5001, &tick(Verdict::Insufficient)), Some(DecisionName::Promote));
}

#[test]
fn a_promotion_by_command_is_its_own_approval() {
    let mut story = Story::in_canary_by(Plan { approve: true, ..plan() });
    assert_eq!(story.run(2, &Event::Promote), Some(DecisionName::Promote));
    assert_eq!(story.last().decision.reason, "promoted by a command, which is its approval");
}

#[test]
fn proven_evidence_leaves_a_step_early_where_the_plan_says_so_and_exposure_never_does() {
    let mut story = Story::in_canary_by(Plan { advance: Advance::Early, ..plan() });
    assert_eq!(story.run(2, &tick(Verdict::Healthy)), None, "healthy by exposure alone");
    assert_eq!(story.run(3, &proven()), Some(DecisionName::Step));
    assert_eq!(story.run(4, &proven()), Some(DecisionName::Promote));
    let mut story = Story::in_canary();
    assert_eq!(story.run(3, &proven()), None, "the plan keeps its holds");
}

#[test]
fn a_preview_lasts_before_the_first_step() {
    let mut story = Story::new();
    story.start(Plan { preview: Period::from_secs(30), ..plan() });
    assert_eq!(story.run(29, &tick(Verdict::Insufficient)), None);
    assert!(!story.state.previews(), "a canary is shown to nobody");
    assert_eq!(story.run(30, &tick(Verdict::Insufficient)), Some(DecisionName::Step));
}

#[test]
fn a_blue_green_release_is_previewed_switched_to_and_returned_from_at_once() {
    let mut story = Story::new();
    story.start(blue_green());
    assert_eq!((story.state.phase, story.state.weight), (Phase::Preview, BasisPoints::ZERO));
    assert!(story.state.previews());
    assert_eq!(story.run(29, &tick(Verdict::Insufficient)), None);
    assert_eq!(story.run(30, &tick(Verdict::Insufficient)), Some(DecisionName::Promote));
    assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::Watch));
    assert_eq!((story.state.phase, &story.state.live), (Phase::Promoted, &pool("server1")));
    assert!(!story.state.previews());
    assert_eq!(story.run(60, &Event::Rollback), Some(DecisionName::Rollback));
    assert_eq!((&story.state.live, story.last().protective), (&pool("server0"), true));
}

#[test]
fn a_blue_green_release_is_not_switched_to_before_every_check_was_asked() {
    let unanswered = |verdict| {
        let Event::Tick(Some(judgement)) = tick(verdict) else { unreachable!() };
        Event::Tick(Some(Judgement { unanswered: true, ..judgement }))
    };
    let mut story = Story::new();
    story.start(Plan { preview: Period::from_secs(0), ..blue_green() });
    assert_eq!(story.run(5, &unanswered(Verdict::Insufficient)), None);
    assert_eq!(story.run(6, &unanswered(Verdict::SourceDown)), Some(DecisionName::Hold));
    assert_eq!(story.run(7, &unanswered(Verdict::Insufficient)), Some(DecisionName::Resume));
    let mut regressed = Story { state: story.state.clone(), last: None };
    assert_eq!(regressed.run(8, &unanswered(Verdict::Regressed)), Some(DecisionName::Rollback));
    assert_eq!(story.run(8, &tick(Verdict::Insufficient)), Some(DecisionName::Promote));
}

#[test]
fn a_blue_green_release_that_wants_approval_waits_for_it_in_preview() {
    let mut story = Story::new();
    story.start(Plan { approve: true, ..blue_green() });
    assert_eq!(story.run(30, &tick(Verdict::Insufficient)), Some(DecisionName::Hold));
    assert_eq!((story.held_by(), story.state.previews()), (Some(HeldBy::Approval), true));
    assert_eq!(story.run(31, &Event::Approve), Some(DecisionName::Approve));
    assert_eq!(story.run(32, &tick(Verdict::SourceDown)), Some(DecisionName::Hold), "silence is no pass");
    assert_eq!(story.run(33, &tick(Verdict::Insufficient)), Some(DecisionName::Promote));
}

#[test]
fn a_share_by_command_makes_a_canary_of_a_blue_green_release() {
    let mut story = Story::new();
    story.start(blue_green());
    assert_eq!(story.run(1, &Event::SetWeight(percent(5.0))), Some(DecisionName::Weight));
    assert_eq!(story.run(2, &Event::Resume), Some(DecisionName::Step));
    assert_eq!((story.state.weight, story.held_by()), (percent(5.0), None));
    assert_eq!(story.last().decision.reason, "at 5%: resumed by a command at 5%");
    assert_eq!(story.run(31, &tick(Verdict::Healthy)), None, "the preview's time is its hold");
    assert_eq!(story.run(32, &tick(Verdict::Healthy)), Some(DecisionName::Promote));
}

#[test]
fn a_blue_green_plan_with_steps_is_refused() {
    let plan = Plan { strategy: Strategy::BlueGreen, ..plan() };
    let start = Event::Start(Start { plan, ..start_of(Some("v2")) });
    assert_eq!(Story::new().refused(0, &start), Refusal::NoStepsWanted);
}

#[test]
fn what_regresses_in_the_watch_is_taken_back_and_not_afterwards() {
    let mut story = Story::promoted();
    for verdict in [Verdict::Healthy, Verdict::Insufficient, Verdict::SourceDown, Verdict::SharedIncident] {
        assert_eq!(story.run(21, &tick(verdict)), None, "{verdict}");
    }
    assert_eq!(story.run(619, &tick(Verdict::Regressed)), Some(DecisionName::Rollback));
    assert_eq!((story.state.phase, &story.state.live), (Phase::RolledBack, &pool("server0")));
    assert_eq!((story.last().protective, story.last().evidence), (true, EvidenceChange::End));
    assert_eq!(story.last().decision.by, "error-ratio");
    assert!(story.last().decision.reason.starts_with("the promotion of v2 is taken back, server0 is live again"));
    let mut story = Story::promoted();
    assert_eq!(story.run(620, &tick(Verdict::Regressed)), Some(DecisionName::WatchOver));
    assert_eq!(story.last().evidence, EvidenceChange::End);
    assert_eq!(story.run(621, &tick(Verdict::Regressed)), None);
}

#[test]
fn a_switch_in_the_watch_ends_what_is_gathered() {
    let mut story = Story::promoted();
    story.run(30, &switch("server0", false));
    assert_eq!(story.last().evidence, EvidenceChange::End);
}

#[test]
fn a_shared_incident_holds_and_the_rollout_goes_on_when_it_is_over() {
    let mut story = Story::in_canary();
    assert_eq!(story.run(61, &tick(Verdict::SharedIncident)), Some(DecisionName::Hold));
    assert_eq!((story.held_by(), story.last().protective), (Some(HeldBy::Incident), true));
    assert_eq!(story.run(9000, &tick(Verdict::SharedIncident)), None);
    assert_eq!(story.run(9001, &Event::Tick(None)), None);
    assert_eq!(story.run(9002, &tick(Verdict::Insufficient)), Some(DecisionName::Resume));
    assert!(story.last().decision.reason.starts_with("the pools answer well again"));
    assert_eq!(story.run(9540, &tick(Verdict::Insufficient)), None, "the incident does not count as time to wait");
    assert_eq!(story.run(9541, &tick(Verdict::SharedIncident)), Some(DecisionName::Hold));
    assert_eq!(story.run(9542, &tick(Verdict::SourceDown)), Some(DecisionName::Hold));
    assert_eq!(story.held_by(), Some(HeldBy::Source));
    assert_eq!(story.run(9543, &tick(Verdict::SharedIncident)), Some(DecisionName::Hold));
    assert_eq!(story.run(9544, &tick(Verdict::Healthy)), Some(DecisionName::Step), "its hold was over long ago");
}

#[test]
fn a_shared_incident_keeps_a_rollout_in_preview() {
    for plan in [plan(), Plan { preview: Period::from_secs(0), ..blue_green() }] {
        let mut story = Story::new();
        story.start(plan);
        assert_eq!(story.run(1, &tick(Verdict::SharedIncident)), Some(DecisionName::Hold));
        assert_eq!(story.run(2, &tick(Verdict::SharedIncident)), None);
        assert!(story.run(3, &tick(Verdict::Insufficient)).is_some());
        assert!(matches!(story.state.phase, Phase::Canary | Phase::Promoted));
    }
}

#[test]
fn a_clock_that_goes_back_ends_no_preview() {
    let mut story = Story::new();
    story.start(blue_green());
    assert_eq!(story.run(-5000, &tick(Verdict::Insufficient)), None);
    assert_eq!(decide(&story.state, &tick(Verdict::Insufficient), Timestamp::MIN).unwrap(), None);
    assert_eq!(story.state.rollout.as_ref().unwrap().started, at(0));
}
