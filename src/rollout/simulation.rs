//! A seeded simulation of `decide`: random events at random times, and after each what must always hold.
//!
//! The seed is printed; `CUTOVER_SEED` sets it.

use super::{
    Asking, DecisionName, DeployAct, DeployNews, Event, EvidenceChange, GatesAnswer, OPERATOR, ServiceState, Start,
    Transition, decide,
};
use crate::model::{
    Advance, BasisPoints, DeployStep, Gate, GateAsk, GateMoment, GatePoint, HeldBy, Judgement, Mode, ModeSetting,
    OnGateFailure, OnInconclusive, Period, Phase, Plan, PoolName, Step, Strategy, Timestamp, Verdict,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

const EVENTS: usize = 250_000;
const POOLS: [&str; 3] = ["server0", "server1", "server2"];

/// The seed of this run: from `CUTOVER_SEED`, or another one each time.
fn seed() -> u64 {
    let seed = std::env::var("CUTOVER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("CUTOVER_SEED={seed}");
    seed
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> T {
    from[random.random_range(0..from.len())].clone()
}

fn any_pool(random: &mut StdRng) -> PoolName {
    pick(random, &POOLS).parse().unwrap()
}

fn any_weight(random: &mut StdRng) -> BasisPoints {
    let points = pick(random, &[0, 1, 500, 5000, 10_000]);
    BasisPoints::try_from(if random.random_bool(0.5) { points } else { random.random_range(0..=10_000) }).unwrap()
}

fn any_plan(random: &mut StdRng) -> Plan {
    let mut weights: Vec<BasisPoints> = (0..random.random_range(0..5)).map(|_| any_weight(random)).collect();
    if random.random_bool(0.9) {
        weights.sort();
    }
    let hold = |random: &mut StdRng| Period::from_secs(pick(random, &[0, 1, 30, 120]));
    let strategy = pick(random, &[Strategy::Canary, Strategy::Canary, Strategy::Canary, Strategy::BlueGreen]);
    if strategy == Strategy::BlueGreen && random.random_bool(0.9) {
        weights.clear();
    }
    let step =
        |weight, random: &mut StdRng| Step { approve: random.random_bool(0.1), ..Step::new(weight, hold(random)) };
    Plan {
        steps: weights.into_iter().map(|weight| step(weight, random)).collect(),
        strategy,
        preview: hold(random),
        approve: random.random_bool(0.2),
        advance: pick(random, &[Advance::AfterHold, Advance::Early]),
        gates: any_gates(random),
        max_hold: random.random_bool(0.5).then(|| hold(random)),
        on_inconclusive: pick(random, &[OnInconclusive::Hold, OnInconclusive::Promote, OnInconclusive::Rollback]),
        watch: hold(random),
        ..Plan::default()
    }
}

fn any_gates(random: &mut StdRng) -> Vec<Gate> {
    let gate = |number: usize, random: &mut StdRng| Gate {
        name: format!("gate {number}"),
        at: GatePoint::ALL.into_iter().filter(|_| random.random_bool(0.4)).collect(),
        ask: GateAsk::Webhook { url: "http://127.0.0.1:1/".to_owned(), secret_file: None },
        timeout: Period::from_secs(1),
        retries: 0,
        on_failure: OnGateFailure::Hold,
    };
    (0..pick(random, &[0, 0, 1, 2])).map(|number| gate(number, random)).collect()
}

/// Mostly an answer to what is asked, so that rollouts go on; else to something that is not.
fn any_answer(random: &mut StdRng, state: &ServiceState) -> Event {
    let asked = state.rollout.as_ref().and_then(|rollout| rollout.asking);
    let other = Asking {
        moment: GateMoment { point: pick(random, &GatePoint::ALL), step: random.random_range(0..3) },
        number: random.random_range(0..5),
    };
    let asking = asked.filter(|_| random.random_bool(0.9)).unwrap_or(other);
    let failed = |on_failure| GatesAnswer::Failed { gate: "gate 0".to_owned(), reason: "no".to_owned(), on_failure };
    let answer = match random.random_range(0..8) {
        0 => failed(OnGateFailure::Hold),
        1 => failed(OnGateFailure::Rollback),
        _ => GatesAnswer::Passed("all passed".to_owned()),
    };
    Event::Gates { asking, answer, way_back: random.random_bool(0.8) }
}

fn any_judgement(random: &mut StdRng) -> Judgement {
    // Mostly verdicts that let a rollout live, so that all of its phases are seen.
    let verdicts = [
        Verdict::Healthy,
        Verdict::Healthy,
        Verdict::Healthy,
        Verdict::Insufficient,
        Verdict::Insufficient,
        Verdict::SourceDown,
        Verdict::SharedIncident,
        Verdict::Regressed,
    ];
    let verdict = pick(random, &verdicts);
    let proven = verdict == Verdict::Healthy && random.random();
    Judgement { verdict, by: "a check".to_owned(), reason: "a reason".to_owned(), proven, unanswered: false }
}

fn any_mode(random: &mut StdRng, now: Timestamp) -> ModeSetting {
    let mode = pick(random, &Mode::ALL);
    let until = (mode != Mode::Serve && random.random_bool(0.5)).then(|| any_time_after(random, now));
    ModeSetting { mode, until, ..ModeSetting::default() }
}

fn any_event(random: &mut StdRng, state: &ServiceState, now: Timestamp) -> Event {
    match random.random_range(0..50) {
        0..=3 => Event::Start(Start {
            configured: None,
            pool: any_pool(random),
            release: random.random_bool(0.7).then(|| pick(random, &["v1", "v2", "v3", "v4"]).parse().unwrap()),
            plan: any_plan(random),
            force: random.random_bool(0.5),
            candidate_healthy: random.random_bool(0.9),
        }),
        4 => Event::Pause,
        5..=6 => Event::Resume,
        7 => Event::Promote,
        8 => Event::Rollback,
        9 => Event::SetWeight(any_weight(random)),
        10 => Event::Switch { pool: any_pool(random), drain: random.random() },
        11 => Event::SetMode(any_mode(random, now).into()),
        12 => Event::CandidateDown("refused".to_owned()),
        13 => Event::CandidateUnreachable,
        14..=16 => Event::Tick(None),
        17 => Event::PoolCanServe(None),
        18..=20 => Event::Approve,
        21..=28 => any_answer(random, state),
        29..=31 => any_deploy(random),
        _ => Event::Tick(Some(any_judgement(random))),
    }
}

fn any_deploy(random: &mut StdRng) -> Event {
    let act = match random.random_range(0..6) {
        0 => DeployAct::Begin { force: random.random(), take_over: random.random() },
        1..=2 => DeployAct::Done(pick(random, &DeployStep::ALL)),
        3 => DeployAct::Guard(pick(random, &Mode::ALL)),
        4 => DeployAct::Unguard,
        _ => DeployAct::Stop,
    };
    Event::Deploy(DeployNews {
        pool: any_pool(random),
        release: pick(random, &["v1", "v2", "v3", "v4"]).parse().unwrap(),
        configured: None,
        by: pick(random, &["me", "you"]).to_owned(),
        act,
    })
}

fn any_time_after(random: &mut StdRng, now: Timestamp) -> Timestamp {
    let step = Duration::from_millis(pick(random, &[0, 100, 1000, 20_000, 700_000]));
    let moved = if random.random_bool(0.02) { now.checked_sub(step) } else { now.checked_add(step) };
    moved.unwrap()
}

/// What is true of every state, whatever led to it.
fn assert_sound(state: &ServiceState) {
    let in_rollout = matches!(state.phase, Phase::Preview | Phase::Canary);
    assert!(state.weight <= BasisPoints::ALL);
    assert!(state.phase == Phase::Canary || state.weight == BasisPoints::ZERO, "a weight outside of canary");
    assert_eq!(state.candidate.is_some(), in_rollout, "a candidate belongs to a rollout");
    assert_ne!(state.candidate.as_ref(), Some(&state.live));
    assert!(!state.drained.contains(&state.live), "live is left alone");
    assert!(state.candidate.as_ref().is_none_or(|candidate| !state.drained.contains(candidate)));
    assert!(state.held.is_none() || in_rollout, "nothing is there to be held");
    assert!(state.watch_until.is_none() || state.phase == Phase::Promoted);
    assert!(state.rollout.is_some() || state.phase == Phase::Idle);
    assert!(state.rejected.len() <= 32 && state.migrated.len() <= 32);
    assert!(state.deploy.as_ref().is_none_or(|deploy| deploy.done.len() <= DeployStep::ALL.len()));
    let Some(rollout) = &state.rollout else { return };
    assert!(rollout.step < rollout.plan.steps.len().max(1));
    assert_eq!(rollout.plan.steps.is_empty(), rollout.plan.strategy == Strategy::BlueGreen);
    if let Some(asking) = rollout.asking {
        let point = asking.moment.point;
        assert!(rollout.plan.gates_at(point).next().is_some(), "nobody is asked");
        assert_eq!(point.blocks(), in_rollout, "the rollout waits where it has moved already, or the other way round");
        let held = state.held.as_ref().map(|held| held.by);
        assert!(!in_rollout || matches!(held, Some(HeldBy::Gate | HeldBy::Operator)), "it does not wait: {held:?}");
        assert!(asking.number <= state.revision);
    }
    if state.previews() {
        assert_eq!((state.phase, rollout.plan.strategy), (Phase::Preview, Strategy::BlueGreen));
        assert!(rollout.is_cleared(GateMoment::at(GatePoint::BeforeRollout)), "shown before its gates have passed");
    }
    match state.phase {
        Phase::Preview | Phase::Canary => assert_eq!(state.candidate.as_ref(), Some(&rollout.pool)),
        Phase::Promoted => assert_eq!(state.live, rollout.pool),
        Phase::RolledBack => assert_eq!(state.live, rollout.previous_live),
        Phase::Idle => panic!("an idle service has no rollout"),
    }
}

fn verdict(event: &Event) -> Option<Verdict> {
    match event {
        Event::Tick(Some(judgement)) => Some(judgement.verdict),
        _ => None,
    }
}

/// What is true of every transition.
fn assert_allowed(before: &ServiceState, event: &Event, transition: &Transition, now: Timestamp) {
    let after = &transition.state;
    let decision = &transition.decision;
    let by_operator = decision.by == OPERATOR;
    assert_eq!(after.revision, before.revision + 1);
    assert!(!decision.reason.is_empty() && !decision.by.is_empty());

    let on_inconclusive = before.rollout.as_ref().map(|rollout| rollout.plan.on_inconclusive);
    let passes = |on: OnInconclusive| {
        verdict(event).is_none_or(|verdict| verdict == Verdict::Insufficient) && on_inconclusive == Some(on)
    };
    let more_weight = before.phase == Phase::Canary && after.weight > before.weight;
    if (more_weight || decision.name == DecisionName::Promote) && !by_operator {
        let unjudged = before.phase == Phase::Preview && blue_green(before) && verdict(event).is_none_or(not_against);
        let may = verdict(event) == Some(Verdict::Healthy) || passes(OnInconclusive::Promote) || unjudged;
        assert!(may, "{event:?} gave the candidate more");
        let held = before.held.as_ref().map(|held| held.by);
        let kept = [HeldBy::Operator, HeldBy::Gate, HeldBy::Approval];
        assert!(held.is_none_or(|held| !kept.contains(&held)), "a hold was passed that only its owner ends");
        assert_unhurried(before, event, after, now);
    }
    assert_gates_and_approvals(before, event, transition);
    if decision.name == DecisionName::Rollback && !by_operator {
        let down = matches!(event, Event::CandidateDown(_) | Event::CandidateUnreachable);
        let regressed = verdict(event) == Some(Verdict::Regressed);
        let by_gate = matches!(
            event,
            Event::Gates { answer: GatesAnswer::Failed { on_failure: OnGateFailure::Rollback, .. }, .. }
        );
        assert!(down || regressed || by_gate || passes(OnInconclusive::Rollback), "{event:?} rolled back");
        if before.phase == Phase::Promoted {
            assert!(before.watch_until.is_some_and(|until| now < until), "taken back after the watch");
            assert!(!matches!(event, Event::Gates { way_back: false, .. }), "taken back without a way back");
        }
    }
    if before.mode != after.mode && !by_operator {
        assert_eq!((event, &after.mode), (&Event::PoolCanServe(None), &asked_for_after(before, now)));
        assert!(before.mode.until.is_some_and(|until| until <= now), "a mode ended before its time");
        assert!(!transition.protective && before.live == after.live && before.phase == after.phase);
    }
    if let Event::Deploy(news) = event
        && before.mode != after.mode
    {
        assert_eq!((news.act, &after.mode), (DeployAct::Unguard, &asked_for_after(before, now)));
    }
    let moved_live = before.live != after.live;
    assert!(
        !moved_live || matches!(decision.name, DecisionName::Promote | DecisionName::Rollback | DecisionName::Switch)
    );
    let takes_risk = more_weight
        || (before.phase != Phase::Canary && after.weight > BasisPoints::ZERO)
        || matches!(decision.name, DecisionName::Start | DecisionName::Promote | DecisionName::Switch);
    assert!(!(takes_risk && transition.protective), "{:?} has to be durable first", decision.name);
    assert!(transition.protective || decision.name != DecisionName::Rollback);

    let in_rollout = |state: &ServiceState| state.candidate.is_some();
    match transition.evidence {
        EvidenceChange::Begin => assert!(!in_rollout(before) && after.phase == Phase::Preview),
        EvidenceChange::Watch => assert_eq!(decision.name, DecisionName::Promote),
        EvidenceChange::End => {
            assert!((in_rollout(before) || before.watch_until.is_some()) && !in_rollout(after));
            assert!(after.watch_until.is_none(), "the watch goes on without evidence");
        }
        EvidenceChange::NewStep => assert_eq!(after.phase, Phase::Canary),
        EvidenceChange::WeightChanged => assert_ne!(before.weight, after.weight),
        EvidenceChange::Keep => {
            assert!(before.weight == after.weight && in_rollout(before) == in_rollout(after));
            assert_eq!(before.watch_until, after.watch_until);
        }
    }
}

/// What has been asked for beside the mode in force, and is not over.
fn asked_for_after(state: &ServiceState, now: Timestamp) -> ModeSetting {
    let Some(deploy) = state.deploy.as_ref().filter(|deploy| deploy.ended.is_none()) else {
        return ModeSetting::default();
    };
    match &deploy.guard {
        Some(guard) if guard.mode == state.mode.mode && guard.before.until.is_none_or(|until| until > now) => {
            guard.before.clone()
        }
        Some(_) | None => ModeSetting::default(),
    }
}

fn blue_green(state: &ServiceState) -> bool {
    state.rollout.as_ref().is_some_and(|rollout| rollout.plan.strategy == Strategy::BlueGreen)
}

fn not_against(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Healthy | Verdict::Insufficient)
}

/// The machine leaves a step, or a preview, not before its time, unless the evidence is in and the plan allows it.
fn assert_unhurried(before: &ServiceState, event: &Event, after: &ServiceState, now: Timestamp) {
    let rollout = before.rollout.as_ref().unwrap();
    let (since, hold) = match before.phase {
        Phase::Preview => (rollout.started, rollout.plan.preview),
        Phase::Idle | Phase::Canary | Phase::Promoted | Phase::RolledBack => (rollout.step_since, rollout.hold()),
    };
    let early =
        rollout.plan.advance == Advance::Early && matches!(event, Event::Tick(Some(judgement)) if judgement.proven);
    let over = super::time::elapsed(since, now) >= hold.get();
    assert!(over || early, "left before its time: {event:?} {after:?}");
}

/// Whoever stands before a moment of the plan is asked before it, unless a command goes over it.
fn assert_gates_and_approvals(before: &ServiceState, event: &Event, transition: &Transition) {
    let (after, decision) = (&transition.state, &transition.decision);
    let Some(rollout) = &before.rollout else { return };
    let has_passed = |moment: GateMoment| assert!(rollout.is_cleared(moment), "{moment} was not asked");
    match decision.name {
        DecisionName::Step => {
            let begun = after.rollout.as_ref().unwrap();
            has_passed(GateMoment::at(GatePoint::BeforeRollout));
            // Above the last step nothing more is given by resuming.
            if after.weight > before.weight {
                has_passed(GateMoment::before_step(begun.step));
            }
            let left = before.phase == Phase::Canary && decision.by != OPERATOR;
            let wants = left && rollout.current_step().is_some_and(|step| step.approve);
            assert!(!wants || rollout.approved, "the step was left without an approval");
        }
        DecisionName::Promote if decision.by != OPERATOR => {
            has_passed(GateMoment::at(GatePoint::BeforeRollout));
            has_passed(GateMoment::at(GatePoint::BeforePromotion));
            let by_step = rollout.current_step().is_some_and(|step| step.approve);
            assert!(rollout.approved || !(rollout.plan.approve || by_step), "promoted without an approval");
        }
        DecisionName::Approve => {
            assert_eq!(*event, Event::Approve);
            assert_eq!(before.held.as_ref().map(|held| held.by), Some(HeldBy::Approval));
        }
        _ => {}
    }
    if let Event::Gates { asking, .. } = event {
        assert_eq!(rollout.asking, Some(*asking), "an answer to nothing was news");
        assert!(before.live == after.live || before.phase == Phase::Promoted);
        assert!(after.weight <= before.weight, "an answer alone gives the candidate nothing");
    }
    let newly_asked = after.rollout.as_ref().and_then(|rollout| rollout.asking).filter(|_| rollout.asking.is_none());
    assert!(newly_asked.is_none_or(|asking| asking.number == after.revision));
    let blocking = newly_asked.is_some_and(|asking| asking.moment.point.blocks());
    assert!(!(blocking && transition.protective), "gates were asked before it was durable");
}

#[test]
fn whatever_happens_the_rules_hold() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut state = ServiceState::new("server0".parse().unwrap());
    let mut now = Timestamp::from_second(1_700_000_000).unwrap();
    let mut decided = std::collections::BTreeMap::new();
    for _ in 0..EVENTS {
        now = any_time_after(&mut random, now);
        let event = any_event(&mut random, &state, now);
        let outcome = decide(&state, &event, now);
        assert_eq!(outcome, decide(&state, &event, now), "the same inputs decide the same");
        let watched = state.watch_until.is_some_and(|until| now < until);
        if verdict(&event) == Some(Verdict::Regressed) && (state.candidate.is_some() || watched) {
            let transition = outcome.as_ref().unwrap().as_ref().unwrap();
            assert_eq!(transition.state.phase, Phase::RolledBack, "a regressed candidate stayed");
        }
        match outcome {
            Ok(Some(transition)) => {
                assert_allowed(&state, &event, &transition, now);
                assert_sound(&transition.state);
                *decided.entry(transition.decision.name.as_str()).or_insert(0_u32) += 1;
                state = transition.state;
            }
            Ok(None) => {}
            Err(refusal) => {
                let commanded = !matches!(
                    event,
                    Event::Tick(_)
                        | Event::Gates { .. }
                        | Event::CandidateDown(_)
                        | Event::CandidateUnreachable
                        | Event::SetMode(_)
                        | Event::PoolCanServe(_)
                );
                assert!(commanded, "{refusal}: {event:?} is nobody's command");
            }
        }
    }
    println!("{decided:?}");
    assert_eq!(decided.len(), 13, "some decision was never taken");
}

/// DESIGN §4: every rollout ends. Left alone, it does so by its plan, or waits for an operator.
#[test]
fn every_rollout_ends_or_is_held() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..500 {
        let mut state = ServiceState::new("server0".parse().unwrap());
        let mut now = Timestamp::from_second(1_700_000_000).unwrap();
        let mut plan = any_plan(&mut random);
        if plan.strategy == Strategy::Canary {
            let weight = |step: u16| BasisPoints::try_from(step * 1000).unwrap();
            plan.steps = (1..=3).map(|step| Step::new(weight(step), Period::from_secs(30))).collect();
        } else {
            plan.steps.clear();
        }
        let start = Start {
            pool: "server1".parse().unwrap(),
            release: None,
            configured: None,
            plan,
            force: false,
            candidate_healthy: true,
        };
        state = decide(&state, &Event::Start(start), now).unwrap().unwrap().state;
        for _ in 0..200 {
            now = now.checked_add(Duration::from_secs(10)).unwrap();
            let verdict = pick(&mut random, &[Verdict::Healthy, Verdict::Insufficient]);
            let judgement = Judgement {
                verdict,
                by: "a check".to_owned(),
                reason: "a reason".to_owned(),
                proven: false,
                unanswered: false,
            };
            if let Some(transition) = decide(&state, &Event::Tick(Some(judgement)), now).unwrap() {
                state = transition.state;
            }
            if let Some(asking) = state.rollout.as_ref().and_then(|rollout| rollout.asking) {
                let answer = GatesAnswer::Passed("all passed".to_owned());
                let answered = decide(&state, &Event::Gates { asking, answer, way_back: true }, now).unwrap();
                state = answered.unwrap().state;
            }
        }
        let waits = state.held.as_ref().is_some_and(|held| held.by == HeldBy::Approval);
        assert!(waits || matches!(state.phase, Phase::Promoted | Phase::RolledBack), "{state:?}");
    }
}
