//! The configuration file: all its faults at once, and reloads.

use crate::harness::{Application, LONG, Router, SHORT, Setup, run_binary, until};
use serde_json::json;

/// Every line that says `# fault` has one, and no other line does.
const FAULTY: &str = r#"[server]
listen = ["0.0.0.0"]                                   # fault: no port
wrokers = 2                                            # fault: unknown key
trusted_proxies = ["10.0.0.0/40"]                      # fault: no network

[server.timeouts]
head = 10                                              # fault: no unit

[admin]
listen = "127.0.0.1:9900"

[state]
path = "cutover.db"

[[service]]
name = "my shop"                                       # fault: a space
live = "server7"                                       # fault: no such pool
path_prefix = "shop"                                   # fault: not absolute
[service.pool.server0]
targets = ["127.0.0.1:9000", "127.0.0.1:99999"]        # fault: no such port
[service.pool.server1]
targets = []                                           # fault: no target
release = "a b"                                        # fault: a space
[service.health]
interval = "soon"                                      # fault: no duration
fall = 0                                               # fault: at least 1
[service.rollout]
steps = [ { weight = 10, hold = "1m" }, { weight = 5, hold = "1m" } ] # fault: weights fall
false_alarm = 2                                        # fault: not a probability
on_inconclusive = "guess"                              # fault: no such choice
[[service.rollout.check]]                              # fault: no [prometheus], no name, no limit
kind = "promql"
query = "up"
"#;

async fn check(text: &str) -> crate::harness::CommandResult {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("cutover.toml");
    std::fs::write(&config, text).unwrap();
    run_binary(&["check", "--config", config.to_str().unwrap()], &[], LONG).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_of_a_configuration_is_told_at_once_with_its_path_and_line() {
    let result = check(FAULTY).await;
    assert_eq!(result.code, 2);
    let told = result.out + &result.err;
    println!("{told}");
    let missing: Vec<_> = FAULTY
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains("# fault"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(number, _)| !told.contains(&format!("cutover.toml:{number}:")))
        .collect();
    assert!(missing.is_empty(), "not told: {missing:#?}");
    let wrongly: Vec<_> = FAULTY
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(" = ") && !line.contains("# fault"))
        .filter(|(index, _)| told.contains(&format!("cutover.toml:{}:", index + 1)))
        .map(|(_, line)| line)
        .collect();
    assert!(wrongly.is_empty(), "told, but no fault: {wrongly:#?}");
    for path in ["server.wrokers", "service.health.fall", "server.timeouts.head"] {
        let bare = path.rsplit('.').next().unwrap();
        assert!(told.contains(path) || told.contains(bare), "{path} is named");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_not_toml_is_told_with_its_place_and_one_that_is_missing_too() {
    let result = check("[server\nlisten = [\"127.0.0.1:80\"]\n").await;
    assert_eq!(result.code, 2);
    assert!((result.out + &result.err).contains("cutover.toml:1:"));
    let missing = run_binary(&["check", "--config", "/nonexistent/cutover.toml"], &[], LONG).await;
    assert_ne!(missing.code, 0);
    assert!((missing.out + &missing.err).contains("/nonexistent/cutover.toml"));
    let run = run_binary(&["run", "--config", "/nonexistent/cutover.toml"], &[], LONG).await;
    assert!(run.code != 0 && run.err.contains("/nonexistent/cutover.toml"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_configuration_passes_its_check_and_a_faulty_one_is_not_served() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1);
    check(&setup.text()).await.ok();
    let router = Router::prepare(setup);
    router.write_config(&format!("{}\nunknown_key = 1\n", router.setup.text()));
    let config = router.config();
    let run = run_binary(&["run", "--config", config.to_str().unwrap()], &[], LONG).await;
    assert_ne!(run.code, 0);
    assert!(run.err.contains("unknown_key") && run.err.contains("cutover.toml:"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_takes_a_good_file_whole_and_never_moves_live_traffic() {
    let (server0, server1) = Application::pair().await;
    let other = Application::start("other").await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.command(&["switch", "server1"]).await.ok();
    let next = router.setup.clone().targets("server1", &[other.address()]).service("live = \"server0\"");
    router.write_config(&next.text());
    router.reload();
    let mut visitor = router.visitor();
    until("the new targets serve", SHORT, async || visitor.get("/").await.by() == "other").await;
    let view = router.view().await;
    assert_eq!(view["live"], "server1", "the file says what exists; commands say what is live");
    assert_eq!(view["pools"]["server1"]["targets"][0]["address"], other.address().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_leaves_the_file_and_comes_back_is_commanded_as_before() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let alone = router.setup.text();
    let both = format!(
        "{alone}\n[[service]]\nname = \"other\"\nhosts = [\"other.example\"]\n[service.pool.one]\ntargets = [\"{}\"]\n\
         [service.pool.two]\ntargets = [\"{}\"]\n",
        server0.address(),
        server1.address()
    );
    let to = async |pool: &str| router.command(&["switch", pool, "--service", "other"]).await;
    // First as nobody ever changed it, then as it was left.
    for pool in ["two", "one", "two"] {
        for (text, is_there) in [(&both, true), (&alone, false), (&both, true)] {
            router.write_config(text);
            router.reload();
            let is_known = async || router.command(&["status", "--service", "other"]).await.code == 0;
            until("the file is in force", SHORT, async || is_known().await == is_there).await;
        }
        to(pool).await.ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_of_a_faulty_file_is_refused_whole_and_the_old_one_serves_on() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let good = router.setup.text();
    let third = Application::start("third").await;
    let other = router.setup.clone().targets("server0", &[third.address()]).text();
    let faulty = [
        (other.clone() + "\nunknown_key = 1\n", "unknown_key"),
        (other.replace("[service.pool.server0]", "[service.pool.renamed]"), "server0"),
        ("not toml".to_owned(), "cutover.toml"),
    ];
    for (text, told) in faulty {
        let from = router.log().len();
        router.write_config(&text);
        router.reload();
        until(&format!("the refusal is told, with {told}"), SHORT, async || router.log()[from..].contains(told)).await;
        assert_eq!(router.visitor().get("/").await.by(), "server0", "the old one serves");
    }
    router.write_config(&good);
    router.reload();
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_lose_no_request() {
    let _turn = crate::harness::heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let third = Application::start("third").await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let load = crate::harness::Load::on(router.address()).rate(200.0).start();
    for turn in 0..20_u32 {
        let target = if turn.is_multiple_of(2) { &third } else { &server0 };
        router.write_config(&router.setup.clone().targets("server0", &[target.address()]).text());
        router.reload();
        let address = json!(target.address().to_string());
        router
            .view_when("the reload is done", SHORT, |view| view["pools"]["server0"]["targets"][0]["address"] == address)
            .await;
    }
    let tally = load.stop().await;
    println!("20 reloads, {} requests", tally.all());
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_termination_lets_requests_end() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut slow = router.visitor();
    let slow = tokio::spawn(async move { slow.get("/gate").await });
    until("the slow request is in the application", SHORT, async || server0.in_flight() == 1).await;
    let ends = router.terminate();
    let opens = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        server0.open_gate();
    };
    let (status, ()) = tokio::join!(ends, opens);
    assert!(status.success(), "{status:?}");
    assert_eq!(slow.await.unwrap().text(), "went through\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_secret_is_made_where_it_is_missing_and_only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let secret = router.folder().join("cutover.secret");
    let mode = std::fs::metadata(&secret).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(std::fs::read(&secret).unwrap().len() >= 32);
}
