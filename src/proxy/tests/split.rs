//! The split, the evidence, the rescue, and what the control plane orders.

use super::wire::{Action, Origin, Visitor, ask, eventually, get, ok, status, times_said};
use super::world::{Setting, TestPool, World};
use crate::config::StickyBy;
use crate::routing::UnderWay;

const POST: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";

async fn two_pools(
    weight: u16,
    candidate: impl Fn(&str) -> Action + Send + Sync + 'static,
) -> (Origin, Origin, Setting) {
    let live = Origin::new(|request| if request.contains("/hang") { Action::Hang } else { ok("live") }).await;
    let candidate = Origin::new(candidate).await;
    let pools = vec![TestPool::new("server0", &[live.address]), TestPool::new("server1", &[candidate.address])];
    let mut setting = Setting::of(pools).timeouts(|timeouts, short| timeouts.answer = short);
    setting.weight = Some(weight);
    (live, candidate, setting)
}

#[tokio::test]
async fn new_visitors_get_a_cookie_that_keeps_them_where_they_are() {
    let (_live, _candidate, setting) = two_pools(5000, |_| ok("candidate")).await;
    let world = World::new(setting);
    let mut seen = [0, 0];
    for _ in 0..40 {
        let first = get(world.address, "/").await;
        let cookie = first.header("set-cookie").unwrap();
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax");
        seen[usize::from(first.body() == "candidate")] += 1;
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: x=y; {pair}\r\n\r\n");
        let again = ask(world.address, &request).await;
        assert_eq!((again.body(), again.header("set-cookie")), (first.body(), None));
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    let [candidate, live] = world.drawn();
    assert_eq!((candidate[0] + live[0], candidate[1] + live[1], candidate[2] + live[2]), (80, 80, 0));
}

#[tokio::test]
async fn the_cookie_is_secure_for_who_came_by_tls_and_absent_without_a_split() {
    let (_live, _candidate, mut setting) = two_pools(0, |_| ok("candidate")).await;
    setting.trusted = vec!["127.0.0.1/32"];
    let mut world = World::new(setting);
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\n\r\n";
    let answer = ask(world.address, request).await;
    assert!(answer.header("set-cookie").unwrap().ends_with("; SameSite=Lax; Secure"));
    world.setting.weight = None;
    world.publish();
    assert_eq!(ask(world.address, request).await.header("set-cookie"), None);
}

#[tokio::test]
async fn a_safe_request_that_the_candidate_fails_is_rescued_and_counts_against_it() {
    let failing: [fn(&str) -> Action; 6] = [
        |_| status(500),
        |_| Action::Close,
        |_| Action::Hang,
        |_| Action::SendAndClose("nonsense\r\n\r\n".into()),
        |_| Action::Send("HTTP/1.1 101 X\r\n\r\n".into()),
        |_| Action::Send("HTTP/1.1 200 OK\r\ngrpc-status: 14\r\ncontent-length: 0\r\n\r\n".into()),
    ];
    for fault in failing {
        let (live, candidate, setting) = two_pools(10_000, fault).await;
        let world = World::new(setting);
        let answer = get(world.address, "/").await;
        assert_eq!((answer.status, answer.body()), (200, "live"));
        assert!(answer.header("set-cookie").is_some());
        assert_eq!(candidate.requests().len(), 1);
        eventually("nothing is under way", || world.under_way() == 0).await;
        assert_eq!((world.drawn(), world.pool(1).rescues()), ([[1, 1, 1], [0, 0, 0]], 1));
        let rescued = live.last();
        assert_eq!(times_said(&rescued), [1; 6], "{rescued}");
        assert!(rescued.contains("\r\nx-cutover-pool: server0\r\n"), "{rescued}");
        assert_eq!(world.pool(0).ended(), [0, 1, 0, 0, 0, 0]);
        assert_eq!(world.pool(1).ended().iter().sum::<u64>(), 1);
        assert_eq!(world.draws.sent_and_unsent(), (1, 0));
    }
}

#[tokio::test]
async fn what_may_change_something_is_not_sent_twice() {
    let (live, _candidate, setting) = two_pools(10_000, |_| status(500)).await;
    let world = World::new(setting);
    let answer = ask(world.address, POST).await;
    assert_eq!((answer.status, answer.body(), live.requests().len()), (500, "bad", 0));
    let with_body = "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(ask(world.address, with_body).await.status, 500);
    assert_eq!(world.drawn(), [[2, 2, 2], [0, 0, 0]]);
    assert_eq!((world.pool(1).rescues(), world.pool(1).ended()), (0, [0, 0, 0, 0, 2, 0]));
}

#[tokio::test]
async fn live_is_not_rescued_and_a_rescue_that_fails_shows_its_own_answer() {
    let (live, candidate, mut setting) = two_pools(10_000, |_| status(500)).await;
    setting.pools.swap(0, 1);
    let world = World::new(setting);
    // The failing pool is live now, and the good one the candidate.
    assert_eq!(get(world.address, "/").await.body(), "live");
    drop(world);
    let mut setting = Setting::of(vec![
        TestPool::new("server0", &[candidate.address]),
        TestPool::new("server1", &[candidate.address]),
    ]);
    setting.weight = Some(10_000);
    let world = World::new(setting);
    assert_eq!(get(world.address, "/").await.status, 500);
    assert_eq!((world.drawn(), world.pool(1).rescues()), ([[1, 1, 1], [0, 0, 0]], 1));
    assert_eq!((world.pool(0).ended(), world.pool(1).ended()), ([0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]));
    assert_eq!(live.requests().len(), 1);
}

#[tokio::test]
async fn a_candidate_that_can_t_be_reached_loses_no_request_and_is_known_for_it() {
    let (live, _candidate, mut setting) = two_pools(10_000, |_| ok("candidate")).await;
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    setting.pools[1] = TestPool::new("server1", &[nowhere]);
    let mut world = World::new(setting);
    assert_eq!(get(world.address, "/").await.body(), "live");
    assert_eq!(ask(world.address, POST).await.body(), "live");
    assert_eq!(world.drawn(), [[2, 2, 2], [0, 0, 0]]);
    assert_eq!((world.draws.sent_and_unsent(), live.requests().len()), ((0, 2), 2));
    // Once it is known to be down, its visitors fail over, and count on no side.
    world.setting.pools[1].healthy = false;
    world.publish();
    assert_eq!(get(world.address, "/").await.body(), "live");
    assert_eq!((world.drawn(), world.draws.sent_and_unsent()), ([[2, 2, 2], [0, 0, 0]], (0, 3)));
}

#[tokio::test]
async fn a_visitor_who_hangs_up_speaks_neither_for_the_candidate_nor_against_it() {
    let (_live, _candidate, mut setting) = two_pools(10_000, |_| Action::Hang).await;
    setting.timeouts.answer = crate::model::Period::from_secs(30);
    let world = World::new(setting);
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request is in the candidate", || world.pool(1).in_flight() == 1).await;
    assert_eq!(world.drawn(), [[1, 0, 0], [0, 0, 0]]);
    drop(visitor);
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!((world.drawn(), world.pool(1).ended()), ([[0, 0, 0], [0, 0, 0]], [0, 0, 0, 0, 0, 1]));
}

#[tokio::test]
async fn requests_without_a_key_are_drawn_each_for_itself() {
    let (_live, candidate, mut setting) = two_pools(5000, |_| ok("candidate")).await;
    setting.sticky = StickyBy::None;
    let world = World::new(setting);
    let mut visitor = Visitor::connect(world.address).await;
    for _ in 0..100 {
        let answer = visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(answer.header("set-cookie"), None);
    }
    let share = candidate.requests().len();
    assert!((20..=80).contains(&share), "{share}");
}

#[tokio::test]
async fn a_drain_sees_every_request_and_can_cut_what_is_left() {
    let (_live, _candidate, mut setting) = two_pools(0, |_| ok("candidate")).await;
    setting.weight = None;
    setting.timeouts.answer = crate::model::Period::from_secs(30);
    let mut world = World::new(setting);
    let mut hanging = Vec::new();
    for _ in 0..3 {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
        hanging.push(visitor);
    }
    eventually("all are in the pool", || world.pool(0).in_flight() == 3).await;
    world.setting.pools[0].drained = true;
    let version = world.publish();
    eventually("the table is acknowledged", || world.live.acknowledged(version)).await;
    assert_eq!(get(world.address, "/").await.body(), "candidate");
    let load = std::sync::Arc::clone(&world.live.table().services[0].pools[0].load);
    let in_pool = UnderWay { pools: [load].into(), before: None };
    assert_eq!(world.live.count(&in_pool).await, 3);
    assert_eq!(world.live.cut(&in_pool).await, 3);
    for mut visitor in hanging {
        assert!(visitor.is_closed().await);
    }
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(world.live.cut(&in_pool).await, 0);
}

#[tokio::test]
async fn only_requests_that_an_older_table_routed_are_counted_and_cut() {
    let (_live, _candidate, mut setting) = two_pools(0, |_| ok("candidate")).await;
    setting.weight = None;
    setting.timeouts.answer = crate::model::Period::from_secs(30);
    let world = World::new(setting);
    let hang = async || {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n").await;
        visitor
    };
    let mut old = hang().await;
    eventually("the first is in the pool", || world.pool(0).in_flight() == 1).await;
    let version = world.publish();
    let mut new = hang().await;
    eventually("both are in the pool", || world.pool(0).in_flight() == 2).await;
    let pools = world.live.table().services[0].pools.iter().map(|pool| std::sync::Arc::clone(&pool.load)).collect();
    let older = UnderWay { pools, before: Some(version) };
    assert_eq!(world.live.count(&older).await, 1);
    assert_eq!(world.live.cut(&older).await, 1);
    assert!(old.is_closed().await);
    eventually("it has left the pool", || world.pool(0).in_flight() == 1).await;
    assert_eq!((world.live.count(&older).await, world.live.cut(&older).await), (0, 0));
    let all = UnderWay { before: Some(version + 1), ..older };
    assert_eq!(world.live.cut(&all).await, 1);
    assert!(new.is_closed().await);
}

#[tokio::test]
async fn idle_connections_to_a_drained_pool_are_closed() {
    let (live, _candidate, mut setting) = two_pools(0, |_| ok("candidate")).await;
    setting.weight = None;
    let mut world = World::new(setting);
    assert_eq!(get(world.address, "/").await.body(), "live");
    world.setting.pools[0].drained = true;
    let version = world.publish();
    eventually("the table is acknowledged", || world.live.acknowledged(version)).await;
    world.setting.pools[0].drained = false;
    world.publish();
    assert_eq!(get(world.address, "/").await.body(), "live");
    assert_eq!(live.connections(), 2);
}

#[tokio::test]
async fn a_shutdown_lets_requests_end_and_takes_no_new_ones() {
    let (_live, _candidate, mut setting) = two_pools(0, |_| ok("candidate")).await;
    setting.weight = None;
    let slow = Origin::new(|_| Action::Later("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow".into())).await;
    setting.pools = vec![TestPool::new("server0", &[slow.address])];
    setting.timeouts.answer = crate::model::Period::from_secs(30);
    let mut world = World::new(setting);
    let mut idle = Visitor::connect(world.address).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request is under way", || world.pool(0).in_flight() == 1).await;
    world.shutdown.cancel();
    assert!(idle.is_closed().await);
    let answer = visitor.answer().await;
    assert_eq!((answer.body(), answer.header("connection")), ("slow", Some("close")));
    assert!(visitor.is_closed().await);
    world.workers.stopped().await;
    assert!(tokio::net::TcpStream::connect(world.address).await.is_err());
}
