//! The skew guard: assets of an open page's own release, while its pool is warm.

use crate::harness::{Application, Router, SHORT, Setup, until};
use http::Method;
use serde_json::json;

/// The pair, each with an asset that the other does not have.
async fn router(setup: impl FnOnce(Setup) -> Setup) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    server0.behave(|behaviour| behaviour.missing = &["/new.js", "/new", "/nobody.js", "/sw-new.js"]);
    server1.behave(|behaviour| behaviour.missing = &["/old.js", "/old", "/nobody.js"]);
    let router = Router::start(setup(Setup::before(&server0, &server1))).await;
    (router, server0, server1)
}

async fn guarded(router: &Router) -> f64 {
    router.metric("cutover_skew_guard_total").await[0].1
}

async fn promote(router: &Router) {
    router.start_held_rollout().await;
    router.api("POST", "/rollout/promote", Some(json!({}))).await.ok();
    router.phase("promoted", SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_page_of_the_old_release_finds_its_assets_while_the_promotion_is_watched() {
    let (router, server0, server1) = router(|setup| setup).await;
    let mut page = router.visitor();
    assert_eq!(page.get("/old.js").await.by(), "server0");
    assert_eq!(page.get("/new.js").await.status, 404, "no other pool is warm");
    promote(&router).await;

    let answer = page.get("/old.js").await;
    assert_eq!((answer.status, answer.by()), (200, "server0"));
    let seen = server0.last_seen("/old.js");
    assert_eq!(seen.header("x-cutover-pool").as_deref(), Some("server0"));
    let by_browser = page.get_with("/old", &[("sec-fetch-dest", "style")]).await;
    assert_eq!((by_browser.status, by_browser.by()), (200, "server0"));
    let head = page.send(Method::HEAD, "/old.js").await;
    assert_eq!((head.status, head.by()), (200, "server0"));
    assert!((guarded(&router).await - 3.0).abs() < 0.1);

    // Pages, data and what changes something get what live says.
    let before = server0.served();
    for (path, headers) in [
        ("/old", &[][..]),
        ("/old", &[("sec-fetch-dest", "document")]),
        ("/old.js", &[("sec-fetch-dest", "document")]),
        ("/old.js", &[("sec-fetch-dest", "empty")]),
        ("/old.js", &[("service-worker", "script"), ("sec-fetch-dest", "serviceworker")]),
        ("/old.js", &[("service-worker", "script")]),
    ] {
        let answer = page.get_with(path, headers).await;
        assert_eq!((answer.status, answer.by()), (404, "server1"), "{path} {headers:?}");
    }
    assert_eq!(page.post("/old.js", "x").await.status, 404);
    assert_eq!(server0.served(), before, "the old pool was asked for what is no asset");

    // What neither has is answered as live answers it, whole.
    let answer = page.get("/nobody.js").await;
    assert_eq!((answer.status, answer.by(), answer.text().as_str()), (404, "server1", "server1 has no /nobody.js\n"));
    assert_eq!(server0.served(), before + 1);
    assert!((guarded(&router).await - 3.0).abs() < 0.1);

    // After the switch is made for good, the old pool is asked for nothing.
    server1.behave(|behaviour| behaviour.missing = &["/old.js"]);
    router.api("POST", "/switch", Some(json!({"pool": "server0"}))).await.ok();
    router.api("POST", "/switch", Some(json!({"pool": "server1"}))).await.ok();
    assert_eq!(page.get("/old.js").await.status, 404, "nothing is watched any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_rollout_find_the_others_assets_and_the_evidence_counts_the_first_answer() {
    let (router, server0, server1) = router(|setup| setup).await;
    router.start_held_rollout().await;
    router.weigh(50.0).await;
    let mut sides = [0, 0];
    for _ in 0..40 {
        let mut visitor = router.visitor();
        let side = usize::from(visitor.get("/").await.by() == "server1");
        sides[side] += 1;
        for path in ["/old.js", "/new.js"] {
            let answer = visitor.get(path).await;
            assert_eq!(answer.status, 200, "{path} for a visitor of server{side}");
            assert_eq!(answer.by(), if path == "/old.js" { "server0" } else { "server1" });
        }
    }
    assert!(sides[0] > 0 && sides[1] > 0, "{sides:?}");
    assert!((guarded(&router).await - 40.0).abs() < 0.1, "one of the two, of each visitor");
    let counted = async || {
        let evidence = router.evidence().await;
        let step = &evidence["checks"][0]["step"];
        [step["live_requests"].as_u64().unwrap(), step["candidate_requests"].as_u64().unwrap()]
    };
    until("what was drawn is counted, on its own side", SHORT, async || counted().await == sides.map(|n| 3 * n)).await;
    assert!(server0.served() + server1.served() >= 160, "the first answers were given, too");

    // Taken back, the candidate is left alone.
    router.api("POST", "/rollout/rollback", Some(json!({}))).await.ok();
    let before = server1.served();
    assert_eq!(router.visitor().get("/new.js").await.status, 404);
    assert_eq!(server1.served(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_down_hangs_or_was_drained_costs_the_visitor_nothing_but_the_asset() {
    let (router, server0, _server1) = router(|setup| setup.tables("[access_log]\nsample = 1.0")).await;
    promote(&router).await;
    server0.behave(|behaviour| behaviour.fail = 1.0);
    let answer = router.visitor().get("/old.js").await;
    assert_eq!((answer.status, answer.by()), (404, "server1"), "a failure is no asset");
    server0.behave(|behaviour| behaviour.hang_up = true);
    assert_eq!(router.visitor().get("/old.js").await.status, 404);
    server0.behave(|behaviour| {
        behaviour.fail = 0.0;
        behaviour.hang_up = false;
        behaviour.as_if = Some("/silent");
    });
    let answer = router.visitor().get("/old.js").await;
    assert_eq!((answer.status, answer.text().as_str()), (404, "server1 has no /old.js\n"), "nobody waits for long");
    server0.behave(|behaviour| behaviour.as_if = None);
    assert_eq!(router.visitor().get("/old.js").await.status, 200);
    until("the log has it", SHORT, async || router.output().contains("\"skew_guarded\":true")).await;

    // No request is left behind in a pool.
    router
        .view_when("nothing is under way", SHORT, |view| {
            ["server0", "server1"].iter().all(|pool| view["pools"][pool]["in_flight"] == 0)
        })
        .await;
    server0.stop().await;
    router.pool_health("server0", false).await;
    assert_eq!(router.visitor().get("/old.js").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guard_can_be_turned_off() {
    let (router, server0, _server1) = router(|setup| setup.service("skew_guard = false")).await;
    promote(&router).await;
    let before = server0.served();
    assert_eq!(router.visitor().get("/old.js").await.status, 404);
    assert_eq!(server0.served(), before);
}
