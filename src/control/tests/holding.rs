//! Switches that hold requests meanwhile.

use super::*;
use crate::model::Period;
use crate::routing::WorkerId;
use std::sync::atomic::{AtomicU64, Ordering};

fn held_switch(drain: Option<&str>) -> Command {
    Command::Switch { pool: pool("server1"), drain: drain.map(|drain| drain.parse().unwrap()), hold: true }
}

/// A worker that acknowledges every table; and how often it has counted requests that were under way.
fn acknowledging(bench: &mut Bench) -> (JoinHandle<()>, Arc<AtomicU64>) {
    let mut worker = bench.workers.remove(0);
    let counts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&counts);
    let task = tokio::spawn(async move {
        while let Some(order) = worker.orders.recv().await {
            worker.reports.acknowledge(worker.table.load().version);
            if let Order::Count(of, answer) = order {
                let under_way = of.pools.iter().map(|pool| pool.of(worker.id).in_flight.get()).sum();
                answer.send(under_way).await.unwrap();
                counted.fetch_add(u64::from(under_way > 0), Ordering::SeqCst);
            }
        }
    });
    (task, counts)
}

fn is_held(bench: &Bench) -> bool {
    bench.handle.table().services[0].hold
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_held_from_before_the_last_one_of_the_old_pool_has_ended_until_the_switch_is_made() {
    let mut bench = bench().await;
    let (worker, counts) = acknowledging(&mut bench);
    let load = Arc::clone(&bench.handle.table().services[0].pools[0].load);
    load.of(WorkerId(0)).in_flight.enter();
    let handle = bench.handle.clone();
    let switch = tokio::spawn(async move { handle.command("default", held_switch(None), None).await });
    bench.eventually("held", is_held).await;
    assert_eq!(bench.service().live, pool("server0"));
    assert!(bench.service().warnings.iter().any(|warning| warning.contains("switched to server1")));
    // What has ended before it was counted is not waited for.
    bench.eventually("counted", |_| counts.load(Ordering::SeqCst) > 0).await;
    load.of(WorkerId(0)).in_flight.leave();
    let switched = switch.await.unwrap().unwrap();
    assert_eq!((switched.service.live, switched.drain.unwrap().waited_for), (pool("server1"), 1));
    assert!(!is_held(&bench));
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_with_its_command_when_the_store_takes_nothing() {
    let mut bench = bench().await;
    let (worker, _) = acknowledging(&mut bench);
    bench.set(Disk::Full);
    let refused = bench.command(held_switch(None)).await.unwrap_err();
    assert!(matches!(refused, CommandError::NotStored(_)), "{refused}");
    bench.eventually("let go", |bench| !is_held(bench)).await;
    assert_eq!(bench.service().live, pool("server0"));
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_with_its_command_when_that_is_given_up() {
    let bench = bench().await;
    // No worker acknowledges, so it waits.
    let handle = bench.handle.clone();
    let switch = tokio::spawn(async move { handle.command("default", held_switch(None), None).await });
    bench.eventually("held", is_held).await;
    switch.abort();
    bench.eventually("let go", |bench| !is_held(bench)).await;
    assert_eq!(bench.service().live, pool("server0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_requests_were_held_is_not_switched_over() {
    let mut bench = bench().await;
    let (worker, _) = acknowledging(&mut bench);
    bench.start_rollout().await;
    let load = Arc::clone(&bench.handle.table().services[0].pools[0].load);
    load.of(WorkerId(0)).in_flight.enter();
    let handle = bench.handle.clone();
    let switch = tokio::spawn(async move { handle.command("default", held_switch(None), None).await });
    bench.eventually("held", is_held).await;
    bench.command(Command::Rollback).await.unwrap();
    assert!(is_held(&bench), "a rollback leaves the hold to its switch");
    load.of(WorkerId(0)).in_flight.leave();
    let refused = switch.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("nothing was switched"), "{refused}");
    bench.eventually("let go", |bench| !is_held(bench)).await;
    assert_eq!((bench.service().live, bench.service().phase), (pool("server0"), Phase::RolledBack));
    worker.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_ends_before_the_store_has_the_switch_leaves_the_old_pool_live() {
    let mut bench = bench().await;
    let (worker, _) = acknowledging(&mut bench);
    let mut config = config(&bench.targets);
    config.services[0].hold.max_wait = Period::from_secs(2);
    bench.handle.reload(config).await.unwrap();
    bench.set(Disk::Hanging);
    let handle = bench.handle.clone();
    let switch = tokio::spawn(async move { handle.command("default", held_switch(None), None).await });
    bench.eventually("held", is_held).await;
    bench.eventually("let go", |bench| !is_held(bench)).await;
    bench.set(Disk::Fine);
    let refused = switch.await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("the hold came to its end before the switch"), "{refused}");
    bench.command(Command::Mode { setting: ModeSetting::of(Mode::Maintenance), drain: None }).await.unwrap();
    assert_eq!(bench.service().live, pool("server0"), "who waited went there");
    worker.abort();
}
