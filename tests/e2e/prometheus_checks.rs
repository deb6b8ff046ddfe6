//! PromQL checks against a real Prometheus that scrapes what the router can't see.

use crate::harness::{Application, Between, LONG, Load, Manner, Prometheus, Router, Setup, heavy_turn, until};
use serde_json::{Value, json};

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

struct World {
    router: Router,
    prometheus: Prometheus,
    between: Between,
    _server0: Application,
    server1: Application,
}

/// A router that asks a Prometheus, through what stands between, for the metric of `server1`.
async fn world(steps: &str) -> World {
    let (server0, server1) = Application::pair().await;
    server1.set_metrics("jobs_failing{release=\"r1\"} 0\n");
    let prometheus = Prometheus::start(&[server1.address()], None).await;
    until("the metric is scraped", LONG, async || !prometheus.query("jobs_failing").await.is_empty()).await;
    let between = Between::start(prometheus.url()).await;
    let setup = Setup::before(&server0, &server1)
        .tables(&format!("[prometheus]\nurl = \"{}\"\ntimeout = \"2s\"", between.url()))
        .rollout(&rollout(steps));
    let router = Router::start(setup).await;
    World { router, prometheus, between, _server0: server0, server1 }
}

impl World {
    /// The check as the API shows it.
    async fn check(&self) -> Value {
        let evidence = self.router.evidence().await;
        let checks = evidence["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "failing jobs").cloned().unwrap_or_default()
    }

    /// Waits until the check is down, and says so in words that have this part.
    async fn source_down(&self, part: &str) {
        until(part, LONG, async || {
            let check = self.check().await;
            check["verdict"] == "source-down" && check["detail"].as_str().unwrap().contains(part)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_regression_that_only_prometheus_knows_rolls_back() {
    let _turn = heavy_turn().await;
    let world = world("{ weight = 20, hold = \"10m\" }").await;
    let load = Load::on(world.router.address()).rate(50.0).start();
    world.router.command(&["rollout", "start", "server1"]).await.ok();
    until("the check has a good value", LONG, async || {
        let check = world.check().await;
        check["queries"][0]["value"] == 0.0 && check["verdict"] == "healthy" && check["guaranteed"] == false
    })
    .await;
    let query = &world.check().await["queries"][0]["query"];
    assert_eq!(*query, "max(jobs_failing{release=\"r1\"})", "the query is filled in");

    world.server1.set_metrics("jobs_failing{release=\"r1\"} 3\n");
    world.router.phase("rolled_back", LONG).await;
    let rollback = world.router.decided("rollback").await;
    assert_eq!(rollback["by"], "failing jobs", "{rollback}");
    assert!(rollback["reason"].as_str().unwrap().contains("3 is above 0.5, 2 times in a row"), "{rollback}");
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prometheus_that_dies_holds_the_rollout_and_lets_it_go_on_when_it_is_back() {
    let _turn = heavy_turn().await;
    let world = world("{ weight = 20, hold = \"6s\" }, { weight = 50, hold = \"1s\" }").await;
    let load = Load::on(world.router.address()).rate(100.0).start();
    world.router.command(&["rollout", "start", "server1"]).await.ok();
    world.router.phase("canary", LONG).await;
    world.prometheus.kill();
    let view = world.router.view_when("held by its source", LONG, |view| view["held"]["by"] == "source").await;
    assert_eq!(json!([view["phase"], view["candidate"]]), json!(["canary", "server1"]));
    println!("held: {}", view["held"]["reason"]);
    world.prometheus.start_again().await;
    world.router.phase("promoted", LONG).await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_prometheus_holds_the_rollout_and_no_command() {
    let _turn = heavy_turn().await;
    let world = world("{ weight = 50, hold = \"3s\" }").await;
    let load = Load::on(world.router.address()).rate(100.0).start();
    world.router.command(&["rollout", "start", "server1"]).await.ok();
    world.between.behave(Manner::Slow(LONG));
    let view = world.router.view_when("held by its source", LONG, |view| view["held"]["by"] == "source").await;
    assert!(view["held"]["reason"].as_str().unwrap().contains("did not answer in time"), "{view}");
    world.router.command(&["rollout", "rollback"]).await.ok();
    let started = world.router.command(&["rollout", "start", "server1", "--force"]).await.ok();
    assert!(started.contains("has no answer yet") && started.contains("did not answer in time"), "{started}");
    world.between.behave(Manner::Pass);
    world.router.phase("promoted", LONG).await;
    drop(load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_not_one_number_is_a_source_that_is_down() {
    let _turn = heavy_turn().await;
    let world = world("{ weight = 50, hold = \"1s\" }").await;
    // The series ends: the query has an empty answer from the next scrape on.
    world.server1.set_metrics("");
    let load = Load::on(world.router.address()).rate(100.0).start();
    until("the series has ended", LONG, async || world.prometheus.query("jobs_failing").await.is_empty()).await;
    let started = world.router.command(&["rollout", "start", "server1"]).await.ok();
    assert!(started.contains("check \"failing jobs\" has no answer yet"), "{started}");
    world.source_down("no series matches it").await;
    world.server1.set_metrics("jobs_failing{release=\"r1\"} NaN\n");
    world.source_down("gives NaN").await;

    let success = |data: &str| format!(r#"{{"status":"success","data":{data}}}"#);
    let point = r#"{"metric":{},"value":[1,"0"]}"#;
    for (status, body, part) in [
        (200, success(&format!(r#"{{"resultType":"vector","result":[{point},{point}]}}"#)), "2 series"),
        (200, success(r#"{"resultType":"string","result":[1,"0"]}"#), "gives a text"),
        (200, success(r#"{"resultType":"matrix","result":[]}"#), "gives a range"),
        (200, success(r#"{"resultType":"scalar","result":[1,"+Inf"]}"#), "gives +Inf"),
        (
            200,
            success(r#"{"resultType":"scalar","result":[1,"0"]},"warnings":["a store is away"],"x":{}"#),
            "a store is away",
        ),
        (
            400,
            r#"{"status":"error","errorType":"bad_data","error":"odd"}"#.to_owned(),
            "refuses the query (bad_data): odd",
        ),
        (200, "<html>".to_owned(), "not that of a Prometheus server"),
        (503, "busy".to_owned(), "HTTP 503"),
        (302, String::new(), "HTTP 302"),
    ] {
        world.between.behave(Manner::Answer(status, body));
        world.source_down(part).await;
    }
    let view = world.router.view().await;
    assert_eq!(json!([view["candidate"], view["verdict"]]), json!(["server1", "source-down"]));
    world.server1.set_metrics("jobs_failing{release=\"r1\"} 0\n");
    world.between.behave(Manner::Pass);
    world.router.phase("promoted", LONG).await;
    drop(load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_can_never_answer_refuses_the_start_and_says_which() {
    let (server0, server1) = Application::pair().await;
    let prometheus = Prometheus::start(&[], None).await;
    let check = |name: &str, query: &str| {
        format!("[[service.rollout.check]]\nkind = \"promql\"\nname = \"{name}\"\nquery = '{query}'\nmax = 1\n")
    };
    let checks = [check("typo", "sum(up"), check("range", "up[1m]"), check("fine", "vector(0)")].concat();
    let setup = Setup::before(&server0, &server1)
        .tables(&format!("[prometheus]\nurl = \"{}\"", prometheus.url()))
        .rollout(&format!("[service.rollout]\n{checks}"));
    let router = Router::start(setup).await;
    let refused = router.command(&["rollout", "start", "server1"]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    for part in ["check \"typo\"", "parse error", "check \"range\"", "gives a range of values", "mend the query"] {
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
    assert!(!refused.err.contains("fine"), "{refused:?}");
    assert_eq!(router.view().await["phase"], "idle");

    prometheus.kill();
    let started = router.command(&["rollout", "start", "server1"]).await.ok();
    assert!(started.contains("check \"fine\" has no answer yet") && started.contains("can't be reached"), "{started}");
    router.view_when("held by its source", LONG, |view| view["held"]["by"] == "source").await;
}
