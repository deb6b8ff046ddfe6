//! What is counted of drawn requests beside failures: at the head of the answer, and at its end.

use super::wire::{Action, Origin, Visitor, ask, eventually, get, ok, status};
use super::world::{Setting, TestPool, World};
use crate::model::{Indicator, Until};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A router that draws everyone for a candidate that does this.
async fn world(candidate: impl Fn(&str) -> Action + Send + Sync + 'static) -> World {
    let live = Origin::new(|_| ok("live")).await;
    let candidate = Origin::new(candidate).await;
    let mut setting =
        Setting::of(vec![TestPool::new("server0", &[live.address]), TestPool::new("server1", &[candidate.address])]);
    setting.weight = Some(10_000);
    World::new(setting)
}

/// Requests, decided ones and bad ones of the candidate; of live there must be none.
fn candidate(world: &World, indicator: Indicator) -> [u64; 3] {
    let [candidate, live] = world.counted(indicator.known_at(), indicator);
    assert_eq!(live, [0, 0, 0]);
    candidate
}

#[tokio::test]
async fn an_answer_that_breaks_off_counts_at_its_end() {
    let world = world(|_| Action::SendAndClose("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".into())).await;
    assert_eq!(get(world.address, "/").await.body(), "half");
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(candidate(&world, Indicator::CutOff), [1, 1, 1]);
    assert_eq!(
        (candidate(&world, Indicator::Failed), candidate(&world, Indicator::GrpcTrailers)),
        ([1, 1, 0], [1, 1, 0])
    );
}

#[tokio::test]
async fn a_call_that_fails_in_its_trailers_counts_at_its_end_and_in_the_pool() {
    let answer =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n2\r\nhi\r\n0\r\ngrpc-status: ";
    let world = world(move |request| {
        Action::Send(format!("{answer}{}\r\n\r\n", if request.contains("/fine") { "0" } else { "13" }))
    })
    .await;
    for path in ["/fine", "/call"] {
        ask(world.address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nte: trailers\r\n\r\n")).await;
    }
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(
        (candidate(&world, Indicator::GrpcTrailers), candidate(&world, Indicator::Failed)),
        ([2, 2, 1], [2, 2, 0])
    );
    let tally = &world.pool(1).tally;
    assert_eq!((tally.sum(|tally| tally.answered.get()), tally.sum(|tally| tally.failed.get())), (2, 1));
}

#[tokio::test]
async fn a_visitor_who_leaves_in_the_middle_of_an_answer_speaks_for_its_head_alone() {
    let world = world(|_| Action::SendAndHang("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf".into())).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("the answer has begun", || candidate(&world, Indicator::CutOff) == [1, 0, 0]).await;
    drop(visitor);
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!((candidate(&world, Indicator::Failed), candidate(&world, Indicator::CutOff)), ([1, 1, 0], [0, 0, 0]));
}

#[tokio::test]
async fn a_visitor_who_leaves_right_behind_its_request_was_there() {
    const VISITORS: u64 = 20;
    let world = world(|_| Action::Hang).await;
    for _ in 0..VISITORS {
        // The router reads both at once, and asks for no answer.
        Visitor::connect(world.address).await.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    }
    eventually("all have ended", || world.pool(1).ended() == [0, 0, 0, 0, 0, VISITORS]).await;
    assert_eq!((world.under_way(), candidate(&world, Indicator::NoHead)), (0, [0, 0, 0]));
}

#[tokio::test]
async fn an_answer_that_was_rescued_from_has_no_end_and_each_pool_has_its_own_part() {
    let world = world(|_| status(500)).await;
    assert_eq!(get(world.address, "/").await.body(), "live");
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!((candidate(&world, Indicator::Failed), candidate(&world, Indicator::CutOff)), ([1, 1, 1], [0, 0, 0]));
    let tallies = [0, 1].map(|pool| {
        let tally = &world.pool(pool).tally;
        (tally.sum(|tally| tally.answered.get()), tally.sum(|tally| tally.failed.get()))
    });
    assert_eq!(tallies, [(1, 0), (1, 1)]);
}

#[tokio::test]
async fn the_statuses_that_are_compared_count_and_others_do_not() {
    let world = world(|request| match request.split(' ').nth(1) {
        Some("/gone") => status(404),
        Some("/busy") => status(429),
        _ => ok("here"),
    })
    .await;
    for path in ["/gone", "/busy", "/"] {
        get(world.address, path).await;
    }
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!((candidate(&world, Indicator::Status), candidate(&world, Indicator::Failed)), ([3, 3, 1], [3, 3, 0]));
    assert_eq!(world.counted(Until::End, Indicator::CutOff), [[3, 3, 0], [0, 0, 0]]);
}

#[tokio::test]
async fn a_drawn_request_counts_once_its_visitor_has_sent_all_of_it() {
    let world = world(|_| Action::Hang).await;
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    eventually("it is under way", || world.under_way() == 2).await;
    assert_eq!(candidate(&world, Indicator::NoHead), [0, 0, 0], "no target is to blame for a slow upload");
    visitor.send("whole!").await;
    eventually("the target owes an answer", || candidate(&world, Indicator::NoHead) == [1, 0, 1]).await;
    drop(visitor);
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(candidate(&world, Indicator::NoHead), [0, 0, 0]);
}

#[tokio::test]
async fn a_drawn_request_counts_too_when_the_target_does_not_wait_for_all_of_it() {
    let live = Origin::new(|_| ok("live")).await;
    let hasty = Origin::hasty("HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nno").await;
    let mut setting = Setting::of(vec![TestPool::new("server0", &[live.address]), TestPool::new("server1", &[hasty])]);
    setting.weight = Some(10_000);
    let world = World::new(setting);
    let answer = ask(world.address, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf").await;
    assert_eq!(answer.status, 500);
    eventually("it is counted", || candidate(&world, Indicator::Failed) == [1, 1, 1]).await;
}

#[tokio::test]
async fn a_call_that_fails_in_its_head_and_in_its_trailers_fails_once() {
    let world = world(|_| {
        let head = "HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\ntrailer: grpc-status\r\n\r\n";
        Action::Send(format!("{head}2\r\nno\r\n0\r\ngrpc-status: 13\r\n\r\n"))
    })
    .await;
    ask(world.address, "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\ncontent-length: 0\r\n\r\n").await;
    eventually("nothing is under way", || world.under_way() == 0).await;
    let tally = &world.pool(1).tally;
    assert_eq!((tally.sum(|tally| tally.answered.get()), tally.sum(|tally| tally.failed.get())), (1, 1));
}

#[tokio::test]
async fn a_preview_that_is_sent_again_says_nothing_of_its_release() {
    let asked = AtomicUsize::new(0);
    let world =
        world(move |_| if asked.fetch_add(1, Ordering::Relaxed) == 0 { Action::Close } else { ok("shown") }).await;
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\ncookie: cutover-preview={}\r\n\r\n", world.token(1));
    assert_eq!(ask(world.address, &request).await.body(), "shown");
    eventually("nothing is under way", || world.under_way() == 0).await;
    let tally = &world.pool(1).tally;
    assert_eq!((tally.sum(|tally| tally.answered.get()), tally.sum(|tally| tally.failed.get())), (0, 0));
}
