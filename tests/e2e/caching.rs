//! What shared caches are told while a split is on.

use crate::harness::{Application, LONG, Router, Setup, run_binary};
use serde_json::json;

const PUBLIC: &[(&str, &str)] =
    &[("cache-control", "public, max-age=60, s-maxage=600"), ("cdn-cache-control", "max-age=600")];

async fn router(service: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    for server in [&server0, &server1] {
        server.behave(|behaviour| behaviour.headers = PUBLIC);
    }
    let router = Router::start(Setup::before(&server0, &server1).service(service)).await;
    (router, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drawn_answers_are_private_and_all_others_as_the_application_says() {
    let (router, server0, server1) = router("").await;
    let told = "public, max-age=60, s-maxage=600";
    let answer = router.visitor().get("/").await;
    assert_eq!((answer.header("cache-control"), answer.header("cdn-cache-control")), (Some(told), Some("max-age=600")));

    router.start_held_rollout().await;
    router.weigh(50.0).await;
    let mut by = [0, 0];
    for _ in 0..30 {
        let mut visitor = router.visitor();
        for _ in 0..2 {
            let answer = visitor.get("/").await;
            by[usize::from(answer.by() == "server1")] += 1;
            assert_eq!(answer.header("cache-control"), Some("private, max-age=60"), "of {}", answer.by());
            assert_eq!((answer.header("cdn-cache-control"), answer.header("vary")), (None, None));
        }
    }
    assert!(by[0] > 0 && by[1] > 0, "{by:?}");
    let mut known = router.visitor();
    known.get("/").await;
    assert_eq!(known.get("/status/404").await.header("cache-control"), Some("no-store"));
    let worker = known.get_with("/sw.js", &[("service-worker", "script")]).await;
    assert_eq!(worker.header("cache-control"), Some("private, max-age=60, no-cache"));
    for server in [&server0, &server1] {
        server.behave(|behaviour| behaviour.headers = &[("cache-control", "public, max-age=31536000, immutable")]);
    }
    let asset = known.get("/app.3f2c.js").await;
    assert_eq!(asset.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let asset = router.visitor().get("/app.3f2c.js").await;
    let told = (asset.header("cache-control"), asset.header("set-cookie"));
    assert_eq!(told, (Some("public, max-age=31536000, immutable"), None), "a CDN asks without a cookie");

    router.api("POST", "/rollout/rollback", Some(json!({}))).await.ok();
    let answer = known.get("/").await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"), "the split is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_vary_only_known_visitors_answers_may_be_kept() {
    let (router, _server0, _server1) = router("caching = \"vary\"").await;
    router.start_held_rollout().await;
    let mut visitor = router.visitor();
    let first = visitor.get("/").await;
    assert!(first.header("set-cookie").is_some());
    assert_eq!(first.header("cache-control"), Some("private, max-age=60"), "it has the cookie of one visitor");
    let second = visitor.get("/").await;
    assert_eq!((second.header("vary"), second.header("set-cookie")), (Some("cookie"), None));
    assert_eq!(second.header("cache-control"), Some("public, max-age=60, s-maxage=600"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_is_leaves_caching_to_the_application() {
    let (router, _server0, _server1) = router("caching = \"as-is\"").await;
    router.start_held_rollout().await;
    let answer = router.visitor().get("/status/404").await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60, s-maxage=600"));
    assert_eq!(answer.header("cdn-cache-control"), Some("max-age=600"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_warns_of_a_vary_that_could_name_no_header() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).service("caching = \"vary\"");
    let router = Router::prepare(setup.service_tables("\n[service.sticky]\nby = \"none\"\n"));
    let config = router.config();
    let checked = run_binary(&["check", "--config", config.to_str().unwrap()], &[], LONG).await;
    assert_eq!(checked.code, 0, "{checked:#?}");
    assert!(format!("{}{}", checked.out, checked.err).contains("marked as private all the same"), "{checked:#?}");
}
