//! When no application serves: asked for, by file, or because every pool is down.

use crate::harness::{Answer, Application, LONG, Router, SHORT, Setup, Visitor, until};
use http::Method;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};

async fn router_with(service_tables: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).service_tables(service_tables)).await;
    (router, server0, server1)
}

/// What every maintenance response must say.
fn assert_maintenance(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.by(), "", "no application answered");
    assert_eq!(answer.header("x-cutover-maintenance"), Some(reason));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("vary"), Some("Accept"));
    let retry_after: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(retry_after > 0);
}

fn content_type(answer: &Answer) -> &str {
    answer.header("content-type").unwrap().split(';').next().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_both_pools_down_visitors_get_maintenance_and_afterwards_the_site_again() {
    let (router, server0, server1) = router_with("").await;
    let mut visitor = router.visitor();
    assert_eq!(visitor.get("/").await.by(), "server0");
    server0.stop().await;
    until("server1 serves instead of the dead live pool", SHORT, async || visitor.get("/").await.by() == "server1")
        .await;
    server1.stop().await;
    until("maintenance", SHORT, async || visitor.get("/").await.header("x-cutover-maintenance").is_some()).await;
    router.pool_health("server0", false).await;
    router.pool_health("server1", false).await;

    let answer = visitor.get("/").await;
    assert_maintenance(&answer, 503, "unplanned");
    let head = visitor.send(Method::HEAD, "/").await;
    assert_maintenance(&head, 503, "unplanned");
    assert!(head.body.is_empty());
    for name in ["content-type", "retry-after", "content-length"] {
        assert_eq!(head.header(name), answer.header(name), "HEAD has the headers of GET");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_maintenance(&visitor.send(method, "/").await, 503, "unplanned");
    }
    let view = router.view().await;
    assert_eq!((&view["mode"], &view["mode_source"]), (&json!("maintenance"), &json!("no-healthy-pool")));
    let fault = view["pools"]["server0"]["targets"][0]["fault"].as_str().expect("says why");
    assert!(!fault.is_empty());

    server1.start_again().await;
    until("the pool that came back serves", SHORT, async || visitor.get("/").await.by() == "server1").await;
    server0.start_again().await;
    until("the live pool serves when it is back", SHORT, async || visitor.get("/").await.by() == "server0").await;
    assert_eq!(router.view().await["mode"], "serve");
    let counted = router.metric("cutover_maintenance_responses_total").await;
    let unplanned: f64 =
        counted.iter().filter(|(labels, _)| labels.contains("reason=\"unplanned\"")).map(|(_, value)| value).sum();
    assert!(unplanned >= 5.0, "{counted:?}");
    assert!(counted.iter().any(|(labels, _)| labels.contains("method=\"POST\"")), "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_router_starts_and_serves_maintenance_while_no_target_is_up() {
    let (server0, server1) = Application::pair().await;
    server0.stop().await;
    server1.stop().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    until("maintenance", SHORT, async || router.visitor().get("/").await.status == 503).await;
    server0.start_again().await;
    until("the site", SHORT, async || router.visitor().get("/").await.by() == "server0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_by_command_answers_by_accept() {
    let (router, server0, _server1) = router_with("").await;
    let arguments = ["mode", "maintenance", "--retry-after", "10m", "--message", "Moving <house> & home"];
    router.command(&arguments).await.ok();
    let served = server0.served();
    let mut visitor = router.visitor();

    let html = visitor.get_with("/", &[("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")]).await;
    assert_maintenance(&html, 503, "planned");
    assert_eq!(content_type(&html), "text/html");
    let retry_after: u64 = html.header("retry-after").unwrap().parse().unwrap();
    assert!((600..=660).contains(&retry_after), "ten minutes, and up to a tenth more: {retry_after}");
    assert!(html.text().contains("Moving &") && !html.text().contains("<house>"), "escaped: {}", html.text());

    let plain = visitor.get_with("/", &[("accept", "text/plain")]).await;
    assert_maintenance(&plain, 503, "planned");
    assert_eq!(content_type(&plain), "text/plain");
    assert!(plain.text().contains("Moving <house> & home"), "{}", plain.text());

    for accept in ["application/json", "application/problem+json"] {
        let problem = visitor.get_with("/", &[("accept", accept)]).await;
        assert_maintenance(&problem, 503, "planned");
        assert_eq!(content_type(&problem), "application/problem+json");
        assert_eq!(problem.json()["status"], 503);
        assert!(problem.text().contains("Moving <house> & home"), "{}", problem.text());
    }
    let nothing_else = visitor.get_with("/", &[("accept", "text/html;q=0, application/json;q=0.1")]).await;
    assert_eq!(content_type(&nothing_else), "application/problem+json");

    assert_eq!(server0.served(), served, "no application was asked");
    let view = router.view().await;
    assert_eq!((&view["mode"], &view["mode_source"]), (&json!("maintenance"), &json!("command")));
    router.command(&["mode", "serve"]).await.ok();
    assert_eq!(visitor.get("/").await.by(), "server0", "at the next request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retry_after_counts_down_to_the_time_that_was_said() {
    let (router, _server0, _server1) = router_with("").await;
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(300);
    router.command(&["mode", "maintenance", "--until", &until.to_string()]).await.ok();
    let answer = router.visitor().get("/").await;
    assert_maintenance(&answer, 503, "planned");
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((200..=330).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planned_maintenance_may_refuse_unsafe_methods_with_405_but_unplanned_does_not() {
    let (router, server0, server1) = router_with("[service.maintenance]\nunsafe_status = 405").await;
    router.command(&["mode", "maintenance"]).await.ok();
    let mut visitor = router.visitor();
    let refused = visitor.post("/", "order=1").await;
    assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(refused.header("x-cutover-maintenance"), Some("planned"));
    assert_maintenance(&visitor.get("/").await, 503, "planned");
    router.command(&["mode", "serve"]).await.ok();
    server0.stop().await;
    server1.stop().await;
    router.pool_health("server0", false).await;
    router.pool_health("server1", false).await;
    assert_maintenance(&visitor.post("/", "order=1").await, 503, "unplanned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_page_is_used_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("maintenance.html");
    std::fs::write(&page, "<h1>First page</h1>").unwrap();
    let (router, _server0, _server1) =
        router_with(&format!("[service.maintenance]\npage = \"{}\"", page.display())).await;
    router.command(&["mode", "maintenance"]).await.ok();
    let mut visitor = router.visitor();
    let html = [("accept", "text/html")];
    assert_eq!(visitor.get_with("/", &html).await.text(), "<h1>First page</h1>");
    std::fs::write(&page, "<h1>The second page</h1>").unwrap();
    until("the new page", SHORT, async || visitor.get_with("/", &html).await.text() == "<h1>The second page</h1>")
        .await;
    std::fs::remove_file(&page).unwrap();
    until("the built-in page", SHORT, async || {
        let answer = visitor.get_with("/", &html).await;
        assert_maintenance(&answer, 503, "planned");
        !answer.text().contains("second page") && answer.text().contains("<html")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_the_switch_and_the_page_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("on.html");
    let (router, _server0, _server1) =
        router_with(&format!("[service.maintenance]\nfile = \"{}\"", file.display())).await;
    let mut visitor = router.visitor();
    assert_eq!(visitor.get("/").await.by(), "server0");
    std::fs::write(&file, "<h1>Deploying</h1>").unwrap();
    until("maintenance by file", SHORT, async || visitor.get("/").await.status == 503).await;
    let answer = visitor.get_with("/", &[("accept", "text/html")]).await;
    assert_maintenance(&answer, 503, "planned");
    assert_eq!(answer.text(), "<h1>Deploying</h1>");

    let view = router.view().await;
    assert_eq!((&view["mode"], &view["mode_source"]), (&json!("maintenance"), &json!("file")));
    let name = file.to_str().unwrap();
    assert!(router.command(&["status"]).await.ok().contains(name), "status names the file");
    let refused = router.command(&["mode", "serve"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains(name), "names the file: {}", refused.err);

    std::fs::remove_file(&file).unwrap();
    until("the site again", SHORT, async || visitor.get("/").await.by() == "server0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_flag_file_leaves_the_page_as_it_is_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("on.html");
    std::fs::write(&file, "").unwrap();
    let (router, _server0, _server1) =
        router_with(&format!("[service.maintenance]\nfile = \"{}\"", file.display())).await;
    // The file was there before the router: not one request may reach the application.
    let answer = router.visitor().get_with("/", &[("accept", "text/html")]).await;
    assert_maintenance(&answer, 503, "planned");
    assert!(answer.text().contains("<html"), "the built-in page: {}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bypass_network_reaches_the_application() {
    let (router, _server0, _server1) = router_with("[service.maintenance]\nbypass = [\"127.0.9.0/24\"]").await;
    router.command(&["mode", "maintenance"]).await.ok();
    let inside = IpAddr::V4(Ipv4Addr::new(127, 0, 9, 1));
    let outside = IpAddr::V4(Ipv4Addr::new(127, 0, 10, 1));
    assert_eq!(Visitor::new(router.address()).from(inside).get("/").await.by(), "server0");
    let mut other = Visitor::new(router.address()).from(outside);
    let forged = other.get_with("/", &[("x-forwarded-for", "127.0.9.1")]).await;
    assert_maintenance(&forged, 503, "planned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_by_command_outlives_a_restart() {
    let (router, _server0, _server1) = router_with("").await;
    router.command(&["mode", "maintenance", "--message", "Back at noon"]).await.ok();
    router.view_when("durable", LONG, |view| view["durable"] == true).await;
    router.kill();
    router.start_again().await;
    let answer = router.visitor().get_with("/", &[("accept", "text/plain")]).await;
    assert_maintenance(&answer, 503, "planned");
    assert!(answer.text().contains("Back at noon"), "{}", answer.text());
}
