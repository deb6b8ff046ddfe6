//! Why: what is shown of the evidence, and that each decision can be made again from what is stored of it.

use crate::harness::{Application, CommandResult, LONG, Load, Router, SHORT, Setup, eventually, heavy_turn, until};
use serde_json::{Value, json};
use std::process::Command;

const ONE_LONG_STEP: &str = "[service.rollout]\nsteps = [ { weight = 20, hold = \"10m\" } ]\nobjective = 0.95\n[[service.rollout.check]]\nkind = \"error-ratio\"\n[[service.rollout.check]]\nkind = \"latency\"\n";

/// Each line of a replay that is of a decision: its id, what was decided and what came of it.
fn replayed(result: &CommandResult) -> Vec<(String, String, String)> {
    let of = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [id, _, _, decision, result, ..] = words.as_slice() else { return None };
        id.parse::<u64>().ok()?;
        Some(((*id).to_owned(), (*decision).to_owned(), (*result).to_owned()))
    };
    result.out.lines().filter_map(of).collect()
}

/// Replays all, which must all be the same, and gives what was decided.
async fn all_the_same(router: &Router) -> Vec<String> {
    let result = router.command(&["history", "--replay"]).await;
    assert_eq!(result.code, 0, "{}\n{}", result.out, result.err);
    let lines = replayed(&result);
    assert!(!lines.is_empty() && lines.iter().all(|line| line.2 == "same"), "{}", result.out);
    assert_eq!(result.out.lines().last(), Some(format!("{} the same", lines.len()).as_str()));
    lines.into_iter().map(|line| line.1).collect()
}

/// Has sqlite3 do something with the state of a router that is not running.
fn sqlite(router: &Router, statement: &str) -> String {
    let state = router.folder().join("cutover.db");
    let output = Command::new("sqlite3").arg(state).arg(statement).output();
    let output = output.expect("sqlite3 is installed; `tests/run` installs it");
    assert!(output.status.success(), "{statement}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Whether every one of these is in the text.
#[track_caller]
fn shows(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_explained_and_decided_again_after_a_death_and_a_tampered_record_is_found() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).rollout(ONE_LONG_STEP)).await;
    let load = Load::on(router.address()).rate(150.0).start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    until("the candidate serves", LONG, async || load.so_far().answered_by("server1") > 40).await;
    let status = router.command(&["rollout", "status"]).await.ok();
    shows(
        &status,
        &[
            "all checks together\n",
            "  error-ratio: ",
            "  latency: ",
            "  no-head: ",
            "    against it  [",
            "rolls back",
            "    for it      [",
            "passes the step",
            "requests  failed  ratio",
            "95% sure within",
            "    candidate ",
            "    live ",
            " good requests, about ",
            "candidate slow",
            "  guard (a heuristic): quiet, at an objective of 95% good answers",
            "over 5m",
        ],
    );
    let short = router.command(&["status"]).await.ok();
    shows(&short, &["ln E rolls back", "error-ratio", "all together", "  guard: quiet"]);
    assert!(!short.contains("against it"), "{short}");
    router.command(&["rollout", "pause"]).await.ok();

    server1.behave(|behaviour| behaviour.fail = 1.0);
    router.phase("rolled_back", LONG).await;
    drop(load);
    router.view_when("the rollback is written", SHORT, |view| view["durable"] == true).await;
    assert_eq!(all_the_same(&router).await, ["start", "step", "hold", "rollback"]);

    router.kill();
    router.start_again().await;
    assert_eq!(all_the_same(&router).await, ["start", "step", "hold", "rollback"], "after a death too");
    let id = router.decided("rollback").await["id"].to_string();
    let shown = router.command(&["history", "--id", &id]).await.ok();
    shows(
        &shown,
        &[
            &format!("decision {id}\n"),
            "  by        error-ratio\n",
            "  reason    error-ratio: the candidate fails more than live: ",
            "  then      server0 is live (rolled_back)\n",
            "  verdict: regressed: ",
            "  error-ratio: regressed\n",
            "95% sure within",
            "guard (a heuristic)",
        ],
    );
    let sizes = {
        router.terminate().await;
        let sizes = sqlite(&router, "select max(length(record)), avg(length(record)) from record");
        let tamper = "json_set(record, '$.before.rollout.plan.false_alarm', 1e-300)";
        sqlite(&router, &format!("update record set record = {tamper} where history = {id}"));
        sizes
    };
    println!("bytes of a record, largest and average: {sizes}");
    router.start_again().await;

    let tampered = router.command(&["history", "--replay"]).await;
    assert_eq!(tampered.code, 1, "{}", tampered.out);
    let results: Vec<_> = replayed(&tampered).into_iter().map(|line| line.2).collect();
    assert_eq!(results, ["same", "same", "same", "DIFFERS"], "{}", tampered.out);
    shows(&tampered.out, &["judgement.verdict: stored \"regressed\", decided again ", "3 the same, 1 DIFFER"]);
    assert_eq!(router.command(&["history", "--replay", &id]).await.code, 1);
    let as_json = router.command(&["history", "--replay", "--json"]).await;
    assert_eq!(as_json.code, 1);
    let as_json: Value = serde_json::from_str(&as_json.out).unwrap();
    assert_eq!(as_json["replayed"][3]["result"], "differs", "{as_json}");
    assert_eq!(as_json["replayed"][0], json!({"id": 1, "decision": "start", "result": "same", "differences": []}));
    let unknown = router.command(&["history", "--replay", "4711"]).await;
    assert!(unknown.code == 1 && unknown.err.contains("no decision 4711"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_and_what_follows_is_decided_again_to_the_same() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let load = Load::on(router.address()).rate(200.0).start();
    let walk = router.command(&["rollout", "start", "server1", "--wait"]).await;
    assert_eq!(walk.code, 0, "promoted: {walk:?}");
    assert_eq!(all_the_same(&router).await, ["start", "step", "step", "step", "promote"]);

    // What the watch takes back is judged by what has been live alone.
    server1.behave(|behaviour| behaviour.fail = 1.0);
    router.phase("rolled_back", LONG).await;
    router.view_when("the rollback is written", SHORT, |view| view["durable"] == true).await;
    drop(load);
    router.command(&["mode", "maintenance", "--message", "soon"]).await.ok();
    router.command(&["mode", "serve"]).await.ok();
    router.command(&["switch", "server1", "--drain", "1s"]).await.ok();
    let all = ["start", "step", "step", "step", "promote", "rollback", "mode", "mode", "switch"];
    assert_eq!(all_the_same(&router).await, all);
    let list = router.command(&["history", "-n", "2"]).await.ok();
    assert_eq!(list.lines().filter(|line| line.contains("operator")).count(), 2, "{list}");
    shows(&list, &["id  time", "weight  reason", "switch", "`cutover history --id ID`"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_told_where_they_are_asked_for_and_missed_where_an_older_version_wrote_none() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.start_held_rollout().await;
    assert!(router.history().await.iter().all(|entry| entry.get("record").is_none()));
    let with = router.api("GET", "/history?record=true&limit=1", None).await.ok();
    let entry = &with["history"][0];
    assert_eq!(
        (&entry["decision"], &entry["record"]["event"]["Tick"]["verdict"]),
        (&json!("step"), &json!("insufficient"))
    );
    let id = entry["id"].to_string();
    let one = router.api("GET", &format!("/history?id={id}"), None).await.ok();
    assert_eq!((one["history"].as_array().unwrap().len(), one["history"][0].get("record")), (1, None));
    router.api("GET", "/history?record=perhaps", None).await.problem(400);
    let printed = router.command(&["history", "--id", &id, "--json"]).await.json();
    assert_eq!(printed, one, "what the API answers");

    router.terminate().await;
    // As the first version left it.
    sqlite(&router, "drop table record; pragma user_version = 1");
    router.start_again().await;
    assert_eq!(router.view().await["phase"], "canary", "nothing is lost");
    router.command(&["rollout", "rollback"]).await.ok();
    let result = eventually("the rollback is there", SHORT, async || {
        let result = router.command(&["history", "--replay"]).await;
        result.out.contains("rollback").then_some(result)
    })
    .await;
    assert_eq!(result.code, 0, "{}", result.out);
    shows(
        &result.out,
        &["start       no record: an older version", "rollback    same", "1 the same, 2 without a record"],
    );
    assert_eq!(router.command(&["history", "--replay", &id]).await.code, 1, "what was asked for can't be confirmed");
}
