//! What of a request and an answer goes on, and what does not.

use crate::harness::{Application, RawConnection, Router, SHORT, Setup, Visitor};
use bytes::Bytes;
use http::Method;

async fn plain_router(server: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).server(server)).await;
    (router, server0, server1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn method_path_query_headers_and_body_go_on_unchanged() {
    let (router, server0, _server1) = plain_router("").await;
    let mut visitor = router.visitor();
    let target = "/a%2Fb//c/%7Euser/;v=1?x=%20y&&z=a+b&e=%C3%A9";
    let headers = [("x-custom", "one"), ("accept-language", "de-CH, de;q=0.9"), ("authorization", "Bearer abc")];
    for method in [Method::PUT, Method::PATCH, Method::DELETE, Method::POST, "PURGE".parse().unwrap()] {
        let answer = visitor.ask(method.clone(), target, &headers, Bytes::from_static(b"body\0bytes")).await.unwrap();
        assert_eq!((answer.status, answer.by()), (200, "server0"), "{method}");
        let seen = server0.last_seen(target);
        assert_eq!((seen.method.clone(), &seen.body[..]), (method, &b"body\0bytes"[..]));
        assert_eq!(seen.header("host").as_deref(), Some("shop.example.com"));
        for (name, value) in headers {
            assert_eq!(seen.header(name).as_deref(), Some(value));
        }
    }
    let head = visitor.send(Method::HEAD, "/").await;
    assert_eq!(
        (head.status, head.by(), head.header("content-length"), head.body.len()),
        (200, "server0", Some("8"), 0)
    );
    assert_eq!(visitor.get("/status/204").await.status, 204);
    assert_eq!(visitor.get("/status/304").await.status, 304);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_visitors_say_of_their_way_is_replaced() {
    let (router, server0, _server1) = plain_router("").await;
    let lies = [
        ("x-forwarded-for", "203.0.113.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=203.0.113.1;proto=https;host=evil.example"),
        ("x-real-ip", "203.0.113.1"),
        ("x-cutover-pool", "server1"),
        ("x-cutover-release", "r9"),
        ("x-cutover-anything", "evil.example"),
        ("X_Cutover_Pool", "evil.example"),
        ("x_cutover-release", "evil.example"),
        ("X.Cutover.Pool", "evil.example"),
        ("X_Forwarded_For", "203.0.113.1"),
        ("x-forwarded_host", "evil.example"),
        ("x_forwarded_proto", "evil.example"),
        ("x-forwarded-prefix", "/evil.example"),
        ("x_real_ip", "203.0.113.1"),
        ("x_request-id", "evil.example"),
    ];
    router.visitor().get_with("/lies", &lies).await;
    let seen = server0.last_seen("/lies");
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(seen.header("x-forwarded-host").as_deref(), Some("shop.example.com"));
    assert_eq!(seen.header("x-real-ip").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.header("x-cutover-pool").as_deref(), Some("server0"));
    assert_eq!(seen.header("x-cutover-release").as_deref(), Some("r0"));
    assert_eq!(seen.header("x-forwarded-port"), None, "nobody vouches for it");
    for (name, value) in &seen.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        assert!(!value.contains("203.0.113.1") && !value.contains("evil.example"), "{name}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_may_add_to_what_is_known_of_the_way() {
    let (router, server0, _server1) = plain_router("trusted_proxies = [\"127.0.7.0/24\"]").await;
    let told =
        [("x-forwarded-for", "198.51.100.7, 127.0.7.2"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "8443")];
    Visitor::new(router.address()).from("127.0.7.1".parse().unwrap()).get_with("/told", &told).await;
    let seen = server0.last_seen("/told");
    let forwarded = seen.header("x-forwarded-for").unwrap();
    assert!(forwarded.starts_with("198.51.100.7") && forwarded.ends_with("127.0.7.1"), "{forwarded}");
    assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.header("x-forwarded-port").as_deref(), Some("8443"), "a trusted proxy may know more");
    assert_eq!(seen.header("x-real-ip").as_deref(), Some("198.51.100.7"), "the first that no proxy vouches for");

    Visitor::new(router.address()).from("127.0.8.1".parse().unwrap()).get_with("/untold", &told).await;
    let seen = server0.last_seen("/untold");
    assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.8.1"), "another network is not believed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_is_kept_or_made() {
    let (router, server0, _server1) = plain_router("").await;
    let mut visitor = router.visitor();
    visitor.get_with("/kept", &[("x-request-id", "7f3a-own_id.1")]).await;
    assert_eq!(server0.last_seen("/kept").header("x-request-id").as_deref(), Some("7f3a-own_id.1"));
    let mut made = std::collections::HashSet::new();
    for _ in 0..20 {
        visitor.get("/made").await;
        made.insert(server0.last_seen("/made").header("x-request-id").expect("one is made"));
    }
    assert_eq!(made.len(), 20, "each request has its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hop_by_hop_headers_stay_on_their_hop() {
    let (router, server0, _server1) = plain_router("").await;
    let mut connection = RawConnection::open(router.address()).await;
    let request = "GET /hop HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive, X-Hop, x-other\r\nX-Hop: 1\r\nX-Other: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-End: 3\r\n\r\n";
    connection.send(request).await;
    connection.read_until("server0\n", SHORT).await;
    let seen = server0.last_seen("/hop");
    for name in ["x-hop", "x-other", "keep-alive", "proxy-connection", "upgrade"] {
        assert_eq!(seen.header(name), None, "{name} went on");
    }
    assert_ne!(seen.header("te").as_deref(), Some("gzip"));
    assert_eq!(seen.header("x-end").as_deref(), Some("3"));

    let answer = router.visitor().get("/named-hop").await;
    assert_eq!((answer.header("x-hop"), answer.header("keep-alive")), (None, None));
    assert_eq!(answer.header("x-end"), Some("to end"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_could_be_read_in_two_ways_are_refused() {
    let (router, server0, _server1) = plain_router("").await;
    let ambiguous = [
        ("Content-Length: 3\r\nContent-Length: 4", "abcd"),
        ("Content-Length: 3, 4", "abcd"),
        ("Content-Length: +3", "abc"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("X-Header : space", ""),
        ("X-Folded: one\r\n two", ""),
        ("Connection: close\r\nHost: other.example", ""),
    ];
    for (headers, body) in ambiguous {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(&format!("POST /twice HTTP/1.1\r\nHost: shop.example.com\r\n{headers}\r\n\r\n{body}")).await;
        println!("{headers:?}");
        let all = connection.read_to_end(SHORT).await;
        assert!(all.starts_with("HTTP/1.1 400") || all.starts_with("HTTP/1.1 501"), "{headers:?}: {all:?}");
    }
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /twice HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    let all = connection.read_to_end(SHORT).await;
    assert!(all.starts_with("HTTP/1.1 400"), "without Host: {all:?}");
    assert_eq!(server0.served(), 0, "none of them reached the application");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_chunks_is_never_passed_on() {
    let (router, server0, _server1) = plain_router("").await;
    let mut connection = RawConnection::open(router.address()).await;
    connection
        .send("POST /both HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        .await;
    let all = connection.read_to_end(SHORT).await;
    if server0.served() > 0 {
        let seen = server0.last_seen("/both");
        assert_eq!(
            (seen.header("content-length"), &seen.body[..]),
            (None, &b"hello"[..]),
            "RFC 9112 §6.3: chunks go first"
        );
    } else {
        assert!(all.starts_with("HTTP/1.1 400"), "{all:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_too_large_are_refused_with_their_status() {
    let (router, server0, _server1) = plain_router("").await;
    let mut connection = RawConnection::open(router.address()).await;
    let many = "X-Filler: again\r\n".repeat(5000);
    let _ = connection.try_send(format!("GET / HTTP/1.1\r\nHost: shop.example.com\r\n{many}\r\n").as_bytes()).await;
    let all = connection.read_to_end(SHORT).await;
    assert!(all.starts_with("HTTP/1.1 431"), "{all:?}");
    let mut connection = RawConnection::open(router.address()).await;
    let _ = connection
        .try_send(format!("GET /{} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n", "x".repeat(70_000)).as_bytes())
        .await;
    let all = connection.read_to_end(SHORT).await;
    assert!(all.starts_with("HTTP/1.1 414") || all.starts_with("HTTP/1.1 431"), "{all:?}");
    assert_eq!(server0.served(), 0);
    assert_eq!(router.visitor().get("/").await.by(), "server0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_1_0_visitor_gets_an_answer_it_can_read() {
    let (router, _server0, _server1) = plain_router("").await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("GET /bytes/5 HTTP/1.0\r\nHost: shop.example.com\r\n\r\n").await;
    let all = connection.read_to_end(SHORT).await;
    assert!(all.ends_with("\r\n\r\nxxxxx") && !all.to_lowercase().contains("chunked"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_requests_are_answered_in_order() {
    let (router, _server0, _server1) = plain_router("").await;
    let mut connection = RawConnection::open(router.address()).await;
    let one = |status: u16| format!("GET /status/{status} HTTP/1.1\r\nHost: shop.example.com\r\n\r\n");
    let last = "GET /status/203 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n";
    connection.send(&(one(200) + &one(201) + &one(202) + last)).await;
    let all = connection.read_to_end(SHORT).await;
    let places: Vec<_> = (200..=203).map(|status| all.find(&format!("HTTP/1.1 {status}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{all}");
}
