//! What each event means in each phase.

mod deploys;
mod gates;
mod plans;

use super::{DecisionName, Event, EvidenceChange, OPERATOR, Refusal, ServiceState, SetMode, Start, Transition, decide};
use crate::model::{
    BasisPoints, HeldBy, Judgement, Meanwhile, Mode, ModeSetting, OnInconclusive, Period, Phase, Plan, PoolName, Step,
    Timestamp, Verdict,
};

fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn percent(percent: f64) -> BasisPoints {
    BasisPoints::from_percent(percent).unwrap()
}

/// That many seconds after some moment.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// 5% and 25%, each for a minute, so that ten minutes are the longest hold.
fn plan() -> Plan {
    let step = |weight| Step::new(percent(weight), Period::from_secs(60));
    Plan { steps: vec![step(5.0), step(25.0)], ..Plan::default() }
}

fn start_of(release: Option<&str>) -> Start {
    Start {
        pool: pool("server1"),
        release: release.map(|release| release.parse().unwrap()),
        configured: None,
        plan: plan(),
        force: false,
        candidate_healthy: true,
    }
}

fn start() -> Event {
    Event::Start(start_of(Some("v2")))
}

fn tick(verdict: Verdict) -> Event {
    Event::Tick(Some(Judgement {
        verdict,
        by: "error-ratio".to_owned(),
        reason: format!("it is {verdict}"),
        proven: false,
        unanswered: false,
    }))
}

fn switch(name: &str, drain: bool) -> Event {
    Event::Switch { pool: pool(name), drain }
}

/// A service and the moment: events in, what was decided out.
struct Story {
    state: ServiceState,
    last: Option<Transition>,
}

impl Story {
    fn new() -> Self {
        Self { state: ServiceState::new(pool("server0")), last: None }
    }

    /// At 5% since second 1.
    fn in_canary() -> Self {
        Self::in_canary_by(plan())
    }

    fn in_canary_by(plan: Plan) -> Self {
        let mut story = Self::new();
        story.start(plan);
        story.run(1, &tick(Verdict::Insufficient));
        assert_eq!((story.state.phase, story.state.weight), (Phase::Canary, percent(5.0)));
        story
    }

    /// Since second 20, watched for ten minutes.
    fn promoted() -> Self {
        let mut story = Self::in_canary();
        story.run(20, &Event::Promote);
        story
    }

    fn start(&mut self, plan: Plan) {
        self.run(0, &Event::Start(Start { plan, ..start_of(Some("v2")) }));
    }

    fn run(&mut self, second: i64, event: &Event) -> Option<DecisionName> {
        let transition = decide(&self.state, event, at(second)).unwrap();
        if let Some(transition) = &transition {
            self.state = transition.state.clone();
        }
        self.last = transition;
        self.last.as_ref().map(|transition| transition.decision.name)
    }

    fn refused(&self, second: i64, event: &Event) -> Refusal {
        decide(&self.state, event, at(second)).unwrap_err()
    }

    fn held_by(&self) -> Option<HeldBy> {
        self.state.held.as_ref().map(|held| held.by)
    }

    fn last(&self) -> &Transition {
        self.last.as_ref().unwrap()
    }
}

#[test]
fn a_healthy_release_walks_its_steps_to_promoted_and_out_of_its_watch() {
    let mut story = Story::new();
    assert_eq!(story.run(0, &start()), Some(DecisionName::Start));
    assert_eq!((story.state.phase, story.state.weight), (Phase::Preview, BasisPoints::ZERO));
    assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::Begin));
    assert_eq!(story.run(1, &Event::Tick(None)), Some(DecisionName::Step));
    assert_eq!((story.state.phase, story.state.weight), (Phase::Canary, percent(5.0)));
    assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::NewStep));
    assert_eq!(story.run(60, &tick(Verdict::Healthy)), None, "its hold is not over");
    assert_eq!(story.run(61, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    assert_eq!(story.state.weight, percent(25.0));
    assert_eq!(story.last().decision.by, "error-ratio");
    assert_eq!(story.last().decision.reason, "step 2 of 2 at 25%: it is healthy");
    assert_eq!(story.run(121, &tick(Verdict::Healthy)), Some(DecisionName::Promote));
    assert_eq!((story.state.phase, &story.state.live), (Phase::Promoted, &pool("server1")));
    assert_eq!((&story.state.candidate, story.state.weight), (&None, BasisPoints::ZERO));
    assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::Watch));
    assert_eq!(story.state.watch_until, Some(at(721)));
    assert_eq!(story.run(720, &Event::Tick(None)), None);
    assert_eq!(story.run(721, &Event::Tick(None)), Some(DecisionName::WatchOver));
    assert_eq!((story.state.phase, story.state.watch_until), (Phase::Promoted, None));
}

#[test]
fn a_regressed_release_is_taken_back_even_while_it_is_held() {
    for hold in [None, Some(Event::Pause), Some(Event::SetWeight(percent(50.0))), Some(tick(Verdict::SourceDown))] {
        let mut story = Story::in_canary();
        if let Some(hold) = &hold {
            story.run(2, hold);
        }
        assert_eq!(story.run(3, &tick(Verdict::Regressed)), Some(DecisionName::Rollback));
        assert_eq!((story.state.phase, &story.state.live), (Phase::RolledBack, &pool("server0")));
        assert_eq!((&story.state.candidate, story.state.weight, story.held_by()), (&None, BasisPoints::ZERO, None));
        assert_eq!((story.last().protective, story.last().evidence), (true, EvidenceChange::End));
    }
}

#[test]
fn a_candidate_that_cannot_answer_needs_no_statistics() {
    for event in [Event::CandidateDown("connection refused".to_owned()), Event::CandidateUnreachable] {
        let mut story = Story::in_canary();
        assert_eq!(story.run(2, &event), Some(DecisionName::Rollback));
        assert_eq!((story.last().decision.by.as_str(), story.last().protective), ("health", true));
        assert_eq!(story.run(3, &event), None, "there is no candidate any more");
    }
}

#[test]
fn short_evidence_holds_after_the_longest_hold_and_goes_on_when_it_suffices() {
    let mut story = Story::in_canary();
    assert_eq!(story.run(600, &tick(Verdict::Insufficient)), None);
    assert_eq!(story.run(601, &tick(Verdict::Insufficient)), Some(DecisionName::Hold));
    assert_eq!((story.held_by(), story.last().protective), (Some(HeldBy::Evidence), true));
    assert_eq!(story.run(9000, &tick(Verdict::Insufficient)), None);
    assert_eq!(story.run(9001, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    assert_eq!((story.state.weight, story.held_by()), (percent(25.0), None));
}

#[test]
fn short_evidence_promotes_or_rolls_back_where_the_plan_says_so() {
    for (on_inconclusive, decision) in
        [(OnInconclusive::Promote, DecisionName::Step), (OnInconclusive::Rollback, DecisionName::Rollback)]
    {
        let mut story = Story::in_canary();
        story.state.rollout.as_mut().unwrap().plan.on_inconclusive = on_inconclusive;
        assert_eq!(story.run(600, &tick(Verdict::Insufficient)), None);
        assert_eq!(story.run(602, &tick(Verdict::SourceDown)), Some(DecisionName::Hold), "it decides nothing");
        assert_eq!(story.run(9000, &tick(Verdict::SourceDown)), None);
        assert_eq!(story.run(9001, &tick(Verdict::Insufficient)), Some(DecisionName::Resume));
        assert_eq!(story.run(9001, &tick(Verdict::Insufficient)), Some(decision));
        assert_eq!(story.last().decision.by, "on_inconclusive");
    }
}

#[test]
fn a_silent_source_holds_and_an_answer_releases() {
    let mut story = Story::in_canary();
    assert_eq!(story.run(30, &tick(Verdict::SourceDown)), Some(DecisionName::Hold));
    assert_eq!(story.held_by(), Some(HeldBy::Source));
    assert_eq!(story.run(31, &Event::Tick(None)), None, "nothing to judge by is no answer");
    assert_eq!(story.run(40, &tick(Verdict::Insufficient)), Some(DecisionName::Resume));
    assert_eq!(story.run(610, &tick(Verdict::Insufficient)), None, "the silence does not count as time to wait");
    assert_eq!(story.run(611, &tick(Verdict::Insufficient)), Some(DecisionName::Hold));
}

#[test]
fn a_silent_source_keeps_a_rollout_in_preview() {
    let mut story = Story::new();
    story.run(0, &start());
    assert_eq!(story.run(1, &tick(Verdict::SourceDown)), Some(DecisionName::Hold));
    assert_eq!(story.run(2, &tick(Verdict::SourceDown)), None);
    assert_eq!(story.run(3, &tick(Verdict::Insufficient)), Some(DecisionName::Step));
}

#[test]
fn an_operators_hold_ends_by_command_only() {
    let mut story = Story::in_canary();
    assert_eq!(story.run(10, &Event::Pause), Some(DecisionName::Hold));
    assert_eq!((story.held_by(), story.last().decision.by.as_str()), (Some(HeldBy::Operator), OPERATOR));
    assert_eq!(story.run(11, &Event::Pause), None);
    for verdict in [Verdict::Healthy, Verdict::Insufficient, Verdict::SourceDown] {
        assert_eq!(story.run(9000, &tick(verdict)), None, "{verdict}");
    }
    assert_eq!(story.run(9010, &Event::Resume), Some(DecisionName::Resume));
    assert_eq!(story.run(9011, &tick(Verdict::Insufficient)), None, "the pause does not count as time to wait");
    assert_eq!(story.run(9012, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    assert_eq!(story.run(9013, &Event::Resume), None);
}

#[test]
fn a_weight_by_command_holds_and_resume_takes_the_next_higher_step() {
    let mut story = Story::in_canary();
    assert_eq!(story.run(2, &Event::SetWeight(percent(12.5))), Some(DecisionName::Weight));
    assert_eq!((story.state.weight, story.held_by()), (percent(12.5), Some(HeldBy::Operator)));
    assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::WeightChanged));
    assert_eq!(story.run(3, &Event::SetWeight(percent(12.5))), None);
    assert_eq!(story.run(4, &Event::SetWeight(percent(1.0))), Some(DecisionName::Weight));
    assert!(story.last().protective, "less for the candidate takes risk away");
    assert_eq!(story.run(5, &Event::Resume), Some(DecisionName::Step));
    assert_eq!((story.state.weight, story.held_by()), (percent(5.0), None));
}

#[test]
fn above_the_last_step_resume_holds_at_the_commanded_weight_and_then_promotes() {
    let mut story = Story::in_canary();
    story.run(2, &Event::SetWeight(percent(60.0)));
    assert_eq!(story.run(5, &Event::Resume), Some(DecisionName::Step));
    assert_eq!((story.state.weight, story.held_by()), (percent(60.0), None));
    assert_eq!(story.run(64, &tick(Verdict::Healthy)), None);
    assert_eq!(story.run(65, &tick(Verdict::Healthy)), Some(DecisionName::Promote));
}

#[test]
fn a_weight_in_preview_begins_the_canary() {
    let mut story = Story::new();
    story.run(0, &start());
    assert_eq!(story.run(1, &Event::SetWeight(percent(2.0))), Some(DecisionName::Weight));
    assert_eq!((story.state.phase, story.state.weight), (Phase::Canary, percent(2.0)));
    assert_eq!(story.last().evidence, EvidenceChange::NewStep);
}

#[test]
fn a_promotion_is_rolled_back_until_its_watch_is_over() {
    let mut story = Story::promoted();
    assert_eq!(story.state.live, pool("server1"));
    assert_eq!(story.run(619, &Event::Rollback), Some(DecisionName::Rollback));
    assert_eq!((story.state.phase, &story.state.live), (Phase::RolledBack, &pool("server0")));
    assert!(story.last().protective && story.state.watch_until.is_none());
    let refused = Story::promoted().refused(620, &Event::Rollback);
    assert!(refused.to_string().contains("cutover switch server0"), "{refused}");
}

#[test]
fn rollback_without_a_rollout_points_to_switch() {
    let mut story = Story::new();
    assert!(story.refused(0, &Event::Rollback).to_string().contains("cutover switch"));
    story.run(0, &start());
    assert_eq!(story.run(1, &Event::Rollback), Some(DecisionName::Rollback));
    assert_eq!(story.refused(2, &Event::Rollback), Refusal::RolledBackAlready("v2".parse().unwrap()));
}

#[test]
fn commands_for_a_rollout_need_one() {
    let mut idle = Story::new();
    idle.state.phase = Phase::Idle;
    let mut rolled_back = Story::in_canary();
    rolled_back.run(2, &Event::Rollback);
    for story in [idle, Story::promoted(), rolled_back] {
        for event in [Event::Pause, Event::Resume, Event::Promote, Event::Approve, Event::SetWeight(percent(1.0))] {
            assert_eq!(story.refused(30, &event), Refusal::NoRollout, "{:?} {event:?}", story.state.phase);
        }
    }
}

#[test]
fn a_start_is_refused_where_it_leads_nowhere() {
    let story = Story::new();
    let refused = |change: &dyn Fn(&mut Start)| {
        let mut start = start_of(Some("v2"));
        change(&mut start);
        story.refused(0, &Event::Start(start))
    };
    assert_eq!(refused(&|start| start.pool = pool("server0")), Refusal::AlreadyLive(pool("server0")));
    assert_eq!(refused(&|start| start.candidate_healthy = false), Refusal::Unhealthy(pool("server1")));
    assert_eq!(refused(&|start| start.plan.steps.clear()), Refusal::BadSteps);
    assert_eq!(refused(&|start| start.plan.steps.reverse()), Refusal::BadSteps);
    assert_eq!(refused(&|start| start.plan.steps[0].weight = BasisPoints::ZERO), Refusal::BadSteps);
    let under_way = Story::in_canary().refused(2, &start());
    assert_eq!(under_way, Refusal::UnderWay { pool: pool("server1"), release: "v2".parse().unwrap() });
}

#[test]
fn a_release_that_was_rolled_back_needs_force_and_is_forgiven_by_a_promotion() {
    let mut story = Story::in_canary();
    story.run(2, &tick(Verdict::Regressed));
    assert!(story.refused(3, &start()).to_string().contains("--force"));
    let forced = Event::Start(Start { force: true, ..start_of(Some("v2")) });
    assert_eq!(story.run(4, &forced), Some(DecisionName::Start));
    story.run(5, &Event::Promote);
    assert!(story.state.rejected.is_empty());
}

#[test]
fn rejected_releases_are_bounded() {
    let mut story = Story::new();
    for number in 0..40 {
        story.run(number, &Event::Start(start_of(Some(&format!("v{number}")))));
        story.run(number, &Event::Rollback);
    }
    assert_eq!(story.state.rejected.len(), 32);
    assert_eq!(story.state.rejected[0].release, "v8".parse().unwrap());
}

#[test]
fn a_release_that_nobody_names_gets_a_name_of_its_own() {
    let mut story = Story::new();
    story.run(0, &Event::Start(start_of(None)));
    let release = story.state.rollout.as_ref().unwrap().release.to_string();
    assert_eq!(release, "server1@20231114T221320.000Z");
    assert_eq!(story.state.releases[&pool("server1")].release.to_string(), release);
}

#[test]
fn a_switch_ends_a_rollout_and_a_watch() {
    let mut story = Story::in_canary();
    assert_eq!(story.run(2, &switch("server1", false)), Some(DecisionName::Switch));
    assert_eq!((story.state.phase, &story.state.live), (Phase::Idle, &pool("server1")));
    assert_eq!((story.last().protective, story.last().evidence), (false, EvidenceChange::End));
    let mut back = Story::in_canary();
    assert_eq!(back.run(2, &switch("server0", false)), Some(DecisionName::Switch));
    assert_eq!((back.state.phase, &back.state.live, &back.state.candidate), (Phase::Idle, &pool("server0"), &None));
    let mut promoted = Story::promoted();
    assert_eq!(promoted.refused(30, &switch("server1", false)), Refusal::AlreadyLive(pool("server1")));
    assert_eq!(promoted.run(30, &switch("server0", false)), Some(DecisionName::Switch));
    assert_eq!((promoted.state.phase, promoted.state.watch_until), (Phase::Idle, None));
}

#[test]
fn a_drained_pool_is_left_alone_until_it_is_used_again() {
    let mut story = Story::new();
    story.run(0, &switch("server1", true));
    assert!(story.state.drained.contains(&pool("server0")));
    story.run(1, &switch("server0", false));
    assert!(story.state.drained.is_empty());
    story.run(2, &switch("server1", true));
    story.run(3, &Event::Start(Start { pool: pool("server0"), ..start_of(None) }));
    assert!(story.state.drained.is_empty());
    story.run(4, &switch("server1", true));
    assert_eq!(story.state.drained.iter().collect::<Vec<_>>(), [&pool("server0")], "the candidate lost its traffic");
}

#[test]
fn a_mode_is_set_in_every_phase_and_maintenance_need_not_wait() {
    let maintenance = ModeSetting { mode: Mode::Maintenance, ..ModeSetting::default() };
    for mut story in [Story::new(), Story::in_canary(), Story::promoted()] {
        let phase = story.state.phase;
        assert_eq!(story.run(30, &Event::SetMode(maintenance.clone().into())), Some(DecisionName::Mode));
        assert!(story.last().protective);
        assert_eq!(story.run(31, &Event::SetMode(maintenance.clone().into())), None);
        assert_eq!(story.run(32, &Event::SetMode(ModeSetting::default().into())), Some(DecisionName::Mode));
        assert!(!story.last().protective);
        assert_eq!(story.state.phase, phase);
    }
}

#[test]
fn a_mode_ends_by_itself_when_its_time_is_over_and_a_pool_can_serve() {
    for mode in [Mode::Anonymous, Mode::ReadOnly, Mode::Hold, Mode::Maintenance] {
        let setting = ModeSetting { until: Some(at(60)), ..ModeSetting::of(mode) };
        let mut story = Story::in_canary();
        story.run(30, &Event::SetMode(setting.into()));
        assert_eq!(story.run(59, &Event::PoolCanServe(None)), None);
        assert_eq!(story.run(60, &Event::PoolCanServe(None)), Some(DecisionName::Mode));
        assert_eq!((story.last().decision.by.as_str(), story.last().protective), ("time", false));
        let reason = &story.last().decision.reason;
        assert_eq!(*reason, format!("mode {mode} was to last until {}", at(60)));
        assert_eq!((&story.state.mode, story.state.phase), (&ModeSetting::default(), Phase::Canary));
        assert_eq!(story.run(61, &Event::PoolCanServe(None)), None);
    }
    let mut without_end = Story::new();
    without_end.run(1, &Event::SetMode(ModeSetting::of(Mode::Maintenance).into()));
    assert_eq!(without_end.run(1_000_000, &Event::PoolCanServe(None)), None);
}

#[test]
fn what_leaves_a_mode_says_what_it_has_cost() {
    let meanwhile = Meanwhile { since: at(1), until: None, requests: 3, methods: [("GET".to_owned(), 3)].into() };
    let said = "; meanwhile 3 requests were answered by the router itself (3 GET)";
    let set = |setting| Event::SetMode(SetMode { setting, meanwhile: Some(meanwhile.clone()) });
    let until = ModeSetting { until: Some(at(60)), ..ModeSetting::of(Mode::Maintenance) };
    let mut story = Story::new();
    story.run(1, &Event::SetMode(until.clone().into()));
    story.run(2, &set(ModeSetting { message: Some("soon".to_owned()), ..until }));
    assert_eq!(story.last().decision.reason, "mode maintenance by a command", "it goes on");
    let mut other = Story { state: story.state.clone(), last: None };
    other.run(3, &set(ModeSetting::default()));
    assert_eq!(other.last().decision.reason, format!("mode serve by a command{said}"));
    story.run(60, &Event::PoolCanServe(Some(meanwhile.clone())));
    assert!(story.last().decision.reason.ends_with(said));
}

#[test]
fn a_clock_that_goes_back_passes_no_hold_and_ends_no_watch() {
    let mut story = Story::in_canary();
    for second in [-100_000, 0] {
        assert_eq!(story.run(second, &tick(Verdict::Healthy)), None);
        assert_eq!(story.run(second, &tick(Verdict::Insufficient)), None);
    }
    story.run(-5000, &Event::Pause);
    story.run(-9000, &Event::Resume);
    assert_eq!(story.run(61, &tick(Verdict::Healthy)), Some(DecisionName::Step));
    let earliest = decide(&story.state, &tick(Verdict::Insufficient), Timestamp::MIN).unwrap();
    assert_eq!(earliest, None);
}

#[test]
fn a_state_comes_back_from_json() {
    let mut story = Story::in_canary();
    story.run(2, &Event::SetWeight(percent(12.5)));
    story.run(3, &Event::SetMode(ModeSetting::of(Mode::Maintenance).into()));
    let mut rejected = Story::promoted();
    rejected.run(30, &Event::Rollback);
    rejected.run(31, &switch("server1", true));
    for state in [Story::new().state, story.state, rejected.state] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<ServiceState>(&text).unwrap(), state);
    }
}
