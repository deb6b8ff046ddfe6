//! A worker: one thread, and all that its requests share.

use super::access_log::{self, Sampler};
use super::budget::RescueBudget;
use super::clients::Clients;
use super::connections::Connections;
use super::crowd::Lines;
use super::http2::Hands;
use super::multiplex::Links;
use super::queue::Queues;
use super::retries::Retries;
use super::skew::SecondLooks;
use super::upstream::{KeptConnections, NotConnected};
use super::visitor::Visitors;
use super::{DoorSocket, ProxySettings, listener};
use crate::routing::{Dice, Order, Reports, Table, WorkerEnd, WorkerId};
use crate::transport::ConnectError;
use arc_swap::{ArcSwap, Cache};
use bytes::Bytes;
use http::HeaderValue;
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often kept connections are looked through for ones that were idle for too long, and requests are counted for
/// retries.
const SWEEP: Duration = Duration::from_secs(1);

/// How often a limit of this machine's is told of at most.
pub(super) const TELL: Duration = Duration::from_secs(10);

/// What the requests of one thread share.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) settings: Arc<ProxySettings>,
    pub(super) reports: Reports,
    pub(super) dice: Dice,
    pub(super) kept: KeptConnections,
    pub(super) links: Links,
    pub(super) hands: Hands,
    pub(super) visitors: Visitors,
    pub(super) connections: Rc<Connections>,
    pub(super) clients: Rc<Clients>,
    pub(super) rescues: RescueBudget,
    pub(super) retries: Retries,
    pub(super) second_looks: SecondLooks,
    pub(super) queues: Queues,
    pub(super) lines: Lines,
    pub(super) log: Sampler,
    pub(super) request_ids: RequestIds,
    newest: RefCell<Newest>,
    now: Cell<Instant>,
    date: RefCell<(Instant, HeaderValue)>,
    /// When it was told last that this machine has no more of what connections take.
    told: Cell<Option<Instant>>,
}

/// A table, behind a count that belongs to this thread alone: the shared one would be moved between cores by every
/// request.
pub(super) struct Snapshot(Arc<Table>);

impl Deref for Snapshot {
    type Target = Table;
    fn deref(&self) -> &Table {
        &self.0
    }
}

/// The newest table that this worker has seen.
struct Newest {
    cache: Cache<Arc<ArcSwap<Table>>, Arc<Table>>,
    snapshot: Rc<Snapshot>,
}

impl Worker {
    pub(super) fn new(
        settings: Arc<ProxySettings>,
        log: Sampler,
        table: Arc<ArcSwap<Table>>,
        id: WorkerId,
        reports: Reports,
    ) -> Self {
        let now = Instant::now();
        let newest = Newest { snapshot: Rc::new(Snapshot(table.load_full())), cache: Cache::new(table) };
        Self {
            id,
            connections: Connections::new(Arc::clone(reports.doors())),
            clients: Clients::new(settings.limits.connections_per_client),
            settings,
            reports,
            dice: Dice::new(rand::random()),
            kept: KeptConnections::default(),
            links: Links::default(),
            hands: Hands::default(),
            visitors: Visitors::default(),
            rescues: RescueBudget::new(now),
            retries: Retries::default(),
            second_looks: SecondLooks::default(),
            queues: Queues::default(),
            lines: Lines::default(),
            log,
            request_ids: RequestIds::default(),
            newest: RefCell::new(newest),
            now: Cell::new(now),
            date: RefCell::new((now, date(SystemTime::now()))),
            told: Cell::new(None),
        }
    }

    /// The table in force.
    pub(super) fn table(&self) -> Rc<Snapshot> {
        let mut newest = self.newest.borrow_mut();
        let Newest { cache, snapshot } = &mut *newest;
        let table = cache.load();
        if !Arc::ptr_eq(table, &snapshot.0) {
            *snapshot = Rc::new(Snapshot(Arc::clone(table)));
        }
        Rc::clone(snapshot)
    }

    /// The time at which the task that runs now was woken. Reading the clock once per wake-up is enough.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Reads the clock.
    pub(super) fn tick(&self) -> Instant {
        let now = Instant::now();
        self.now.set(now);
        now
    }

    /// What the `Date` of an answer says now. It is read from the clock of the machine once per second.
    pub(super) fn date(&self) -> HeaderValue {
        let mut known = self.date.borrow_mut();
        if self.now().saturating_duration_since(known.0) >= Duration::from_secs(1) {
            *known = (self.now(), date(SystemTime::now()));
        }
        known.1.clone()
    }

    /// What it means that a connection could not be made. Says so, not each time, where it was for want of something
    /// that is this machine's to give.
    pub(super) fn not_connected(&self, error: &ConnectError) -> NotConnected {
        if !error.is_limit_here() {
            return NotConnected::Unreachable;
        }
        let now = self.now();
        if self.told.get().is_none_or(|told| now.saturating_duration_since(told) >= TELL) {
            self.told.set(Some(now));
            tracing::error!(
                %error,
                "can't connect to targets, and no target is to blame: visitors get 503; raise the limit of open files (LimitNOFILE), or the range of ports (net.ipv4.ip_local_port_range)"
            );
        }
        NotConnected::LimitHere
    }

    fn obey(&self, order: Order) {
        let table = self.table();
        self.reports.acknowledge(table.version);
        self.queues.look(&table, self.tick());
        self.lines.look(self, &table);
        self.retries.follow(self);
        match order {
            Order::Acknowledge => {
                self.kept.keep_only(&table);
                self.links.keep_only(&table);
            }
            // Only one answer per worker is ever sent, and there is room for all.
            Order::Count(of, answer) => drop(answer.try_send(self.visitors.count_of(&of))),
            Order::Part(of, parting) => self.visitors.part(&of, &parting, &self.dice),
            Order::Cut(of, answer) => drop(answer.try_send(self.visitors.cut(&of))),
        }
    }
}

fn date(now: SystemTime) -> HeaderValue {
    let text = httpdate::fmt_http_date(now);
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static(""))
}

/// Runs a worker until the shutdown, and until its requests have ended or the grace is over.
pub(super) async fn run(
    settings: Arc<ProxySettings>,
    log: Option<access_log::Log>,
    listeners: Vec<DoorSocket>,
    end: WorkerEnd,
    shutdown: CancellationToken,
) {
    let WorkerEnd { id, table, mut orders, reports } = end;
    let grace = settings.grace;
    let sampler = Sampler::new(log, settings.access_log.sample);
    let worker = Rc::new(Worker::new(settings, sampler, table, id, reports));
    let accept = |listener| tokio::task::spawn_local(listener::accept(Rc::clone(&worker), listener, shutdown.clone()));
    let doors: Vec<_> = listeners.into_iter().map(accept).collect();
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = pin!(tokio::time::sleep(Duration::ZERO));
    let end = async {
        shutdown.cancelled().await;
        worker.visitors.close(worker.tick());
        worker.queues.close();
        for door in doors {
            // Its faults were told by itself.
            let _ = door.await;
        }
        // What is left after the grace is cut when the runtime ends.
        let _ = tokio::time::timeout(grace, worker.connections.gone()).await;
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            Some(order) = orders.recv() => worker.obey(order),
            _ = sweep.tick() => {
                worker.kept.sweep(worker.tick());
                worker.links.sweep(worker.now());
                worker.hands.sweep();
                worker.retries.follow(&worker);
            }
            () = &mut look => {
                let next = worker.visitors.look(worker.tick());
                look.as_mut().reset(tokio::time::Instant::now() + next);
            }
            () = &mut end => break,
        }
    }
}

/// Makes `X-Request-Id`s: a random half for the worker, and a number.
#[derive(Debug)]
pub(super) struct RequestIds {
    next: Cell<[u8; 32]>,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::beginning_with(rand::random())
    }
}

impl RequestIds {
    /// All that begin like this, as hexadecimal digits; the other half of the digits counts.
    fn beginning_with(prefix: u64) -> Self {
        let mut next = [b'0'; 32];
        for (digit, written) in next.iter_mut().zip(format!("{prefix:016x}").bytes()) {
            *digit = written;
        }
        Self { next: Cell::new(next) }
    }

    /// One that was never made before.
    pub(super) fn make(&self) -> HeaderValue {
        let text = self.next.get();
        let mut next = text;
        for digit in next[16..].iter_mut().rev() {
            *digit = match *digit {
                b'9' => b'a',
                b'f' => b'0',
                digit => digit + 1,
            };
            if *digit != b'0' {
                break;
            }
        }
        self.next.set(next);
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_differ_and_are_hexadecimal() {
        let ids = RequestIds::beginning_with(0x0123_4567_89ab_cdef);
        for number in 0..5000 {
            assert_eq!(ids.make(), format!("0123456789abcdef{number:016x}").as_str());
        }
        ids.next.set(*b"0123456789abcdefffffffffffffffff");
        assert_eq!(ids.make(), "0123456789abcdefffffffffffffffff");
        assert_eq!(
            ids.make(),
            "0123456789abcdef0000000000000000",
            "after half a million years at a million in a second"
        );
    }
}
