//! Bodies are streamed both ways, with back pressure, and never held whole.

use crate::harness::{Application, LONG, RawConnection, Router, SHORT, Setup, heavy_turn, until};
use bytes::Bytes;
use http::Method;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

async fn plain_router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    (router, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_event_arrives_before_the_last_is_sent() {
    let (router, server0, _server1) = plain_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    let first = connection.read_until("data: first", SHORT).await;
    assert!(!first.contains("last"));
    server0.open_gate();
    connection.read_until("data: last", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beginning_of_an_upload_arrives_before_its_end_is_sent() {
    let (router, server0, _server1) = plain_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    connection
        .send("POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        .await;
    until("the application has the beginning", SHORT, async || server0.uploaded() == 5).await;
    connection.send("6\r\n world\r\n0\r\n\r\n").await;
    connection.read_until("server0\n", SHORT).await;
    assert_eq!(server0.uploaded(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_go_through_whole() {
    const SIZE: usize = 32 * 1024 * 1024;
    let (router, server0, _server1) = plain_router().await;
    let mut visitor = router.visitor();
    let answer = visitor.get(&format!("/bytes/{SIZE}")).await;
    assert_eq!((answer.body.len(), answer.body.iter().all(|byte| *byte == b'x')), (SIZE, true));
    visitor.ask(Method::POST, "/upload", &[], Bytes::from(vec![b'y'; SIZE])).await.unwrap();
    assert_eq!(server0.uploaded(), SIZE as u64);
}

/// What curl says of its visit, and the most memory that the router has had meanwhile.
async fn by_curl(router: &Router, options: &[&str], path: &str) -> (String, u64) {
    let said = "%{http_code} %{http_version} %{size_upload} %{size_download}";
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "300", "-o", "/dev/null", "-w", said]).args(options);
    curl.arg(format!("http://{}{path}", router.address())).stdin(Stdio::null()).kill_on_drop(true);
    let mut visit = Box::pin(curl.output());
    let mut most = 0;
    let output = loop {
        most = most.max(router.memory());
        if let Ok(output) = timeout(Duration::from_millis(10), &mut visit).await {
            break output.unwrap();
        }
    };
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    (String::from_utf8(output.stdout).unwrap(), most)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_gibibyte_passes_each_way_by_each_version_and_the_routers_memory_stays_flat() {
    const SIZE: u64 = 512 * 1024 * 1024;
    const MARGIN: u64 = 8 * 1024 * 1024;
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    let file = router.folder().join("large");
    std::fs::File::create(&file).unwrap().set_len(SIZE).unwrap();
    let upload = ["-T", file.to_str().unwrap()];
    let mut uploaded = 0;
    for (version, name) in [("--http1.1", "1.1"), ("--http2-prior-knowledge", "2")] {
        // What a connection takes at all is not asked here.
        by_curl(&router, &[version], "/").await;
        let (before, begun) = (router.memory(), Instant::now());
        let (up, most_up) = by_curl(&router, &[&[version], &upload[..]].concat(), "/upload").await;
        let (down, most_down) = by_curl(&router, &[version], &format!("/bytes/{SIZE}")).await;
        uploaded += SIZE;
        assert_eq!((up, server0.uploaded()), (format!("200 {name} {SIZE} 8"), uploaded));
        assert_eq!(down, format!("200 {name} 0 {SIZE}"));
        let grown = [most_up, most_down].map(|most| most.saturating_sub(before));
        println!("HTTP/{name}: {grown:?} bytes more, up and down, in {:?}", begun.elapsed());
        assert!(grown.iter().all(|grown| *grown < MARGIN), "HTTP/{name}: {grown:?} bytes more");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_who_does_not_read_holds_the_application_back_and_not_the_routers_memory() {
    let (router, server0, _server1) = plain_router().await;
    let before = router.memory();
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send("GET /bytes/500000000 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
        connections.push(connection);
    }
    until("the answers are under way", SHORT, async || server0.in_flight() == 4).await;
    sleep(Duration::from_secs(2)).await;
    let grown = router.memory().saturating_sub(before);
    println!("4 answers of 500 MB that nobody reads: {} KiB more", grown / 1024);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes more");
    assert_eq!(server0.in_flight(), 4, "the answers wait");
    drop(connections);
    until("who hung up is noticed by the application", SHORT, async || server0.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_who_hangs_up_frees_the_application() {
    let (router, server0, _server1) = plain_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /silent HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    until("the request is in the application", SHORT, async || server0.in_flight() == 1).await;
    drop(connection);
    until("the application is freed before it answers", SHORT, async || server0.in_flight() == 0).await;
    router.view_when("nothing is in flight", LONG, |view| view["pools"]["server0"]["in_flight"] == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let (router, server0, _server1) = plain_router().await;
    let answer = router.visitor().get_with("/trailers", &[("te", "trailers")]).await;
    assert_eq!(answer.text(), "the body");
    let trailers = answer.trailers.expect("trailers");
    assert_eq!(trailers["x-checksum"], "abc123");

    let mut connection = RawConnection::open(router.address()).await;
    connection
        .send("POST /with-trailer HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5d41\r\n\r\n")
        .await;
    connection.read_until("server0\n", SHORT).await;
    let seen = server0.last_seen("/with-trailer");
    assert_eq!(&seen.body[..], b"hello");
    assert_eq!(seen.trailers.expect("trailers")["x-sum"], "5d41");
}
