//! Applications that restart where they are: connections are refused for a moment.

use crate::harness::{Application, Load, Router, SHORT, Setup, heavy_turn, until};
use std::time::Duration;

/// The only pool that can serve is server0.
async fn alone(server0: &Application, server1: &Application, tables: &str) -> Router {
    server1.stop().await;
    let router = Router::start(Setup::before(server0, server1).service_tables(tables)).await;
    router.pool_health("server1", false).await;
    router
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_restarts_under_load_fail_no_request() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    // As the plain workers of gunicorn. On a connection that is kept, a POST may meet the very moment of its end, and
    // whether it was read before that nobody can tell.
    server0.behave(|behaviour| behaviour.keep_alive = false);
    let router = alone(&server0, &server1, "").await;
    let load = Load::on(router.address()).rate(200.0).connections(40).without_posts().start();
    let (mut longest, mut posts) = (Duration::ZERO, 0);
    for _ in 0..10 {
        // A server that restarts ends what it has begun, and takes nothing new.
        server0.refuse().await;
        // Those of before have ended: a POST that the system still accepts as the socket closes, and resets, is one of which
        // nobody can tell either.
        let writers = Load::on(router.address()).rate(100.0).connections(20).only_posts().start();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server0.start_again().await;
        let begun = tokio::time::Instant::now();
        assert_eq!(router.visitor().get("/").await.by(), "server0");
        longest = longest.max(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(200)).await;
        let tally = writers.stop().await;
        assert!(tally.failed_posts.is_empty(), "{tally:?}");
        posts += tally.posts;
    }
    let tally = load.stop().await;
    println!("10 restarts: {} GET, {posts} POST; served again after {longest:?} at most", tally.gets);
    assert!(tally.failed_gets.is_empty() && posts > 0, "{tally:?}");
    assert_eq!(server0.served(), tally.all() + posts + 10, "every request was served once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_come_back_is_maintenance_and_at_once_for_those_who_come_later() {
    let (server0, server1) = Application::pair().await;
    let router = alone(&server0, &server1, "[service.hold]\nrestart = \"1s\"\n").await;
    let before = router.visitor().get("/").await;
    assert_eq!(before.by(), "server0");
    server0.stop().await;
    let mut first = router.visitor();
    let first = tokio::spawn(async move { first.post("/", "order=1").await });
    router.view_when("it waits", SHORT, |view| view["held_requests"] == 1).await;
    let first = first.await.unwrap();
    assert_eq!((first.status, first.header("x-cutover-maintenance")), (503, Some("unplanned")));
    router.pool_health("server0", false).await;
    let load = Load::on(router.address()).rate(100.0).start();
    until("many were told", SHORT, async || load.so_far().all() > 50).await;
    assert_eq!(router.view().await["held_requests"], 0, "nobody waits any more");
    let tally = load.stop().await;
    assert_eq!(tally.failed_gets.len() + tally.failed_posts.len(), usize::try_from(tally.all()).unwrap());
    server0.start_again().await;
    until("it serves again", SHORT, async || router.visitor().get("/").await.by() == "server0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_has_another_to_fail_over_to_does_not_wait() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    server0.stop().await;
    let mut visitor = router.visitor();
    for _ in 0..20 {
        assert_eq!(visitor.post("/", "order=1").await.by(), "server1");
    }
    let waits = router.metric("cutover_hold_seconds_count").await;
    assert!(waits.iter().all(|(_, count)| *count < 0.5), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wait_is_configured() {
    let (server0, server1) = Application::pair().await;
    let router = alone(&server0, &server1, "[service.hold]\nrestart = \"0s\"\n").await;
    server0.stop().await;
    let answer = router.visitor().get("/").await;
    assert_eq!((answer.status, answer.header("x-cutover-maintenance")), (503, Some("unplanned")));
    let waits = router.metric("cutover_hold_seconds_count").await;
    assert!(waits.iter().all(|(_, count)| *count < 0.5), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_safe_request_whose_connection_breaks_is_sent_once_more_and_a_post_never() {
    let (server0, server1) = Application::pair().await;
    let router = alone(&server0, &server1, "").await;
    server0.break_next(1);
    let safe = router.visitor().get("/safe").await;
    assert_eq!((safe.status, safe.by()), (200, "server0"));
    server0.break_next(1);
    let shown = router.visitor().post("/order", "order=1").await;
    assert_eq!(shown.status, 502);
    let orders = server0.seen().iter().filter(|seen| seen.target == "/order").count();
    assert_eq!(orders, 1, "a POST that was sent is never sent twice");
    // A connection that was kept and is closed by then is replaced without a word besides.
    server0.break_next(3);
    assert_eq!(router.visitor().get("/twice").await.status, 502, "once more, not again and again");
}
