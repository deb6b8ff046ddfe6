//! Views with every field set, for tests.

use crate::model::view::{
    BurnView, CheckView, CountsView, EvidenceView, GateView, GuardView, HistoryView, PoolView, PreviewLinkView,
    QuantileView, QueryView, RatioView, RatiosView, RolloutView, ServiceView, StepView, TargetView,
};
use crate::model::{
    BasisPoints, Deploy, DeployEnd, DeployGuard, DeployStep, GatePoint, Held, HeldBy, Meanwhile, Mode, ModeSetting,
    ModeSource, Period, Phase, Strategy, Timestamp, Verdict,
};

pub(super) fn service() -> ServiceView {
    let moment = Timestamp::from_second(1_700_000_000).unwrap();
    let pool = PoolView {
        release: Some("v1".parse().unwrap()),
        targets: vec![TargetView {
            address: "127.0.0.1:9000".into(),
            healthy: false,
            fault: Some("refused".into()),
            ejected_until: Some(moment),
            release: Some("v1".parse().unwrap()),
        }],
        in_flight: 3,
        drained: false,
    };
    ServiceView {
        name: "shop".parse().unwrap(),
        revision: 7,
        live: "server0".parse().unwrap(),
        candidate: Some("server1".parse().unwrap()),
        weight: 12.5,
        phase: Phase::Canary,
        held: Some(Held { by: HeldBy::Operator, reason: "asked for".to_owned(), since: moment }),
        watch_until: Some(moment),
        mode: Mode::Maintenance,
        mode_source: ModeSource::File,
        mode_file: Some("on.html".to_owned()),
        mode_setting: ModeSetting {
            mode: Mode::Maintenance,
            anonymous: true,
            retry_after: Some(Period::from_secs(60)),
            until: Some(moment),
            message: Some("Back soon.".to_owned()),
        },
        meanwhile: Some(Meanwhile {
            since: moment,
            until: Some(moment),
            requests: 3,
            methods: [("GET".to_owned(), 3)].into(),
        }),
        pools: [("server0".parse().unwrap(), pool)].into(),
        release_source: Some("header:x-release".to_owned()),
        held_requests: 0,
        verdict: Some(Verdict::Insufficient),
        durable: true,
        rollout: Some(RolloutView {
            gates: vec![GateView {
                name: "migrate".to_owned(),
                at: GatePoint::BeforeStep,
                step: Some(0),
                state: "passed".to_owned(),
                detail: "exit code 0".to_owned(),
                since: moment,
            }],
            strategy: Strategy::Canary,
            release: "v2".parse().unwrap(),
            steps: vec![StepView {
                weight: 12.5,
                hold: Period::from_secs(60),
                min_requests: 300,
                checks: Some(vec!["error-ratio".to_owned()]),
                approve: false,
                expected: None,
            }],
            step: 0,
            started: moment,
            step_since: moment,
            waiting_for: "its hold".to_owned(),
            candidate_rate: 1.0,
            live_rate: 7.0,
        }),
        deploy: Some(Deploy {
            pool: "server1".parse().unwrap(),
            release: "v2".parse().unwrap(),
            by: "me@here".to_owned(),
            started: moment,
            done: vec![DeployStep::Ready],
            guard: Some(DeployGuard { mode: Mode::Hold, before: ModeSetting::default() }),
            ended: Some(DeployEnd::Stopped),
        }),
        migrated: vec!["v2".parse().unwrap()],
        rejected: vec!["v0".parse().unwrap()],
        warnings: vec!["a warning".to_owned()],
    }
}

/// Evidence of one check that is all of the built-in ones and a PromQL check at once.
pub(super) fn evidence() -> EvidenceView {
    let counts = Some(CountsView::default());
    let ratio = RatioView { ratio: 0.01, low: 0.001, high: 0.05 };
    let quantile = QuantileView {
        quantile: 0.99,
        limit_ms: Some(120.0),
        candidate_ms: Some(130.0),
        live_ms: Some(110.0),
        ln_rollback: 0.5,
        slow: CountsView::default(),
    };
    let query = QueryView {
        what: "value".to_owned(),
        pool: Some("server1".parse().unwrap()),
        query: "sum(x)".to_owned(),
        value: Some(1.0),
    };
    let check = CheckView {
        guaranteed: true,
        share: Some(0.9),
        ratios: Some(RatiosView { candidate: ratio, live: ratio }),
        requests_needed: Some(100),
        time_needed: Some(Period::from_secs(20)),
        quantiles: vec![quantile],
        queries: vec![query],
        ln_rollback: Some(-1.0),
        ln_rollback_threshold: Some(4.6),
        ln_promote: Some(3.0),
        ln_promote_threshold: Some(3.0),
        rollout: counts,
        step: counts,
        ..CheckView::new("error-ratio", "error-ratio", Verdict::Healthy, "fine".to_owned())
    };
    let burn = BurnView { window: Period::from_secs(300), threshold: 14.4, candidate: Some(2.5), live: Some(0.5) };
    EvidenceView {
        verdict: Some(Verdict::Healthy),
        reason: "all checks agree".to_owned(),
        ln_rollback: Some(-0.5),
        ln_rollback_threshold: Some(4.6),
        guard: Some(GuardView { objective: 0.99, firing: false, windows: vec![burn], detail: "quiet".to_owned() }),
        checks: vec![check],
    }
}

pub(super) fn history() -> HistoryView {
    HistoryView {
        id: 1,
        at: Timestamp::from_second(1_700_000_000).unwrap(),
        revision: 7,
        decision: "step".to_owned(),
        by: "error-ratio".to_owned(),
        reason: "enough evidence".to_owned(),
        phase: Phase::Canary,
        live: "server0".parse().unwrap(),
        candidate: Some("server1".parse().unwrap()),
        weight: BasisPoints::from_percent(12.5).unwrap(),
        evidence: Some(evidence()),
        record: Some(serde_json::json!({ "version": "0.1.0" })),
    }
}

pub(super) fn preview_link() -> PreviewLinkView {
    PreviewLinkView {
        service: "shop".parse().unwrap(),
        pool: "server1".parse().unwrap(),
        url: Some("https://shop.example.com/?cutover-preview=AQ".into()),
        path: "/?cutover-preview=AQ".into(),
        cookie: "cutover-preview".into(),
        token: "AQ".into(),
        expires: "2026-11-20T12:00:00Z".parse().unwrap(),
    }
}
