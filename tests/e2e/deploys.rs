//! `cutover deploy`: the whole walk, broken off at each step and run again, and what stops it.

use crate::harness::{Application, CommandResult, LONG, Load, Router, SHORT, Setup, until};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A rollout that ends as soon as twenty requests have come.
const ONE_STEP: &str = "[service.rollout]\nsteps = [ { weight = 50, hold = \"1s\" } ]\nmin_requests = 20\n";
/// Reads which release runs.
const HEALTH: &str = "[service.health]\npath = \"/up\"\ninterval = \"250ms\"\ntimeout = \"5s\"\nrise = 1\nfall = 2\n";

/// A router before two applications that say which release they run: `r0` in `server0`, `v7` in `server1`.
async fn site() -> (Application, Application, Router) {
    let (server0, server1) = Application::pair().await;
    says(&server0, "r0");
    says(&server1, "v7");
    let health = format!("{HEALTH}release = \"header:x-release\"\n");
    let router = Router::start(Setup::before(&server0, &server1).health(&health).rollout(ONE_STEP)).await;
    (server0, server1, router)
}

fn says(application: &Application, release: &str) {
    application.behave(|behaviour| behaviour.release = Some(release.to_owned()));
}

/// A deploy of `v7` to `server1` that takes its time, as a test that breaks it off needs it.
struct Run {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

impl Run {
    fn start(router: &Router, arguments: &[&str]) -> Self {
        let file = |name: &str| router.folder().join(name);
        let (out, err) = (file("deploy.out"), file("deploy.err"));
        let open = |path: &PathBuf| std::fs::File::create(path).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_cutover"))
            .args(["deploy", "server1", "--release", "v7", "--by", "tester"])
            .args(arguments)
            .current_dir(router.folder())
            .env("CUTOVER_ADMIN", router.admin_url(""))
            .env_remove("CUTOVER_TOKEN")
            .stdin(Stdio::null())
            .stdout(open(&out))
            .stderr(open(&err))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, out, err }
    }

    fn err(&self) -> String {
        std::fs::read_to_string(&self.err).unwrap()
    }

    async fn says(&self, text: &str) {
        until(&format!("it says {text:?}"), SHORT, async || self.err().contains(text)).await;
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn end(mut self) -> CommandResult {
        let ended = tokio::time::timeout(2 * LONG, self.child.wait()).await;
        let status = ended.unwrap_or_else(|_| panic!("it does not end: {}", self.err())).unwrap();
        let out = std::fs::read_to_string(&self.out).unwrap();
        CommandResult { code: status.code().unwrap_or(-1), out, err: self.err() }
    }
}

async fn deploy(router: &Router, arguments: &[&str]) -> CommandResult {
    Run::start(router, arguments).end().await
}

/// A command that notes that it ran.
fn noting(router: &Router, name: &str) -> String {
    format!("echo {name} >> {}", router.folder().join("ran").display())
}

fn ran(router: &Router) -> Vec<String> {
    let text = std::fs::read_to_string(router.folder().join("ran")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// A command that notes that it ran, and ends when the file `go` is there.
fn waiting(router: &Router, name: &str) -> String {
    format!("{}; while ! test -e {}; do sleep 0.05; done", noting(router, name), router.folder().join("go").display())
}

fn go(router: &Router) {
    std::fs::write(router.folder().join("go"), "").unwrap();
}

async fn mode(router: &Router) -> Value {
    router.view().await["mode"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_walk_by_rollout_ends_live_and_run_again_it_says_so() {
    let (_server0, server1, router) = site().await;
    says(&server1, "r1");
    router.view_when("it says r1", SHORT, |view| view["pools"]["server1"]["targets"][0]["release"] == "r1").await;
    let gate = format!(
        "echo gate $CUTOVER_SERVICE $CUTOVER_POOL $CUTOVER_RELEASE $CUTOVER_TARGETS $CUTOVER_LIVE >> {}",
        router.folder().join("ran").display()
    );
    let migration = format!("{}; echo from the migration", noting(&router, "migrated"));
    let asked = ["--gate-command", &gate, "--migrate", &migration, "--maintenance", "--message", "Back soon."];
    let load = Load::on(router.address()).rate(100.0).start();
    let run = Run::start(&router, &asked);
    run.says("says that it runs r1").await;
    assert_eq!(router.view().await["phase"], "idle");
    says(&server1, "v7");
    let walked = run.end().await;
    assert_eq!(walked.code, 0, "{walked:?}");
    assert!(walked.out.contains("server1 is promoted and live"), "{}", walked.out);
    assert!(walked.err.contains("from the migration"), "what commands print passes through: {}", walked.err);
    for step in ["ready", "gate", "maintenance", "migration", "leave", "rollout"] {
        assert!(walked.out.lines().any(|line| line.trim().starts_with(step)), "{step}: {}", walked.out);
    }
    drop(load);
    assert_eq!(ran(&router), [format!("gate shop server1 v7 {} server0", server1.address()), "migrated".to_owned()]);
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["phase"]]), json!(["server1", "serve", "promoted"]));
    assert_eq!(json!([view["deploy"]["ended"], view["migrated"]]), json!(["promoted", ["v7"]]));
    assert_eq!(view["deploy"]["done"], json!(["ready", "gate", "migrated"]));
    let told: Vec<String> = router
        .history()
        .await
        .iter()
        .filter(|entry| entry["decision"] == "deploy")
        .map(|entry| entry["reason"].as_str().unwrap().to_owned())
        .collect();
    assert!(told.len() == 6 && told[0].starts_with("the deploy of v7 to server1 by tester, run "), "{told:#?}");

    let revision = view["revision"].clone();
    let again = deploy(&router, &asked).await;
    assert_eq!((again.code, again.out.contains("live with v7 already")), (0, true), "{again:?}");
    assert_eq!((router.view().await["revision"].clone(), ran(&router).len()), (revision, 2));

    router.command(&["rollout", "rollback"]).await.ok();
    let refused = deploy(&router, &asked).await;
    assert_eq!((refused.code, refused.out.contains("--force")), (3, true), "{refused:?}");
    assert_eq!(router.view().await["deploy"]["ended"], "rolled-back");
    assert_eq!(ran(&router).len(), 2, "nothing was run for a release that is not tried again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_walk_by_switch_migrates_once_and_drains() {
    let (server0, server1, router) = site().await;
    let migration = noting(&router, "migrated");
    let asked = ["--switch", "--migrate", &migration, "--maintenance", "--drain", "10s", "--json"];
    let report = deploy(&router, &asked).await.json();
    let expected = json!(["switched", 0, "server1", "v7", "shop"]);
    let told = json!([report["outcome"], report["exit_code"], report["pool"], report["release"], report["service"]]);
    assert_eq!(told, expected, "{report:#}");
    let steps: Vec<_> = report["steps"].as_array().unwrap().iter().map(|step| step["step"].clone()).collect();
    assert_eq!(json!(steps), json!(["ready", "maintenance", "migration", "switch", "leave"]));
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["deploy"]["ended"]]), json!(["server1", "serve", "switched"]));
    assert_eq!(view["pools"]["server1"]["release"], "v7", "it was found there: {view:#}");
    assert_eq!(router.visitor().get("/").await.by(), "server1");
    assert_eq!(server1.last_seen("/").header("x-cutover-release").as_deref(), Some("v7"));
    assert_eq!(server0.in_flight(), 0);

    // Back to the old release, and on again: the database has what v7 needs.
    router.command(&["switch", "server0"]).await.ok();
    deploy(&router, &asked).await.ok();
    assert_eq!(ran(&router), ["migrated"]);
    router.command(&["switch", "server0"]).await.ok();
    deploy(&router, &[&asked[..], &["--migrate-again"]].concat()).await.ok();
    assert_eq!(ran(&router), ["migrated", "migrated"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_says_another_release_is_a_warning_and_stops_the_deploy() {
    let (_server0, server1, router) = site().await;
    let mut events = router.request("GET", "/api/v1/events").send().await.unwrap();
    says(&server1, "v6");
    let view = router.view_when("the warning", SHORT, |view| {
        view["warnings"].as_array().is_some_and(|all| all.iter().any(|one| one.as_str().unwrap().contains("v6")))
    });
    let view = view.await;
    assert!(view["warnings"].to_string().contains("known for r1"), "{view:#}");
    let mut told = String::new();
    until("an event tells it", SHORT, async || {
        told.push_str(&String::from_utf8_lossy(&events.chunk().await.unwrap().unwrap()));
        told.contains("\"release\":\"v6\"")
    })
    .await;
    assert!(router.command(&["status"]).await.ok().contains("up, says release v6"));

    let gate = noting(&router, "gate");
    let stopped = deploy(&router, &["--switch", "--timeout", "1s", "--gate-command", &gate]).await;
    assert_eq!(stopped.code, 1, "{stopped:?}");
    for said in ["up, but says that it runs v6", "server0 is live", "no traffic was moved"] {
        assert!(stopped.err.contains(said), "{said}: {}", stopped.err);
    }
    server1.behave(|behaviour| behaviour.release = None);
    let silent = deploy(&router, &["--switch", "--timeout", "3s"]).await;
    assert!(silent.err.contains("names no release (header:x-release)"), "{}", silent.err);
    assert!(ran(&router).is_empty());
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["deploy"]["ended"]]), json!(["server0", "stopped"]));
    assert_eq!(view["pools"]["server1"]["targets"][0]["healthy"], true, "what it says is no matter of health");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_in_json_is_read_and_a_router_that_does_not_read_any_says_so() {
    let (server0, server1) = Application::pair().await;
    says(&server1, "v7");
    let health = format!("{HEALTH}release = \"json:build.release\"\n");
    let router = Router::start(Setup::before(&server0, &server1).health(&health)).await;
    deploy(&router, &["--switch", "--timeout", "10s"]).await.ok();
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let trusted = deploy(&router, &["--switch"]).await;
    assert_eq!((trusted.code, trusted.err.matches("taken on trust").count()), (0, 1), "{trusted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_gate_or_migration_stops_the_walk_and_says_in_which_state_the_site_is() {
    let (_server0, _server1, router) = site().await;
    let migration = noting(&router, "migrated");
    let gate = deploy(&router, &["--switch", "--gate-command", "exit 7", "--migrate", &migration]).await;
    assert_eq!(gate.code, 1);
    for said in ["the gate command failed: it exited with 7", "server0 is live", "no traffic was moved"] {
        assert!(gate.err.contains(said), "{said}: {}", gate.err);
    }
    assert!(ran(&router).is_empty());

    let broken = format!("{}; exit 3", noting(&router, "broken"));
    let failed = deploy(&router, &["--switch", "--maintenance", "--migrate", &broken, "--json"]).await;
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("the migration failed: it exited with 3"), "{}", failed.err);
    let report: Value = serde_json::from_str(&failed.out).unwrap();
    assert_eq!(json!([report["outcome"], report["exit_code"]]), json!(["failed", 1]));
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["deploy"]["ended"]]), json!(["server0", "serve", "stopped"]));

    deploy(&router, &["--switch", "--maintenance", "--migrate", &migration]).await.ok();
    assert_eq!(ran(&router), ["broken", "migrated"], "what has failed is run again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let (_server0, _server1, router) = site().await;
    let before = router.view().await;
    let migration = noting(&router, "migrated");
    let asked = ["--switch", "--hold", "--migrate", &migration, "--gate-command", "false", "--dry-run"];
    let plan = deploy(&router, &asked).await.ok();
    let expected =
        ["wait until", "run the gate command: false", "into mode hold", "run the migration", "switch all traffic"];
    let mut at = 0;
    for (number, step) in (1..).zip(expected) {
        let line = format!("  {number}. ");
        let found = plan[at..].find(&line).unwrap_or_else(|| panic!("{line}: {plan}"));
        at += found;
        assert!(plan[at..].lines().next().unwrap().contains(step), "{step}: {plan}");
    }
    assert!(plan.contains("6. leave mode hold"), "{plan}");
    assert_eq!((router.view().await, ran(&router).len()), (before, 0));

    deploy(&router, &["--switch", "--migrate", &migration]).await.ok();
    router.command(&["switch", "server0"]).await.ok();
    let plan = deploy(&router, &[&asked[..], &["--json"]].concat()).await.json();
    let migrate = plan["steps"].as_array().unwrap().iter().find(|step| step["step"] == "migration").unwrap().clone();
    assert!(migrate["done"].as_str().unwrap().contains("has run for v7 before"), "{plan:#}");
}
