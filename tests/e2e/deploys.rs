//! `cutover deploy`: the whole walk, broken off at each step and run again, and what stops it.

use crate::harness::{Application, CommandResult, LONG, Load, Router, SHORT, Setup, until};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// A rollout that ends as soon as twenty requests have come.
const ONE_STEP: &str =
    "[service.rollout]\nsteps = [ { weight = 50, hold = \"1s\" } ]\nmin_requests = 20\nmax_hold = \"5m\"\n";
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
        Self::start_with("--default-signal=HUP", router, arguments)
    }

    fn start_with(hangup: &str, router: &Router, arguments: &[&str]) -> Self {
        let file = |name: &str| router.folder().join(name);
        let (out, err) = (file("deploy.out"), file("deploy.err"));
        let open = |path: &PathBuf| std::fs::File::create(path).unwrap();
        // However the tests were started: one that ignores a signal bequeaths that.
        let child = Command::new("env")
            .args([hangup, env!("CARGO_BIN_EXE_cutover")])
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

/// A command that notes that it ran, and ends when the file `go` is there; after a minute in any case.
fn waiting(router: &Router, name: &str) -> String {
    let go = router.folder().join("go");
    let look = format!("for look in $(seq 1200); do test -e {} && break; sleep 0.05; done", go.display());
    format!("{}; {look}", noting(router, name))
}

async fn has_run(router: &Router, name: &str) {
    until(&format!("{name} runs"), SHORT, async || ran(router).iter().any(|line| line == name)).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_each_step_the_next_run_goes_on_where_it_was() {
    let (_server0, server1, router) = site().await;
    says(&server1, "r1");
    let (gate, migration) = (noting(&router, "gate"), noting(&router, "migrated"));
    let asked = |gate: &str, migration: &str| -> Vec<String> {
        ["--maintenance", "--gate-command", gate, "--migrate", migration].map(str::to_owned).to_vec()
    };
    let start = |asked: Vec<String>| Run::start(&router, &asked.iter().map(String::as_str).collect::<Vec<_>>());

    let says_r1 = |view: &Value| view["pools"]["server1"]["targets"][0]["release"] == "r1";
    router.view_when("it says r1", SHORT, says_r1).await;
    let run = start(asked(&gate, &migration));
    run.says("says that it runs r1").await;
    run.kill().await;
    says(&server1, "v7");

    let run = start(asked(&waiting(&router, "gate of the killed"), &migration));
    has_run(&router, "gate of the killed").await;
    run.kill().await;
    assert_eq!(router.view().await["deploy"]["done"], json!(["ready"]));

    let run = start(asked(&gate, &waiting(&router, "migration of the killed")));
    has_run(&router, "migration of the killed").await;
    assert_eq!(mode(&router).await, "maintenance");
    let until = router.view().await["mode_setting"]["until"].clone();
    assert!(until.is_string(), "it ends by itself, whatever becomes of the command");
    run.kill().await;
    go(&router);
    let dry = deploy(&router, &["--maintenance", "--migrate", &migration, "--dry-run"]).await.ok();
    assert!(dry.contains("run the migration") && !dry.contains("not needed"), "its end was not seen: {dry}");

    let run = start(asked(&gate, &migration));
    router.phase("canary", SHORT).await;
    assert_eq!(mode(&router).await, "serve", "the mode of the killed run was left by the next");
    run.kill().await;
    assert_eq!(ran(&router), ["gate of the killed", "gate", "migration of the killed", "gate", "migrated"]);

    let _load = Load::on(router.address()).rate(100.0).start();
    let last = start(asked(&gate, &migration)).end().await;
    assert_eq!((last.code, last.err.contains("which is under way")), (0, true), "{last:?}");
    assert_eq!(ran(&router).len(), 5, "nothing is run again while the rollout is under way");
    assert_eq!(router.view().await["live"], "server1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_at_a_step_is_waited_for() {
    let (_server0, _server1, router) = site().await;
    let migration = waiting(&router, "migrated");
    let run = Run::start(&router, &["--maintenance", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    router.kill();
    go(&router);
    run.says("the router does not answer; trying again").await;
    router.start_again().await;
    router.phase("canary", SHORT).await;
    router.kill();
    router.start_again().await;
    let _load = Load::on(router.address()).rate(100.0).start();
    let walked = run.end().await;
    assert_eq!(walked.code, 0, "{walked:?}");
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["migrated"]]), json!(["server1", "serve", ["v7"]]));
    assert_eq!(ran(&router), ["migrated"]);

    router.command(&["switch", "server0"]).await.ok();
    let run = Run::start(&router, &["--switch", "--maintenance", "--migrate", &migration, "--migrate-again"]);
    until("the migration runs again", SHORT, async || ran(&router).len() == 2).await;
    router.kill();
    router.start_again().await;
    assert_eq!(run.end().await.code, 0);
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"]]), json!(["server1", "serve"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_command_in_order_and_leaves_the_mode() {
    let (_server0, _server1, router) = site().await;
    let migration = format!("trap '{}; exit 1' TERM; {}", noting(&router, "ended"), waiting(&router, "migrated"));
    for signal in ["TERM", "INT", "HUP"] {
        let _ = std::fs::remove_file(router.folder().join("ran"));
        let run = Run::start(&router, &["--switch", "--maintenance", "--migrate", &migration]);
        has_run(&router, "migrated").await;
        run.signal(signal);
        let stopped = run.end().await;
        assert_eq!((stopped.code, stopped.err.contains("ended by a signal")), (1, true), "{signal}: {stopped:?}");
        assert_eq!(ran(&router), ["migrated", "ended"], "{signal}");
        let view = router.view().await;
        assert_eq!(
            json!([view["live"], view["mode"], view["deploy"]["ended"]]),
            json!(["server0", "serve", "stopped"])
        );
    }
    let run = Run::start(&router, &[]);
    router.phase("canary", SHORT).await;
    run.signal("TERM");
    let stopped = run.end().await;
    assert!(stopped.code == 1 && stopped.err.contains("the rollout goes on by itself"), "{stopped:?}");
    assert_eq!(router.view().await["phase"], "canary");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_to_outlive_its_terminal_does() {
    let (_server0, _server1, router) = site().await;
    let migration = waiting(&router, "migrated");
    let run = Run::start_with("--ignore-signal=HUP", &router, &["--switch", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    run.signal("HUP");
    go(&router);
    let walked = run.end().await;
    assert_eq!((walked.code, router.view().await["live"].clone()), (0, json!("server1")), "{walked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_deploy_is_refused_unless_it_takes_the_place() {
    let (_server0, server1, router) = site().await;
    let migration = waiting(&router, "migrated");
    let first = Run::start(&router, &["--switch", "--maintenance", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    let other = ["deploy", "server1", "--release", "v8", "--switch", "--by", "somebody"];
    let refused = router.command(&other).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    for said in ["a deploy of v7 to server1 by tester, run", "--take-over"] {
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
    says(&server1, "v8");
    router.command(&[&other[..], &["--take-over"]].concat()).await.ok();
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"]]), json!(["server1", "serve"]), "it leaves the mode of the other");
    go(&router);
    let fenced = first.end().await;
    assert_eq!((fenced.code, fenced.err.contains("not under way any more")), (1, true), "{fenced:?}");
    let after = router.view().await;
    assert_eq!(
        json!([after["deploy"], after["mode"]]),
        json!([view["deploy"], "serve"]),
        "the first one changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_deploy_is_not_walked_twice_at_once_and_goes_on_when_the_first_has_died() {
    let (_server0, _server1, router) = site().await;
    let migration = waiting(&router, "migrated");
    let first = Run::start(&router, &["--switch", "--maintenance", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    let again = ["deploy", "server1", "--release", "v7", "--switch", "--maintenance", "--migrate", &migration];
    let refused = router.command(&again).await;
    assert_eq!((refused.code, refused.err.contains("by tester, run")), (1, true), "{refused:?}");
    assert_eq!((ran(&router).len(), mode(&router).await), (1, json!("maintenance")), "nothing has been done");
    first.kill().await;
    go(&router);
    router.command(&again).await.ok();
    assert_eq!((ran(&router).len(), router.view().await["live"].clone()), (2, json!("server1")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_mode_is_moved_on_while_a_migration_runs_and_somebody_elses_mode_stays() {
    let (_server0, _server1, router) = site().await;
    let migration = waiting(&router, "migrated");
    let run = Run::start(&router, &["--switch", "--maintenance", "--lease", "3s", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    let until = router.view().await["mode_setting"]["until"].clone();
    router.view_when("the end is moved on", SHORT, |view| view["mode_setting"]["until"] != until).await;
    assert_eq!(mode(&router).await, "maintenance");
    router.api("PUT", "/mode", Some(json!({"mode": "read-only"}))).await.ok();
    run.says("is not in mode maintenance any more").await;
    go(&router);
    let walked = run.end().await;
    assert_eq!(walked.code, 0, "{walked:?}");
    assert!(walked.out.contains("was ended meanwhile; mode read-only"), "{}", walked.out);
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode_setting"]["mode"]]), json!(["server1", "read-only"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_deployed_is_refused_before_anything_is_done() {
    let (_server0, _server1, router) = site().await;
    let migration = noting(&router, "migrated");
    for (arguments, code, said) in [
        (vec!["deploy", "server9", "--release", "v7"], 1, "has no pool server9; it has server0, server1"),
        (vec!["deploy", "server0", "--release", "v7"], 1, "pool server0 is live with release r0"),
        (vec!["deploy", "server1"], 2, "--release"),
        (vec!["deploy", "server1", "--release", "v7", "--switch", "--canary"], 2, "cannot be used with"),
        (vec!["deploy", "server1", "--release", "v7", "--hold", "--maintenance"], 2, "cannot be used with"),
    ] {
        let refused = router.command(&[&arguments[..], &["--migrate", &migration]].concat()).await;
        assert_eq!((refused.code, refused.err.contains(said)), (code, true), "{arguments:?}: {refused:?}");
    }
    router.start_held_rollout().await;
    let refused = deploy(&router, &["--migrate", &migration]).await;
    assert!(refused.code == 1 && refused.err.contains("a rollout of r1 to server1 is under way"), "{refused:?}");
    assert!(ran(&router).is_empty());
    assert_eq!(router.view().await["deploy"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_switch_around_a_migration_loses_no_request() {
    let (server0, server1, router) = site().await;
    for application in [&server0, &server1] {
        application.behave(|behaviour| behaviour.delay = std::time::Duration::from_millis(20));
    }
    let load = Load::on(router.address()).rate(100.0).start();
    let migration = format!("sleep 1; {}", noting(&router, "migrated"));
    let asked = ["--switch", "--hold", "--migrate", &migration, "--json"];
    let report = deploy(&router, &asked).await.json();
    until("the new pool serves", SHORT, async || server1.served() > 20).await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}\n{report:#}");
    assert!(tally.posts > 0 && tally.answered_by("server0") > 0 && tally.answered_by("server1") > 0, "{tally:?}");
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["deploy"]["ended"]]), json!(["server1", "serve", "switched"]));
    println!("{} requests, {} of them POST, none failed; {report}", tally.all(), tally.posts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mode_of_a_command_that_has_died_ends_by_itself() {
    let (_server0, _server1, router) = site().await;
    let migration = waiting(&router, "migrated");
    let run =
        Run::start(&router, &["--switch", "--maintenance", "--drain", "1s", "--lease", "3s", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    assert_eq!(mode(&router).await, "maintenance");
    run.kill().await;
    router.view_when("the mode is over", LONG, |view| view["mode"] == "serve").await;
    assert_eq!(router.decided("mode").await["by"], "time");
    go(&router);
    let next = deploy(&router, &["--switch", "--maintenance", "--migrate", &noting(&router, "again")]).await;
    assert_eq!((next.code, ran(&router)), (0, vec!["migrated".to_owned(), "again".to_owned()]), "{next:?}");
    assert!(next.out.contains("mode serve; meanwhile "), "{}", next.out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_that_somebody_has_set_before_outlasts_a_deploy_that_dies_and_one_that_does_not() {
    let (_server0, _server1, router) = site().await;
    router.command(&["mode", "maintenance", "--message", "Great works."]).await.ok();
    let set = json!({"mode": "maintenance", "message": "Great works."});
    let migration = waiting(&router, "migrated");
    let run = Run::start(&router, &["--switch", "--maintenance", "--lease", "3s", "--migrate", &migration]);
    has_run(&router, "migrated").await;
    assert_eq!(router.view().await["mode_setting"], set, "it has no end");
    run.kill().await;
    go(&router);
    deploy(&router, &["--switch", "--maintenance", "--migrate", &noting(&router, "again")]).await.ok();
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode_setting"]]), json!(["server1", set]));

    // Another one dies and is not run again: what was before its mode comes back by itself.
    router.command(&["switch", "server0"]).await.ok();
    router.command(&["mode", "read-only"]).await.ok();
    std::fs::remove_file(router.folder().join("go")).unwrap();
    let asked = ["--switch", "--maintenance", "--drain", "1s", "--lease", "3s", "--migrate-again", "--migrate"];
    let run = Run::start(&router, &[&asked[..], &[&waiting(&router, "dying")]].concat());
    has_run(&router, "dying").await;
    let status = router.command(&["status"]).await.ok();
    assert!(status.contains("Z, then read-only"), "{status}");
    run.kill().await;
    router.view_when("the mode of before is back", LONG, |view| view["mode"] == "read-only").await;
    assert_eq!(router.view().await["mode_setting"], json!({"mode": "read-only"}));
    go(&router);
    let replay = router.command(&["history", "--replay"]).await;
    assert_eq!(replay.code, 0, "decided again to the same: {replay:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_asks_for_another_mode_than_the_one_that_was_broken_off_changes_it() {
    let (_server0, _server1, router) = site().await;
    let run = Run::start(&router, &["--switch", "--hold", "--migrate", &waiting(&router, "migrated")]);
    has_run(&router, "migrated").await;
    run.kill().await;
    assert_eq!(mode(&router).await, "hold");
    go(&router);
    let next = deploy(&router, &["--switch", "--maintenance", "--migrate", &noting(&router, "again")]).await;
    assert_eq!(next.code, 0, "{next:?}");
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["deploy"]["ended"]]), json!(["server1", "serve", "switched"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_under_a_flag_file_leaves_its_own_mode_and_the_file_holds_the_site() {
    let (server0, server1) = Application::pair().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("on");
    let table = format!("[service.maintenance]\nfile = \"{}\"", file.display());
    let router = Router::start(Setup::before(&server0, &server1).service_tables(&table)).await;
    std::fs::write(&file, "").unwrap();
    router.view_when("the file is seen", SHORT, |view| view["mode_source"] == "file").await;
    let walked = deploy(&router, &["--switch", "--maintenance"]).await;
    assert_eq!((walked.code, walked.out.contains("once the file is gone")), (0, true), "{walked:?}");
    let view = router.view().await;
    assert_eq!(json!([view["live"], view["mode"], view["mode_source"]]), json!(["server1", "maintenance", "file"]));
    assert_eq!(json!([view["mode_setting"]["mode"], view["deploy"]["ended"]]), json!(["serve", "switched"]));
    std::fs::remove_file(&file).unwrap();
    router.view_when("it serves", LONG, |view| view["mode"] == "serve").await;
}

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/deploy");

/// Runs a command line as the examples do, with the program in the path.
async fn by_example(router: &Router, line: &str) -> CommandResult {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_cutover")).parent().unwrap().display().to_string();
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(EXAMPLES).env("CUTOVER_ADMIN", router.admin_url(""));
    command.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap())).env_remove("CUTOVER_TOKEN");
    command.env("PREPARE", noting(router, "prepare")).env("MIGRATE", noting(router, "migrate"));
    let output = tokio::time::timeout(LONG, command.stdin(Stdio::null()).kill_on_drop(true).output());
    let output = output.await.unwrap_or_else(|_| panic!("{line} does not end")).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    CommandResult { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_of_the_examples_deploys_to_the_spare_pool_and_back() {
    let (server0, server1, router) = site().await;
    let first = by_example(&router, "./deploy.sh v7 --switch").await;
    assert_eq!(first.code, 0, "{first:?}");
    assert_eq!(router.view().await["live"], "server1");
    assert_eq!(server1.last_seen("/").header("user-agent").map(|agent| agent.starts_with("curl")), Some(true));
    let again = by_example(&router, "./deploy.sh v7 --switch").await;
    assert_eq!((again.code, again.out.contains("already")), (0, true), "{again:?}");
    says(&server0, "v8");
    let next = by_example(&router, "make --no-print-directory deploy-now release=v8").await;
    assert_eq!(next.code, 0, "{next:?}");
    assert_eq!(router.view().await["live"], "server0");
    assert_eq!(ran(&router), ["prepare", "migrate", "prepare", "migrate"]);
    server1.behave(|behaviour| behaviour.fail = 1.0);
    says(&server1, "v9");
    let failed = by_example(&router, "./deploy.sh v9 --switch").await;
    assert_eq!((failed.code, failed.err.contains("the gate command failed")), (1, true), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_examples_are_sound() {
    let (_server0, _server1, router) = site().await;
    // Fabric, as far as this file needs it: the command that it would send is run here.
    let fabric = router.folder().join("fabric.py");
    std::fs::write(
        &fabric,
        "import subprocess\nclass Done:\n    def __init__(self, code): self.exited = code\nclass Connection:\n    \
         def run(self, command, warn): return Done(subprocess.call(command.replace('systemctl', ': systemctl'), shell=True))\n\
         def task(function): return function\n",
    )
    .unwrap();
    let call = "from fabric import Connection; from fabfile import deploy; deploy(Connection(), 'v7', 'true')";
    let line = format!("PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={} python3 -c \"{call}\"", router.folder().display());
    let load = Load::on(router.address()).rate(100.0).start();
    let deployed = by_example(&router, &line).await;
    assert_eq!(deployed.code, 0, "{deployed:?}");
    drop(load);
    assert_eq!(router.view().await["live"], "server1");

    let job = std::fs::read_to_string(format!("{EXAMPLES}/gitlab-ci.yml")).unwrap();
    let line = job.lines().find_map(|line| line.trim().strip_prefix("- ./deploy.sh")).unwrap().to_owned();
    let plan = by_example(&router, &format!("CI_COMMIT_SHORT_SHA=v8; ./deploy.sh {line} --dry-run")).await;
    assert!(plan.code == 0 && plan.out.contains("start a canary rollout of v8 to server0"), "{plan:?}");
}
