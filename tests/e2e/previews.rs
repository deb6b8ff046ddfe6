//! Preview links: a chosen pool for whoever has the link, and nobody else notices.

use crate::harness::{Application, RawConnection, Router, SHORT, Setup, Visitor, until};
use http::Method;
use serde_json::{Value, json};

const COOKIE: &str = "cutover-preview";

async fn router_with(setup: impl FnOnce(Setup) -> Setup) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(setup(Setup::before(&server0, &server1))).await;
    (router, server0, server1)
}

async fn link(router: &Router, body: Value) -> Value {
    router.api("POST", "/preview-link", Some(body)).await.ok()
}

fn path_of(link: &Value) -> &str {
    link["path"].as_str().unwrap()
}

/// A visitor who has opened a link to that pool.
async fn previewer(router: &Router, pool: &str) -> Visitor {
    let link = link(router, json!({ "pool": pool })).await;
    let mut visitor = router.visitor();
    assert_eq!(visitor.get(path_of(&link)).await.status, 303);
    visitor
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_shows_its_pool_to_who_opens_it_and_the_application_never_sees_the_token() {
    let (router, server0, server1) = router_with(|setup| setup.service("hosts = [\"shop.example.com\"]")).await;
    let out = router.command(&["preview-link", "server1", "--ttl", "30m", "--path", "/shop?x=1"]).await.ok();
    let url = out.lines().next().unwrap();
    let path = url.strip_prefix("https://shop.example.com").unwrap_or_else(|| panic!("{out}"));
    assert!(path.starts_with("/shop?x=1&cutover-preview="), "{out}");

    let mut visitor = router.visitor();
    visitor.cookies.insert("sessionid".into(), "abc".into());
    let answer = visitor.get(path).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/shop?x=1")));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let (token, attributes) = answer.header("set-cookie").unwrap().split_once("; ").unwrap();
    let token = token.strip_prefix("cutover-preview=").unwrap().to_owned();
    let (rest, seconds) = attributes.rsplit_once('=').unwrap();
    assert_eq!(rest, "Path=/; HttpOnly; SameSite=Lax; Max-Age");
    assert!((1700..=1800).contains(&seconds.parse::<u64>().unwrap()), "{attributes}");
    assert_eq!((server0.served(), server1.served()), (0, 0), "opening it asks no application");

    for _ in 0..5 {
        let answer = visitor.get("/shop?x=1").await;
        assert_eq!((answer.by(), answer.header("x-cutover-preview")), ("server1", Some("server1")));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(router.visitor().get("/").await.by(), "server0", "nobody else sees it");
    }
    let seen = server1.last_seen("/shop?x=1");
    assert_eq!(seen.header("cookie").as_deref(), Some("sessionid=abc"), "the other cookies go on");
    assert_eq!(seen.header("x-cutover-pool").as_deref(), Some("server1"));
    assert!(!format!("{:?}{:?}", server0.seen(), server1.seen()).contains(&token), "an application saw the token");

    let answer = visitor.get("/shop?cutover-preview=off&y").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/shop?y")));
    assert!(answer.header("set-cookie").unwrap().starts_with("cutover-preview=; Path=/;"));
    assert!(answer.header("set-cookie").unwrap().contains("Max-Age=0"));
    visitor.cookies.remove(COOKIE);
    assert_eq!(visitor.get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_over_or_forged_says_so_and_leads_nowhere() {
    let (router, _server0, _server1) = router_with(|setup| setup).await;
    let short = link(&router, json!({"pool": "server1", "ttl": "1s"})).await;
    let mut early = router.visitor();
    assert_eq!(early.get(path_of(&short)).await.status, 303);
    until("the link is over", SHORT, async || router.visitor().get(path_of(&short)).await.status == 410).await;
    assert_eq!(early.get("/").await.by(), "server0", "the cookie is over as well");

    let page = router.visitor().get_with(path_of(&short), &[("accept", "text/html")]).await;
    assert!(page.text().contains("expired") && page.text().contains("<a href=\"/\">"), "{}", page.text());
    assert_eq!((page.header("cache-control"), page.header("referrer-policy")), (Some("no-store"), Some("no-referrer")));
    let problem = router.visitor().get_with(path_of(&short), &[("accept", "application/json")]).await;
    assert_eq!(problem.json()["status"], 410);

    let good = link(&router, json!({"pool": "server1"})).await;
    let token = good["token"].as_str().unwrap();
    let swapped = if token.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{swapped}", &token[..token.len() - 1]);
    for bad in [forged.as_str(), "", "x", "server1", &token[1..], &format!("{token}="), &format!("{token}%3D")] {
        let answer = router.visitor().get(&format!("/?cutover-preview={bad}")).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{bad}");
        let mut visitor = router.visitor();
        visitor.cookies.insert(COOKIE.into(), bad.into());
        assert_eq!(visitor.get("/").await.by(), "server0", "{bad}");
    }
    let mut bystander = router.visitor();
    bystander.cookies.insert(COOKIE.into(), token.into());
    assert_eq!(bystander.get("/").await.by(), "server1", "as good as opened");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_page_never_leaves_the_host() {
    let (router, _server0, _server1) = router_with(|setup| setup).await;
    let good = link(&router, json!({"pool": "server1"})).await;
    let token = good["token"].as_str().unwrap();
    for (target, location) in [
        ("//evil.example/x", "/.//evil.example/x"),
        ("/\\evil.example/x", "/./\\evil.example/x"),
        ("///evil.example", "/.///evil.example"),
        ("/%2F/evil.example", "/%2F/evil.example"),
    ] {
        let mut connection = RawConnection::open(router.address()).await;
        let request = format!(
            "GET {target}?cutover-preview={token} HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n"
        );
        connection.send(&request).await;
        let all = connection.read_to_end(SHORT).await;
        let answered = all.starts_with("HTTP/1.1 303") || all.starts_with("HTTP/1.1 400");
        assert!(answered, "{target}: {all}");
        if all.starts_with("HTTP/1.1 303") {
            assert!(all.contains(&format!("location: {location}\r\n")), "{target}: {all}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_something_goes_on_without_the_token() {
    let (router, server0, _server1) = router_with(|setup| setup).await;
    let good = link(&router, json!({"pool": "server1"})).await;
    let token = good["token"].as_str().unwrap();
    let answer = router.visitor().post(&format!("/form?a=b&cutover-preview={token}"), "x=y").await;
    assert_eq!((answer.status, answer.by(), answer.header("set-cookie")), (200, "server0", None));
    assert_eq!(&server0.last_seen("/form?a=b").body[..], b"x=y");
    let head = router.visitor().send(Method::HEAD, path_of(&good)).await;
    assert_eq!((head.status, head.body.len()), (303, 0));
    let answer = router.visitor().get("/search?q=cutover-preview=1").await;
    assert_eq!(answer.by(), "server0", "another parameter's value is its own affair");
    server0.last_seen("/search?q=cutover-preview=1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_passes_maintenance_and_counts_for_nothing() {
    let (router, server0, server1) = router_with(|setup| setup).await;
    let mut visitor = previewer(&router, "server1").await;
    router.command(&["mode", "maintenance"]).await.ok();
    assert_eq!(router.visitor().get("/").await.status, 503);
    assert_eq!(visitor.get("/").await.by(), "server1");
    let opened = link(&router, json!({"pool": "server0"})).await;
    let mut other = router.visitor();
    assert_eq!(other.get(path_of(&opened)).await.status, 303, "links can be opened meanwhile");
    assert_eq!(other.get("/").await.by(), "server0");
    router.command(&["mode", "serve"]).await.ok();

    router.start_held_rollout().await;
    router.weigh(50.0).await;
    server1.behave(|behaviour| behaviour.fail = 1.0);
    for _ in 0..40 {
        let answer = visitor.get("/").await;
        assert_eq!((answer.status, answer.by()), (500, "server1"), "a preview is not rescued: it shows what there is");
        assert_eq!(answer.header("set-cookie"), None, "nor drawn");
    }
    let view = router.view().await;
    assert_eq!(view["phase"], "canary", "{view:#}");
    let evidence = router.evidence().await;
    let counts = &evidence["checks"][0]["step"];
    assert_eq!((&counts["candidate_requests"], &counts["live_requests"]), (&json!(0), &json!(0)), "{evidence:#}");
    assert_eq!(server0.failed(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_shows_its_pool_or_none() {
    let (router, server0, server1) = router_with(|setup| setup).await;
    let mut visitor = previewer(&router, "server1").await;
    server1.stop().await;
    // Whether or not the health checks have noticed yet.
    for _ in 0..20 {
        let answer = visitor.get("/").await;
        assert_eq!((answer.status, answer.header("x-cutover-maintenance")), (503, Some("unplanned")));
    }
    router.pool_health("server1", false).await;
    assert_eq!(visitor.get("/").await.status, 503);
    assert_eq!(router.visitor().get("/").await.by(), "server0");
    let cookie = format!("Cookie: {COOKIE}={}", visitor.cookies[COOKIE]);
    let told = router.command(&["explain", "--host", "a", "--path", "/", "--header", &cookie]).await.ok();
    assert!(told.contains("the cookie of a preview link shows server1, which can't serve"), "{told}");

    // A drained pool is left alone.
    server1.start_again().await;
    router.pool_health("server1", true).await;
    assert_eq!(visitor.get("/").await.by(), "server1");
    let told = router.command(&["explain", "--host", "a", "--path", "/", "--header", &cookie]).await.ok();
    assert!(told.contains("pool server1") && told.contains("a preview link shows server1"), "{told}");
    let mut shown_old = previewer(&router, "server0").await;
    assert_eq!(shown_old.get("/").await.by(), "server0");
    router.command(&["switch", "server1", "--drain", "30s"]).await.ok();
    let before = server0.served();
    assert_eq!(shown_old.get("/").await.status, 503);
    assert_eq!(server0.served(), before, "the drained pool got a request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_stands_in_no_log() {
    let access_log = "[access_log]\nsample = 1.0";
    let (router, _server0, _server1) = router_with(|setup| setup.tables(access_log)).await;
    let good = link(&router, json!({"pool": "server1", "path": "/seen?z=1"})).await;
    let mut visitor = router.visitor();
    visitor.get(path_of(&good)).await;
    visitor.get("/seen?z=2").await;
    visitor.get("/last").await;
    until("the log has the requests", SHORT, async || router.output().contains("/last")).await;
    let log = router.output();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&first["path"], &first["status"], &first["outcome"]),
        (&json!("/seen?z=1"), &json!(303), &json!("by-router"))
    );
    let token = good["token"].as_str().unwrap();
    assert!(!log.contains(token) && !router.log().contains(token));
    assert!(router.log().contains("a preview link was made"), "{}", router.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_made_only_for_what_is_there() {
    let hosts = "hosts = [\"shop.example.com\", \"www.example.com\"]";
    let (router, _server0, _server1) = router_with(|setup| setup.service(hosts)).await;
    let asked = async |body: Value| router.api("POST", "/preview-link", Some(body)).await;
    asked(json!({"pool": "server9"})).await.problem(422);
    for (body, sentence) in [
        (json!({"pool": "server1", "ttl": "721h"}), "720h"),
        (json!({"pool": "server1", "ttl": "0s"}), "1s"),
        (json!({"pool": "server1", "path": "x"}), "begins with '/'"),
        (json!({"pool": "server1", "host": "a b"}), "is not a host"),
        (json!({"pool": "server1", "host": "other.example"}), "belong to no service"),
        (json!({"pool": "server1", "days": 1}), "unknown field"),
    ] {
        let problem = asked(body).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(sentence), "{problem}");
    }
    let made = asked(json!({"pool": "server1"})).await.ok();
    assert_eq!((&made["url"], &made["cookie"]), (&Value::Null, &json!(COOKIE)), "which of two hosts is not known");
    let made = asked(json!({"pool": "server1", "host": "http://www.example.com:8080", "path": "/a"})).await.ok();
    assert!(made["url"].as_str().unwrap().starts_with("http://www.example.com:8080/a?cutover-preview="), "{made}");
    // What another router has signed is nothing here.
    let (other, _server0, _server1) = router_with(|setup| setup).await;
    let made = link(&other, json!({"pool": "server1"})).await;
    assert_eq!(router.visitor().get(path_of(&made)).await.status, 403);
}
