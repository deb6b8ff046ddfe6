//! The commands that tell: status, explain, history, backup.

use crate::harness::{Application, LONG, Load, Router, Setup, free_address, heavy_turn, run_binary, until};
use serde_json::{Value, json};

async fn plain_router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    (router, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_has_all_that_scripts_rely_on() {
    let (router, server0, _server1) = plain_router().await;
    let view = router.view().await;
    for key in [
        "name",
        "revision",
        "live",
        "candidate",
        "weight",
        "phase",
        "held",
        "watch_until",
        "mode",
        "mode_source",
        "pools",
        "verdict",
        "durable",
    ] {
        assert!(view.get(key).is_some(), "{key} in {view}");
    }
    let expected = json!(["shop", "server0", null, 0.0, "idle", null, "serve", "command", null, true]);
    let keys = ["name", "live", "candidate", "weight", "phase", "held", "mode", "mode_source", "verdict", "durable"];
    assert_eq!(Value::from(keys.iter().map(|key| view[*key].clone()).collect::<Vec<_>>()), expected);
    let target = &view["pools"]["server0"]["targets"][0];
    assert_eq!((&target["address"], &target["healthy"]), (&json!(server0.address().to_string()), &json!(true)));
    assert_eq!(view["pools"]["server1"]["release"], "r1");

    let services = crate::harness::answered(router.request("GET", "/api/v1/services")).await.ok();
    assert_eq!(services["services"][0]["name"], "shop");
    let printed = router.command(&["status", "--json"]).await.json();
    assert_eq!(printed.get("services").map_or(&printed, |services| &services[0])["live"], "server0");
    let text = router.command(&["status"]).await.ok();
    for word in ["shop", "server0", "server1", "r0", "idle"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_where_a_visitor_goes_and_why() {
    let (router, _server0, _server1) = plain_router().await;
    let plain = router.command(&["explain", "--host", "shop.example.com", "--path", "/", "--json"]).await.json();
    assert_eq!(
        (&plain["service"], &plain["pool"], &plain["bucket"]),
        (&json!("shop"), &json!("server0"), &Value::Null)
    );
    assert!(!plain["why"].as_array().unwrap().is_empty());

    router.start_held_rollout().await;
    router.weigh(50.0).await;
    let mut visitor = router.visitor();
    for _ in 0..20 {
        visitor.forget();
        let by = visitor.get("/").await.by().to_owned();
        let header = format!("Cookie: cutover={}", visitor.cookies["cutover"]);
        let arguments = ["explain", "--host", "shop.example.com", "--path", "/", "--header", &header, "--json"];
        let explained = router.command(&arguments).await.json();
        assert_eq!(explained["pool"], by.as_str(), "{explained}");
        let bucket = explained["bucket"].as_u64().unwrap();
        assert_eq!(bucket < 5000, by == "server1", "in the cohort when bucket < weight: {explained}");
    }
    let text = router.command(&["explain", "--host", "shop.example.com", "--path", "/a"]).await.ok();
    assert!(text.contains("shop"), "{text}");
    router.command(&["mode", "maintenance"]).await.ok();
    let closed = router.command(&["explain", "--host", "shop.example.com", "--path", "/", "--json"]).await.json();
    assert_eq!(closed["pool"], Value::Null, "{closed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_tells_what_was_decided_by_whom_and_why() {
    let (router, _server0, _server1) = plain_router().await;
    router.command(&["switch", "server1"]).await.ok();
    router.command(&["mode", "maintenance"]).await.ok();
    router.command(&["mode", "serve"]).await.ok();
    let history = router.history().await;
    assert!(history.len() >= 3, "{history:?}");
    let ids: Vec<_> = history.iter().map(|entry| entry["id"].as_u64().unwrap()).collect();
    assert!(ids.is_sorted(), "oldest first");
    for entry in &history {
        for key in ["at", "decision", "by", "reason", "phase", "live"] {
            assert!(entry[key].is_string(), "{key} in {entry}");
        }
    }
    let printed = router.command(&["history", "--json"]).await.json();
    assert_eq!(printed["history"].as_array().map_or(0, Vec::len), history.len());
    let text = router.command(&["history"]).await.ok();
    assert!(text.contains("switch") && text.contains("operator") && text.contains("server1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_opens_and_a_router_runs_from_it() {
    let _turn = heavy_turn().await;
    let (router, server0, server1) = plain_router().await;
    router.start_held_rollout().await;
    router.weigh(25.0).await;
    let load = Load::on(router.address()).rate(100.0).start();
    until("there is evidence", LONG, async || {
        router.evidence().await["checks"][0]["rollout"]["candidate_requests"].as_u64() > Some(20)
    })
    .await;
    let copy = router.folder().join("copy.db");
    router.command(&["backup", copy.to_str().unwrap()]).await.ok();
    let view = router.view().await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "serving went on: {tally:?}");

    let database = rusqlite::Connection::open(&copy).unwrap();
    let whole: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    drop(database);
    let second = Router::start(Setup::before(&server0, &server1).state_at(&copy)).await;
    let restored = second.view().await;
    for key in ["phase", "weight", "live", "candidate", "mode"] {
        assert_eq!(restored[key], view[key], "{key}");
    }
    let refused = router.command(&["backup", "/nonexistent/folder/copy.db"]).await;
    assert_eq!((refused.code, refused.err.contains("/nonexistent/folder")), (1, true), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_say_what_is_wrong_and_what_to_do() {
    let nobody = format!("http://{}", free_address());
    let alone = run_binary(&["status", "--admin", &nobody], &[], LONG).await;
    assert_eq!(alone.code, 1, "{alone:?}");
    assert!(alone.err.contains(&nobody) && alone.out.is_empty(), "names the address: {}", alone.err);
    for usage in [&["no-such-command"][..], &["switch"], &["rollout", "start"], &["status", "--nope"]] {
        let refused = run_binary(usage, &[], LONG).await;
        assert_eq!(refused.code, 2, "{usage:?}: {refused:?}");
    }
    let help = run_binary(&["--help"], &[], LONG).await.ok();
    for command in ["run", "check", "demo", "status", "switch", "rollout", "mode", "history", "explain", "backup"] {
        assert!(help.contains(command), "{command} in {help}");
    }
    let (router, _server0, _server1) = plain_router().await;
    let unknown = router.command(&["status", "--service", "none"]).await;
    assert_eq!((unknown.code, unknown.err.contains("none")), (1, true), "{unknown:?}");
    router.command(&["--service", "shop", "status"]).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watched_status_goes_on_until_it_is_ended() {
    let (router, _server0, _server1) = plain_router().await;
    let mut watch = tokio::process::Command::new(env!("CARGO_BIN_EXE_cutover"))
        .args(["status", "--watch", "--admin", &router.admin_url("")])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(watch.stdout.take().unwrap());
    let mut seen = String::new();
    for (pool, other) in [("server1", "server0"), ("server0", "server1")] {
        router.command(&["switch", pool]).await.ok();
        let saw = async {
            while !(seen.contains(pool) && seen.contains("shop")) {
                use tokio::io::AsyncBufReadExt;
                assert!(lines.read_line(&mut seen).await.unwrap() > 0, "ended after {seen}");
            }
        };
        tokio::time::timeout(LONG, saw).await.unwrap_or_else(|_| panic!("no {pool} after {other}"));
        seen.clear();
    }
    assert!(watch.try_wait().unwrap().is_none(), "it goes on");
}

/// Runs in a network of its own, since the admin API of a router without a file has a fixed port.
const QUICK_RUN: &str = r#"
ip link set lo up || exit 77
"$CUTOVER" run --listen 127.0.0.1:8080 --pool server0=127.0.0.1:9000 --pool server1=127.0.0.1:9001 --state state.db &
router=$!
trap 'kill $router' EXIT
for turn in $(seq 200); do
    "$CUTOVER" status --json && exit 0
    kill -0 $router || exit 1
    sleep 0.1
done
exit 1
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pools_on_the_command_line_are_enough_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = tokio::process::Command::new("unshare")
        .args(["--net", "sh", "-c", QUICK_RUN])
        .env("CUTOVER", env!("CARGO_BIN_EXE_cutover"))
        .env_remove("CUTOVER_ADMIN")
        .current_dir(folder.path())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(LONG, run).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) || told.contains("unshare failed") {
        eprintln!("SKIPPED: no network of its own can be made here: {told}");
        return;
    }
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("\"default\"") && printed.contains("server0"), "{printed}");
    assert!(folder.path().join("state.db").exists() && folder.path().join("cutover.secret").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_tell_of_each_change_and_the_api_describes_itself() {
    let (router, _server0, _server1) = plain_router().await;
    let described = crate::harness::answered(router.request("GET", "/openapi.json")).await.ok();
    for path in ["/api/v1/services/{service}", "/api/v1/services/{service}/switch", "/api/v1/events"] {
        let shape = |path: &str| {
            path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
        };
        let known = described["paths"].as_object().unwrap();
        assert!(known.keys().any(|key| shape(key) == shape(path)), "{path} in {:?}", known.keys());
    }
    let mut events = router.request("GET", "/api/v1/events").send().await.unwrap();
    assert_eq!(events.headers()["content-type"].to_str().unwrap().split(';').next(), Some("text/event-stream"));
    router.command(&["switch", "server1"]).await.ok();
    let mut told = String::new();
    let tells = async {
        while !(told.contains("data:") && told.contains("\"live\":\"server1\"")) {
            told += &String::from_utf8_lossy(&events.chunk().await.unwrap().expect("the stream goes on"));
        }
    };
    assert!(tokio::time::timeout(LONG, tells).await.is_ok(), "only {told}");
}

#[tokio::test]
async fn shells_and_manuals_know_every_command() {
    let script = run_binary(&["completions", "bash"], &[], LONG).await.ok();
    let page = run_binary(&["man"], &[], LONG).await.ok();
    for command in ["run", "rollout", "preview-link", "deploy", "simulate"] {
        assert!(script.contains(command), "{command}");
        assert!(page.contains(&command.replace('-', "\\-")), "{command} in {page}");
    }
    let folder = tempfile::tempdir().unwrap();
    run_binary(&["man", "--out", folder.path().join("man1").to_str().unwrap()], &[], LONG).await.ok();
    for page in ["cutover.1", "cutover-rollout-start.1", "cutover-mode-maintenance.1"] {
        assert!(folder.path().join("man1").join(page).is_file(), "{page}");
    }
}
