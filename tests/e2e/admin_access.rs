//! Who may talk to the admin API, and who may not.

use crate::harness::{Answered, Application, LONG, RawConnection, Router, SHORT, Setup, answered, run_binary};
use serde_json::json;

async fn plain_router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    (router, server0, server1)
}

const SWITCH: &str = "/api/v1/services/shop/switch";

/// A switch to `server1` as a web page would try it.
async fn switch_with(router: &Router, headers: &[(&str, &str)]) -> Answered {
    let mut request = router.request("POST", SWITCH).body(r#"{"pool":"server1"}"#);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answered(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_origin_cannot_reach_the_admin_api() {
    let (router, _server0, _server1) = plain_router().await;
    let json_type = ("content-type", "application/json");
    switch_with(&router, &[json_type, ("origin", "http://evil.example")]).await.problem(403);
    switch_with(&router, &[json_type, ("origin", "null")]).await.problem(403);
    for read in ["/api/v1/services", "/api/v1/services/shop", "/api/v1/services/shop/history", "/metrics"] {
        let answer = answered(router.request("GET", read).header("origin", "http://evil.example")).await;
        assert_eq!(answer.status, 403, "{read}");
        assert!(!answer.headers.contains_key("access-control-allow-origin"));
    }
    // What a form or a script without a preflight can send.
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        switch_with(&router, &[("content-type", kind)]).await.problem(415);
    }
    switch_with(&router, &[]).await.problem(415);
    let preflight = answered(
        router
            .request("OPTIONS", SWITCH)
            .header("origin", "http://evil.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type"),
    )
    .await;
    assert!(preflight.status >= 400 && !preflight.headers.contains_key("access-control-allow-origin"), "{preflight:?}");
    assert_eq!(router.view().await["live"], "server0", "nothing was switched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebound_host_name_cannot_reach_the_admin_api() {
    let (router, _server0, _server1) = plain_router().await;
    let port = router.setup.admin.port();
    for host in [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        String::new(),
    ] {
        let mut connection = RawConnection::open(router.setup.admin).await;
        connection.send(&format!("GET /api/v1/services HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await;
        let all = connection.read_to_end(SHORT).await;
        assert!(!all.contains("server0") && all.starts_with("HTTP/1.1 4"), "Host {host:?}: {all}");
    }
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let answer = answered(router.request("GET", "/api/v1/services").header("host", &host)).await;
        assert_eq!(answer.status, 200, "Host {host}: {}", answer.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_origin_may_talk_to_it() {
    let (router, _server0, _server1) = plain_router().await;
    let origin = router.admin_url("");
    switch_with(&router, &[("content-type", "application/json; charset=utf-8"), ("origin", &origin)]).await.ok();
    assert_eq!(router.view().await["live"], "server1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_loopback_needs_a_token() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1);
    let admin = setup.admin;
    let open_to_all = setup
        .text()
        .replace(&format!("[admin]\nlisten = \"{admin}\""), &format!("[admin]\nlisten = \"0.0.0.0:{}\"", admin.port()));
    let router = Router::prepare(setup);
    router.write_config(&open_to_all);
    let config = router.config();
    let check = run_binary(&["check", "--config", config.to_str().unwrap()], &[], LONG).await;
    assert_eq!(check.code, 2, "{check:?}");
    assert!((check.out + &check.err).contains("token"), "says what is missing");

    let token = router.folder().join("token");
    std::fs::write(&token, "s3cret-of-the-test\n").unwrap();
    router.write_config(&open_to_all.replace("[state]", &format!("token_file = \"{}\"\n[state]", token.display())));
    router.start_again().await;
    let services = "/api/v1/services";
    let without = answered(router.request("GET", services)).await;
    without.problem(401);
    answered(router.request("GET", services).bearer_auth("s3cret")).await.problem(401);
    answered(router.request("GET", services).bearer_auth("s3cret-of-the-test")).await.ok();
    let switch = json!({"pool": "server1"});
    answered(router.request("POST", SWITCH).json(&switch)).await.problem(401);
    assert_eq!(router.metrics_without_token().await, 401);

    let refused = router.command(&["status"]).await;
    assert_eq!((refused.code, refused.err.contains("token")), (1, true), "{refused:?}");
    router.command(&["status", "--token-file", token.to_str().unwrap()]).await.ok();
    let admin = router.admin_url("");
    let environment = [("CUTOVER_ADMIN", admin.as_str()), ("CUTOVER_TOKEN", "s3cret-of-the-test")];
    run_binary(&["switch", "server1"], &environment, LONG).await.ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_serves_the_admin_api() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1);
    let router = Router::prepare(setup);
    let socket = router.folder().join("admin.sock");
    let address = format!("unix:{}", socket.display());
    let listen = format!("[admin]\nlisten = \"{}\"", router.setup.admin);
    router.write_config(&router.setup.text().replace(&listen, &format!("[admin]\nlisten = \"{address}\"")));
    router.launch();
    crate::harness::eventually("the router answers on its socket", LONG, async || {
        (run_binary(&["status", "--admin", &address], &[], LONG).await.code == 0).then_some(())
    })
    .await;
    run_binary(&["switch", "server1", "--admin", &address], &[], LONG).await.ok();
    let view = run_binary(&["--admin", &address, "status", "--json"], &[], LONG).await.json();
    assert_eq!(view["services"].get(0).unwrap_or(&view)["live"], "server1");
    // After a kill the socket's file is still there; the next start takes its place.
    router.kill();
    router.launch();
    crate::harness::eventually("the router answers again", LONG, async || {
        (run_binary(&["status", "--admin", &address], &[], LONG).await.code == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_are_problem_documents() {
    let (router, _server0, _server1) = plain_router().await;
    answered(router.request("GET", "/api/v1/services/none")).await.problem(404);
    answered(router.request("GET", "/api/v1/none")).await.problem(404);
    answered(router.request("DELETE", "/api/v1/services/shop")).await.problem(405);
    let broken = router.request("POST", SWITCH).header("content-type", "application/json");
    answered(broken.body("{\"pool\":")).await.problem(400);
    for body in [json!({}), json!({"pool": 1}), json!({"pool": "server1", "drian": "1s"}), json!({"pool": "a b"})] {
        let answer = router.api("POST", "/switch", Some(body.clone())).await;
        assert!(matches!(answer.status, 400 | 404 | 422), "{body}: {answer:?}");
        answer.problem(answer.status);
    }
    let answer = router.api("PUT", "/rollout/weight", Some(json!({"weight": 5}))).await;
    answer.problem(409);
    assert_eq!(router.view().await["live"], "server0");
}
