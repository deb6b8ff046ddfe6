//! A service for tests of what is shown.

use crate::model::view::{
    BurnView, CheckView, CountsView, EvidenceView, GuardView, PoolView, QuantileView, QueryView, RatioView, RatiosView,
    RolloutView, ServiceView, StepView, TargetView,
};
use crate::model::{Mode, ModeSetting, ModeSource, Period, Phase, Strategy, Timestamp, Verdict};
use std::collections::BTreeMap;

pub(super) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A canary at the second of three steps, begun at 04:00 and in this step since 04:02.
pub(super) fn canary() -> ServiceView {
    let target = |address: &str, fault: Option<&str>| TargetView {
        address: address.to_owned(),
        healthy: fault.is_none(),
        fault: fault.map(str::to_owned),
        ejected_until: None,
        release: None,
    };
    let pool = |release: &str, targets, in_flight| PoolView {
        release: Some(release.parse().unwrap()),
        targets,
        in_flight,
        drained: false,
    };
    let step = |weight, minutes: u64, expected| StepView {
        weight,
        hold: Period::from_secs(60 * minutes),
        min_requests: 300,
        checks: None,
        approve: false,
        expected: Option::map(expected, Period::from_secs),
    };
    ServiceView {
        name: "shop".parse().unwrap(),
        revision: 7,
        live: "server0".parse().unwrap(),
        candidate: Some("server1".parse().unwrap()),
        weight: 12.5,
        phase: Phase::Canary,
        held: None,
        watch_until: None,
        mode: Mode::Serve,
        mode_source: ModeSource::Command,
        mode_file: None,
        mode_setting: ModeSetting::default(),
        meanwhile: None,
        pools: BTreeMap::from([
            ("server0".parse().unwrap(), pool("2026.11.1", vec![target("127.0.0.1:9000", None)], 1234)),
            (
                "server1".parse().unwrap(),
                pool("2026.11.2", vec![target("a:1", None), target("10.0.0.12:1", Some("connection refused\x07"))], 2),
            ),
        ]),
        release_source: None,
        held_requests: 0,
        verdict: Some(Verdict::Insufficient),
        durable: true,
        rollout: Some(RolloutView {
            gates: Vec::new(),
            strategy: Strategy::Canary,
            release: "2026.11.2".parse().unwrap(),
            steps: vec![step(1.0, 2, Some(120)), step(12.5, 5, Some(377)), step(50.0, 5, None)],
            step: 1,
            started: time("2026-11-22T04:00:00Z"),
            step_since: time("2026-11-22T04:02:00Z"),
            waiting_for: "1,200 more requests of the candidate".to_owned(),
            candidate_rate: 12.34,
            live_rate: 86.0,
        }),
        deploy: None,
        migrated: Vec::new(),
        rejected: Vec::new(),
        warnings: Vec::new(),
    }
}

pub(super) fn evidence() -> EvidenceView {
    let counts =
        CountsView { candidate_requests: 1200, candidate_failures: 3, live_requests: 22_800, live_failures: 10 };
    let check = CheckView {
        guaranteed: true,
        ln_rollback: Some(2.305),
        ln_rollback_threshold: Some(4.61),
        ln_promote: Some(-0.5),
        ln_promote_threshold: Some(3.0),
        rollout: Some(counts),
        step: Some(CountsView::default()),
        ..CheckView::new("error-ratio", "error-ratio", Verdict::Insufficient, "3.1 times the errors of live".to_owned())
    };
    let value = QueryView { what: "value".to_owned(), pool: None, query: "sum(x)".to_owned(), value: Some(0.25) };
    let jobs =
        CheckView { queries: vec![value], ..CheckView::new("failed jobs", "promql", Verdict::Healthy, String::new()) };
    EvidenceView {
        verdict: Some(Verdict::Insufficient),
        reason: "not enough evidence yet".to_owned(),
        checks: vec![check, jobs],
        ..EvidenceView::default()
    }
}

/// Evidence with everything that a check can tell.
pub(super) fn evidence_in_full() -> EvidenceView {
    let mut view = evidence();
    view.ln_rollback = Some(1.1);
    view.ln_rollback_threshold = Some(4.61);
    let ratio = |ratio, low, high| RatioView { ratio, low, high };
    let step = CountsView { candidate_requests: 300, candidate_failures: 1, live_requests: 5700, live_failures: 0 };
    view.checks[0] = CheckView {
        share: Some(0.1),
        ln_rollback_threshold: Some(6.91),
        step: Some(step),
        ratios: Some(RatiosView {
            candidate: ratio(0.0025, 0.000_51, 0.0073),
            live: ratio(0.000_44, 0.000_21, 0.000_81),
        }),
        requests_needed: Some(1200),
        time_needed: Some(Period::from_secs(250)),
        ..view.checks[0].clone()
    };
    let quantile = |quantile, limit_ms, candidate_ms, live_ms, ln_rollback, slow| QuantileView {
        quantile,
        limit_ms,
        candidate_ms: Some(candidate_ms),
        live_ms: Some(live_ms),
        ln_rollback,
        slow,
    };
    let slow =
        CountsView { candidate_requests: 1200, candidate_failures: 20, live_requests: 22_800, live_failures: 100 };
    let latency = CheckView {
        guaranteed: true,
        asked: false,
        ln_rollback_threshold: Some(6.91),
        quantiles: vec![
            quantile(0.5, None, 12.5, 12.1, 0.0, CountsView::default()),
            quantile(0.999, Some(150.0), 2345.0, 120.0, 1.25, slow),
        ],
        ..CheckView::new("latency", "latency", Verdict::Healthy, String::new())
    };
    view.checks.insert(1, latency);
    let total = QueryView { what: "total".to_owned(), pool: None, query: "sum(y)".to_owned(), value: None };
    view.checks[2].queries[0].pool = Some("server1".parse().unwrap());
    view.checks[2].queries.push(total);
    let burn = |minutes: u64, candidate, live| BurnView {
        window: Period::from_secs(60 * minutes),
        threshold: 14.4,
        candidate,
        live: Some(live),
    };
    view.guard = Some(GuardView {
        objective: 0.999,
        firing: true,
        windows: vec![burn(5, Some(20.0), 15.25), burn(60, None, 14.5)],
        detail: "both pools burn".to_owned(),
    });
    view
}
