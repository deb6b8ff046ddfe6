//! The control plane against a store that can fail and hang, and targets that accept connections.

mod holding;

use super::ports::{GateFault, GateQuestion, HistoryQuestion, Record, Store, StoreError, StoredService};
use super::*;
use crate::model::view::{HistoryView, ServiceView};
use crate::model::{Gate, Mode, ModeSetting, Phase, PoolName, ServiceName, Until};
use crate::routing::{Order, Side, VisitorKey, WorkerEnd};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Disk {
    Fine,
    Full,
    Hanging,
}

#[derive(Clone)]
struct Memory {
    disk: Arc<Mutex<Disk>>,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Store for Memory {
    fn load(&mut self) -> Result<Vec<StoredService>, StoreError> {
        Ok(Vec::new())
    }

    fn commit(&mut self, record: &Record) -> Result<(), StoreError> {
        while *self.disk.lock().unwrap() == Disk::Hanging {
            std::thread::sleep(Duration::from_millis(5));
        }
        if *self.disk.lock().unwrap() == Disk::Full {
            return Err(StoreError::Unavailable("the disk is full".into()));
        }
        let mut records = self.records.lock().unwrap();
        let stored = records.last().map_or(0, |last: &Record| last.state.revision);
        if record.expected.is_some_and(|expected| expected != stored) {
            return Err(StoreError::Moved(record.service.clone(), stored));
        }
        records.push(record.clone());
        Ok(())
    }

    fn history(&mut self, _: &ServiceName, _: HistoryQuestion) -> Result<Vec<HistoryView>, StoreError> {
        Ok(self.records.lock().unwrap().iter().flat_map(|record| record.history.clone()).collect())
    }

    fn backup(&mut self, _: &Path) -> Result<(), StoreError> {
        Ok(())
    }
}

/// No plan of these tests has a gate.
struct Nobody;

impl GateKeeper for Nobody {
    fn ask<'g>(
        &'g self,
        gate: &'g Gate,
        _: &'g GateQuestion,
    ) -> Pin<Box<dyn Future<Output = Result<String, GateFault>> + Send + 'g>> {
        Box::pin(async move { panic!("{gate:?} was asked") })
    }
}

struct Bench {
    handle: Handle,
    store: Memory,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    targets: Vec<std::net::TcpListener>,
    workers: Vec<WorkerEnd>,
}

/// One service with these pools.
fn config(targets: &[std::net::TcpListener]) -> Config {
    let pools: Vec<String> = targets
        .iter()
        .enumerate()
        .map(|(number, target)| format!("server{number}={}", target.local_addr().unwrap()))
        .collect();
    Config::quick("127.0.0.1:0", &pools, Some("unused.db".into())).unwrap()
}

/// A control plane of one service with two pools that are up.
async fn bench() -> Bench {
    let targets: Vec<_> = (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let config = config(&targets);
    let store = Memory { disk: Arc::new(Mutex::new(Disk::Fine)), records: Arc::default() };
    let (live, workers, suspicions) = Live::new(1);
    let setup = Setup {
        config,
        live: Arc::new(live),
        suspicions,
        secret: Arc::new(Secret::new(b"of the test")),
        store: StoreThread::start(Box::new(store.clone())).unwrap(),
        stored: Vec::new(),
        metrics: None,
        certificates: None,
        gates: Arc::new(Nobody),
        notifier: None,
    };
    let shutdown = CancellationToken::new();
    let (handle, task) = start(setup, shutdown.clone()).await.unwrap();
    let bench = Bench { handle, store, shutdown, task, targets, workers };
    bench.eventually("ready", |bench| bench.handle.has_checked()).await;
    bench
}

impl Bench {
    async fn eventually(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !condition(self) {
            assert!(since.elapsed() < Duration::from_secs(30), "never {what}: {:?}", self.service());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn service(&self) -> ServiceView {
        self.handle.service("default").unwrap()
    }

    fn set(&self, disk: Disk) {
        *self.store.disk.lock().unwrap() = disk;
    }

    async fn command(&self, command: Command) -> Result<ServiceView, CommandError> {
        self.handle.command("default", command, None).await.map(|done| done.service)
    }

    async fn start_rollout(&self) {
        self.command(Command::Start {
            pool: pool("server1"),
            release: None,
            strategy: None,
            steps: None,
            force: false,
        })
        .await
        .unwrap();
        self.eventually("in canary", |bench| bench.service().phase == Phase::Canary).await;
    }
}

fn pool(name: &str) -> PoolName {
    name.parse().unwrap()
}

fn switch(name: &str) -> Command {
    Command::Switch { pool: pool(name), drain: None, hold: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_change_is_stored_before_it_is_in_force() {
    let bench = bench().await;
    bench.set(Disk::Full);
    let refused = bench.command(switch("server1")).await.unwrap_err();
    assert!(matches!(&refused, CommandError::NotStored(reason) if reason.contains("full")), "{refused:?}");
    assert_eq!(bench.service().live, pool("server0"));
    assert!(bench.service().warnings[0].contains("can't be written"), "{:?}", bench.service().warnings);
    bench.set(Disk::Fine);
    let service = bench.command(switch("server1")).await.unwrap();
    assert_eq!((service.live, service.durable), (pool("server1"), true));
    assert_eq!(bench.store.records.lock().unwrap().last().unwrap().state.live, pool("server1"));
    assert!(bench.service().warnings.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_protects_is_in_force_at_once_and_written_when_the_store_takes_it() {
    let bench = bench().await;
    bench.start_rollout().await;
    bench.set(Disk::Full);
    let service = bench.command(Command::Rollback).await.unwrap();
    assert_eq!((service.phase, service.durable), (Phase::RolledBack, false));
    let maintenance = ModeSetting { mode: Mode::Maintenance, ..ModeSetting::default() };
    let service = bench.command(Command::Mode { setting: maintenance, drain: None }).await.unwrap();
    assert_eq!((service.mode, service.durable), (Mode::Maintenance, false));
    assert!(bench.handle.table().services[0].planned.is_some());
    bench.set(Disk::Fine);
    bench.eventually("durable", |bench| bench.service().durable).await;
    let history = bench.handle.history("default", HistoryQuestion::newest(100)).await.unwrap();
    let decisions: Vec<_> = history.iter().map(|entry| entry.decision.as_str()).collect();
    assert_eq!(decisions, ["start", "step", "rollback", "mode"], "nothing is lost and nothing is told twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_store_holds_up_planned_changes_and_no_rollback() {
    let bench = bench().await;
    bench.start_rollout().await;
    bench.eventually("durable", |bench| bench.service().durable).await;
    bench.set(Disk::Hanging);
    let promote = tokio::spawn({
        let handle = bench.handle.clone();
        async move { handle.command("default", Command::Promote, None).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let service = bench.command(Command::Rollback).await.unwrap();
    assert_eq!((service.phase, service.live.clone()), (Phase::RolledBack, pool("server0")));
    let refused = promote.await.unwrap().unwrap_err();
    assert!(matches!(&refused, CommandError::Refused(reason) if reason.contains("came first")), "{refused:?}");
    bench.set(Disk::Fine);
    bench.eventually("durable", |bench| bench.service().durable).await;
    let stored = bench.store.records.lock().unwrap().last().unwrap().state.clone();
    assert_eq!((stored.phase, stored.live), (Phase::RolledBack, pool("server0")), "the last word is what is in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_waited_for_the_store_are_all_answered_also_those_behind_one_that_is_refused() {
    let bench = bench().await;
    bench.set(Disk::Hanging);
    let same = (0..4).map(|_| {
        let handle = bench.handle.clone();
        tokio::spawn(async move { handle.command("default", switch("server1"), None).await.is_ok() })
    });
    let same: Vec<_> = same.collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    bench.set(Disk::Fine);
    let answers = tokio::time::timeout(Duration::from_secs(30), futures_util::future::join_all(same));
    let answers = answers.await.expect("every command is answered");
    assert_eq!(answers.into_iter().filter(|answer| *answer.as_ref().unwrap()).count(), 1, "the others come too late");
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_that_the_store_refused_is_written_when_it_takes_it_also_without_new_requests() {
    let bench = bench().await;
    bench.start_rollout().await;
    bench.eventually("durable", |bench| bench.service().durable).await;
    bench.set(Disk::Full);
    let table = bench.handle.table();
    let split = table.services[0].split.as_ref().unwrap();
    let (worker, now) = (crate::routing::WorkerId(0), Instant::now());
    let request = split.draws.dispatched(worker, now, Side::Candidate, VisitorKey::Alone, &split.seen);
    split.draws.decided(worker, now, &request, Until::Head, None, &split.seen);
    bench.eventually("refused", |bench| !bench.service().warnings.is_empty()).await;
    bench.set(Disk::Fine);
    let exposed = |record: &Record| record.evidence.as_ref().is_some_and(|text| text.contains("\"exposure\":1"));
    bench.eventually("stored", |bench| bench.store.records.lock().unwrap().iter().any(exposed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_on_an_older_revision_is_refused() {
    let bench = bench().await;
    let seen = bench.service().revision;
    bench.command(switch("server1")).await.unwrap();
    let moved = bench.handle.command("default", switch("server0"), Some(seen)).await.unwrap_err();
    assert_eq!(moved, CommandError::Moved { service: "default".parse().unwrap(), revision: seen + 1 });
    bench.handle.command("default", switch("server0"), Some(seen + 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_until_every_worker_has_acknowledged_and_cuts_what_is_left() {
    let mut bench = bench().await;
    let table = bench.handle.table();
    let load = Arc::clone(&table.services[0].pools[0].load);
    load.of(crate::routing::WorkerId(0)).in_flight.enter();
    let mut worker = bench.workers.remove(0);
    let worker = tokio::spawn(async move {
        while let Some(order) = worker.orders.recv().await {
            worker.reports.acknowledge(worker.table.load().version);
            if let Order::Cut(of, cut) = order {
                of.pools[0].of(worker.id).in_flight.leave();
                cut.send(1).await.unwrap();
                return;
            }
        }
    });
    let drain = Command::Switch { pool: pool("server1"), drain: Some("100ms".parse().unwrap()), hold: false };
    let done = bench.handle.command("default", drain, None).await.unwrap();
    let drain = done.drain.unwrap();
    assert_eq!((drain.waited_for, drain.cut), (1, 1));
    assert!(done.service.pools[&pool("server0")].drained);
    worker.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_force_is_written_before_the_router_ends() {
    let bench = bench().await;
    bench.start_rollout().await;
    bench.command(Command::Rollback).await.unwrap();
    bench.shutdown.cancel();
    bench.task.await.unwrap();
    assert_eq!(bench.store.records.lock().unwrap().last().unwrap().state.phase, Phase::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_taken_whole_or_not_at_all() {
    let bench = bench().await;
    let pools = |names: [&str; 2]| {
        let pools = names.map(|name| format!("{name}=127.0.0.1:1{}", name.len()));
        Config::quick("127.0.0.1:0", &pools, Some("unused.db".into())).unwrap()
    };
    let faults = bench.handle.reload(pools(["other", "server1"])).await.unwrap_err();
    assert!(faults.iter().any(|fault| fault.contains("pool server0 is in use")), "{faults:?}");
    bench.handle.reload(pools(["server0", "third-one"])).await.unwrap();
    bench.eventually("with the new pool", |bench| bench.service().pools.contains_key("third-one")).await;
    assert_eq!(bench.handle.table().services[0].pools.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_logs_nobody_in_again_while_everyone_is_to_appear_logged_out() {
    let bench = bench().await;
    let with = |cookies: Option<&str>| {
        let mut config = config(&bench.targets);
        config.services[0].anonymous.cookies = cookies.map(|name| vec![name.to_owned()]);
        config
    };
    bench.handle.reload(with(Some("sessionid"))).await.unwrap();
    bench.command(Command::Mode { setting: ModeSetting::of(Mode::Anonymous), drain: None }).await.unwrap();
    let faults = bench.handle.reload(with(None)).await.unwrap_err();
    assert!(faults.iter().any(|fault| fault.contains("[service.anonymous]")), "{faults:?}");
    bench.handle.reload(with(Some("sid"))).await.unwrap();
    bench.command(Command::Mode { setting: ModeSetting::default(), drain: None }).await.unwrap();
    bench.handle.reload(with(None)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_the_pool_of_a_change_that_is_being_stored() {
    let bench = bench().await;
    bench.set(Disk::Hanging);
    let handle = bench.handle.clone();
    let switched = tokio::spawn(async move { handle.command("default", switch("server1"), None).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pools = ["server0", "other"].map(|name| format!("{name}=127.0.0.1:1{}", name.len()));
    let without = Config::quick("127.0.0.1:0", &pools, Some("unused.db".into())).unwrap();
    let faults = bench.handle.reload(without).await.unwrap_err();
    assert!(faults.iter().any(|fault| fault.contains("pool server1 is in use")), "{faults:?}");
    bench.set(Disk::Fine);
    assert_eq!(switched.await.unwrap().unwrap().service.live, pool("server1"));
}
