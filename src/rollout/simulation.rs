//! A seeded simulation of `decide`: random events at random times, and after each what must always hold.
//!
//! The seed is printed; `CUTOVER_SEED` sets it.

use super::{DecisionName, Event, EvidenceChange, OPERATOR, ServiceState, Start, Transition, decide};
use crate::model::{
    BasisPoints, HeldBy, Judgement, Mode, ModeSetting, OnInconclusive, Period, Phase, Plan, PoolName, Step, Timestamp,
    Verdict,
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
    Plan {
        steps: weights.into_iter().map(|weight| Step::new(weight, hold(random))).collect(),
        max_hold: random.random_bool(0.5).then(|| hold(random)),
        on_inconclusive: pick(random, &[OnInconclusive::Hold, OnInconclusive::Promote, OnInconclusive::Rollback]),
        watch: hold(random),
        ..Plan::default()
    }
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
        Verdict::Regressed,
    ];
    Judgement {
        verdict: pick(random, &verdicts),
        by: "a check".to_owned(),
        reason: "a reason".to_owned(),
        proven: false,
    }
}

fn any_event(random: &mut StdRng) -> Event {
    match random.random_range(0..40) {
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
        11 => Event::SetMode(ModeSetting {
            mode: pick(random, &[Mode::Serve, Mode::Maintenance]),
            ..ModeSetting::default()
        }),
        12 => Event::CandidateDown("refused".to_owned()),
        13 => Event::CandidateUnreachable,
        14..=17 => Event::Tick(None),
        _ => Event::Tick(Some(any_judgement(random))),
    }
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
    assert!(state.rejected.len() <= 32);
    let Some(rollout) = &state.rollout else { return };
    assert!(rollout.step < rollout.plan.steps.len());
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
fn assert_allowed(before: &ServiceState, event: &Event, transition: &Transition) {
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
        let may = verdict(event) == Some(Verdict::Healthy) || passes(OnInconclusive::Promote);
        assert!(may, "{event:?} gave the candidate more");
        let held = before.held.as_ref().map(|held| held.by);
        assert_ne!(held, Some(HeldBy::Operator), "an operator's hold was passed");
    }
    if decision.name == DecisionName::Rollback && !by_operator {
        let down = matches!(event, Event::CandidateDown(_) | Event::CandidateUnreachable);
        let regressed = verdict(event) == Some(Verdict::Regressed);
        assert!(down || regressed || passes(OnInconclusive::Rollback), "{event:?} rolled back");
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
        EvidenceChange::Watch | EvidenceChange::End => assert!(in_rollout(before) && !in_rollout(after)),
        EvidenceChange::NewStep => assert_eq!(after.phase, Phase::Canary),
        EvidenceChange::WeightChanged => assert_ne!(before.weight, after.weight),
        EvidenceChange::Keep => assert!(before.weight == after.weight && in_rollout(before) == in_rollout(after)),
    }
}

#[test]
fn whatever_happens_the_rules_hold() {
    let mut random = StdRng::seed_from_u64(seed());
    let mut state = ServiceState::new("server0".parse().unwrap());
    let mut now = Timestamp::from_second(1_700_000_000).unwrap();
    let mut decided = std::collections::BTreeMap::new();
    for _ in 0..EVENTS {
        now = any_time_after(&mut random, now);
        let event = any_event(&mut random);
        let outcome = decide(&state, &event, now);
        assert_eq!(outcome, decide(&state, &event, now), "the same inputs decide the same");
        if verdict(&event) == Some(Verdict::Regressed) && state.candidate.is_some() {
            let transition = outcome.as_ref().unwrap().as_ref().unwrap();
            assert_eq!(transition.state.phase, Phase::RolledBack, "a regressed candidate stayed");
        }
        match outcome {
            Ok(Some(transition)) => {
                assert_allowed(&state, &event, &transition);
                assert_sound(&transition.state);
                *decided.entry(transition.decision.name.as_str()).or_insert(0_u32) += 1;
                state = transition.state;
            }
            Ok(None) => {}
            Err(refusal) => {
                let commanded = !matches!(
                    event,
                    Event::Tick(_) | Event::CandidateDown(_) | Event::CandidateUnreachable | Event::SetMode(_)
                );
                assert!(commanded, "{refusal}: {event:?} is nobody's command");
            }
        }
    }
    println!("{decided:?}");
    assert_eq!(decided.len(), 10, "some decision was never taken");
}

/// DESIGN §4: every rollout ends. Left alone, it does so by its plan, or waits for an operator.
#[test]
fn every_rollout_ends_or_is_held() {
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..500 {
        let mut state = ServiceState::new("server0".parse().unwrap());
        let mut now = Timestamp::from_second(1_700_000_000).unwrap();
        let plan = Plan {
            steps: (1..=3)
                .map(|step| Step::new(BasisPoints::try_from(step * 1000).unwrap(), Period::from_secs(30)))
                .collect(),
            ..any_plan(&mut random)
        };
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
            let judgement =
                Judgement { verdict, by: "a check".to_owned(), reason: "a reason".to_owned(), proven: false };
            if let Some(transition) = decide(&state, &Event::Tick(Some(judgement)), now).unwrap() {
                state = transition.state;
            }
        }
        assert!(matches!(state.phase, Phase::Promoted | Phase::RolledBack), "{state:?}");
    }
}
