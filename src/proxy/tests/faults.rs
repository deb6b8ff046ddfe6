//! What a visitor gets when a target fails, and that nothing stays counted after it.

use super::wire::{Action, Origin, Visitor, ask, eventually, get, ok};
use super::world::{Setting, TestPool, World};
use crate::routing::Suspected;
use std::net::SocketAddr;

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

/// An address where nobody listens.
fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn one_pool(handler: impl Fn(&str) -> Action + Send + Sync + 'static) -> (Origin, World) {
    let origin = Origin::new(handler).await;
    let world = World::new(Setting::of(vec![TestPool::new("server0", &[origin.address])]).timeouts(|t, short| {
        t.answer = short;
    }));
    (origin, world)
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_502() {
    for answer in [
        "",
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nxx",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-len",
    ] {
        let (_origin, world) = one_pool(move |_| Action::SendAndClose(answer.into())).await;
        for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", POST] {
            let answered = ask(world.address, request).await;
            assert_eq!((answered.status, answered.header("cache-control")), (502, Some("no-store")), "{answer}");
            assert!(!answered.text().contains("127.0.0.1"), "{}", answered.text());
        }
        eventually("nothing is under way", || world.under_way() == 0).await;
        assert_eq!(world.pool(0).ended(), [0, 0, 0, 0, 2, 0], "{answer}");
    }
}

#[tokio::test]
async fn no_head_in_time_is_a_504() {
    let (_origin, world) = one_pool(|_| Action::Hang).await;
    for request in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", POST] {
        assert_eq!(ask(world.address, request).await.status, 504);
    }
    eventually("nothing is under way", || world.under_way() == 0).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut_off() {
    let (_origin, world) =
        one_pool(|_| Action::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into())).await;
    let mut visitor = Visitor::connect(world.address).await;
    let answer = visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.body()), (200, "half"));
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(world.pool(0).ended(), [0, 0, 0, 0, 0, 1]);
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let (_origin, world) = one_pool(|_| Action::SendAndClose("HTTP/1.1 200 OK\r\n\r\nall of it".into())).await;
    let answer = get(world.address, "/").await;
    assert!(answer.text().ends_with("9\r\nall of it\r\n0\r\n\r\n"), "{}", answer.text());
}

#[tokio::test]
async fn a_target_that_can_t_be_reached_is_suspected_and_another_one_serves() {
    let origin = Origin::new(|_| ok("x")).await;
    let mut world = World::new(Setting::of(vec![TestPool::new("server0", &[nowhere(), origin.address])]));
    for _ in 0..10 {
        assert_eq!(ask(world.address, POST).await.status, 200);
    }
    let suspicion = world.suspicions.recv().await.unwrap();
    assert!(std::sync::Arc::ptr_eq(&suspicion.0, &world.pool(0).targets[0].1));
    // It is looked into once, however often it could not be reached; that it fails in a row is another thing.
    while let Ok(more) = world.suspicions.try_recv() {
        assert_eq!(more.1, Suspected::Failing);
    }
    eventually("nothing is under way", || world.under_way() == 0).await;
}

#[tokio::test]
async fn a_pool_that_can_t_be_reached_is_replaced_by_another_for_every_method() {
    let origin = Origin::new(|_| ok("other")).await;
    let pools = vec![TestPool::new("server0", &[nowhere()]), TestPool::new("server1", &[origin.address])];
    let world = World::new(Setting::of(pools));
    let answer = ask(world.address, POST).await;
    assert_eq!((answer.status, answer.body()), (200, "other"));
    assert!(origin.last().ends_with("hi") && origin.last().contains("x-cutover-pool: server1"), "{}", origin.last());
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!((world.pool(0).ended(), world.pool(1).ended()), ([0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_drained_pool_replaces_nothing() {
    let origin = Origin::new(|_| ok("drained")).await;
    let mut drained = TestPool::new("server1", &[origin.address]);
    drained.drained = true;
    let world = World::new(Setting::of(vec![TestPool::new("server0", &[nowhere()]), drained]));
    let answer = ask(world.address, POST).await;
    assert_eq!((answer.status, answer.header("x-cutover-maintenance")), (503, Some("unplanned")));
    assert_eq!(origin.connections(), 0);
    eventually("nothing is under way", || world.under_way() == 0).await;
}

#[tokio::test]
async fn nothing_stays_counted_when_visitors_hang_up() {
    let (_origin, world) = one_pool(|request| {
        if request.contains("/body") {
            return Action::SendAndHang("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into());
        }
        Action::Hang
    })
    .await;
    for request in [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /body HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send(request).await;
        eventually("the request is under way", || world.under_way() > 0).await;
        drop(visitor);
        eventually("nothing is under way", || world.under_way() == 0).await;
    }
}

#[tokio::test]
async fn a_broken_body_is_the_visitors_own_fault() {
    let (_origin, world) = one_pool(|_| ok("x")).await;
    let mut visitor = Visitor::connect(world.address).await;
    let broken = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n";
    assert_eq!(visitor.ask(broken).await.status, 400);
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(world.pool(0).ended(), [0, 0, 0, 1, 0, 0]);
}
