//! Read-only and anonymous: what reaches the application, what does not, and what the visitor is told.

use crate::harness::{Answer, Application, RawConnection, Router, SHORT, Setup, Visitor, until};
use bytes::Bytes;
use http::Method;
use serde_json::json;

const HTML: (&str, &str) = ("accept", "text/html");
const COOKIES: &str = "[service.anonymous]\ncookies = [\"sessionid\", \"__Host-sso\"]\n";

async fn router_with(service_tables: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).service_tables(service_tables)).await;
    (router, server0, server1)
}

fn assert_refused(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.by()), (status, ""), "{answer:?}");
    assert_eq!(answer.header("x-cutover-maintenance"), Some("read-only"), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("allow"), (status == 405).then_some("GET, HEAD"));
    let retry_after: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(retry_after > 0);
    assert_eq!(answer.header("x-cutover-mode"), None, "no application answered");
}

fn assert_passed(answer: &Answer, mode: Option<&str>) {
    assert_eq!((answer.status, answer.by()), (200, "server0"), "{answer:?}");
    assert_eq!(answer.header("x-cutover-mode"), mode, "{answer:?}");
}

/// The sum of the samples whose labels have all of these.
async fn counted(router: &Router, name: &str, labels: &[&str]) -> f64 {
    let samples = router.metric(name).await;
    samples.iter().filter(|(found, _)| labels.iter().all(|label| found.contains(label))).map(|(_, value)| value).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_lets_safe_methods_pass_and_refuses_all_others() {
    let (router, server0, _server1) = router_with("").await;
    router.command(&["mode", "read-only", "--retry-after", "10m", "--message", "Moving <house>"]).await.ok();
    let mut visitor = router.visitor();
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE] {
        assert_passed(&visitor.send(method.clone(), "/page").await, Some("read-only"));
        let seen = server0.last_seen("/page");
        assert_eq!((seen.header("x-cutover-mode").as_deref(), seen.method), (Some("read-only"), method));
    }
    let served = server0.served();
    for method in ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "BREW", "get"] {
        let answer = visitor.send(method.parse().unwrap(), "/page").await;
        assert_refused(&answer, 503);
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((600..=660).contains(&seconds), "{seconds}");
    }
    let html = visitor.ask(Method::POST, "/page", &[HTML], Bytes::from_static(b"order=1")).await.unwrap();
    assert_refused(&html, 503);
    assert!(html.text().contains("Read-only for now") && html.text().contains("Moving &"), "{}", html.text());
    let accept = [("accept", "application/json")];
    let problem = visitor.ask(Method::POST, "/page", &accept, Bytes::new()).await.unwrap();
    assert_eq!((&problem.json()["status"], &problem.json()["reason"]), (&json!(503), &json!("read-only")));
    assert!(problem.text().contains("Moving <house>"), "{}", problem.text());
    assert_eq!(server0.served(), served, "not one reached the application");

    let post = ["reason=\"read-only\"", "method=\"POST\""];
    assert!((counted(&router, "cutover_maintenance_responses_total", &post).await - 3.0).abs() < 0.5);
    assert!((counted(&router, "cutover_mode", &["mode=\"read-only\""]).await - 1.0).abs() < 0.5);
    assert!(counted(&router, "cutover_mode", &["mode=\"serve\""]).await.abs() < 0.5);
    let status = router.command(&["status"]).await.ok();
    assert!(status.contains("read-only, by command, saying \"Moving <house>\""), "{status}");

    router.command(&["mode", "serve"]).await.ok();
    assert_passed(&visitor.post("/page", "order=1").await, None);
    assert_eq!(server0.last_seen("/page").header("x-cutover-mode"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_may_be_refused_with_405_which_says_what_is_allowed() {
    let (router, server0, _server1) = router_with("[service.read_only]\nunsafe = \"405\"").await;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(300);
    router.command(&["mode", "read-only", "--until", &end.to_string()]).await.ok();
    let mut visitor = router.visitor();
    let accept = [("accept", "application/json")];
    let refused = visitor.ask(Method::DELETE, "/item/3", &accept, Bytes::new()).await.unwrap();
    assert_refused(&refused, 405);
    assert_eq!(refused.json()["status"], 405);
    assert!(refused.json()["until"].is_string(), "{}", refused.text());
    assert_refused(&visitor.get("/item/3?_method=DELETE").await, 405);
    assert_eq!(server0.served(), 0);
    assert_passed(&visitor.get("/item/3").await, Some("read-only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_safe_request_that_asks_to_be_treated_as_another_is_a_write() {
    let (router, server0, _server1) = router_with("").await;
    router.command(&["mode", "read-only"]).await.ok();
    let mut visitor = router.visitor();
    for header in ["X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "x_http_method_override"] {
        assert_refused(&visitor.get_with("/item", &[(header, "DELETE")]).await, 503);
        assert_passed(&visitor.get_with("/item", &[(header, "get")]).await, Some("read-only"));
    }
    for query in ["_method=DELETE", "a=1&%5fMethod=put", "a;_method[]=PATCH", "form[_method]=BREW", ".method=DELETE"] {
        assert_refused(&visitor.get(&format!("/item?{query}")).await, 503);
    }
    assert_eq!(server0.served(), 4, "only those that asked for GET");
    for query in ["payment_method=card", "payment__method__exact=card", "_method=", "q=_method%3DDELETE"] {
        assert_passed(&visitor.get(&format!("/item?{query}")).await, Some("read-only"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exempt_paths_pass_whatever_they_do_and_lend_their_name_to_no_other() {
    let (router, server0, _server1) = router_with("[service.read_only]\nexempt = [\"/login\", \"/api/log\"]").await;
    router.command(&["mode", "read-only"]).await.ok();
    let mut visitor = router.visitor();
    for path in ["/login", "/login/", "/login/again?_method=PUT", "/api/log/7"] {
        assert_passed(&visitor.post(path, "user=me").await, Some("read-only"));
        assert_eq!(server0.last_seen(path).body, "user=me");
    }
    let served = server0.served();
    for path in [
        "/logins",
        "/api",
        "/Login",
        "/login/../admin",
        "/login/%2e%2e/admin",
        "/login//x",
        "//login",
        "/login/..%2fadmin",
        "/login/%252e%252e/admin",
        "/login/..;/admin",
        "/login/..%5cadmin",
    ] {
        let mut connection = RawConnection::open(router.address()).await;
        let request = format!("POST {path} HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 0\r\n\r\n");
        connection.send(&request).await;
        let head = connection.read_until("\r\n\r\n", SHORT).await;
        assert!(
            head.starts_with("HTTP/1.1 503") && head.contains("x-cutover-maintenance: read-only"),
            "{path}: {head}"
        );
    }
    assert_eq!(server0.served(), served);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_pass_maintenance_may_write_no_more_than_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("on");
    let tables = format!("[service.maintenance]\nbypass = [\"127.0.9.0/24\"]\nfile = \"{}\"", file.display());
    let (router, _server0, _server1) = router_with(&tables).await;
    router.command(&["mode", "read-only"]).await.ok();
    let mut inside = Visitor::new(router.address()).from("127.0.9.1".parse().unwrap());
    assert_refused(&inside.post("/", "x").await, 503);
    std::fs::write(&file, "").unwrap();
    until("maintenance by file", SHORT, async || router.visitor().get("/").await.status == 503).await;
    assert_passed(&inside.get("/").await, Some("read-only"));
    assert_refused(&inside.post("/", "x").await, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_get_a_write_goes_on_without_its_body_and_the_connection_is_kept() {
    // What no target gets is no target's limit.
    let tables = "[service.read_only]\nunsafe = \"as-get\"\n[service.limits]\nmax_body = 10";
    let (router, server0, _server1) = router_with(tables).await;
    router.command(&["mode", "read-only"]).await.ok();
    // Bodies that would be requests, if anyone took their bytes for what follows.
    let hidden = "GET /hidden HTTP/1.1\r\nHost: shop.example.com\r\n\r\n";
    let about = "Content-Type: text/plain\r\nContent-Language: en\r\nDigest: md5=x\r\nIf-None-Match: *\r\nIf-Match: \"1\"\r\nRange: bytes=0-1\r\nX-Http-Method-Override: PUT\r\nTrailer: x-sum\r\nX-Kept: 1";
    let sized = format!("Content-Length: {}\r\n\r\n{hidden}", hidden.len());
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{hidden}\r\n0\r\nX-Sum: 1\r\n\r\n", hidden.len());
    let mut connection = RawConnection::open(router.address()).await;
    let target = "/item?a=1&_method=DELETE&b=%20";
    for (method, framed) in [("POST", &sized), ("PUT", &chunked), ("PATCH", &sized), ("GET", &sized)] {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: shop.example.com\r\n{about}\r\n");
        connection.send(&format!("{head}{framed}")).await;
        let answer = connection.read_until("server0\n", SHORT).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-cutover-mode: read-only"), "{answer}");
        let seen = server0.last_seen("/item?a=1&b=%20");
        assert_eq!((seen.method.as_str(), seen.body.len()), ("GET", 0), "{method}");
        for name in [
            "content-length",
            "transfer-encoding",
            "content-type",
            "content-language",
            "digest",
            "if-none-match",
            "if-match",
            "range",
            "x-http-method-override",
            "trailer",
        ] {
            assert_eq!(seen.header(name), None, "{method}: {name} went on");
        }
        assert_eq!(seen.header("x-kept").as_deref(), Some("1"));
    }
    // All at once: each is answered, in order, and nothing else is.
    let head = "POST /status/201 HTTP/1.1\r\nHost: shop.example.com\r\n";
    let last = "DELETE /status/203 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n";
    connection.send(&format!("{head}{sized}{head}{chunked}{last}")).await;
    let all = connection.read_to_end(SHORT).await;
    assert_eq!((all.matches("HTTP/1.1 201").count(), all.matches("HTTP/1.1 ").count()), (2, 3), "{all}");
    assert!(server0.seen().iter().all(|seen| seen.target != "/hidden"), "{:?}", server0.seen());
    assert!(server0.seen().iter().all(|seen| seen.method == Method::GET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_get_a_body_that_waits_or_is_too_long_is_not_asked_for() {
    let (router, server0, _server1) = router_with("[service.read_only]\nunsafe = \"as-get\"").await;
    router.command(&["mode", "read-only"]).await.ok();
    let mut waits = RawConnection::open(router.address()).await;
    waits
        .send("POST /waits HTTP/1.1\r\nHost: shop.example.com\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    let all = waits.read_to_end(SHORT).await;
    assert!(all.starts_with("HTTP/1.1 200") && all.to_lowercase().contains("connection: close"), "{all}");
    assert_eq!(server0.last_seen("/waits").header("expect"), None);

    let long = "x".repeat(4 * 1024 * 1024);
    let mut visitor = router.visitor();
    let answer = visitor.ask(Method::POST, "/long", &[], Bytes::from(long)).await;
    // Who goes on sending may be cut off before it has read the answer.
    if let Ok(answer) = answer {
        assert_passed(&answer, Some("read-only"));
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert_eq!(server0.last_seen("/long").body.len(), 0);

    let mut broken = RawConnection::open(router.address()).await;
    broken
        .send("POST /broken HTTP/1.1\r\nHost: shop.example.com\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        .await;
    let all = broken.read_to_end(SHORT).await;
    assert!(all.starts_with("HTTP/1.1 400"), "{all}");
    assert!(server0.seen().iter().all(|seen| seen.target != "/broken"));
    assert_passed(&router.visitor().get("/").await, Some("read-only"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anonymous_visitors_look_logged_out_and_are_logged_in_again_afterwards() {
    let (router, server0, _server1) = router_with(COOKIES).await;
    let mut visitor = router.visitor();
    visitor.get("/login").await;
    assert_eq!(visitor.get("/account").await.text(), "logged in\n");

    router.command(&["mode", "anonymous"]).await.ok();
    let answer = visitor.get_with("/account", &[("authorization", "Bearer abc")]).await;
    assert_eq!((answer.text(), answer.header("x-cutover-mode")), ("nobody\n".to_owned(), Some("anonymous")));
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["theme=plain; Path=/"], "the application's word on the session stays with the router");
    assert_eq!(answer.header("clear-site-data"), None);
    let seen = server0.last_seen("/account");
    assert_eq!(seen.header("authorization"), None);
    assert_eq!(seen.header("cookie").as_deref(), Some("csrftoken=def; theme=dark"));
    assert_eq!(seen.header("x-cutover-mode").as_deref(), Some("anonymous"));
    assert_passed(&visitor.post("/order", "one=1").await, Some("anonymous"));
    assert_eq!(server0.last_seen("/order").body, "one=1", "anonymous is not read-only");
    let answer = visitor.get("/login").await;
    assert!(answer.headers.get_all("set-cookie").iter().all(|set| !set.to_str().unwrap().starts_with("sessionid")));

    let odd = "__Host-sso=1;a=1 ;  sessionid = \"x\"; SESSIONID=2; b=\"3; 4\"";
    router.visitor().get_with("/odd", &[("cookie", odd), ("cookie", "sessionid=3")]).await;
    assert_eq!(server0.last_seen("/odd").header("cookie").as_deref(), Some("a=1 ; SESSIONID=2; b=\"3; 4\""));
    router.visitor().get_with("/none", &[("cookie", "sessionid=1")]).await;
    assert_eq!(server0.last_seen("/none").header("cookie"), None);

    router.command(&["mode", "serve"]).await.ok();
    let answer = visitor.get("/account").await;
    assert_eq!((answer.text(), answer.header("x-cutover-mode")), ("logged in\n".to_owned(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_and_anonymous_go_together_and_outlive_a_restart() {
    let (router, server0, _server1) = router_with(COOKIES).await;
    let mut visitor = router.visitor();
    visitor.get("/login").await;
    router.command(&["mode", "read-only", "--anonymous"]).await.ok();
    router.view_when("durable", SHORT, |view| view["durable"] == true).await;
    for mode in ["read-only", "anonymous"] {
        let label = format!("mode=\"{mode}\"");
        assert!((counted(&router, "cutover_mode", &[&label]).await - 1.0).abs() < 0.5, "{mode}");
    }
    for restarted in [false, true] {
        if restarted {
            router.kill();
            router.start_again().await;
        }
        let answer = visitor.get("/account").await;
        assert_eq!(answer.text(), "nobody\n");
        assert_eq!(answer.header("x-cutover-mode"), Some("read-only, anonymous"));
        assert_eq!(server0.last_seen("/account").header("x-cutover-mode").as_deref(), Some("read-only, anonymous"));
        assert_refused(&visitor.post("/order", "one=1").await, 503);
        let status = router.command(&["status"]).await.ok();
        assert!(status.contains("read-only and anonymous, by command"), "{status}");
    }
    router.command(&["mode", "serve"]).await.ok();
    assert_eq!(visitor.get("/account").await.text(), "logged in\n");
    assert_passed(&visitor.post("/order", "one=1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anonymous_needs_to_know_by_which_cookies_visitors_are_logged_in() {
    let (router, _server0, _server1) = router_with("").await;
    for arguments in [&["mode", "anonymous"][..], &["mode", "read-only", "--anonymous"]] {
        let refused = router.command(arguments).await;
        assert_eq!(refused.code, 1);
        assert!(refused.err.contains("cookies = [\"sessionid\"] in [service.anonymous]"), "{}", refused.err);
    }
    assert_eq!(router.view().await["mode"], "serve");
    router.write_config(&router.setup.clone().service_tables("[service.anonymous]\ncookies = []").text());
    router.reload();
    until("the configuration is read again", SHORT, async || router.command(&["mode", "anonymous"]).await.code == 0)
        .await;
    let answer = router.visitor().get_with("/account", &[("authorization", "Basic eA=="), ("cookie", "a=1")]).await;
    assert_eq!(answer.text(), "nobody\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_can_t_name_the_mode_themselves() {
    let (router, server0, _server1) = router_with(COOKIES).await;
    let lies = [("x-cutover-mode", "maintenance"), ("X_Cutover_Mode", "hold")];
    for (mode, told) in [("serve", None), ("anonymous", Some("anonymous")), ("read-only", Some("read-only"))] {
        router.command(&["mode", mode]).await.ok();
        router.visitor().get_with("/lies", &lies).await;
        let seen = server0.last_seen("/lies");
        assert_eq!((seen.header("x-cutover-mode").as_deref(), seen.header("x_cutover_mode")), (told, None), "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_goes_on_as_before_and_refusals_are_no_evidence() {
    let (router, _server0, server1) = router_with(COOKIES).await;
    router.start_held_rollout().await;
    router.weigh(100.0).await;
    router.command(&["mode", "read-only", "--anonymous"]).await.ok();
    let mut visitor = router.visitor();
    let answer = visitor.get("/first").await;
    assert_eq!((answer.by(), answer.header("x-cutover-mode")), ("server1", Some("read-only, anonymous")));
    let cookie = answer.header("set-cookie").expect("a new visitor gets the cookie");
    assert!(cookie.starts_with("cutover="), "{cookie}");
    visitor.get("/second").await;
    let seen = server1.last_seen("/second");
    assert!(seen.header("cookie").is_some_and(|cookie| cookie.starts_with("cutover=")), "{:?}", seen.headers);

    let evidence = async || router.evidence().await["checks"][0]["rollout"]["candidate_requests"].clone();
    until("both are counted", SHORT, async || evidence().await == 2).await;
    for _ in 0..20 {
        let refused = visitor.post("/refused", "x").await;
        assert_refused(&refused, 503);
        assert_eq!(refused.header("set-cookie"), None);
    }
    visitor.get("/third").await;
    until("the third is counted", SHORT, async || evidence().await == 3).await;
    assert!((counted(&router, "cutover_requests_total", &["code_class=\"5xx\""]).await).abs() < 0.5);
    assert!((counted(&router, "cutover_requests_total", &["pool=\"server1\""]).await - 3.0).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_says_what_becomes_of_a_request_and_why() {
    let tables = format!("{COOKIES}[service.read_only]\nexempt = [\"/login\"]");
    let (router, _server0, _server1) = router_with(&tables).await;
    let explain = async |arguments: &[&str]| {
        let common = ["explain", "--host", "shop.example.com"];
        router.command(&[&common, arguments].concat()).await.ok()
    };
    router.command(&["mode", "read-only", "--anonymous"]).await.ok();
    for (arguments, expected) in [
        (&["--path", "/x", "--method", "POST"][..], "read-only, and POST would change something: it is refused"),
        (&["--path", "/x?_method=DELETE"], "_method in the query asks to treat GET as another method: it is refused"),
        (&["--path", "/x", "--header", "X-HTTP-Method: PUT"], "a header asks to treat GET as another method"),
        (&["--path", "/login", "--method", "POST"], "but the path is exempt"),
        (&["--path", "/x"], "Authorization and by the cookies sessionid, __Host-sso who is logged in is taken off"),
    ] {
        let told = explain(arguments).await;
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    assert!(explain(&["--path", "/x", "--method", "POST"]).await.contains("no pool, the router answers by itself"));
    let as_get = format!("{COOKIES}[service.read_only]\nunsafe = \"as-get\"");
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).service_tables(&as_get)).await;
    router.command(&["mode", "read-only"]).await.ok();
    let told = router.command(&["explain", "--host", "a", "--path", "/x", "--method", "POST"]).await.ok();
    assert!(told.contains("it goes on as GET, without its body") && told.contains("pool server0"), "{told}");
}
