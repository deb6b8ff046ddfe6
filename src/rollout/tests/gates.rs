//! Gates: the walk stops for them, commands do not.

use super::{Start, Story, percent, plan, pool, start_of, switch, tick};
use crate::model::{
    Gate, GateAsk, GateMoment, GatePoint, HeldBy, OnGateFailure, Period, Phase, Plan, Strategy, Verdict,
};
use crate::rollout::{Asking, DecisionName, Event, GatesAnswer, ServiceState};

fn gate(at: &[GatePoint]) -> Gate {
    Gate {
        name: "smoke".to_owned(),
        at: at.to_vec(),
        ask: GateAsk::Webhook { url: "http://127.0.0.1:1/".to_owned(), secret_file: None },
        timeout: Period::from_secs(5),
        retries: 1,
        on_failure: OnGateFailure::Hold,
    }
}

fn gated(at: &[GatePoint]) -> Plan {
    Plan { gates: vec![gate(at)], ..plan() }
}

fn asked(story: &Story) -> Asking {
    story.state.rollout.as_ref().unwrap().asking.unwrap()
}

fn passed(asking: Asking) -> Event {
    Event::Gates { asking, answer: GatesAnswer::Passed("smoke passed".to_owned()), way_back: true }
}

fn failed(asking: Asking, on_failure: OnGateFailure, way_back: bool) -> Event {
    let answer = GatesAnswer::Failed { gate: "smoke".to_owned(), reason: "it smokes".to_owned(), on_failure };
    Event::Gates { asking, answer, way_back }
}

/// Asked before the second step, since second 61.
fn before_second_step() -> Story {
    let mut story = Story::new();
    story.start(gated(&[GatePoint::BeforeStep]));
    assert_eq!(story.run(1, &tick(Verdict::Insufficient)), Some(DecisionName::Gate));
    story.run(1, &passed(asked(&story)));
    assert_eq!(story.run(1, &tick(Verdict::Insufficient)), Some(DecisionName::Step));
    assert_eq!(story.run(61, &tick(Verdict::Healthy)), Some(DecisionName::Gate));
    assert_eq!(asked(&story).moment, GateMoment::before_step(1));
    story
}

/// Promoted at second 20, with its gate asked.
fn after_promotion() -> Story {
    let mut story = Story::in_canary_by(gated(&[GatePoint::AfterPromotion]));
    story.run(20, &Event::Promote);
    assert_eq!(asked(&story).moment, GateMoment::at(GatePoint::AfterPromotion));
    story
}

#[test]
fn each_moment_is_asked_once_and_the_walk_waits_for_it() {
    let mut story = Story::new();
    story.start(gated(&GatePoint::ALL));
    let mut moments = Vec::new();
    for second in 0..200 {
        let before = story.state.weight;
        if story.run(second, &tick(Verdict::Healthy)) == Some(DecisionName::Gate) {
            assert_eq!((story.held_by(), story.state.weight), (Some(HeldBy::Gate), before));
            assert!(!story.last().protective, "what is asked is durable first");
            assert_eq!(story.run(second, &tick(Verdict::Healthy)), None);
            moments.push(asked(&story).moment.to_string());
            assert_eq!(story.run(second, &passed(asked(&story))), Some(DecisionName::Gate));
            assert_eq!(story.held_by(), None);
        }
    }
    assert_eq!(moments, ["before-rollout", "before-step 1", "before-step 2", "before-promotion"]);
    assert_eq!(story.state.phase, Phase::Promoted);
    assert_eq!(asked(&story).moment.to_string(), "after-promotion");
    assert_eq!(story.run(200, &passed(asked(&story))), Some(DecisionName::Gate));
    assert_eq!(story.run(201, &Event::Rollback), Some(DecisionName::Rollback));
    assert_eq!(asked(&story).moment.to_string(), "on-rollback");
    assert_eq!(story.run(202, &failed(asked(&story), OnGateFailure::Rollback, true)), Some(DecisionName::Gate));
    assert_eq!((story.state.phase, &story.state.live), (Phase::RolledBack, &pool("server0")));
}

#[test]
fn gates_that_have_passed_still_need_the_evidence() {
    let mut story = before_second_step();
    story.run(70, &passed(asked(&story)));
    assert_eq!(story.run(71, &tick(Verdict::Insufficient)), None);
    assert_eq!(story.run(72, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    assert_eq!(story.state.weight, percent(25.0));
}

#[test]
fn a_gate_that_fails_holds_until_an_operator_has_it_asked_again() {
    let mut story = before_second_step();
    let first = asked(&story);
    assert_eq!(story.run(70, &failed(first, OnGateFailure::Hold, true)), Some(DecisionName::Hold));
    assert_eq!((story.held_by(), story.last().protective), (Some(HeldBy::Gate), true));
    assert!(story.last().decision.reason.contains("smoke failed: it smokes; `cutover rollout resume` asks again"));
    assert_eq!(story.run(71, &tick(Verdict::Healthy)), None);
    assert_eq!(story.run(72, &Event::Resume), Some(DecisionName::Resume));
    assert_eq!(story.run(73, &tick(Verdict::Healthy)), Some(DecisionName::Gate));
    let second = asked(&story);
    assert!(second.number > first.number && second.moment == first.moment);
    assert_eq!(story.run(74, &passed(first)), None, "an answer to the first question is no news");
    assert_eq!(story.run(75, &passed(second)), Some(DecisionName::Gate));
    assert_eq!(story.run(76, &tick(Verdict::Healthy)), Some(DecisionName::Step));
}

#[test]
fn a_gate_may_take_the_candidate_back() {
    let mut story = before_second_step();
    assert_eq!(story.run(70, &failed(asked(&story), OnGateFailure::Rollback, true)), Some(DecisionName::Rollback));
    assert_eq!((story.state.phase, story.last().decision.by.as_str()), (Phase::RolledBack, "smoke"));
    assert!(story.last().protective);
}

#[test]
fn while_gates_are_asked_commands_and_protection_work_and_the_late_answer_is_no_news() {
    let events = [
        Event::Rollback,
        Event::Promote,
        switch("server1", false),
        tick(Verdict::Regressed),
        Event::CandidateUnreachable,
    ];
    for event in events {
        let mut story = before_second_step();
        let asking = asked(&story);
        assert!(story.run(62, &event).is_some(), "{event:?}");
        assert_eq!(story.held_by(), None);
        for late in [passed(asking), failed(asking, OnGateFailure::Rollback, true)] {
            assert_eq!(story.run(63, &late), None, "{event:?}");
        }
    }
}

#[test]
fn a_promotion_by_command_goes_over_the_gates_and_says_so() {
    let mut story = before_second_step();
    story.run(62, &Event::Promote);
    assert_eq!(
        story.last().decision.reason,
        "promoted by a command, while the gates of before-step 2 were being asked"
    );
    let mut story = Story::in_canary_by(gated(&[GatePoint::BeforePromotion]));
    story.run(62, &Event::Promote);
    assert_eq!(story.last().decision.reason, "promoted by a command, without asking the gates of before-promotion");
}

#[test]
fn a_pause_while_gates_are_asked_outlasts_their_answer() {
    let mut story = before_second_step();
    assert_eq!(story.run(62, &Event::Resume), None, "they are being asked already");
    assert_eq!(story.run(63, &Event::Pause), Some(DecisionName::Hold));
    assert_eq!(story.run(64, &Event::Resume), Some(DecisionName::Resume));
    assert_eq!(story.held_by(), Some(HeldBy::Gate), "they are asked still");
    story.run(65, &Event::Pause);
    assert_eq!(story.run(66, &passed(asked(&story))), Some(DecisionName::Gate));
    assert_eq!(story.held_by(), Some(HeldBy::Operator));
    assert_eq!(story.run(67, &tick(Verdict::Healthy)), None);
    story.run(68, &Event::Resume);
    assert_eq!(story.run(69, &tick(Verdict::Healthy)), Some(DecisionName::Step));
}

#[test]
fn the_time_that_gates_take_is_no_time_to_wait() {
    let mut story = before_second_step();
    story.run(5000, &passed(asked(&story)));
    assert_eq!(story.run(5001, &tick(Verdict::Insufficient)), None);
    assert_eq!(story.run(5540, &tick(Verdict::Insufficient)), Some(DecisionName::Hold));
    assert_eq!(story.held_by(), Some(HeldBy::Evidence));
}

#[test]
fn after_a_weight_by_command_the_next_step_is_asked_for_and_taken_without_more_evidence() {
    let mut story = before_second_step();
    story.run(62, &Event::SetWeight(percent(2.0)));
    assert_eq!(story.state.rollout.as_ref().unwrap().asking, None, "a command goes over what is asked");
    assert_eq!(story.run(63, &Event::Resume), Some(DecisionName::Gate));
    assert_eq!((asked(&story).moment, story.state.weight), (GateMoment::before_step(0), percent(2.0)));
    assert_eq!(story.run(64, &failed(asked(&story), OnGateFailure::Hold, true)), Some(DecisionName::Hold));
    assert_eq!(story.run(65, &Event::Resume), Some(DecisionName::Gate));
    assert_eq!(story.run(66, &passed(asked(&story))), Some(DecisionName::Gate));
    assert_eq!(story.run(67, &Event::Tick(None)), None);
    assert_eq!(story.run(68, &tick(Verdict::SourceDown)), Some(DecisionName::Hold));
    assert_eq!(story.run(69, &tick(Verdict::Healthy)), Some(DecisionName::Resume));
    assert_eq!(story.run(70, &tick(Verdict::Insufficient)), Some(DecisionName::Step));
    assert_eq!((story.state.weight, story.held_by()), (percent(5.0), None));
}

#[test]
fn a_promotion_whose_gate_fails_is_taken_back_while_it_is_watched_and_there_is_a_way_back() {
    let mut story = after_promotion();
    assert_eq!(story.run(30, &failed(asked(&story), OnGateFailure::Rollback, true)), Some(DecisionName::Rollback));
    assert_eq!((story.state.phase, &story.state.live), (Phase::RolledBack, &pool("server0")));
    for (second, on_failure, way_back) in
        [(30, OnGateFailure::Rollback, false), (620, OnGateFailure::Rollback, true), (30, OnGateFailure::Hold, true)]
    {
        let mut story = after_promotion();
        let event = failed(asked(&story), on_failure, way_back);
        assert_eq!(story.run(second, &event), Some(DecisionName::Gate));
        assert_eq!((story.state.phase, &story.state.live), (Phase::Promoted, &pool("server1")));
        assert_eq!(story.run(second, &event), None, "it is told once");
    }
}

#[test]
fn a_blue_green_preview_is_shown_once_its_gates_let_it_begin() {
    let at = [GatePoint::BeforeRollout, GatePoint::BeforeStep, GatePoint::BeforePromotion];
    let mut story = Story::new();
    story.start(Plan { strategy: Strategy::BlueGreen, steps: Vec::new(), ..gated(&at) });
    assert!(!story.state.previews());
    story.run(1, &tick(Verdict::Insufficient));
    assert_eq!(asked(&story).moment, GateMoment::at(GatePoint::BeforeRollout));
    story.run(2, &passed(asked(&story)));
    assert!(story.state.previews());
    story.run(3, &tick(Verdict::Insufficient));
    assert_eq!(asked(&story).moment, GateMoment::at(GatePoint::BeforePromotion));
    assert!(story.state.previews());
    story.run(4, &passed(asked(&story)));
    assert_eq!(story.run(5, &tick(Verdict::Insufficient)), Some(DecisionName::Promote));
}

#[test]
fn a_question_of_one_rollout_is_not_answered_by_an_answer_to_another() {
    let mut story = Story::in_canary_by(gated(&[GatePoint::OnRollback]));
    story.run(2, &Event::Rollback);
    let first = asked(&story);
    story.run(3, &Event::Start(Start { force: true, plan: gated(&[GatePoint::OnRollback]), ..start_of(None) }));
    story.run(4, &Event::Rollback);
    assert_eq!(first.moment, asked(&story).moment);
    assert_eq!(story.run(5, &passed(first)), None);
}

#[test]
fn what_is_asked_comes_back_from_json() {
    let story = before_second_step();
    let text = serde_json::to_string(&story.state).unwrap();
    assert_eq!(serde_json::from_str::<ServiceState>(&text).unwrap(), story.state);
}
