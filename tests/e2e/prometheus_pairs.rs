//! PromQL checks that compare the pools, against a real Prometheus that scrapes the router and both applications.

use crate::harness::{Application, LONG, Load, Prometheus, Router, Setup, heavy_turn, until};
use serde_json::Value;

const STEPS: &str = "[service.rollout]\nsteps = [ { weight = 50, hold = \"10m\" } ]\n";

/// Counts what the router itself does not hold against a pool: answers that are the visitor's fault.
const PAIR: &str = r#"
[[service.rollout.check]]
kind = "promql"
name = "refused orders"
bad = 'sum(increase(cutover_requests_total{pool="{{pool}}",release="{{release}}",code_class="4xx"}[{{window}}])) or vector(0)'
total = 'sum(increase(cutover_requests_total{pool="{{pool}}",release="{{release}}"}[{{window}}])) or vector(0)'
tolerate = 0.01
every = "1s"
"#;

const COMPARE: &str = r#"
[[service.rollout.check]]
kind = "promql"
name = "queue"
query = 'max(queue_length{release="{{release}}"})'
compare = "live"
every = "1s"
failures = 2
"#;

async fn check(router: &Router, name: &str) -> Value {
    let evidence = router.evidence().await;
    evidence["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned().unwrap_or_default()
}

async fn router(checks: &str) -> (Router, Prometheus, Application, Application) {
    let (server0, server1) = Application::pair().await;
    for (application, release) in [(&server0, "r0"), (&server1, "r1")] {
        application.set_metrics(&format!("queue_length{{release=\"{release}\"}} 100\n"));
    }
    let setup = Setup::before(&server0, &server1);
    let prometheus = Prometheus::start(&[setup.admin, server0.address(), server1.address()], None).await;
    let setup =
        setup.tables(&format!("[prometheus]\nurl = \"{}\"", prometheus.url())).rollout(&format!("{STEPS}{checks}"));
    let router = Router::start(setup).await;
    until("all three are scraped", LONG, async || {
        prometheus.query("queue_length").await.len() == 2
            && !prometheus.query("cutover_table_swaps_total").await.is_empty()
    })
    .await;
    (router, prometheus, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_of_counts_rolls_back_with_a_guarantee() {
    let _turn = heavy_turn().await;
    let (router, _prometheus, _server0, server1) = router(PAIR).await;
    let load = Load::on(router.address()).rate(100.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    until("both pools are counted, and neither is bad", LONG, async || {
        let check = check(&router, "refused orders").await;
        let counts = &check["rollout"];
        let requests = |key: &str| counts[key].as_u64().is_some_and(|requests| requests > 100);
        requests("candidate_requests") && requests("live_requests") && counts["candidate_failures"] == 0
    })
    .await;
    let shown = check(&router, "refused orders").await;
    assert_eq!(shown["guaranteed"], true, "{shown}");
    assert!(shown["ln_rollback"].as_f64().is_some() && shown["ln_rollback_threshold"].as_f64().is_some(), "{shown}");
    let asked: Vec<_> = shown["queries"].as_array().unwrap().iter().map(|query| &query["what"]).collect();
    assert_eq!(asked, ["bad", "total", "bad", "total"], "{shown}");
    let query = shown["queries"][3]["query"].as_str().unwrap();
    assert!(query.contains("pool=\"server0\",release=\"r0\"") && query.contains("[3"), "{query}");

    server1.behave(|behaviour| {
        behaviour.fail = 0.3;
        behaviour.fail_with = 422;
    });
    router.phase("rolled_back", LONG).await;
    let rollback = router.decided("rollback").await;
    assert!(rollback["reason"].as_str().unwrap().contains("refused orders"), "{rollback}");
    let checks = rollback["evidence"]["checks"].as_array().unwrap();
    let kept = checks.iter().find(|check| check["name"] == "refused orders").unwrap();
    println!("kept: {kept}");
    assert_eq!(kept["guaranteed"], true, "{kept}");
    assert!(kept["ln_rollback"].as_f64() >= kept["ln_rollback_threshold"].as_f64(), "{kept}");
    let sent = load.stop().await;
    let counted =
        kept["rollout"]["candidate_requests"].as_u64().unwrap() + kept["rollout"]["live_requests"].as_u64().unwrap();
    assert!(counted <= sent.all() + sent.all() / 10, "{counted} counted of {}", sent.all());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_is_worse_than_lives_rolls_back() {
    let _turn = heavy_turn().await;
    let (router, _prometheus, _server0, server1) = router(COMPARE).await;
    let load = Load::on(router.address()).rate(50.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    server1.set_metrics("queue_length{release=\"r1\"} 109\n");
    until("a tenth more is fine", LONG, async || {
        let check = check(&router, "queue").await;
        check["verdict"] == "healthy" && check["queries"][0]["value"] == 109.0 && check["queries"][1]["value"] == 100.0
    })
    .await;
    server1.set_metrics("queue_length{release=\"r1\"} 120\n");
    router.phase("rolled_back", LONG).await;
    let rollback = router.decided("rollback").await;
    assert_eq!(rollback["by"], "queue", "{rollback}");
    assert!(rollback["reason"].as_str().unwrap().contains("120 is above 110"), "{rollback}");
    drop(load);
}
