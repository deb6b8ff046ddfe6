//! What can be measured from outside: metrics and the access log.

use crate::harness::{Application, RawConnection, Router, SHORT, Setup, until};
use http::Method;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_agree_with_what_visitors_got() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut visitor = router.visitor();
    for _ in 0..40 {
        visitor.get("/").await;
    }
    for _ in 0..7 {
        visitor.get("/status/404").await;
    }
    for _ in 0..3 {
        visitor.send(Method::POST, "/status/500").await;
    }
    router.command(&["switch", "server1"]).await.ok();
    for _ in 0..5 {
        visitor.get("/").await;
    }
    let value = |samples: &[(String, f64)], labels: &[&str]| -> f64 {
        let found = samples.iter().filter(|(text, _)| labels.iter().all(|label| text.contains(label)));
        found.map(|(_, value)| value).sum()
    };
    until("all requests are counted", SHORT, async || {
        (value(&router.metric("cutover_requests_total").await, &[]) - 55.0).abs() < 0.5
    })
    .await;
    let requests = router.metric("cutover_requests_total").await;
    for (labels, expected) in [
        (&["service=\"shop\"", "pool=\"server0\"", "release=\"r0\"", "code_class=\"2xx\""], 40.0),
        (&["service=\"shop\"", "pool=\"server0\"", "release=\"r0\"", "code_class=\"4xx\""], 7.0),
        (&["service=\"shop\"", "pool=\"server0\"", "release=\"r0\"", "code_class=\"5xx\""], 3.0),
        (&["service=\"shop\"", "pool=\"server1\"", "release=\"r1\"", "code_class=\"2xx\""], 5.0),
    ] {
        assert!((value(&requests, labels) - expected).abs() < 0.5, "{labels:?} is not {expected}: {requests:?}");
    }
    let durations = router.metric("cutover_request_duration_seconds_count").await;
    assert!((value(&durations, &["pool=\"server0\""]) - 50.0).abs() < 0.5, "{durations:?}");
    assert!(value(&router.metric("cutover_table_swaps_total").await, &[]) >= 1.0);
    assert!(value(&router.metric("cutover_decisions_total").await, &["decision=\"switch\""]) >= 1.0);
    assert!((value(&router.metric("cutover_target_healthy").await, &[]) - 2.0).abs() < 0.5);
    assert!((value(&router.metric("cutover_rollout_phase").await, &["phase=\"idle\""]) - 1.0).abs() < 0.5);
    assert!((value(&router.metric("cutover_pool_weight").await, &["pool=\"server1\""]) - 1.0).abs() < 1e-9);
    assert!((value(&router.metric("cutover_state_durable").await, &[]) - 1.0).abs() < 0.5);

    router.start_held_rollout_of("server0").await;
    let names = [
        "cutover_inflight_requests",
        "cutover_rollout_evidence",
        "cutover_rollout_evidence_threshold",
        "cutover_rollout_held",
        "cutover_rescues_total",
        "cutover_maintenance_responses_total",
    ];
    for name in names {
        assert!(!router.metric(name).await.is_empty(), "{name} is there before anything happened");
    }
    let weights = router.metric("cutover_pool_weight").await;
    assert!((value(&weights, &[]) - 1.0).abs() < 1e-9, "weights total 1: {weights:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_flight_are_shown_while_they_are() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut visitor = router.visitor();
    let slow = tokio::spawn(async move { visitor.get("/gate").await });
    let in_flight =
        async || -> f64 { router.metric("cutover_inflight_requests").await.iter().map(|(_, value)| value).sum() };
    until("one is in flight", SHORT, async || (in_flight().await - 1.0).abs() < 0.5).await;
    server0.open_gate();
    slow.await.unwrap();
    until("none is in flight", SHORT, async || in_flight().await < 0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_well_formed_by_promtools_word_and_have_no_label_of_the_visitors() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut visitor = router.visitor().of_host("hostile-host.example");
    visitor.send("HOSTILEMETHOD".parse().unwrap(), "/hostile-path").await;
    visitor.get_with("/hostile-path", &[("user-agent", "hostile-agent"), ("x-request-id", "hostile-id")]).await;
    router.command(&["mode", "maintenance"]).await.ok();
    visitor.send("HOSTILEMETHOD".parse().unwrap(), "/hostile-path").await;
    let text = router.metrics().await;
    assert!(!text.to_lowercase().contains("hostile"), "{text}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed; `tests/run` installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The access log's lines so far.
fn log_lines(router: &Router) -> Vec<Value> {
    let output = router.output();
    output.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_of_the_access_log_is_json_whatever_visitors_send() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).tables("[access_log]\nformat = \"json\"\nsample = 1.0");
    let router = Router::start(setup).await;
    let hostile = "GET /log\\\"},{\"a\":\"b HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: \"}\\u0000{\"\tx\u{e9}\r\nReferer: \\\"\r\nConnection: close\r\n\r\n";
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(hostile).await;
    connection.read_to_end(SHORT).await;
    let mut visitor = router.visitor();
    visitor.get("/plain?x=1").await;
    visitor.send(Method::POST, "/status/500").await;
    until("the lines are written", SHORT, async || log_lines(&router).len() >= 3).await;
    let lines = log_lines(&router);
    println!("{}", lines.last().unwrap());
    let plain = lines.iter().find(|line| line.to_string().contains("/plain")).expect("the path is in the log");
    let text = plain.to_string();
    for word in ["shop", "server0", "r0", "200", "GET", "127.0.0.1"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_log_keeps_one_line_per_request_and_no_log_is_written_unless_asked() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).tables("[access_log]\nformat = \"text\"\nsample = 1.0");
    let router = Router::start(setup).await;
    let quiet = Router::start(Setup::before(&server0, &server1)).await;
    for _ in 0..5 {
        router.visitor().get_with("/text", &[("user-agent", "a b=\"c\"")]).await;
        quiet.visitor().get("/quiet").await;
    }
    until("five lines", SHORT, async || router.output().lines().count() == 5).await;
    assert!(router.output().lines().all(|line| line.contains("/text")), "{}", router.output());
    assert_eq!(quiet.output(), "");
}
