//! Rollouts from start to end, judged by the router's own counts.

use crate::harness::{Application, LONG, Load, Router, SHORT, Setup, eventually, heavy_turn, until};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// One step that is only left by evidence.
const ONE_LONG_STEP: &str = "[service.rollout]\nsteps = [ { weight = 5, hold = \"10m\" } ]\n";

/// Seconds from the first failure that the application made to a decision of the router's, on the same clock.
fn seconds_to(decision: &Value, application: &Application) -> f64 {
    let decided: Timestamp = decision["at"].as_str().unwrap().parse().unwrap();
    let failed = Timestamp::try_from(application.first_failure().expect("it failed")).unwrap();
    decided.duration_since(failed).as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_fails_everything_is_rolled_back_within_2_s_and_get_visitors_see_no_error() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(ONE_LONG_STEP)).await;
    server1.behave(|behaviour| behaviour.fail = 1.0);
    let load = Load::on(router.address()).rate(200.0).visitors(4000).start();
    until("the load is under way", SHORT, async || load.so_far().all() > 100).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    let view = router.phase("rolled_back", LONG).await;
    assert_eq!(json!([view["live"], view["candidate"], view["weight"]]), json!(["server0", null, 0.0]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let tally = load.stop().await;

    let rollback = router.decided("rollback").await;
    let seconds = seconds_to(&rollback, &server1);
    println!(
        "rolled back {seconds:.3} s after the first failure, on {} failures; {} GET of which {} failed, {} POST of which {} failed",
        server1.failed(),
        tally.gets,
        tally.failed_gets.len(),
        tally.posts,
        tally.failed_posts.len(),
    );
    assert!(seconds <= 2.0, "{seconds} s");
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    assert!(tally.failed_posts.iter().all(|failure| failure.starts_with("500 by \"server1\"")), "{tally:?}");
    assert_eq!(rollback["by"], "error-ratio");
    assert_eq!(rollback["live"], "server0");
    let check = &rollback["evidence"]["checks"][0];
    assert!(check["ln_rollback"].as_f64() >= check["ln_rollback_threshold"].as_f64(), "{check}");
    assert!(check["rollout"]["candidate_failures"].as_u64() >= Some(3), "{check}");
    let rescues: f64 = router.metric("cutover_rescues_total").await.iter().map(|(_, value)| value).sum();
    assert!(rescues >= 1.0, "GET visitors were rescued");
    router.view_when("the rollback is written", SHORT, |view| view["durable"] == true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_equal_to_live_walks_its_steps_to_promoted() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let load = Load::on(router.address()).rate(200.0).start();
    let walk = router.command(&["rollout", "start", "server1", "--wait"]).await;
    assert_eq!(walk.code, 0, "promoted: {walk:?}");
    let tally = load.stop().await;
    let view = router.view().await;
    let state = json!([view["phase"], view["live"], view["candidate"], view["weight"], view["held"]]);
    assert_eq!(state, json!(["promoted", "server1", null, 0.0, null]));
    assert!(view["watch_until"].is_string(), "{view}");
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
    assert!(tally.answered_by("server1") > 0 && tally.answered_by("server0") > 0);
    assert_eq!(router.visitor().get("/").await.by(), "server1");

    let history = router.history().await;
    let weights: Vec<_> = history.iter().map(|entry| entry["weight"].as_u64().unwrap()).filter(|w| *w > 0).collect();
    assert_eq!(weights, [500, 2500, 5000], "each step once, in its order: {history:#?}");
    let promotion = router.decided("promote").await;
    assert!(!promotion["reason"].as_str().unwrap().is_empty());
    let evidence = &promotion["evidence"]["checks"][0];
    assert!(evidence["step"]["candidate_requests"].as_u64() >= Some(20), "{evidence}");

    // Under watch, the old pool is warm: a rollback makes it live again.
    router.command(&["rollout", "rollback"]).await.ok();
    let view = router.view().await;
    assert_eq!(json!([view["phase"], view["live"]]), json!(["rolled_back", "server0"]));
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_watch_a_promotion_is_final_and_rollback_points_to_switch() {
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 50, hold = \"1h\" } ]\nwatch = \"1s\"\n";
    let router = Router::start(Setup::before(&server0, &server1).rollout(rollout)).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.command(&["rollout", "promote"]).await.ok();
    assert_eq!(router.visitor().get("/").await.by(), "server1");
    let refused = eventually("rollback is refused", SHORT, async || {
        let view = router.view().await;
        let until = view["watch_until"].as_str().map(|until| until.parse::<Timestamp>().unwrap());
        if until.is_some_and(|until| until > Timestamp::now()) {
            return None;
        }
        let rollback = router.command(&["rollout", "rollback"]).await;
        (rollback.code != 0).then_some(rollback)
    })
    .await;
    assert!(refused.err.contains("switch"), "{}", refused.err);
    assert_eq!(router.view().await["live"], "server1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_traffic_a_rollout_holds_and_says_why() {
    let (server0, server1) = Application::pair().await;
    let rollout = |on_inconclusive: &str| {
        format!(
            "[service.rollout]\nsteps = [ {{ weight = 5, hold = \"1s\" }}, {{ weight = 50, hold = \"1s\" }} ]\nmax_hold = \"4s\"\non_inconclusive = \"{on_inconclusive}\"\n"
        )
    };
    let setup = || Setup::before(&server0, &server1);
    let holds = Router::start(setup().rollout(&rollout("hold"))).await;
    let promotes = Router::start(setup().rollout(&rollout("promote"))).await;
    let takes_back = Router::start(setup().rollout(&rollout("rollback"))).await;
    for router in [&holds, &promotes, &takes_back] {
        router.command(&["rollout", "start", "server1"]).await.ok();
    }
    let view = holds.view_when("it says what it waits for", SHORT, |view| view["phase"] == "canary").await;
    let waiting_for = view["rollout"]["waiting_for"].as_str().unwrap();
    println!("waits for: {waiting_for}");
    assert!(waiting_for.contains("request"), "{waiting_for}");
    let steps = view["rollout"]["steps"].as_array().unwrap();
    assert!(steps.len() == 2 && steps.iter().all(|step| step["expected"].is_null()), "{steps:?}");
    let status = holds.command(&["status"]).await.ok();
    assert!(status.contains("request"), "the reason is in the status: {status}");

    let view = holds.view_when("held by evidence", LONG, |view| view["held"]["by"] == "evidence").await;
    assert_eq!(json!([view["phase"], view["weight"], view["verdict"]]), json!(["canary", 5.0, "insufficient"]));
    let reason = view["held"]["reason"].as_str().unwrap();
    assert!(!reason.is_empty());
    assert!(holds.command(&["status"]).await.ok().contains(reason), "status gives the reason {reason:?}");

    promotes.phase("promoted", LONG).await;
    takes_back.phase("rolled_back", LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_traffic_a_rollout_says_how_long_each_step_will_need() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 10, hold = \"5s\" }, { weight = 50, hold = \"10m\" } ]\n";
    let router = Router::start(Setup::before(&server0, &server1).rollout(rollout)).await;
    let load = Load::on(router.address()).rate(100.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    let view = router
        .view_when("each step has its expected time, by the rate that comes in", LONG, |view| {
            let steps = view["rollout"]["steps"].as_array();
            view["rollout"]["live_rate"].as_f64() > Some(20.0)
                && steps.is_some_and(|steps| steps.iter().all(|step| step["expected"].is_string()))
        })
        .await;
    println!("{}", view["rollout"]);
    drop(load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_crashes_is_rolled_back_and_get_visitors_see_no_error() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(ONE_LONG_STEP)).await;
    let load = Load::on(router.address()).rate(200.0).without_posts().start();
    let waiting = router.command(&["rollout", "start", "server1", "--wait"]);
    let crash = async {
        until("the candidate serves its cohort", LONG, async || load.so_far().answered_by("server1") > 10).await;
        server1.stop().await;
    };
    let (walk, ()) = tokio::join!(waiting, crash);
    assert_eq!(walk.code, 3, "rolled back: {walk:?}");
    let tally = load.stop().await;
    println!("{} GET during the crash, {} failed", tally.gets, tally.failed_gets.len());
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    let rollback = router.decided("rollback").await;
    println!("by {}: {}", rollback["by"], rollback["reason"]);
    let view = router.view().await;
    assert_eq!(json!([view["phase"], view["live"]]), json!(["rolled_back", "server0"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_both_pools_share_is_not_blamed_on_the_candidate() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 50, hold = \"10m\" } ]\n";
    let router = Router::start(Setup::before(&server0, &server1).rollout(rollout)).await;
    for application in [&server0, &server1] {
        application.behave(|behaviour| behaviour.fail = 0.2);
    }
    router.command(&["rollout", "start", "server1"]).await.ok();
    let load = Load::on(router.address()).rate(300.0).visitors(4000).start();
    until("enough failures on both sides", LONG, async || {
        let evidence = router.evidence().await;
        let counts = &evidence["checks"][0]["rollout"];
        counts["candidate_failures"].as_u64() > Some(60) && counts["live_failures"].as_u64() > Some(60)
    })
    .await;
    assert_eq!(router.view().await["phase"], "canary");
    drop(load);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_pause_resume_weigh_promote_and_roll_back_in_every_phase() {
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 5, hold = \"1h\" }, { weight = 50, hold = \"1h\" } ]\n";
    let router = Router::start(Setup::before(&server0, &server1).rollout(rollout)).await;
    for command in ["pause", "resume", "promote", "rollback"] {
        let refused = router.command(&["rollout", command]).await;
        assert_eq!(refused.code, 1, "{command} without a rollout: {refused:?}");
        assert!(!refused.err.is_empty());
    }
    router.command(&["rollout", "start", "server1", "--release", "r1-pinned"]).await.ok();
    let view = router.phase("canary", SHORT).await;
    assert_eq!(json!([view["candidate"], view["weight"]]), json!(["server1", 5.0]));
    assert_eq!(view["pools"]["server1"]["release"], "r1-pinned", "the command's release goes before the file's");
    let again = router.command(&["rollout", "start", "server1"]).await;
    assert_eq!(again.code, 1, "one rollout at a time: {again:?}");

    router.command(&["rollout", "pause"]).await.ok();
    assert_eq!(router.view().await["held"]["by"], "operator");
    router.command(&["rollout", "resume"]).await.ok();
    let view = router.view().await;
    assert_eq!(json!([view["held"], view["weight"]]), json!([null, 5.0]), "resume goes on where it was paused");

    router.command(&["rollout", "weight", "12.5"]).await.ok();
    let view = router.view().await;
    assert_eq!(json!([view["held"]["by"], view["weight"]]), json!(["operator", 12.5]));
    for weight in ["101", "-1", "0.001", "many"] {
        assert_ne!(router.command(&["rollout", "weight", weight]).await.code, 0, "{weight}");
    }
    assert_eq!(router.view().await["weight"], 12.5);
    let status = router.command(&["rollout", "status"]).await.ok();
    assert!(status.contains("12.5") && status.contains("operator"), "{status}");
    router.command(&["rollout", "resume"]).await.ok();
    let view = router.view().await;
    assert_eq!(
        json!([view["held"], view["weight"]]),
        json!([null, 50.0]),
        "and with the next higher step after a weight"
    );

    router.command(&["rollout", "promote"]).await.ok();
    assert_eq!(router.view().await["live"], "server1");
    router.command(&["rollout", "rollback"]).await.ok();
    assert_eq!(router.view().await["live"], "server0");
    let decisions: Vec<_> = router.history().await.iter().map(|entry| entry["by"].clone()).collect();
    assert!(decisions.iter().filter(|by| **by == "operator").count() >= 6, "{decisions:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_was_taken_back_needs_force_to_start_again() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.start_held_rollout().await;
    router.command(&["rollout", "rollback"]).await.ok();
    let refused = router.command(&["rollout", "start", "server1"]).await;
    assert_eq!((refused.code, refused.err.contains("--force")), (1, true), "{refused:?}");
    router.command(&["rollout", "start", "server1", "--force"]).await.ok();
    router.command(&["rollout", "rollback"]).await.ok();
    router.command(&["rollout", "start", "server1", "--release", "r2"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_rollout_that_ends_held_exits_4() {
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 5, hold = \"1s\" } ]\nmax_hold = \"2s\"\n";
    let router = Router::start(Setup::before(&server0, &server1).rollout(rollout)).await;
    let walk = router.command(&["rollout", "start", "server1", "--wait"]).await;
    assert_eq!(walk.code, 4, "held at its end: {walk:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_and_hold_of_the_command_go_before_the_files() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.command(&["rollout", "start", "server1", "--steps", "2,20,60", "--hold", "90s"]).await.ok();
    let view = router.phase("canary", SHORT).await;
    let steps: Vec<_> =
        view["rollout"]["steps"].as_array().unwrap().iter().map(|step| step["weight"].clone()).collect();
    assert_eq!(json!([steps, view["weight"]]), json!([[2.0, 20.0, 60.0], 2.0]));
    assert_eq!(view["rollout"]["steps"][0]["hold"], "1m 30s");
}
