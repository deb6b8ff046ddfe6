//! What comparing two pools can't see: a release that fails once it has everyone, and what breaks both pools alike.

use crate::harness::{Application, LONG, Load, Router, SHORT, Setup, eventually, heavy_turn, until};
use serde_json::json;

/// Half of all visitors, until a command promotes it; then it is watched for long.
const WATCHED: &str = "[service.rollout]\nsteps = [ { weight = 50, hold = \"1h\" } ]\nwatch = \"1h\"\n";

async fn promoted(router: &Router) {
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.view_when("the first step", LONG, |view| view["phase"] == "canary").await;
    router.command(&["rollout", "promote"]).await.ok();
    router.phase("promoted", LONG).await;
}

/// Answers that the watch has counted, as its sentence says: `3 of 1,200 (0.25%) answers failed since …`.
async fn watched_answers(router: &Router) -> u64 {
    let evidence = router.evidence().await;
    let detail = evidence["guard"]["detail"].as_str().unwrap_or_default();
    let Some((before, _)) = detail.split_once(" (") else { return 0 };
    let Some((_, answered)) = before.rsplit_once(" of ") else { return 0 };
    answered.replace(',', "").parse().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_release_that_begins_to_fail_is_taken_back_by_the_objective_even_after_a_restart() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(WATCHED)).await;
    let load = Load::on(router.address()).rate(100.0).start();
    promoted(&router).await;
    until("the watch has counted", LONG, async || watched_answers(&router).await >= 100).await;
    assert_eq!(router.view().await["verdict"], "healthy");
    let before = watched_answers(&router).await;
    load.stop().await;
    router.terminate().await;
    router.start_again().await;
    assert!(watched_answers(&router).await >= before, "the watch goes on where it was");

    let load = Load::on(router.address()).rate(100.0).start();
    server1.behave(|behaviour| behaviour.fail = 0.5);
    let view = router.phase("rolled_back", LONG).await;
    load.stop().await;
    assert_eq!(json!([view["live"], view["candidate"], view["watch_until"]]), json!(["server0", null, null]));
    let rollback = router.decided("rollback").await;
    assert_eq!(rollback["by"], "objective");
    let reason = rollback["reason"].as_str().unwrap();
    assert!(reason.contains("the promoted release fails too much"), "{reason}");
    assert_eq!(rollback["evidence"]["guard"]["firing"], true);
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_taken_back_to_a_pool_that_is_down() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(WATCHED)).await;
    promoted(&router).await;
    server0.stop().await;
    router.pool_health("server0", false).await;
    server1.behave(|behaviour| behaviour.fail = 0.5);
    let load = Load::on(router.address()).rate(100.0).start();
    let view = router.view_when("it regresses", LONG, |view| view["verdict"] == "regressed").await;
    assert_eq!(json!([view["phase"], view["live"]]), json!(["promoted", "server1"]));
    server0.start_again().await;
    router.phase("rolled_back", LONG).await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_breaks_both_pools_holds_the_rollout_until_it_is_over() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 50, hold = \"6s\" }, { weight = 60, hold = \"1h\" } ]\nmin_requests = 20\nobjective = 0.95\n";
    let router = Router::start(Setup::before(&server0, &server1).rollout(rollout)).await;
    let load = Load::on(router.address()).rate(100.0).start();
    until("the load is under way", SHORT, async || load.so_far().all() > 50).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.view_when("the first step", LONG, |view| view["phase"] == "canary").await;
    until("both pools have answered enough to speak for themselves", LONG, async || {
        let window = router.evidence().await["guard"]["windows"][1].clone();
        window["live"].is_number() && window["candidate"].is_number()
    })
    .await;
    for application in [&server0, &server1] {
        application.behave(|behaviour| behaviour.fail = 1.0);
    }
    let view = router.view_when("held by the incident", LONG, |view| view["held"]["by"] == "incident").await;
    assert_eq!(json!([view["phase"], view["weight"], view["verdict"]]), json!(["canary", 50.0, "shared-incident"]));
    let reason = view["held"]["reason"].as_str().unwrap();
    assert!(reason.contains("both pools give far fewer than the 95% of good answers"), "{reason}");
    let guard = &router.evidence().await["guard"];
    assert_eq!(guard["firing"], true);
    assert!(guard["windows"][0]["live"].as_f64() > Some(1.0), "{guard}");

    for application in [&server0, &server1] {
        application.behave(|behaviour| behaviour.fail = 0.0);
    }
    let view = router.view_when("it goes on", LONG, |view| view["weight"] == 60.0).await;
    load.stop().await;
    assert_eq!(view["phase"], "canary", "{view}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_rollout_people_see_how_fast_the_objective_is_spent() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    server0.behave(|behaviour| behaviour.fail = 0.5);
    let load = Load::on(router.address()).rate(50.0).start();
    let guard = eventually("the guard fires", LONG, async || {
        let guard = router.evidence().await["guard"].clone();
        (guard["firing"] == true).then_some(guard)
    })
    .await;
    load.stop().await;
    assert_eq!(guard["windows"].as_array().map(Vec::len), Some(4), "{guard}");
    assert!(guard["detail"].as_str().unwrap().starts_with("live gives far fewer"), "{guard}");
    assert_eq!(router.view().await["phase"], "idle", "nobody is taken back");
}
