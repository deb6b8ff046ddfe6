//! A router that is asked to stop: what becomes of those who have just come, and of a start that is not over.

use crate::harness::{Application, LONG, RawConnection, Router, SHORT, Setup, free_address, until};
use tokio::net::{TcpListener, TcpStream};

const REQUEST: &str = "GET /here HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";

async fn one_worker() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    (router, server0, server1)
}

/// Visitors who connect while the router is held still, so that they wait in the kernel's queue; then it is to stop.
async fn connected_before_the_stop(router: &Router, count: usize, begin: &str) -> Vec<RawConnection> {
    router.signal("STOP");
    let mut visitors = Vec::new();
    for _ in 0..count {
        let mut visitor = RawConnection::open(router.address()).await;
        visitor.send(begin).await;
        visitors.push(visitor);
    }
    router.signal("TERM");
    router.signal("CONT");
    visitors
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyone_who_waits_to_be_accepted_is_served_before_the_stop() {
    // More than a task of the runtime may do in one turn.
    const VISITORS: usize = 400;
    // Once with workers that have served, and once with workers that may just begin.
    for before in [1, 0] {
        let (router, server0, _server1) = one_worker().await;
        for _ in 0..before {
            router.visitor().get("/").await;
        }
        let visitors = connected_before_the_stop(&router, VISITORS, REQUEST).await;
        let mut served = 0;
        for mut visitor in visitors {
            served += u64::from(visitor.read_to_end(SHORT).await.ends_with("server0\n"));
        }
        assert_eq!((served, server0.served()), (VISITORS as u64, VISITORS as u64 + before));
        assert!(router.ended().await.success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_just_connected_may_still_ask_once() {
    let (router, _server0, _server1) = one_worker().await;
    router.visitor().get("/").await;
    let visitors = connected_before_the_stop(&router, 20, "").await;
    until("it accepts nobody any more", SHORT, async || TcpStream::connect(router.address()).await.is_err()).await;
    let mut silent = Vec::new();
    for (number, mut visitor) in visitors.into_iter().enumerate() {
        if number % 4 == 3 {
            silent.push(visitor);
            continue;
        }
        assert!(visitor.try_send(REQUEST.as_bytes()).await.is_ok());
        let answer = visitor.read_to_end(SHORT).await;
        assert!(answer.ends_with("server0\n") && answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
    }
    for mut visitor in silent {
        assert_eq!(visitor.read_to_end(SHORT).await, "");
    }
    assert!(router.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_still_starts_can_be_stopped() {
    // It accepts the health check, and says nothing.
    let listener = TcpListener::bind(free_address()).await.unwrap();
    let silent = listener.local_addr().unwrap();
    let setup = Setup::with_pools(&[("server0", silent, "r0"), ("server1", free_address(), "r1")]);
    let router =
        Router::prepare(setup.health("[service.health]\npath = \"/up\"\ninterval = \"50s\"\ntimeout = \"40s\"\n"));
    router.launch();
    let _checked = tokio::time::timeout(LONG, listener.accept()).await.unwrap().unwrap();
    assert!(router.terminate().await.success(), "{}", router.log());
}
