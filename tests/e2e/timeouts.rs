//! Time-outs towards visitors and applications, set small.

use crate::harness::{Application, RawConnection, Router, SHORT, Setup, until};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};

const SMALL: &str =
    "[server.timeouts]\nhead = \"1s\"\nidle = \"3s\"\nconnect = \"1s\"\nanswer = \"1s\"\nstall = \"1s\"\n";
/// Just under the second that most of them have.
const NOT_BEFORE: Duration = Duration::from_millis(900);

async fn impatient_router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).tables(SMALL)).await;
    (router, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_new_connection_is_closed() {
    let (router, _server0, _server1) = impatient_router().await;
    let since = Instant::now();
    let all = RawConnection::open(router.address()).await.read_to_end(SHORT).await;
    assert!(since.elapsed() >= NOT_BEFORE);
    assert!(all.is_empty() || all.starts_with("HTTP/1.1 408"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_too_slowly_is_answered_408() {
    let (router, server0, _server1) = impatient_router().await;
    let since = Instant::now();
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET / HTTP/1.1\r\nHost: shop.exa").await;
    let all = connection.read_to_end(SHORT).await;
    assert!(since.elapsed() >= NOT_BEFORE);
    assert!(all.starts_with("HTTP/1.1 408"), "{all:?}");
    // One byte now and then does not help.
    let mut connection = RawConnection::open(router.address()).await;
    let mut closed = false;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if connection.try_send(b"G").await.is_err() {
            closed = true;
            break;
        }
    }
    assert!(closed, "a head that trickles is given up");
    assert_eq!(server0.served(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_lives_longer_than_a_head_may_take_and_is_then_closed() {
    let (router, _server0, _server1) = impatient_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    let request = "GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    connection.send(request).await;
    connection.read_until("server0\n", SHORT).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    connection.send(request).await;
    connection.read_until("server0\n", SHORT).await;
    let since = Instant::now();
    let rest = connection.read_to_end(SHORT).await;
    assert!(since.elapsed() >= Duration::from_millis(2500), "closed after {:?}", since.elapsed());
    assert_eq!(rest, "", "nothing is said to a connection that was idle");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_application_that_does_not_answer_in_time_is_a_504() {
    let (router, server0, _server1) = impatient_router().await;
    let since = Instant::now();
    let answer = router.visitor().post("/silent", "").await;
    assert_eq!((answer.status, answer.by()), (504, ""));
    assert!(since.elapsed() >= NOT_BEFORE);
    until("the request to the application was given up", SHORT, async || server0.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stalls_is_cut() {
    let (router, server0, _server1) = impatient_router().await;
    let since = Instant::now();
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /stall HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    let all = connection.read_to_end(SHORT).await;
    assert!(since.elapsed() >= NOT_BEFORE);
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("data: first\n\n"), "{all:?}");
    until("the application's answer was given up", SHORT, async || server0.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_stalls_is_given_up() {
    let (router, server0, _server1) = impatient_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 1000\r\n\r\nsome").await;
    until("the application got the beginning", SHORT, async || server0.uploaded() == 4).await;
    let all = connection.read_to_end(SHORT).await;
    assert!(all.is_empty() || all.starts_with("HTTP/1.1 408"), "{all:?}");
    until("the upload was given up", SHORT, async || server0.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_but_moving_body_is_not_cut() {
    let (router, server0, _server1) = impatient_router().await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("POST /upload HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 8\r\n\r\n").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        connection.send("x").await;
    }
    connection.read_until("server0\n", SHORT).await;
    assert_eq!(server0.uploaded(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_stops_accepting_is_left_after_the_connect_time_out() {
    let server1 = Application::start("server1").await;
    // It accepts the router's first check, and no connection after that.
    let address = crate::harness::free_address();
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    let deaf = socket.listen(1).unwrap();
    let setup = Setup::with_pools(&[("server0", address, "r0"), ("server1", server1.address(), "r1")])
        .tables(SMALL)
        .health("[service.health]\ninterval = \"1h\"\n");
    let router = Router::prepare(setup);
    let (accepted, ()) = tokio::join!(deaf.accept(), router.start_again());
    accepted.unwrap();
    router.pool_health("server0", true).await;
    // With its queue full, connections are neither accepted nor refused.
    let mut queued = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        queued.push(stream);
        assert!(queued.len() < 50, "the queue never fills");
    }
    let since = Instant::now();
    let answer = router.visitor().post("/", "order=1").await;
    assert!(since.elapsed() >= NOT_BEFORE);
    assert_eq!((answer.status, answer.by()), (200, "server1"), "what was never sent may go anywhere");
    router.pool_health("server0", false).await;
    let since = Instant::now();
    assert_eq!(router.visitor().post("/", "order=1").await.by(), "server1");
    assert!(since.elapsed() < NOT_BEFORE, "the next requests don't wait for it");
}
