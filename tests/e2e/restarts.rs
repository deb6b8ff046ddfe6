//! Death and restart: what was decided, and on which evidence, is still there.

use crate::harness::{Application, LONG, Load, Router, SHORT, Setup, heavy_turn, run_binary, until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Evidence may be this much behind after a death, and a little for the machine.
const EVIDENCE_LAG: Duration = Duration::from_millis(6500);

const SLOW_STEPS: &str = "[service.rollout]\nsteps = [ { weight = 10, hold = \"2s\" }, { weight = 20, hold = \"2s\" }, { weight = 30, hold = \"2s\" }, { weight = 40, hold = \"2s\" }, { weight = 50, hold = \"10m\" } ]\nmin_requests = 40\n";

fn state_of(view: &Value) -> Value {
    let keys = ["revision", "phase", "live", "candidate", "weight", "mode"];
    Value::from(keys.iter().map(|key| view[*key].clone()).collect::<Vec<_>>())
}

async fn candidate_requests(router: &Router) -> u64 {
    router.evidence().await["checks"][0]["rollout"]["candidate_requests"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_during_a_rollout_lose_nothing_that_was_decided() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(SLOW_STEPS)).await;
    let load = Load::on(router.address()).rate(150.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    let mut restored = 0;
    for kill in 0..20_u32 {
        // Moments that differ; a few runs are long enough for evidence that must have been stored.
        let run = Duration::from_millis(if kill % 7 == 3 { 8000 } else { 40 + u64::from(kill) * 97 % 1300 });
        let end = Instant::now() + run;
        let mut samples = Vec::new();
        let mut before = router.view().await;
        let mut acknowledged = None;
        while Instant::now() < end {
            samples.push((Instant::now(), candidate_requests(&router).await));
            before = router.view().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if kill % 5 == 4 {
            // What a command was told is done stays done.
            let weight = 51.0 + f64::from(kill);
            router.weigh(weight).await;
            acknowledged = Some(weight);
            before = router.view().await;
        }
        router.kill();
        let killed = Instant::now();
        router.start_again().await;

        let after = router.view().await;
        let revision = |view: &Value| view["revision"].as_u64().unwrap();
        if revision(&after) == revision(&before) {
            assert_eq!(state_of(&after), state_of(&before), "kill {kill}");
        } else {
            // A step came between the last look and the death, or after the restart: the history tells of it.
            assert!(revision(&after) > revision(&before), "kill {kill}: {after} is older than {before}");
            let history = router.history().await;
            let entry = history.iter().find(|entry| entry["revision"] == after["revision"]);
            let entry = entry.unwrap_or_else(|| panic!("kill {kill}: no entry for {after}"));
            assert_eq!((&entry["phase"], &entry["live"]), (&after["phase"], &after["live"]), "kill {kill}");
            assert!(after["weight"].as_f64() >= before["weight"].as_f64(), "kill {kill}");
        }
        if let Some(weight) = acknowledged {
            assert_eq!(json!([after["weight"], after["held"]["by"]]), json!([weight, "operator"]), "kill {kill}");
        }
        let now = candidate_requests(&router).await;
        let known = samples.iter().rev().find(|(at, _)| killed.duration_since(*at) > EVIDENCE_LAG);
        let must = known.map_or(0, |(_, count)| *count).max(restored);
        assert!(now >= must, "kill {kill}: evidence of {now} candidate requests after the restart, {must} were stored");
        println!("kill {kill} after {run:?}: weight {}, evidence {now}, at least {must}", after["weight"]);
        restored = must;
    }
    assert!(restored > 0, "no evidence outlived any restart");
    drop(load);

    // A rollback that was durable is never lost.
    router.command(&["rollout", "rollback"]).await.ok();
    router.view_when("the rollback is durable", SHORT, |view| view["durable"] == true).await;
    router.kill();
    router.start_again().await;
    let view = router.view().await;
    assert_eq!(json!([view["phase"], view["live"], view["weight"]]), json!(["rolled_back", "server0", 0.0]));
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_outlives_a_kill_that_follows_its_answer() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    for turn in 0..6 {
        let pool = if turn % 2 == 0 { "server1" } else { "server0" };
        router.api("POST", "/switch", Some(json!({ "pool": pool }))).await.ok();
        router.kill();
        router.start_again().await;
        assert_eq!(router.visitor().get("/").await.by(), pool);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_under_watch_can_be_taken_back_after_a_restart() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.start_held_rollout().await;
    router.command(&["rollout", "promote"]).await.ok();
    router.kill();
    router.start_again().await;
    let view = router.view().await;
    assert_eq!(json!([view["phase"], view["live"]]), json!(["promoted", "server1"]));
    assert!(view["watch_until"].is_string());
    router.command(&["rollout", "rollback"]).await.ok();
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_router_on_the_same_state_refuses_to_start() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let state = router.folder().join("cutover.db");
    let second = Router::prepare(Setup::before(&server0, &server1).state_at(&state));
    let config = second.config();
    let refused = run_binary(&["run", "--config", config.to_str().unwrap()], &[], LONG).await;
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("cutover.db"), "names the state: {}", refused.err);
    assert_eq!(router.visitor().get("/").await.by(), "server0", "the first is not disturbed");
    router.command(&["switch", "server1"]).await.ok();
    router.kill();
    second.start_again().await;
    assert_eq!(second.view().await["live"], "server1", "after its death the second may");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_cannot_be_opened_is_a_clear_error() {
    let (server0, server1) = Application::pair().await;
    let folder = tempfile::tempdir().unwrap();
    let no_database = folder.path().join("text.db");
    std::fs::write(&no_database, "this is no database, and it is long enough to be looked at as one".repeat(20))
        .unwrap();
    let is_folder = folder.path().join("folder.db");
    std::fs::create_dir(&is_folder).unwrap();
    let no_folder = folder.path().join("missing");
    let faults =
        [(no_database.clone(), no_database), (is_folder.clone(), is_folder), (no_folder.join("cutover.db"), no_folder)];
    for (path, named) in faults {
        let router = Router::prepare(Setup::before(&server0, &server1).state_at(&path));
        let config = router.config();
        let refused = run_binary(&["run", "--config", config.to_str().unwrap()], &[], LONG).await;
        assert_ne!(refused.code, 0, "{}", path.display());
        assert!(refused.err.contains(named.to_str().unwrap()), "names {}: {}", named.display(), refused.err);
        assert!(!refused.err.contains("panicked"), "{}", refused.err);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_pool_that_left_the_file_meanwhile_is_told_at_the_start() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.command(&["switch", "server1"]).await.ok();
    router.kill();
    router.write_config(&router.setup.text().replace("[service.pool.server1]", "[service.pool.another]"));
    let config = router.config();
    let refused = run_binary(&["run", "--config", config.to_str().unwrap()], &[], LONG).await;
    assert!(refused.code != 0 && refused.err.contains("server1"), "{refused:?}");
    router.write_config(&router.setup.text());
    router.start_again().await;
    until("it serves as before", SHORT, async || router.visitor().get("/").await.by() == "server1").await;
}
