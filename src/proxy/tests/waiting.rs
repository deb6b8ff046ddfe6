//! Requests that wait, and those that must not.

use super::wire::{Action, Origin, Visitor, eventually, get, ok};
use super::world::{Setting, TestPool, World};
use crate::config::UnsafeStatus;
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

#[tokio::test]
async fn who_hangs_up_has_waited_as_well() {
    let (_server0, _server1, mut setting) = two_pools().await;
    setting.hold = true;
    let world = World::new(setting);
    let visitor = waiting(&world, "/", "").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(visitor);
    let waited = || world.maintenance.iter().map(|tally| tally.waits.total()).sum::<Duration>();
    eventually("its time is counted", || waited() >= Duration::from_millis(50)).await;
    assert_eq!(world.held(), 0);
}

/// A visitor who posts again and again, until it is told to stop: what it was answered.
async fn posting(address: SocketAddr, number: usize, stop: Arc<AtomicBool>) -> BTreeMap<u16, usize> {
    let mut statuses = BTreeMap::new();
    let mut visitor = Visitor::connect(address).await;
    for count in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let request = format!("POST /{number}-{count} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
        let answer = visitor.ask(&request).await;
        *statuses.entry(answer.status).or_default() += 1;
        if answer.header("connection") == Some("close") {
            visitor = Visitor::connect(address).await;
        }
        if answer.status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    statuses
}

#[tokio::test]
async fn whatever_comes_in_between_each_request_is_answered_and_none_is_sent_twice() {
    let (server0, server1, mut setting) = two_pools().await;
    setting.restart = LONG;
    let usual = setting.pools.clone();
    let gone = [TestPool::new("server0", &[nobody()]), TestPool::new("server1", &[nobody()])];
    let mut world = World::new(setting);
    let stop = Arc::new(AtomicBool::new(false));
    let visitors = join_all((0..8).map(|number| posting(world.address, number, Arc::clone(&stop))));
    let mut random = rand::random::<u64>() | 1;
    println!("seed {random}");
    // Marsaglia's xorshift.
    let mut below = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let changes = async {
        for _ in 0..200 {
            let setting = &mut world.setting;
            match below(7) {
                0 | 1 => setting.hold = !setting.hold,
                2 => setting.read_only = !setting.read_only,
                3 => setting.planned = setting.planned.xor(Some(UnsafeStatus::default())),
                4 => setting.pools = gone.to_vec(),
                5 => {
                    let up = !setting.pools[0].healthy;
                    setting.pools.iter_mut().for_each(|pool| pool.healthy = up);
                    setting.outage = (!up).then(Instant::now);
                }
                _ => {
                    let at = usize::from(below(2) == 1);
                    let healthy = setting.pools[at].healthy;
                    setting.pools[at] = usual[at].clone();
                    setting.pools[at].healthy = healthy;
                }
            }
            world.publish();
            tokio::time::sleep(Duration::from_millis(below(20))).await;
        }
        (world.setting.hold, world.setting.read_only, world.setting.planned) = (false, false, None);
        (world.setting.pools, world.setting.outage) = (usual, None);
        world.publish();
        stop.store(true, Ordering::SeqCst);
    };
    let (visitors, ()) = tokio::join!(visitors, changes);
    let mut good = 0;
    for statuses in visitors {
        assert!(statuses.keys().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
        good += statuses.get(&200).copied().unwrap_or_default();
    }
    let requests: Vec<String> = server0.requests().into_iter().chain(server1.requests()).collect();
    let paths: BTreeSet<&str> = requests.iter().filter_map(|request| request.split(' ').nth(1)).collect();
    assert!(good > 0 && (requests.len(), paths.len()) == (good, good), "each was sent once: {good} {requests:?}");
    eventually("nothing is left", || world.held() == 0 && world.under_way() == 0).await;
}
