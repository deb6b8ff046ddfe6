//! Bodies that come late, answers that come early, and clients that know less.

use crate::harness::{Application, LONG, RawConnection, RawTarget, Router, SHORT, Setup};
use std::time::Duration;

async fn plain_router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    (router, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_is_told_to_continue_only_when_a_target_is_ready_for_the_body() {
    let (router, server0, _server1) = plain_router().await;
    router.command(&["mode", "hold"]).await.ok();
    let mut connection = RawConnection::open(router.address()).await;
    connection
        .send("POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    router.view_when("it waits", SHORT, |view| view["held_requests"] == 1).await;
    assert!(connection.is_silent(Duration::from_millis(300)).await, "nobody is ready for it yet");
    router.command(&["mode", "serve"]).await.ok();
    connection.read_until("HTTP/1.1 100 Continue\r\n\r\n", SHORT).await;
    connection.send("hello").await;
    connection.read_until("server0\n", SHORT).await;
    assert_eq!(server0.uploaded(), 5);

    // Who is refused is not asked for a body.
    router.command(&["mode", "maintenance"]).await.ok();
    let mut connection = RawConnection::open(router.address()).await;
    connection
        .send("POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .await;
    let answer = connection.read_until("\r\n\r\n", SHORT).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.to_lowercase().contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_else_is_expected_cannot_be_met() {
    let (router, server0, _server1) = plain_router().await;
    for expected in ["200-ok", "100-continue, else", "100-continue\r\nExpect: else"] {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(&format!("GET / HTTP/1.1\r\nHost: shop.example.com\r\nExpect: {expected}\r\n\r\n")).await;
        let answer = connection.read_until("\r\n\r\n", SHORT).await;
        assert!(answer.starts_with("HTTP/1.1 417 "), "{expected}: {answer}");
    }
    assert_eq!(server0.served(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_comes_before_the_end_of_the_body_arrives_although_the_target_closes() {
    let answer = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbig\n";
    let (server0, server1) = (RawTarget::answering(answer).await, RawTarget::answering(answer).await);
    let pools = [("server0", server0.address(), "r0"), ("server1", server1.address(), "r1")];
    let router = Router::start(Setup::with_pools(&pools)).await;
    for _ in 0..30 {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n").await;
        let piece = [b'x'; 16 * 1024];
        for _ in 0..8 {
            if connection.try_send(&piece).await.is_err() {
                break;
            }
        }
        let answer = connection.read_until("big\n", SHORT).await;
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    let samples = router.metric("cutover_requests_total").await;
    let failed = samples.iter().filter(|(labels, _)| labels.contains("\"5xx\"") || labels.contains("aborted"));
    assert!(failed.map(|(_, count)| count).sum::<f64>() < 0.5, "{samples:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_http_1_0_gets_no_chunks_and_keeps_its_connection_only_if_it_asks() {
    let (router, server0, _server1) = plain_router().await;
    server0.open_gate();
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /events HTTP/1.0\r\nHost: shop.example.com\r\n\r\n").await;
    let answer = connection.read_to_end(SHORT).await;
    assert!(!answer.to_lowercase().contains("transfer-encoding"), "{answer}");
    assert!(answer.contains("data: first") && answer.contains("data: last"), "{answer}");

    let mut connection = RawConnection::open(router.address()).await;
    for _ in 0..2 {
        connection.send("GET / HTTP/1.0\r\nHost: shop.example.com\r\nConnection: keep-alive\r\n\r\n").await;
        let answer = connection.read_until("server0\n", SHORT).await.to_lowercase();
        assert!(answer.contains("connection: keep-alive") && answer.contains("content-length"), "{answer}");
    }
    connection.send("GET / HTTP/1.0\r\nHost: shop.example.com\r\n\r\n").await;
    assert!(connection.read_to_end(SHORT).await.contains("server0\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let (router, _server0, _server1) = plain_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    let ask = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: shop.example.com\r\n{more}\r\n");
    connection
        .send(&[ask("/bytes/7", ""), ask("/status/404", ""), ask("/bytes/9", "Connection: close\r\n")].concat())
        .await;
    let all = connection.read_to_end(LONG).await;
    let found: Vec<_> = ["xxxxxxx", " 404 ", "xxxxxxxxx"].iter().filter_map(|part| all.find(part)).collect();
    assert!(found.len() == 3 && all.matches("HTTP/1.1 ").count() == 3 && found[0] < found[1], "{all}");
    assert!(all.ends_with("9\r\nxxxxxxxxx\r\n0\r\n\r\n"), "{all}");
}
