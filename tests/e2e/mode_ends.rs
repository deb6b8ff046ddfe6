//! How a mode begins and ends: what is under way when it is set, what comes in meanwhile, and leaving it by itself.

use crate::harness::{Application, LONG, RawConnection, Router, SHORT, Setup, until};
use http::Method;
use serde_json::{Value, json};

async fn router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    (router, server0, server1)
}

fn in_seconds(seconds: i64) -> String {
    (jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

async fn serves_again(router: &Router) -> Value {
    router.view_when("it serves again", LONG, |view| view["mode"] == "serve").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_ends_by_itself_at_its_time_and_the_history_says_why_and_what_it_cost() {
    let (router, _server0, _server1) = router().await;
    router.command(&["mode", "maintenance", "--until", &in_seconds(3)]).await.ok();
    let mut visitor = router.visitor();
    assert_eq!(visitor.get("/").await.status, 503);
    assert_eq!(visitor.post("/", "order=1").await.status, 503);
    let status = router.command(&["status"]).await.ok();
    assert!(status.contains("Z, then serve"), "{status}");
    serves_again(&router).await;
    assert_eq!(visitor.get("/").await.by(), "server0");
    let entry = router.decided("mode").await;
    assert_eq!((&entry["by"], &entry["revision"]), (&json!("time"), &router.view().await["revision"]));
    let reason = entry["reason"].as_str().unwrap();
    assert!(reason.starts_with("mode maintenance was to last until "), "{reason}");
    assert!(reason.ends_with("2 requests were answered by the router itself (1 GET, 1 POST)"), "{reason}");
    let replay = router.command(&["history", "--replay"]).await;
    assert_eq!(replay.code, 0, "decided again to the same: {replay:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mode_whose_time_is_over_goes_on_until_a_pool_can_serve_and_says_so() {
    let (router, server0, server1) = router().await;
    server0.stop().await;
    server1.stop().await;
    router.pool_health("server0", false).await;
    router.pool_health("server1", false).await;
    router.command(&["mode", "maintenance", "--until", &in_seconds(1)]).await.ok();
    let told = |view: &Value| view["warnings"].as_array().unwrap().iter().any(|w| w.to_string().contains("goes on"));
    let view = router.view_when("it says why it goes on", SHORT, told).await;
    assert_eq!((&view["mode"], &view["mode_source"]), (&json!("maintenance"), &json!("command")));
    let status = router.command(&["status"]).await.ok();
    assert!(status.contains("goes on because no pool can serve"), "{status}");
    let page = router.visitor().get_with("/", &[("accept", "text/html")]).await;
    assert_eq!(page.header("x-cutover-maintenance"), Some("planned"));
    assert!(!page.text().contains("<time "), "the page names no moment that has passed: {}", page.text());
    server1.start_again().await;
    serves_again(&router).await;
    assert_eq!(router.visitor().get("/").await.by(), "server1");
    assert_eq!(router.decided("mode").await["by"], "time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_a_mode_passes_while_the_router_is_down_too() {
    let (router, _server0, _server1) = router().await;
    router.command(&["mode", "maintenance", "--until", &in_seconds(2)]).await.ok();
    router.view_when("durable", LONG, |view| view["durable"] == true).await;
    router.kill();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    router.start_again().await;
    serves_again(&router).await;
    let entry = router.decided("mode").await;
    assert_eq!((&entry["by"], entry["reason"].as_str().unwrap().contains("was to last until")), (&json!("time"), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flag_file_outlasts_the_time_of_a_mode() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("on");
    let (server0, server1) = Application::pair().await;
    let table = format!("[service.maintenance]\nfile = \"{}\"", file.display());
    let router = Router::start(Setup::before(&server0, &server1).service_tables(&table)).await;
    router.command(&["mode", "maintenance", "--until", &in_seconds(1)]).await.ok();
    std::fs::write(&file, "").unwrap();
    let view =
        router.view_when("the command's mode is over", LONG, |view| view["mode_setting"]["mode"] == "serve").await;
    assert_eq!((&view["mode"], &view["mode_source"]), (&json!("maintenance"), &json!("file")));
    assert_eq!(router.visitor().get("/").await.status, 503);
    std::fs::remove_file(&file).unwrap();
    serves_again(&router).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_meanwhile_is_told_by_method_and_again_when_the_mode_is_left() {
    let (router, server0, server1) = router().await;
    assert_eq!(router.view().await["meanwhile"], Value::Null);
    router.command(&["mode", "maintenance"]).await.ok();
    let mut visitor = router.visitor();
    for method in [Method::GET, Method::GET, Method::HEAD, Method::POST] {
        visitor.send(method, "/").await;
    }
    let meanwhile = router.view().await["meanwhile"].clone();
    assert_eq!(meanwhile["methods"], json!({"GET": 2, "HEAD": 1, "POST": 1}));
    assert_eq!((&meanwhile["requests"], &meanwhile["until"]), (&json!(4), &Value::Null));
    let cost = "4 requests were answered by the router itself (2 GET, 1 HEAD, 1 POST)";
    let status = router.command(&["status"]).await.ok();
    assert!(status.contains(&format!("meanwhile  {cost} in ")), "{status}");
    let left = router.command(&["mode", "serve"]).await.ok();
    assert!(left.contains(&format!("meanwhile {cost} in ")), "{left}");
    assert_eq!(router.decided("mode").await["reason"], format!("mode serve by a command; meanwhile {cost}"));
    let replay = router.command(&["history", "--replay"]).await;
    assert_eq!(replay.code, 0, "decided again to the same: {replay:?}");
    visitor.get("/").await;
    assert_eq!(router.view().await["meanwhile"]["requests"], 4, "what came later is no part of it");

    // An outage that nobody planned is counted for itself.
    server0.stop().await;
    server1.stop().await;
    router.pool_health("server0", false).await;
    router.pool_health("server1", false).await;
    visitor.send(Method::DELETE, "/").await;
    let meanwhile = router.view().await["meanwhile"].clone();
    assert_eq!((&meanwhile["methods"]["DELETE"], &meanwhile["until"]), (&json!(1), &Value::Null), "{meanwhile}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_what_is_under_way_and_leaves_no_pool_alone_afterwards() {
    let (router, server0, _server1) = router().await;
    let mut slow = router.visitor();
    let slow = tokio::spawn(async move { slow.get("/gate").await });
    until("the slow request is in the pool", SHORT, async || server0.in_flight() == 1).await;
    let mode = router.command(&["--json", "mode", "maintenance", "--drain", "60s"]);
    let meanwhile = async {
        // The command waits for the disk first, and then for the request.
        let is_durable = |view: &Value| view["mode"] == "maintenance" && view["durable"] == true;
        router.view_when("durable maintenance", SHORT, is_durable).await;
        assert_eq!(router.visitor().get("/").await.status, 503, "the drain keeps nobody waiting");
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(server0.in_flight(), 1, "nothing is cut before its time");
        server0.open_gate();
    };
    let (mode, ()) = tokio::join!(mode, meanwhile);
    let answer = mode.json();
    assert_eq!((&answer["drain"]["waited_for"], &answer["drain"]["cut"]), (&json!(1), &json!(0)), "{answer}");
    assert_eq!(slow.await.unwrap().text(), "went through\n");
    assert_eq!(server0.in_flight(), 0);
    assert_eq!(router.view().await["pools"]["server0"]["drained"], false);
    router.command(&["mode", "serve"]).await.ok();
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_cuts_what_is_left_and_says_how_many() {
    let (router, server0, _server1) = router().await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
        connection.read_until("first", SHORT).await;
        connections.push(connection);
    }
    let said = router.command(&["mode", "maintenance", "--drain", "1s"]).await.ok();
    assert!(said.contains("3 of 3 requests under way were cut"), "{said}");
    until("nothing is in the pool", SHORT, async || server0.in_flight() == 0).await;
    for mut connection in connections {
        let rest = connection.read_to_end(SHORT).await;
        assert!(!rest.contains("last") && !rest.ends_with("0\r\n\r\n"), "cut off, not ended: {rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_with_the_mode_that_it_was_for() {
    let (router, server0, _server1) = router().await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    connection.read_until("first", SHORT).await;
    let mode = router.command(&["mode", "maintenance", "--drain", "30s"]);
    let meanwhile = async {
        let is_durable = |view: &Value| view["mode"] == "maintenance" && view["durable"] == true;
        router.view_when("durable maintenance", SHORT, is_durable).await;
        router.command(&["mode", "serve"]).await.ok();
    };
    let (mode, ()) = tokio::join!(mode, meanwhile);
    assert!(mode.code != 0 && mode.err.contains("no longer in mode maintenance"), "{mode:?}");
    server0.open_gate();
    let rest = connection.read_until("0\r\n\r\n", SHORT).await;
    assert!(rest.contains("last"), "nothing was cut: {rest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_leaves_alone_what_comes_after_the_mode_was_set() {
    let (server0, server1) = Application::pair().await;
    let table = "[service.maintenance]\nexempt = [\"/events\", \"/gate\"]";
    let router = Router::start(Setup::before(&server0, &server1).service_tables(table)).await;
    router.command(&["mode", "maintenance"]).await.ok();
    // Only what was under way before is waited for, even where it would have been let through.
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    connection.read_until("first", SHORT).await;
    let again = router.api("PUT", "/mode", Some(json!({"mode": "maintenance", "drain": "60s"}))).await.ok();
    assert_eq!((&again["drain"]["waited_for"], &again["drain"]["cut"]), (&json!(0), &json!(0)), "{again}");
    let other = json!({"mode": "maintenance", "message": "Soon.", "drain": "500ms"});
    let answer = router.api("PUT", "/mode", Some(other)).await.ok();
    assert_eq!((&answer["drain"]["waited_for"], &answer["drain"]["cut"]), (&json!(1), &json!(1)), "{answer}");
}
