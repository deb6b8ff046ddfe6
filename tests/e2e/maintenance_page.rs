//! The page of maintenance with what it needs, when it says to come back, and the paths that are not in maintenance.

use crate::harness::{Application, Router, SHORT, Setup, until};
use http::Method;
use std::path::Path;

async fn router_with(maintenance: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let table = format!("[service.maintenance]\n{maintenance}");
    let router = Router::start(Setup::before(&server0, &server1).service_tables(&table)).await;
    (router, server0, server1)
}

fn write(folder: &Path, name: &str, content: &str) {
    let file = folder.join(name);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
}

const HTML: [(&str, &str); 1] = [("accept", "text/html")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_page_and_the_other_forms_say_when_to_come_back() {
    let (router, _server0, _server1) = router_with("retry_after = \"10m\"").await;
    let mut visitor = router.visitor();
    router.command(&["mode", "maintenance"]).await.ok();
    let page = visitor.get_with("/", &HTML).await.text();
    assert!(page.contains("We expect to be back in about 10 minutes."), "{page}");
    assert!(page.contains("width=device-width") && page.contains("prefers-color-scheme: dark"), "{page}");
    router.command(&["mode", "maintenance", "--until", "2199-01-31T06:30:00Z"]).await.ok();
    let page = visitor.get_with("/", &HTML).await.text();
    let time = "<time datetime=\"2199-01-31T06:30:00Z\">06:30 UTC on 31 January 2199</time>";
    assert!(page.contains(time), "{page}");
    let text = visitor.get_with("/", &[("accept", "text/plain")]).await.text();
    assert!(text.contains("at 06:30 UTC on 31 January 2199"), "{text}");
    let problem = visitor.get_with("/", &[("accept", "application/json")]).await.json();
    assert_eq!(problem["until"], "2199-01-31T06:30:00Z");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_different_times_to_come_back_and_none_too_early() {
    let (router, _server0, _server1) = router_with("retry_after = \"10m\"").await;
    router.command(&["mode", "maintenance"]).await.ok();
    let mut visitor = router.visitor();
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..40 {
        told.insert(visitor.get("/").await.header("retry-after").unwrap().parse::<u64>().unwrap());
    }
    assert!(told.len() > 5 && told.iter().all(|seconds| (600..=660).contains(seconds)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pages_assets_are_served_in_every_mode_and_read_again_when_they_change() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "css/site.css", "body { color: red }");
    write(folder.path(), "a logo.svg", "<svg/>");
    write(folder.path(), ".env", "PASSWORD=secret");
    let (router, server0, _server1) = router_with(&format!("assets = \"{}\"", folder.path().display())).await;
    let served = server0.served();
    let mut visitor = router.visitor();
    for mode in ["serve", "maintenance"] {
        router.command(&["mode", mode]).await.ok();
        let css = visitor.get("/.cutover/assets/css/site.css").await;
        assert_eq!((css.status, css.text().as_str()), (200, "body { color: red }"), "{mode}");
        for (name, value) in [
            ("content-type", "text/css; charset=utf-8"),
            ("cache-control", "no-cache"),
            ("x-content-type-options", "nosniff"),
            ("content-length", "19"),
        ] {
            assert_eq!(css.header(name), Some(value), "{mode}");
        }
        let head = visitor.send(Method::HEAD, "/.cutover/assets/css/site.css").await;
        assert!(head.status == 200 && head.body.is_empty() && head.header("content-length") == Some("19"), "{head:?}");
        let etag = css.header("etag").unwrap();
        for known in [etag, &format!("\"x\", W/{etag}"), "*"] {
            let known = visitor.get_with("/.cutover/assets/css/site.css", &[("if-none-match", known)]).await;
            assert!(known.status == 304 && known.body.is_empty() && known.header("etag") == Some(etag), "{known:?}");
        }
        let logo = visitor.get("/.cutover/assets/a%20logo.svg").await;
        assert_eq!((logo.status, logo.header("content-type")), (200, Some("image/svg+xml")));
        let post = visitor.post("/.cutover/assets/css/site.css", "x").await;
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
        for path in [
            "/.cutover/",
            "/.cutover/x",
            "/.cutover/assets/",
            "/.cutover/assets/css",
            "/.cutover/assets/.env",
            "/.cutover/assets/css/../.env",
            "/.cutover/assets/css/%2e%2e/.env",
            "/.cutover/assets/%00",
            "/.cutover/assets/%ff",
        ] {
            let nothing = visitor.get(path).await;
            assert_eq!((nothing.status, nothing.by()), (404, ""), "{path}");
        }
    }
    assert_eq!(server0.served(), served, "no application was asked");
    write(folder.path(), "css/site.css", "body { color: green }");
    until("the changed file", SHORT, async || {
        visitor.get("/.cutover/assets/css/site.css").await.text() == "body { color: green }"
    })
    .await;
    std::fs::remove_file(folder.path().join("css/site.css")).unwrap();
    until("no file", SHORT, async || visitor.get("/.cutover/assets/css/site.css").await.status == 404).await;
    let explained =
        router.command(&["explain", "--host", "shop.example.com", "--path", "/.cutover/assets/x"]).await.ok();
    assert!(explained.contains("404"), "{explained}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exempt_paths_and_certificate_challenges_reach_the_application() {
    let (router, _server0, _server1) = router_with("exempt = [\"/hooks\"]").await;
    router.command(&["mode", "maintenance"]).await.ok();
    let mut visitor = router.visitor();
    for path in ["/hooks", "/hooks/payment", "/.well-known/acme-challenge/token"] {
        assert_eq!(visitor.get(path).await.by(), "server0", "{path}");
    }
    assert_eq!(visitor.post("/hooks/payment", "paid=1").await.by(), "server0");
    for path in ["/", "/hooked", "/hooks/../admin", "/hooks/%2e%2e/admin", "/hooks//x", "/.well-known/security.txt"] {
        assert_eq!(visitor.get(path).await.header("x-cutover-maintenance"), Some("planned"), "{path}");
    }
    let explained = router.command(&["explain", "--host", "shop.example.com", "--path", "/hooks/x"]).await.ok();
    assert!(explained.contains("the path is exempt"), "{explained}");
}
