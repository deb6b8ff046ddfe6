//! What the router counts beside failures: slow answers, those that don't come, break off or fail in their trailers,
//! and statuses. Each test has one candidate that is worse in one way, or in none that counts.

use crate::harness::{Application, LONG, Load, RawConnection, Router, SHORT, Setup, heavy_turn, until};
use serde_json::{Value, json};
use std::time::Duration;

/// One step that is only left by evidence, with these checks.
fn one_step(checks: &str) -> String {
    format!("[service.rollout]\nsteps = [ {{ weight = 50, hold = \"10m\" }} ]\nwatch = \"1m\"\n{checks}")
}

const LATENCY: &str =
    "[[service.rollout.check]]\nkind = \"error-ratio\"\n[[service.rollout.check]]\nkind = \"latency\"\n";
const LATENCY_OF_THE_END: &str = "[[service.rollout.check]]\nkind = \"error-ratio\"\n\
    [[service.rollout.check]]\nkind = \"latency\"\nuntil = \"end\"\n";
const STATUSES: &str =
    "[[service.rollout.check]]\nkind = \"error-ratio\"\n[[service.rollout.check]]\nkind = \"status-ratio\"\n";

/// Visitors who hardly ever come twice, so that each of them counts.
fn crowd(router: &Router) -> Load {
    Load::on(router.address()).rate(250.0).visitors(20_000).without_posts()
}

/// Starts the rollout under a load, waits until it is taken back, and gives the decision.
async fn taken_back(router: &Router, load: Load) -> Value {
    let load = load.start();
    until("the load is under way", SHORT, async || load.so_far().all() > 20).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    let view = router.phase("rolled_back", LONG).await;
    assert_eq!(json!([view["live"], view["candidate"]]), json!(["server0", null]));
    let rollback = router.decided("rollback").await;
    println!("by {}: {}", rollback["by"], rollback["reason"]);
    rollback
}

fn check(evidence: &Value, name: &str) -> Value {
    let checks = evidence["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no check {name:?} in {evidence:#}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_answers_three_times_slower_is_rolled_back_by_latency() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    server0.behave(|behaviour| behaviour.delay = Duration::from_millis(10));
    server1.behave(|behaviour| behaviour.delay = Duration::from_millis(30));
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(LATENCY))).await;
    let rollback = taken_back(&router, crowd(&router)).await;
    assert_eq!(rollback["by"], "latency");
    let quantiles = check(&rollback["evidence"], "latency")["quantiles"].clone();
    println!("{quantiles}");
    let median = &quantiles[0];
    assert!(median["limit_ms"].as_f64() > Some(9.0), "{median}");
    assert!(median["candidate_ms"].as_f64() > median["live_ms"].as_f64(), "{median}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_whose_answers_end_later_is_rolled_back_by_that() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    server1.behave(|behaviour| behaviour.as_if = Some("/slow-end"));
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(LATENCY_OF_THE_END))).await;
    let rollback = taken_back(&router, crowd(&router)).await;
    assert_eq!(rollback["by"], "latency-end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_down_that_both_pools_share_takes_nothing_back() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let both = |millis| {
        for application in [&server0, &server1] {
            application.behave(|behaviour| behaviour.delay = Duration::from_millis(millis));
        }
    };
    both(10);
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(LATENCY))).await;
    let load = crowd(&router).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    let slow = async || {
        let evidence = router.evidence().await;
        check(&evidence, "latency")["quantiles"][0]["slow"]["live_failures"].as_u64().unwrap_or_default()
    };
    until("there is a limit, and answers beyond it", LONG, async || slow().await > 10).await;
    both(40);
    let before = slow().await;
    until("both are slow by the old limit", LONG, async || slow().await > before + 300).await;
    let view = router.view().await;
    assert_eq!(view["phase"], "canary", "{view}");
    drop(load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_hangs_is_rolled_back_by_no_head() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    server1.behave(|behaviour| behaviour.delay = Duration::from_secs(3600));
    // A time-out after the lag: what hangs is not known as failed before.
    let setup = Setup::before(&server0, &server1).tables("[server.timeouts]\nanswer = \"10s\"");
    let router = Router::start(setup.rollout(&one_step(""))).await;
    let rollback = taken_back(&router, crowd(&router).rate(50.0).connections(100)).await;
    assert_eq!(rollback["by"], "no-head");
    let no_head = check(&rollback["evidence"], "no-head");
    assert_eq!(no_head["rollout"]["live_failures"], 0, "{no_head}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_whose_answers_break_off_is_rolled_back_by_cut_off() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    server1.behave(|behaviour| behaviour.as_if = Some("/cut"));
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(""))).await;
    let rollback = taken_back(&router, crowd(&router)).await;
    assert_eq!(rollback["by"], "cut-off");
    assert_eq!(check(&rollback["evidence"], "error-ratio")["rollout"]["candidate_failures"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_whose_calls_fail_in_their_trailers_is_rolled_back_by_grpc_trailers() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    server1.behave(|behaviour| behaviour.as_if = Some("/grpc-failure"));
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(""))).await;
    let rollback = taken_back(&router, crowd(&router).headers(&[("te", "trailers")])).await;
    assert_eq!(rollback["by"], "grpc-trailers");
    assert_eq!(check(&rollback["evidence"], "cut-off")["rollout"]["candidate_failures"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_loses_pages_is_rolled_back_by_status_ratio_where_that_is_asked() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    server1.behave(|behaviour| (behaviour.fail, behaviour.fail_with) = (0.3, 404));
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(STATUSES))).await;
    let rollback = taken_back(&router, crowd(&router)).await;
    assert_eq!(rollback["by"], "status-ratio");
    assert_eq!(check(&rollback["evidence"], "error-ratio")["rollout"]["candidate_failures"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_who_hang_up_speak_neither_for_a_pool_nor_against_it() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(STATUSES))).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", SHORT).await;
    let under_way = || server0.in_flight() + server1.in_flight();
    // Before the head of the answer, and before its end.
    for path in ["/gate", "/events"] {
        let mut visitors = Vec::new();
        for _ in 0..30 {
            let mut visitor = RawConnection::open(router.address()).await;
            visitor.send(&format!("GET {path} HTTP/1.1\r\nhost: shop.example.com\r\n\r\n")).await;
            if path == "/events" {
                visitor.read_until("data: first", SHORT).await;
            }
            visitors.push(visitor);
        }
        until("all are under way", SHORT, async || under_way() == 30).await;
        drop(visitors);
        until("the router has let go of them", SHORT, async || {
            let pools = &router.view().await["pools"];
            pools["server0"]["in_flight"] == 0 && pools["server1"]["in_flight"] == 0
        })
        .await;
        until("nothing is under way", SHORT, async || under_way() == 0).await;
    }
    // One who stays, so that there is something to be seen, once what came before is judged.
    let mut visitor = router.visitor();
    until("the visitor who stayed is counted to the end", LONG, async || {
        visitor.get("/").await;
        let evidence = router.evidence().await;
        let counts = &check(&evidence, "cut-off")["rollout"];
        counts["candidate_requests"].as_u64().max(counts["live_requests"].as_u64()) >= Some(3)
    })
    .await;
    let evidence = router.evidence().await;
    for name in ["error-ratio", "no-head", "cut-off", "grpc-trailers", "status-ratio"] {
        let counts = check(&evidence, name)["rollout"].clone();
        println!("{name}: {counts}");
        assert_eq!(json!([counts["candidate_failures"], counts["live_failures"]]), json!([0, 0]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_of_the_candidate_who_send_their_bodies_slowly_take_nothing_back() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(&one_step(""))).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", SHORT).await;
    let mut slow = Vec::new();
    while slow.len() < 30 {
        let mut visitor = router.visitor();
        if visitor.get("/").await.by() == "server1" {
            let mut connection = RawConnection::open(router.address()).await;
            let cookie = &visitor.cookies["cutover"];
            let head = format!("POST / HTTP/1.1\r\nhost: shop.example.com\r\ncookie: cutover={cookie}\r\n");
            connection.send(&format!("{head}content-length: 10\r\n\r\nhalf")).await;
            slow.push(connection);
        }
    }
    // Longer than the head of any answer may take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for connection in &mut slow {
        connection.send("whole!").await;
        connection.read_until("\r\n\r\n", SHORT).await;
    }
    until("their answers are counted", LONG, async || {
        let counts = check(&router.evidence().await, "cut-off")["rollout"].clone();
        counts["candidate_requests"].as_u64() >= Some(60)
    })
    .await;
    let no_head = check(&router.evidence().await, "no-head")["rollout"].clone();
    assert_eq!(no_head["candidate_failures"], 0, "{no_head}");
    assert_eq!(router.view().await["phase"], "canary");
}
