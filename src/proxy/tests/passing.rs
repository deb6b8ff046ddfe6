//! What passes between a visitor and a target, and how.

use super::wire::{Action, Origin, Visitor, ask, eventually, get, ok, times_said};
use super::world::{Setting, TestPool, World};
use std::time::Duration;

async fn one_origin(handler: impl Fn(&str) -> Action + Send + Sync + 'static) -> (Origin, World) {
    let origin = Origin::new(handler).await;
    let world = World::new(Setting::of(vec![TestPool::new("server0", &[origin.address])]));
    (origin, world)
}

#[tokio::test]
async fn a_request_passes_with_what_the_router_knows_of_it() {
    let (origin, world) = one_origin(|_| {
        Action::Send(
            "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-mine\r\nkeep-alive: timeout=5\r\nx-mine: 1\r\n\
             x-cutover-pool: other\r\nx-app: yes\r\ncontent-length: 2\r\n\r\nhi"
                .into(),
        )
    })
    .await;
    let answer = ask(
        world.address,
        "GET /a//b/../c%2F?q=%20 HTTP/1.1\r\nHost: Example.com:81\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n\
         X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nForwarded: for=1.1.1.1\r\n\
         X-Real-IP: 1.1.1.1\r\nX-Cutover-Pool: server1\r\nX-Cutover-Release: 9\r\nX-Request-Id: my-id\r\n\
         Upgrade: websocket\r\nExpect: 100-continue\r\nAccept: */*\r\n\r\n",
    )
    .await;
    assert_eq!((answer.status, answer.body(), answer.header("x-app")), (200, "hi", Some("yes")));
    assert_eq!((answer.header("x-mine"), answer.header("keep-alive")), (None, None));
    assert_eq!((answer.header("connection"), answer.header("x-cutover-pool")), (Some("close"), Some("other")));
    let request = origin.last();
    assert!(request.starts_with("GET /a//b/../c%2F?q=%20 HTTP/1.1\r\n"), "{request}");
    let mut lines: Vec<&str> = request.lines().skip(1).filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "accept: */*",
            "forwarded: for=127.0.0.1;proto=http;host=\"Example.com:81\"",
            "host: Example.com:81",
            "x-cutover-pool: server0",
            "x-cutover-release: r1",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: Example.com:81",
            "x-forwarded-proto: http",
            "x-real-ip: 127.0.0.1",
            "x-request-id: my-id",
        ]
    );
}

#[tokio::test]
async fn a_trusted_proxy_is_believed() {
    let origin = Origin::new(|_| ok("")).await;
    let mut setting = Setting::of(vec![TestPool::new("server0", &[origin.address])]);
    setting.trusted = vec!["127.0.0.0/8"];
    let world = World::new(setting);
    ask(
        world.address,
        "GET / HTTP/1.1\r\nhost: inner\r\nx-forwarded-for: 1.1.1.1, 192.0.2.7\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: shop.example.com\r\nx-request-id: not visible\r\n\r\n",
    )
    .await;
    let request = origin.last();
    for line in [
        "x-forwarded-for: 1.1.1.1, 192.0.2.7, 127.0.0.1",
        "x-forwarded-proto: https",
        "x-forwarded-host: shop.example.com",
        "x-real-ip: 192.0.2.7",
        "forwarded: for=192.0.2.7;proto=https;host=\"shop.example.com\"",
    ] {
        assert!(request.lines().any(|there| there == line), "{line} in {request}");
    }
    assert_eq!(times_said(&request), [1; 6], "{request}");
    assert!(!request.contains("not visible") && request.contains("x-request-id: "), "{request}");
}

#[tokio::test]
async fn bodies_pass_both_ways_in_either_framing_with_trailers() {
    let (origin, world) = one_origin(|request| {
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        if request.contains("/trailers") {
            return Action::Send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                 3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n"
                    .into(),
            );
        }
        ok(&body)
    })
    .await;
    let mut visitor = Visitor::connect(world.address).await;
    let answer = visitor.ask("POST /e HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(answer.body(), "hello");
    assert!(origin.last().contains("content-length: 5\r\n"));
    let chunks = "POST /e HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n\
                  3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n";
    let answer = visitor.ask(chunks).await;
    assert!(answer.body().contains("abc") && answer.body().ends_with("0\r\nx-t: 1\r\n\r\n"), "{}", answer.text());
    let answer = visitor.ask("GET /trailers HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n").await;
    assert!(answer.text().ends_with("abc\r\n0\r\nx-sum: 7\r\n\r\n"), "{}", answer.text());
    assert!(origin.last().contains("te: trailers\r\n"));
    // A GET may have a body, whatever it is for.
    let answer =
        visitor.ask("GET /e HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    assert!(answer.body().contains("hi"), "{}", answer.text());
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!((origin.connections(), world.pool(0).ended()), (1, [0, 4, 0, 0, 0, 0]));
}

#[tokio::test]
async fn a_head_request_gets_the_headers_alone() {
    let (_origin, world) =
        one_origin(|_| Action::Send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\nx-app: 1\r\n\r\n".into())).await;
    let mut visitor = Visitor::connect(world.address).await;
    for _ in 0..2 {
        let answer = visitor.ask("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!((answer.status, answer.header("content-length"), answer.body()), (200, Some("1000"), ""));
    }
}

#[tokio::test]
async fn an_absolute_target_and_an_old_client_are_understood() {
    let (origin, world) = one_origin(|_| ok("x")).await;
    ask(world.address, "GET http://real.example/p?q HTTP/1.1\r\nhost: other\r\n\r\n").await;
    assert!(origin.last().starts_with("GET /p?q HTTP/1.1\r\n") && origin.last().contains("host: real.example\r\n"));
    ask(world.address, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(origin.last().starts_with("OPTIONS * HTTP/1.1\r\n"));
    let answer = ask(world.address, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.text().starts_with("HTTP/1.0 200") || answer.text().starts_with("HTTP/1.1 200"));
    let host = format!("host: {}\r\n", origin.address);
    assert!(origin.last().starts_with("GET / HTTP/1.1\r\n") && origin.last().contains(&host), "{}", origin.last());
}

#[tokio::test]
async fn large_bodies_are_streamed() {
    const SIZE: usize = 8 << 20;
    let (_origin, world) = one_origin(|request| {
        let body = request.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
        Action::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\nx-got: {body}\r\n\r\n{}", "y".repeat(SIZE)))
    })
    .await;
    let mut visitor = Visitor::connect(world.address).await;
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {SIZE}\r\n\r\n");
    visitor.send(&head).await;
    visitor.push("x".repeat(SIZE).as_bytes()).await;
    let answer = visitor.answer().await;
    assert_eq!((answer.header("x-got"), answer.body().len()), (Some(SIZE.to_string().as_str()), SIZE));
}

#[tokio::test]
async fn connections_to_a_target_are_used_again() {
    let (origin, world) = one_origin(|_| ok("x")).await;
    for _ in 0..5 {
        assert_eq!(get(world.address, "/").await.status, 200);
    }
    let mut visitor = Visitor::connect(world.address).await;
    for _ in 0..5 {
        assert_eq!(visitor.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await.status, 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_the_target_closed_is_replaced_without_a_word() {
    let (origin, world) =
        one_origin(|_| Action::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx".into())).await;
    for round in 0..10 {
        assert_eq!(get(world.address, "/").await.status, 200);
        let post = ask(world.address, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx").await;
        assert_eq!(post.status, 200, "round {round}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(origin.connections(), 20);
    eventually("all have ended well", || world.pool(0).ended() == [0, 20, 0, 0, 0, 0]).await;
}

#[tokio::test]
async fn a_safe_request_on_connections_that_die_under_it_goes_to_a_fresh_one_and_then_once_more() {
    // The second request of a connection finds it closing.
    let (origin, world) = one_origin(|request| if request.contains("/die") { Action::Close } else { ok("x") }).await;
    assert_eq!(get(world.address, "/").await.status, 200);
    let answer = get(world.address, "/die").await;
    // The kept connection may have been closing anyway. A fresh one has failed it, and the second one settles it.
    assert_eq!((answer.status, origin.requests().len(), origin.connections()), (502, 4, 3));
    assert_eq!(get(world.address, "/").await.status, 200);
    let post = "POST /die HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    assert_eq!((ask(world.address, post).await.status, origin.requests().len()), (502, 6));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_origin, world) = one_origin(|request| ok(request.split(' ').nth(1).unwrap_or_default())).await;
    let mut visitor = Visitor::connect(world.address).await;
    let requests: Vec<String> = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n")).collect();
    visitor.send(&requests.concat()).await;
    for n in 0..20 {
        assert_eq!(visitor.answer().await.body(), format!("/{n}"));
    }
}

#[tokio::test]
async fn early_answers_reach_a_visitor_who_is_still_sending() {
    // It answers a head without waiting for the body.
    let target = Origin::hasty("HTTP/1.1 413 Too Large\r\ncontent-length: 9\r\n\r\ntoo large").await;
    let world = World::new(Setting::of(vec![TestPool::new("server0", &[target])]));
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 400000\r\n\r\n").await;
    visitor.push(&vec![b'x'; 200_000]).await;
    let answer = visitor.answer().await;
    assert_eq!((answer.status, answer.body()), (413, "too large"));
    eventually("nothing is under way", || world.under_way() == 0).await;
}
