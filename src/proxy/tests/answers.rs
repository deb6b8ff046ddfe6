//! What the router answers itself.

use super::wire::{Origin, Visitor, ask, eventually, get, ok};
use super::world::{Setting, TestPool, World};
use crate::config::UnsafeStatus;
use crate::routing::Reason;

async fn world(change: impl Fn(&mut Setting)) -> (Origin, World) {
    let origin = Origin::new(|_| ok("app")).await;
    let mut setting = Setting::of(vec![TestPool::new("server0", &[origin.address])]);
    change(&mut setting);
    (origin, World::new(setting))
}

#[tokio::test]
async fn requests_that_are_none_are_refused() {
    let (origin, world) = world(|_| {}).await;
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(101));
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\"\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", 400),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", 501),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (long.as_str(), 431),
        (many.as_str(), 431),
    ] {
        assert_eq!(ask(world.address, request).await.status, status, "{request:.100}");
    }
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn two_framings_of_a_request_are_refused() {
    let (origin, world) = world(|_| {}).await;
    let smuggled = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 30\r\ntransfer-encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /inner HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut visitor = Visitor::connect(world.address).await;
    assert_eq!(visitor.ask(smuggled).await.status, 400);
    assert!(visitor.is_closed().await);
    assert_eq!(origin.requests().len(), 0);
}

#[tokio::test]
async fn maintenance_comes_in_the_form_that_is_asked_for() {
    let (origin, world) = world(|setting| setting.planned = Some(UnsafeStatus::default())).await;
    for (accept, kind, body) in [
        ("text/html,*/*;q=0.8", "text/html; charset=utf-8", "<p>back soon</p>"),
        ("*/*", "text/plain; charset=utf-8", "back soon\n"),
        ("application/json", "application/problem+json", "{\"title\":\"back soon\"}"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let request = format!("{method} / HTTP/1.1\r\nhost: a\r\naccept: {accept}\r\ncontent-length: 0\r\n\r\n");
            let answer = ask(world.address, &request).await;
            assert_eq!((answer.status, answer.header("content-type")), (503, Some(kind)), "{method} {accept}");
            assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()));
            assert_eq!(answer.body(), if method == "HEAD" { "" } else { body });
            for (name, value) in
                [("cache-control", "no-store"), ("vary", "Accept"), ("x-cutover-maintenance", "planned")]
            {
                assert_eq!(answer.header(name), Some(value), "{name}");
            }
            let retry_after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((120..=132).contains(&retry_after), "{retry_after}");
        }
    }
    assert_eq!(origin.requests().len(), 0);
    let counted: Vec<u64> = world.maintenance.iter().next().unwrap().maintenance(Reason::Planned).collect();
    assert_eq!(counted, [3, 3, 3, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn an_unsafe_method_may_get_405_in_planned_maintenance() {
    let (_origin, world) = world(|setting| setting.planned = Some(UnsafeStatus::MethodNotAllowed)).await;
    let mut visitor = Visitor::connect(world.address).await;
    let answer = visitor.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi").await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")));
    assert_eq!(answer.header("connection"), Some("close"), "the body was not read, and the visitor is told");
    let mut visitor = Visitor::connect(world.address).await;
    assert_eq!(visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 503);
}

#[tokio::test]
async fn a_large_body_that_nobody_wants_does_not_lose_the_answer() {
    let (_origin, world) = world(|setting| setting.planned = Some(UnsafeStatus::default())).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 900000\r\n\r\n").await;
    visitor.push(&vec![b'x'; 900_000]).await;
    assert_eq!(visitor.answer().await.status, 503);
}

#[tokio::test]
async fn who_may_bypass_maintenance_reaches_the_application() {
    let (_origin, world) = world(|setting| {
        setting.planned = Some(UnsafeStatus::default());
        setting.bypass = vec!["127.0.0.1/32"];
    })
    .await;
    let answer = get(world.address, "/").await;
    assert_eq!(
        (answer.body(), answer.header("cache-control")),
        ("app", Some("no-store")),
        "a cache hands it to nobody"
    );
}

#[tokio::test]
async fn a_service_without_a_healthy_pool_is_in_unplanned_maintenance() {
    let (_origin, world) = world(|setting| setting.pools[0].healthy = false).await;
    let answer = get(world.address, "/").await;
    assert_eq!((answer.status, answer.header("x-cutover-maintenance")), (503, Some("unplanned")));
    let counted: Vec<u64> = world.maintenance.iter().next().unwrap().maintenance(Reason::Unplanned).collect();
    assert_eq!(counted, [1, 0, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn an_address_that_no_service_has_is_not_found() {
    let (_origin, world) = world(|_| {}).await;
    let version = world.publish() + 1;
    world.live.publish(crate::routing::Table { version, ..crate::routing::Table::empty() });
    let answer = ask(world.address, "GET / HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
    assert!(answer.body().contains("\"status\":404"), "{}", answer.body());
    eventually("the table is acknowledged", || world.live.acknowledged(version)).await;
}
