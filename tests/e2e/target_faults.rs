//! What visitors see of a failing application, row by row of the table of outcomes.

use crate::harness::{Application, RawConnection, RawTarget, Router, SHORT, Setup, Visitor, until};
use http::Method;
use std::net::SocketAddr;
use std::time::Duration;

/// Requests are drawn one by one, nearly all to the candidate, and nothing they do rolls it back.
const NEARLY_ALL_TO_THE_CANDIDATE: &str = "[service.rollout]\nsteps = [ { weight = 99.99, hold = \"1h\" } ]\n[[service.rollout.check]]\nkind = \"error-ratio\"\ntolerate = 0.999\n";

async fn canary_of(candidate: SocketAddr, live: &Application, timeouts: &str) -> Router {
    let setup = Setup::with_pools(&[("server0", live.address(), "r0"), ("server1", candidate, "r1")])
        .rollout(NEARLY_ALL_TO_THE_CANDIDATE)
        .tables(timeouts)
        .service_tables("[service.sticky]\nby = \"none\"");
    let router = Router::start(setup).await;
    router.command(&["rollout", "start", "server1"]).await.ok();
    router.phase("canary", SHORT).await;
    router
}

/// A safe request is rescued; an unsafe one shows what happened.
async fn assert_rescued_and_shown(visitor: &mut Visitor, path: &str, status: u16, what: &str) {
    let safe = visitor.get(path).await;
    assert_eq!((safe.status, safe.by()), (200, "server0"), "{what}: a GET is rescued");
    let shown = visitor.post(path, "order=1").await;
    assert_eq!(shown.status, status, "{what}: a POST is never sent twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_safe_request_that_fails_on_the_candidate_is_tried_once_more_on_live() {
    let (server0, server1) = Application::pair().await;
    let router = canary_of(server1.address(), &server0, "[server.timeouts]\nanswer = \"1s\"").await;
    let mut visitor = router.visitor();
    server1.behave(|behaviour| behaviour.fail = 1.0);
    assert_rescued_and_shown(&mut visitor, "/", 500, "a 500").await;
    server1.behave(|behaviour| behaviour.fail_with = 503);
    assert_rescued_and_shown(&mut visitor, "/", 503, "a 503").await;
    server1.behave(|behaviour| (behaviour.fail, behaviour.hang_up) = (0.0, true));
    assert_rescued_and_shown(&mut visitor, "/", 502, "a close before the head").await;
    server1.behave(|behaviour| (behaviour.hang_up, behaviour.delay) = (false, Duration::from_secs(20)));
    assert_rescued_and_shown(&mut visitor, "/", 504, "no head in time").await;
    server1.behave(|behaviour| behaviour.delay = Duration::ZERO);
    for status in [501, 505, 404, 429] {
        let answer = visitor.get(&format!("/status/{status}")).await;
        assert_eq!((answer.status, answer.by()), (status, "server1"), "passes as it is");
    }
    let options = visitor.send(Method::OPTIONS, "/").await;
    assert_eq!((options.status, options.by()), (200, "server1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_answer_is_a_502_and_is_rescued() {
    let answers: [(&[u8], &str); 5] = [
        (b"HTTP/1.1 two hundred\r\n\r\n", "no status"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "another protocol"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            "two framings",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "two lengths"),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "an unasked 101"),
    ];
    for (answer, what) in answers {
        let live = Application::start("server0").await;
        let candidate = RawTarget::answering(answer).await;
        let router = canary_of(candidate.address(), &live, "").await;
        assert_rescued_and_shown(&mut router.visitor(), "/", 502, what).await;
        assert!(candidate.requests() >= 2, "{what}: the candidate was asked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interim_answer_does_not_end_a_request() {
    let live = Application::start("server0").await;
    let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal";
    let candidate = RawTarget::answering(hints).await;
    let router = canary_of(candidate.address(), &live, "").await;
    let answer = router.visitor().get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "final"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_after_the_head_cuts_the_visitor_off_too() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /cut HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    let all = connection.read_to_end(SHORT).await;
    assert!(all.starts_with("HTTP/1.1 200") && all.ends_with("the beginning"), "{all:?}");
    until("the cut is counted", SHORT, async || {
        let counted = router.metric("cutover_requests_total").await;
        counted.iter().any(|(labels, value)| labels.contains("code_class=\"aborted\"") && *value > 0.5)
    })
    .await;
    assert_eq!(router.visitor().get("/").await.by(), "server0", "and the router goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_target_is_left_at_once_and_its_pools_others_serve() {
    let (first, second) = Application::pair().await;
    // Checks that are too rare to help: only the failed connections tell.
    let other = Application::start("other").await;
    let setup = Setup::before(&first, &other)
        .targets("server0", &[first.address(), second.address()])
        .health("[service.health]\ninterval = \"1h\"\n");
    let router = Router::start(setup).await;
    let mut visitor = router.visitor();
    for _ in 0..20 {
        assert_eq!(visitor.get("/").await.status, 200);
    }
    first.stop().await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(visitor.get("/").await.status != 200);
    }
    println!("{failed} of 100 GET failed after one of two targets died");
    assert!(failed <= 3, "{failed} of 100 went to a target that refuses connections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_health_path_that_fails_takes_a_pool_out() {
    let (server0, server1) = Application::pair().await;
    let health = "[service.health]\npath = \"/up\"\ninterval = \"250ms\"\ntimeout = \"5s\"\nrise = 2\nfall = 2\n";
    let router = Router::start(Setup::before(&server0, &server1).health(health)).await;
    server0.behave(|behaviour| behaviour.health = 500);
    router.pool_health("server0", false).await;
    assert_eq!(router.visitor().get("/").await.by(), "server1", "failed over");
    let fault = router.view().await["pools"]["server0"]["targets"][0]["fault"].clone();
    assert!(fault.as_str().unwrap().contains("500"), "{fault}");
    server0.behave(|behaviour| behaviour.health = 302);
    router.pool_health("server0", true).await;
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_of_which_nothing_can_be_sent_is_taken_back_at_once() {
    let (server0, server1) = Application::pair().await;
    server1.stop().await;
    let setup = Setup::before(&server0, &server1)
        .health("[service.health]\ninterval = \"1h\"\n")
        .rollout("[service.rollout]\nsteps = [ { weight = 50, hold = \"1h\" } ]\n");
    let router = Router::start(setup).await;
    let started = router.command(&["rollout", "start", "server1"]).await;
    if started.code == 0 {
        let mut visitor = router.visitor();
        until("rolled back", SHORT, async || {
            visitor.forget();
            assert_eq!(visitor.get("/").await.by(), "server0", "no visitor notices");
            router.view().await["phase"] == "rolled_back"
        })
        .await;
    } else {
        assert!(started.err.contains("server1"), "refused, naming the pool: {started:?}");
    }
}
