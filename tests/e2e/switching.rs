//! Switching all traffic, and draining the pool that it leaves.

use crate::harness::{Application, LONG, Load, RawConnection, Router, SHORT, Setup, heavy_turn, until};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_switches_in_a_row_under_load_fail_no_request() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let load = Load::on(router.address()).rate(600.0).start();
    let mut revision = router.view().await["revision"].as_u64().unwrap();
    for turn in 0..200 {
        let pool = if turn % 2 == 0 { "server1" } else { "server0" };
        let answer = router.api("POST", "/switch", Some(json!({ "pool": pool }))).await.ok();
        assert_eq!(answer["service"]["live"], pool);
        let next = answer["service"]["revision"].as_u64().unwrap();
        assert!(next > revision, "the revision rises with each switch");
        revision = next;
        // Whoever comes after the answer gets the new pool.
        assert_eq!(router.visitor().get("/").await.by(), pool, "switch {turn}");
        // Long enough for requests of the load to be under way in each pool.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let tally = load.stop().await;
    println!(
        "200 switches, {} requests of which {} POST: {} failed, {} by server0, {} by server1",
        tally.all(),
        tally.posts,
        tally.failed_gets.len() + tally.failed_posts.len(),
        tally.answered_by("server0"),
        tally.answered_by("server1"),
    );
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    assert!(tally.failed_posts.is_empty(), "{:?}", tally.failed_posts);
    assert!(tally.posts > 50 && tally.answered_by("server0") > 50 && tally.answered_by("server1") > 50, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_waits_for_the_requests_of_the_old_pool_and_then_leaves_it_alone() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut slow = router.visitor();
    let slow = tokio::spawn(async move { slow.get("/gate").await });
    until("the slow request is in the old pool", SHORT, async || server0.in_flight() == 1).await;

    let switch = router.command(&["--json", "switch", "server1", "--drain", "60s"]);
    let meanwhile = async {
        router.view_when("the switch is made", SHORT, |view| view["live"] == "server1").await;
        for _ in 0..20 {
            assert_eq!(router.visitor().get("/").await.by(), "server1", "new requests go to the new pool");
        }
        assert_eq!(router.view().await["pools"]["server0"]["in_flight"], 1);
        server0.open_gate();
    };
    let (switch, ()) = tokio::join!(switch, meanwhile);
    let switch = switch.json();
    assert_eq!(slow.await.unwrap().text(), "went through\n");
    assert_eq!(
        (server0.in_flight(), &switch["drain"]["waited_for"], &switch["drain"]["cut"]),
        (0, &json!(1), &json!(0))
    );
    assert_eq!(router.view().await["pools"]["server0"]["drained"], true);

    // Not even failover touches a drained pool.
    let before = server0.served();
    server1.stop().await;
    until("maintenance, for want of a pool that may be used", SHORT, async || {
        let answer = router.visitor().get("/").await;
        answer.header("x-cutover-maintenance") == Some("unplanned")
    })
    .await;
    assert_eq!(server0.served(), before, "the drained pool got requests");
    router.api("POST", "/switch", Some(json!({"pool": "server0"}))).await.ok();
    assert_eq!(router.visitor().get("/").await.by(), "server0", "used again, it serves again");
    assert_eq!(router.view().await["pools"]["server0"]["drained"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_drain_cuts_is_counted_and_said() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut connections = Vec::new();
    for _ in 0..3 {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
        connection.read_until("first", SHORT).await;
        connections.push(connection);
    }
    let switch = router.command(&["switch", "server1", "--drain", "1s"]).await.ok();
    assert!(switch.contains('3') && switch.contains("cut"), "says how many were cut: {switch}");
    until("nothing is in the old pool", SHORT, async || server0.in_flight() == 0).await;
    for mut connection in connections {
        let rest = connection.read_to_end(SHORT).await;
        assert!(!rest.contains("last") && !rest.ends_with("0\r\n\r\n"), "cut off, not ended: {rest:?}");
    }
    let entry = router.decided("switch").await;
    assert_eq!((&entry["live"], &entry["by"]), (&json!("server1"), &json!("operator")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_used_again_is_drained_no_more() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let streaming = async || {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
        connection.read_until("first", SHORT).await;
        connection
    };
    let before = streaming().await;
    let switch = router.command(&["switch", "server1", "--drain", "30s"]);
    let back = async {
        router.view_when("the switch is made", SHORT, |view| view["live"] == "server1").await;
        router.api("POST", "/switch", Some(json!({"pool": "server0"}))).await.ok();
        streaming().await
    };
    let (switch, after) = tokio::join!(switch, back);
    assert!(switch.code != 0 && switch.err.contains("server0 is in use again"), "{switch:?}");
    server0.open_gate();
    for mut connection in [before, after] {
        let rest = connection.read_until("0\r\n\r\n", SHORT).await;
        assert!(rest.contains("last"), "nothing was cut: {rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_reports_done_only_when_nothing_is_in_the_old_pool() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    for application in [&server0, &server1] {
        application.behave(|behaviour| behaviour.delay = Duration::from_millis(40));
    }
    let load = Load::on(router.address()).rate(200.0).start();
    let mut waited_for = 0;
    for turn in 0..20 {
        let (new, old, old_application) =
            if turn % 2 == 0 { ("server1", "server0", &server0) } else { ("server0", "server1", &server1) };
        let answer = router.api("POST", "/switch", Some(json!({"pool": new, "drain": "30s"}))).await.ok();
        let served = old_application.served();
        assert_eq!(old_application.in_flight(), 0, "drain {turn} was reported done");
        assert_eq!(answer["drain"]["cut"], 0);
        waited_for += answer["drain"]["waited_for"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(old_application.served(), served, "requests came to {old} after its drain");
    }
    let tally = load.stop().await;
    println!("20 drains waited for {waited_for} requests; {} requests in all", tally.all());
    assert!(waited_for > 0 && tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_during_a_rollout_ends_it() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.start_held_rollout().await;
    router.command(&["switch", "server1"]).await.ok();
    let view = router.view().await;
    let expected = json!(["idle", "server1", null, 0.0]);
    assert_eq!(json!([view["phase"], view["live"], view["candidate"], view["weight"]]), expected);
    let refused = router.command(&["rollout", "rollback"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("switch"), "points to switch: {}", refused.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_to_what_is_not_there_is_refused() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let revision = router.view().await["revision"].clone();
    let problem = router.api("POST", "/switch", Some(json!({"pool": "server9"}))).await;
    assert!((400..500).contains(&problem.status), "{problem:?}");
    let detail = problem.problem(problem.status)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("server9"), "{detail}");
    assert_eq!(router.view().await["revision"], revision, "nothing changed");
    let refused = router.command(&["switch", "server9"]).await;
    assert_eq!((refused.code, refused.err.contains("server9")), (1, true), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_made_only_on_the_revision_it_was_meant_for() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let read = router.api("GET", "", None).await;
    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    let switch = async |pool: &str, tag: &str| -> crate::harness::Answered {
        router.api_with("POST", "/switch", Some(json!({ "pool": pool })), &[("if-match", tag)]).await
    };
    switch("server1", &tag).await.ok();
    switch("server0", &tag).await.problem(412);
    assert_eq!(router.view().await["live"], "server1", "the refused change was not made");
    let tag = router.api("GET", "", None).await.headers["etag"].to_str().unwrap().to_owned();
    let unquoted: u64 = tag.trim_matches('"').parse().unwrap();
    assert_eq!(Value::from(unquoted), router.view().await["revision"]);
    switch("server0", &tag).await.ok();
    switch("server1", "*").await.ok();
    tokio::time::timeout(LONG, router.phase("idle", SHORT)).await.unwrap();
}
