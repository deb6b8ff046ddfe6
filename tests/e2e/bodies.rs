//! Bodies are streamed both ways, with back pressure, and never held whole.

use crate::harness::{Application, LONG, RawConnection, Router, SHORT, Setup, until};
use bytes::Bytes;
use http::Method;

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
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
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
