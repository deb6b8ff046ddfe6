//! Connections on which nothing comes: what they cost, and that nobody notices how little is kept of them.

use crate::harness::{Application, Echo, LONG, RawConnection, Router, SHORT, Setup, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

const REQUEST: &str = "GET /here HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";

/// Longer than it takes to come to rest, where the requests before came one soon after the other.
const REST: Duration = Duration::from_secs(3);

async fn router(tables: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker().tables(tables)).await;
    (router, server0, server1)
}

async fn ask(connection: &mut RawConnection) {
    connection.send(REQUEST).await;
    connection.read_until("server0\n", SHORT).await;
}

/// Connections that have asked once, and have had nothing to ask since.
async fn rested(router: &Router, count: usize) -> Vec<RawConnection> {
    let mut all = Vec::new();
    for _ in 0..count {
        let mut connection = RawConnection::open(router.address()).await;
        ask(&mut connection).await;
        all.push(connection);
    }
    tokio::time::sleep(REST).await;
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_connections_that_asked_once_cost_little() {
    const COUNT: usize = 2000;
    /// What one may cost, in bytes: far less than the buffers of a connection on which requests come.
    const MOST: u64 = 4 * 1024;
    let limit = getrlimit(Resource::Nofile);
    // Both ends of each are open files, this side's in this process and the router's, which inherits the limit.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let (router, server0, _server1) = router("[server.limits]\nconnections_per_client = 0\n").await;
    // What the router makes once, at its first requests, is no part of it.
    drop(rested(&router, 10).await);
    let before = router.memory();
    let mut all = rested(&router, COUNT).await;
    until("they cost little", SHORT, async || router.memory() < before + COUNT as u64 * MOST).await;
    for connection in &mut all {
        ask(connection).await;
    }
    assert_eq!(server0.served(), 10 + 2 * COUNT as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_rested_serves_whatever_comes_next() {
    let (router, server0, _server1) = router("").await;
    let mut connections = rested(&router, 4).await;
    let [plain, pipelined, slow, large] = &mut connections[..] else { unreachable!() };
    ask(plain).await;
    pipelined.send(&REQUEST.repeat(3)).await;
    let mut answers = String::new();
    while answers.matches("server0\n").count() < 3 {
        answers += &pipelined.read_until("server0\n", SHORT).await;
    }
    for byte in REQUEST.chars() {
        slow.send(&byte.to_string()).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slow.read_until("server0\n", SHORT).await;
    let field = format!("X-Large: {}\r\n", "v".repeat(1000));
    large.send(&REQUEST.replace("\r\n\r\n", &format!("\r\n{}\r\n", field.repeat(28)))).await;
    large.read_until("server0\n", SHORT).await;
    // And so a second time, after each was awake.
    tokio::time::sleep(REST).await;
    for connection in &mut connections {
        ask(connection).await;
    }
    assert_eq!(server0.served(), 4 + 6 + 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_head_has_the_time_of_a_head_after_a_rest() {
    let (router, _server0, _server1) = router("[server.timeouts]\nhead = \"1s\"\n").await;
    for mut connection in rested(&router, 1).await {
        let since = Instant::now();
        connection.send("GET / HTTP/1.1\r\nHost: shop.exa").await;
        let all = connection.read_to_end(SHORT).await;
        assert!(since.elapsed() >= Duration::from_millis(900));
        assert!(all.starts_with("HTTP/1.1 408"), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_rested_can_become_a_tunnel() {
    let (server0, server1) = (Echo::start().await, Echo::start().await);
    let pools = [("server0", server0.address(), "r0"), ("server1", server1.address(), "r1")];
    let router = Router::start(Setup::with_pools(&pools).one_worker()).await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(REQUEST).await;
    connection.read_until("plain\n", SHORT).await;
    tokio::time::sleep(REST).await;
    let asking = "GET /chat HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: irc/6.9\r\n\r\n";
    connection.send(&format!("{asking}early\n")).await;
    let head = connection.read_until("early\n", SHORT).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    connection.send("more\n").await;
    connection.read_until("more\n", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_rest_end_with_their_time_and_with_their_visitor() {
    let (router, _server0, _server1) = router("[server.timeouts]\nidle = \"6s\"\n").await;
    let since = Instant::now();
    let mut all = rested(&router, 20).await;
    drop(all.split_off(10));
    let open = async || router.metric("cutover_connections").await.iter().map(|(_, count)| *count).sum::<f64>();
    until("those of who has left are gone", SHORT, async || open().await < 10.5).await;
    assert!(since.elapsed() < Duration::from_secs(6), "a time-out was waited for");
    for mut connection in all {
        assert_eq!(connection.read_to_end(SHORT).await, "");
        assert!(since.elapsed() >= Duration::from_millis(5500), "closed after {:?}", since.elapsed());
    }
    until("nobody is left", SHORT, async || open().await < 0.5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_rest_end_when_the_router_stops() {
    let (router, _server0, _server1) = router("").await;
    let mut never_asked = RawConnection::open(router.address()).await;
    let all = rested(&router, 50).await;
    router.signal("TERM");
    for mut connection in all {
        assert_eq!(connection.read_to_end(SHORT).await, "");
    }
    assert_eq!(never_asked.read_to_end(SHORT).await, "");
    let ended = tokio::time::timeout(LONG, router.ended()).await;
    assert!(ended.is_ok_and(|status| status.success()));
}
