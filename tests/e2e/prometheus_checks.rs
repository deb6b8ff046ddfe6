//! PromQL checks against a real Prometheus that scrapes what the router can't see.

use crate::harness::{Application, LONG, Load, Prometheus, Router, Setup, heavy_turn, until};
use serde_json::json;

/// One number that only Prometheus knows.
fn rollout(steps: &str) -> String {
    format!(
        r#"
[service.rollout]
steps = [ {steps} ]
min_requests = 20
[[service.rollout.check]]
kind = "error-ratio"
[[service.rollout.check]]
kind = "promql"
name = "failing jobs"
query = 'max(jobs_failing{{release="{{{{release}}}}"}})'
max = 0.5
every = "1s"
failures = 2
"#
    )
}

async fn router_with_prometheus(steps: &str) -> (Router, Prometheus, Application, Application) {
    let (server0, server1) = Application::pair().await;
    server1.set_metrics("jobs_failing{release=\"r1\"} 0\n");
    let prometheus = Prometheus::start(&[server1.address()], None).await;
    until("the metric is scraped", LONG, async || !prometheus.query("jobs_failing").await.is_empty()).await;
    let setup = Setup::before(&server0, &server1)
        .tables(&format!("[prometheus]\nurl = \"{}\"", prometheus.url()))
        .rollout(&rollout(steps));
    let router = Router::start(setup).await;
    (router, prometheus, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regression_that_only_prometheus_knows_rolls_back() {
    let _turn = heavy_turn().await;
    let (router, _prometheus, _server0, server1) = router_with_prometheus("{ weight = 20, hold = \"10m\" }").await;
    let load = Load::on(router.address()).rate(50.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    until("the check has a good value", LONG, async || {
        let evidence = router.evidence().await;
        let check = evidence["checks"].as_array().unwrap().iter().find(|check| check["kind"] == "promql").cloned();
        check.is_some_and(|check| check["value"] == 0.0 && check["guaranteed"] == false)
    })
    .await;
    let evidence = router.evidence().await;
    let check = evidence["checks"].as_array().unwrap().iter().find(|check| check["name"] == "failing jobs").unwrap();
    assert_eq!(check["query"], "max(jobs_failing{release=\"r1\"})", "the query is filled in");

    server1.set_metrics("jobs_failing{release=\"r1\"} 3\n");
    router.phase("rolled_back", LONG).await;
    let rollback = router.decided("rollback").await;
    assert_eq!(rollback["by"], "failing jobs", "{rollback}");
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_dies_holds_the_rollout_and_lets_it_go_on_when_it_is_back() {
    let _turn = heavy_turn().await;
    let steps = "{ weight = 20, hold = \"6s\" }, { weight = 50, hold = \"1s\" }";
    let (router, prometheus, _server0, _server1) = router_with_prometheus(steps).await;
    let load = Load::on(router.address()).rate(100.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", LONG).await;
    prometheus.kill();
    let view = router.view_when("held by its source", LONG, |view| view["held"]["by"] == "source").await;
    assert_eq!(json!([view["phase"], view["candidate"]]), json!(["canary", "server1"]));
    println!("held: {}", view["held"]["reason"]);
    prometheus.start_again().await;
    router.phase("promoted", LONG).await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_one_number_is_a_source_that_is_down() {
    let _turn = heavy_turn().await;
    let (router, prometheus, _server0, server1) = router_with_prometheus("{ weight = 50, hold = \"1s\" }").await;
    // The series ends: the query has an empty answer from the next scrape on.
    server1.set_metrics("");
    let load = Load::on(router.address()).rate(100.0).start();
    until("the series has ended", LONG, async || prometheus.query("jobs_failing").await.is_empty()).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    let view = router.view_when("held by its source", LONG, |view| view["held"]["by"] == "source").await;
    assert_eq!(json!([view["candidate"], view["verdict"]]), json!(["server1", "source-down"]));
    server1.set_metrics("jobs_failing{release=\"r1\"} NaN\n");
    until("the series is NaN", LONG, async || {
        prometheus.query("jobs_failing").await.first().is_some_and(|series| series["value"][1] == "NaN")
    })
    .await;
    until("the check met it", LONG, async || {
        let evidence = router.evidence().await;
        let check = evidence["checks"].as_array().unwrap().iter().find(|check| check["kind"] == "promql").cloned();
        check.is_some_and(|check| check["detail"].as_str().unwrap().contains("NaN"))
    })
    .await;
    let view = router.view().await;
    assert_eq!(json!([view["candidate"], view["verdict"]]), json!(["server1", "source-down"]));
    server1.set_metrics("jobs_failing{release=\"r1\"} 0\n");
    router.phase("promoted", LONG).await;
    drop(load);
}
