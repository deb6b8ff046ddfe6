//! Time-outs towards visitors.

use super::wire::{Action, Origin, Visitor, eventually, ok};
use super::world::{Setting, TestPool, World};
use crate::config::Timeouts;
use crate::model::Period;
use std::time::{Duration, Instant};

async fn impatient(change: impl Fn(&mut Timeouts, Period)) -> World {
    let origin = Origin::new(|request| match request {
        slow if slow.contains("/stall") => {
            Action::SendAndHang("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into())
        }
        huge if huge.contains("/huge") => {
            Action::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n{}", "y".repeat(30_000_000)))
        }
        _ => ok("x"),
    })
    .await;
    World::new(Setting::of(vec![TestPool::new("server0", &[origin.address])]).timeouts(change))
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let world = impatient(|timeouts, short| timeouts.head = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    assert!(visitor.is_closed().await);
}

#[tokio::test]
async fn a_head_that_takes_too_long_is_told_so_even_if_it_never_pauses() {
    let world = impatient(|timeouts, short| timeouts.head = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    let start = Instant::now();
    visitor.send("GET / HTTP/1.1\r\nhost: a\r\n").await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        visitor.push(b"x: y\r\n").await;
    }
    assert_eq!(visitor.answer().await.status, 408);
    assert!(start.elapsed() < Duration::from_secs(3));
    // The second head of a connection, too.
    let mut visitor = Visitor::connect(world.address).await;
    assert_eq!(visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    visitor.send("GET / HTTP/1.1\r\n").await;
    assert_eq!(visitor.answer().await.status, 408);
}

#[tokio::test]
async fn a_head_that_begins_behind_another_request_takes_no_longer() {
    let world = impatient(|timeouts, short| timeouts.head = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    let start = Instant::now();
    assert_eq!(visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT").await.status, 200);
    assert_eq!(visitor.answer().await.status, 408);
    assert!(start.elapsed() < Duration::from_secs(3));
    // One that goes on in time is served.
    let mut visitor = Visitor::connect(world.address).await;
    assert_eq!(visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HT").await.status, 200);
    assert_eq!(visitor.ask("TP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn who_stops_reading_gains_no_time_by_the_next_request() {
    let world = impatient(|timeouts, short| timeouts.stall = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET /huge HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request is under way", || world.under_way() > 0).await;
    let start = Instant::now();
    while world.under_way() > 0 {
        visitor.push(b"G").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(start.elapsed() < Duration::from_secs(5), "it is never cut");
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_later_than_a_slow_head() {
    let world = impatient(|timeouts, short| {
        timeouts.head = Period::from_millis(50);
        timeouts.idle = short;
    })
    .await;
    let mut visitor = Visitor::connect(world.address).await;
    assert_eq!(visitor.ask("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.status, 200);
    let start = Instant::now();
    assert!(visitor.is_closed().await);
    assert!(start.elapsed() > Duration::from_millis(120), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_408() {
    let world = impatient(|timeouts, short| timeouts.stall = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(visitor.answer().await.status, 408);
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(world.pool(0).ended(), [0, 0, 0, 1, 0, 0]);
}

#[tokio::test]
async fn a_slow_upload_is_no_slow_answer() {
    let world = impatient(|timeouts, short| timeouts.answer = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        visitor.send("x").await;
    }
    assert_eq!(visitor.answer().await.status, 200);
}

#[tokio::test]
async fn an_answer_that_stops_coming_is_cut() {
    let world = impatient(|timeouts, short| timeouts.stall = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    let answer = visitor.ask("GET /stall HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!((answer.status, answer.body()), (200, "half"));
    eventually("nothing is under way", || world.under_way() == 0).await;
}

#[tokio::test]
async fn a_visitor_who_stops_reading_is_cut() {
    let world = impatient(|timeouts, short| timeouts.stall = short).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET /huge HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the request is under way", || world.under_way() > 0).await;
    eventually("nothing is under way", || world.under_way() == 0).await;
}
