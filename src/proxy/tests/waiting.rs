//! Requests that wait, and those that must not.

use super::wire::{Action, Origin, Visitor, eventually, get, ok};
use super::world::{Setting, TestPool, World};
use crate::config::UnsafeStatus;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(60);

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn two_pools() -> (Origin, Origin, Setting) {
    let server0 = Origin::new(|_| ok("live")).await;
    let server1 = Origin::new(|_| ok("other")).await;
    let pools = vec![TestPool::new("server0", &[server0.address]), TestPool::new("server1", &[server1.address])];
    (server0, server1, Setting::of(pools))
}

/// A visitor who has asked, and waits.
async fn waiting(world: &World, path: &str, headers: &str) -> Visitor {
    let before = world.held();
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
    eventually("it waits", || world.held() > before).await;
    visitor
}

#[tokio::test]
async fn an_exempt_path_passes_those_that_wait_in_a_hold() {
    let (_server0, _server1, mut setting) = two_pools().await;
    (setting.hold, setting.exempt) = (true, vec!["/hooks"]);
    let mut world = World::new(setting);
    let mut visitor = waiting(&world, "/", "").await;
    assert_eq!(get(world.address, "/hooks/paid").await.body(), "live");
    assert_eq!(get(world.address, "/.well-known/acme-challenge/x").await.body(), "live");
    assert_eq!(world.held(), 1);
    world.setting.hold = false;
    world.publish();
    assert_eq!(visitor.answer().await.body(), "live");
}

#[tokio::test]
async fn an_exempt_path_is_as_restricted_and_shown_the_same_pool_as_without_the_mode() {
    let (_server0, _server1, mut setting) = two_pools().await;
    (setting.planned, setting.exempt) = (Some(UnsafeStatus::default()), vec!["/hooks"]);
    let mut world = World::new(setting);
    let cookie = format!("cookie: cutover-preview={}\r\n", world.token(1));
    let ask = async |world: &World, method: &str, headers: &str| {
        let request = format!("{method} /hooks HTTP/1.1\r\nhost: a\r\n{headers}content-length: 0\r\n\r\n");
        Visitor::connect(world.address).await.ask(&request).await
    };
    assert_eq!(ask(&world, "GET", "").await.body(), "live");
    assert_eq!(ask(&world, "GET", &cookie).await.body(), "other", "who was promised one pool is shown no other");
    world.setting.read_only = true;
    for (planned, hold) in [(Some(UnsafeStatus::default()), false), (None, true), (None, false)] {
        (world.setting.planned, world.setting.hold) = (planned, hold);
        world.publish();
        let refused = ask(&world, "POST", "").await;
        assert_eq!((refused.status, refused.header("x-cutover-maintenance")), (503, Some("read-only")));
        assert_eq!(ask(&world, "GET", "").await.body(), "live");
    }
}

#[tokio::test]
async fn who_may_pass_maintenance_waits_in_a_hold_and_keeps_no_worker_busy() {
    let (_server0, _server1, mut setting) = two_pools().await;
    (setting.planned, setting.bypass, setting.hold) = (Some(UnsafeStatus::default()), vec!["127.0.0.0/8"], true);
    let mut world = World::new(setting);
    let mut visitor = waiting(&world, "/", "").await;
    let version = world.publish();
    eventually("the worker has time for other things", || world.live.acknowledged(version)).await;
    assert_eq!(world.held(), 1);
    world.setting.hold = false;
    world.publish();
    assert_eq!(visitor.answer().await.body(), "live");
}

#[tokio::test]
async fn a_request_that_could_not_be_sent_after_a_hold_is_told_of_the_next_table() {
    let (server0, _server1, mut setting) = two_pools().await;
    setting.pools = vec![TestPool::new("server0", &[nobody()])];
    (setting.hold, setting.restart) = (true, LONG);
    let mut world = World::new(setting);
    let mut visitor = waiting(&world, "/", "").await;
    world.setting.hold = false;
    world.publish();
    eventually("it was tried", || world.suspected() > 0).await;
    eventually("it waits again", || world.held() == 1).await;
    world.setting.hold = true;
    let version = world.publish();
    eventually("the table is acknowledged", || world.live.acknowledged(version)).await;
    // By now it has been let go to look, and was sent back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.held(), 1);
    world.setting.pools = vec![TestPool::new("server0", &[server0.address])];
    world.setting.hold = false;
    world.publish();
    assert_eq!(visitor.answer().await.body(), "live");
}

#[tokio::test]
async fn a_preview_that_has_waited_is_shown_its_pool_or_none() {
    let (_server0, _server1, mut setting) = two_pools().await;
    setting.pools[1] = TestPool::new("server1", &[nobody()]);
    (setting.hold, setting.restart) = (true, LONG);
    let mut world = World::new(setting);
    let cookie = format!("cookie: cutover-preview={}\r\n", world.token(1));
    let mut visitor = waiting(&world, "/", &cookie).await;
    world.setting.hold = false;
    world.publish();
    let answer = visitor.answer().await;
    assert_eq!((answer.status, answer.header("x-cutover-maintenance")), (503, Some("unplanned")), "{answer:?}");
}

#[tokio::test]
async fn a_request_to_a_restricted_service_waits_no_longer_than_others() {
    let (_server0, _server1, mut setting) = two_pools().await;
    setting.pools = vec![TestPool::new("server0", &[nobody()])];
    (setting.read_only, setting.restart) = (true, Duration::from_millis(300));
    let world = World::new(setting);
    let answer = get(world.address, "/").await;
    assert_eq!((answer.status, answer.header("x-cutover-maintenance")), (503, Some("unplanned")));
    eventually("nothing is under way", || world.under_way() == 0 && world.held() == 0).await;
}

#[tokio::test]
async fn requests_to_a_restricted_service_keep_their_order_while_its_target_restarts() {
    let (_server0, _server1, mut setting) = two_pools().await;
    setting.pools = vec![TestPool::new("server0", &[nobody()])];
    (setting.read_only, setting.restart) = (true, LONG);
    let mut world = World::new(setting);
    let mut first = waiting(&world, "/first", "").await;
    let mut second = waiting(&world, "/second", "").await;
    // Again and again one of them is let go to look, and is sent back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let server0 = Origin::new(|_| ok("live")).await;
    world.setting.pools = vec![TestPool::new("server0", &[server0.address])];
    world.publish();
    for visitor in [&mut first, &mut second] {
        let answer = visitor.answer().await;
        assert_eq!((answer.body(), answer.header("x-cutover-mode")), ("live", Some("read-only")));
    }
    let order: Vec<bool> = server0.requests().iter().map(|request| request.starts_with("GET /first ")).collect();
    assert_eq!(order, [true, false]);
}

#[tokio::test]
async fn in_a_hold_the_skew_guard_enters_no_other_pool() {
    let server0 = Origin::new(|_| ok("live")).await;
    let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnone";
    let server1 = Origin::new(move |_| Action::Later(missing.to_owned())).await;
    let pools = vec![TestPool::new("server0", &[server0.address]), TestPool::new("server1", &[server1.address])];
    let mut setting = Setting::of(pools);
    (setting.weight, setting.skew) = (Some(10_000), Some(1));
    let mut world = World::new(setting);
    assert_eq!(get(world.address, "/app.js").await.body(), "live");
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET /app.js HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is in its pool", || world.pool(1).in_flight() == 1).await;
    world.setting.hold = true;
    world.publish();
    assert_eq!(visitor.answer().await.status, 404);
    assert_eq!(server0.requests().len(), 1);
}
