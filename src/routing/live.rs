//! The one pointer to the table in force, and what the control plane says to the workers besides.

use super::counters::{PerWorker, PoolLoad, TargetLoad, WorkerId};
use super::doors::DoorTally;
use super::refusals::Refusals;
use super::table::Table;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The table in force.
#[derive(Debug)]
pub struct Live {
    table: Arc<ArcSwap<Table>>,
    seats: Box<[Seat]>,
}

/// What the control plane knows of a worker.
#[derive(Debug)]
struct Seat {
    acknowledged: Arc<AtomicU64>,
    orders: mpsc::Sender<Order>,
    doors: Arc<DoorTally>,
    refusals: Arc<Refusals>,
}

/// A target that gives cause for concern.
#[derive(Debug)]
pub struct Suspicion(pub Arc<TargetLoad>, pub Suspected);

/// What is wrong with a target, as far as a worker can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspected {
    /// It could not be connected to; the control plane looks into it at once.
    Unreachable,
    /// It has failed too many requests in a row.
    Failing,
}

/// What a worker is told besides the table. After each order it acknowledges the table in force.
#[derive(Debug)]
pub enum Order {
    /// There is a newer table: close idle connections to targets that are in it no more.
    Acknowledge,
    /// Answer how many of these requests there are.
    Count(UnderWay, mpsc::Sender<u64>),
    /// End those of these requests that are tunnels, each some time before a drain is over.
    Part(UnderWay, Arc<Parting>),
    /// Cut these requests, and answer how many there were that had not been told to end yet.
    Cut(UnderWay, mpsc::Sender<u64>),
}

/// Requests that are under way.
#[derive(Debug, Clone)]
pub struct UnderWay {
    /// In one of these pools.
    pub pools: Arc<[Arc<PerWorker<PoolLoad>>]>,
    /// Only those that were routed by an older table than this version.
    pub before: Option<u64>,
}

/// The time in which a drain ends its tunnels one by one, so that their visitors don't all come back at once.
#[derive(Debug)]
pub struct Parting {
    /// When the first may end.
    pub from: Instant,
    /// Until the last has begun to.
    pub spread: Duration,
    told: AtomicU64,
}

impl Parting {
    /// Of a drain that began at this moment, and has so much patience.
    #[must_use]
    pub fn of_drain(begun: Instant, patience: Duration) -> Self {
        // Until then they may end by themselves; and the last have time for their goodbyes.
        let (from, goodbyes) = (patience / 2, GOODBYES.min(patience / 4));
        Self { from: begun + from, spread: patience.saturating_sub(from + goodbyes), told: AtomicU64::new(0) }
    }

    /// One more has been told to end.
    pub fn tells(&self) {
        self.told.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have been told.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }
}

/// What is left of a drain's time for the goodbyes of its last tunnels.
const GOODBYES: Duration = Duration::from_secs(2);

/// A worker's end of it.
#[derive(Debug)]
pub struct WorkerEnd {
    /// Its number.
    pub id: WorkerId,
    /// The table in force.
    pub table: Arc<ArcSwap<Table>>,
    /// What it is told.
    pub orders: mpsc::Receiver<Order>,
    /// What it tells.
    pub reports: Reports,
}

/// What a worker tells the control plane.
#[derive(Debug)]
pub struct Reports {
    suspicions: mpsc::Sender<Suspicion>,
    acknowledged: Arc<AtomicU64>,
    doors: Arc<DoorTally>,
    refusals: Arc<Refusals>,
}

impl Reports {
    /// Says that every request of this worker that was routed by an older table than `version` is counted in its
    /// pool by now. True because a worker has one thread, and no request awaits between the two.
    pub fn acknowledge(&self, version: u64) {
        self.acknowledged.store(version, Ordering::Release);
    }

    /// What the worker counts of visitors' connections.
    #[must_use]
    pub fn doors(&self) -> &Arc<DoorTally> {
        &self.doors
    }

    /// Counts a request that was refused with this status for a fault of its own.
    pub fn refuses(&self, status: u16) {
        self.refusals.add(status);
    }

    /// Tells of a target that could not be connected to. Never waits: when much is suspected already, enough is known.
    pub fn suspect(&self, target: &Arc<TargetLoad>) {
        if target.suspect() && !self.tell(target, Suspected::Unreachable) {
            target.cleared();
        }
    }

    /// Tells of a target that fails one request after the other. Never waits either.
    pub fn fails(&self, target: &Arc<TargetLoad>) {
        if target.fails() && !self.tell(target, Suspected::Failing) {
            target.forgiven();
        }
    }

    fn tell(&self, target: &Arc<TargetLoad>, what: Suspected) -> bool {
        self.suspicions.try_send(Suspicion(Arc::clone(target), what)).is_ok()
    }
}

/// Orders that may wait for a worker; more are refused by waiting.
const ORDERS: usize = 16;
/// Suspicions that may wait for the control plane; further ones are dropped.
const SUSPICIONS: usize = 1024;

impl Live {
    /// With an empty table, for that many workers: their ends, and where their suspicions arrive.
    #[must_use]
    pub fn new(workers: usize) -> (Self, Vec<WorkerEnd>, mpsc::Receiver<Suspicion>) {
        let table = Arc::new(ArcSwap::from_pointee(Table::empty()));
        let (suspicions, suspected) = mpsc::channel(SUSPICIONS);
        let (seats, ends) = (0..workers)
            .map(|number| {
                let (orders, told) = mpsc::channel(ORDERS);
                let acknowledged = Arc::new(AtomicU64::new(0));
                let doors = Arc::new(DoorTally::default());
                let refusals = Arc::new(Refusals::default());
                let end = WorkerEnd {
                    id: WorkerId(number),
                    table: Arc::clone(&table),
                    orders: told,
                    reports: Reports {
                        suspicions: suspicions.clone(),
                        acknowledged: Arc::clone(&acknowledged),
                        doors: Arc::clone(&doors),
                        refusals: Arc::clone(&refusals),
                    },
                };
                (Seat { acknowledged, orders, doors, refusals }, end)
            })
            .unzip::<_, _, Vec<_>, _>();
        (Self { table, seats: seats.into() }, ends, suspected)
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.seats.len()
    }

    /// Puts a table in force: the one atomic swap. Requests that come after it see all of it. One caller at a time.
    pub fn publish(&self, table: Table) {
        self.table.store(Arc::new(table));
        for seat in &self.seats {
            // A full queue holds an order that makes the worker acknowledge already.
            let _ = seat.orders.try_send(Order::Acknowledge);
        }
    }

    /// What the workers count of visitors' connections.
    pub fn doors(&self) -> impl Iterator<Item = &DoorTally> {
        self.seats.iter().map(|seat| &*seat.doors)
    }

    /// How many requests were refused for a fault of their own, by status and worker.
    pub fn refusals(&self) -> impl Iterator<Item = (u16, u64)> {
        self.seats.iter().flat_map(|seat| seat.refusals.counts())
    }

    /// Whether every worker has acknowledged this version or a newer one.
    #[must_use]
    pub fn acknowledged(&self, version: u64) -> bool {
        self.seats.iter().all(|seat| seat.acknowledged.load(Ordering::Acquire) >= version)
    }

    /// How many of these requests there are.
    pub async fn count(&self, of: &UnderWay) -> u64 {
        match of.before {
            None => of.pools.iter().map(|pool| pool.sum(|load| load.in_flight.get())).sum(),
            // Only the workers know when a request came.
            Some(_) => self.ask(|answer| Order::Count(of.clone(), answer)).await,
        }
    }

    /// Has every worker end those of these requests that are tunnels, in that time.
    pub async fn part(&self, of: &UnderWay, parting: &Arc<Parting>) {
        for seat in &self.seats {
            // A worker that has ended has no tunnels.
            let _ = seat.orders.send(Order::Part(of.clone(), Arc::clone(parting))).await;
        }
    }

    /// Has every worker cut these requests; how many there were that had not been told to end yet.
    pub async fn cut(&self, of: &UnderWay) -> u64 {
        self.ask(|answer| Order::Cut(of.clone(), answer)).await
    }

    /// Gives an order to every worker; the sum of their answers.
    async fn ask(&self, order: impl Fn(mpsc::Sender<u64>) -> Order) -> u64 {
        let (answer, mut answers) = mpsc::channel(self.seats.len().max(1));
        for seat in &self.seats {
            // A worker that has ended has no requests.
            let _ = seat.orders.send(order(answer.clone())).await;
        }
        drop(answer);
        let mut sum = 0;
        while let Some(count) = answers.recv().await {
            sum += count;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_end_in_the_second_half_of_a_drain_and_leave_time_for_the_last_goodbyes() {
        let begun = Instant::now();
        for times in [[30_000, 15_000, 13_000], [2000, 1000, 500], [0, 0, 0]] {
            let [patience, from, spread] = times.map(Duration::from_millis);
            let parting = Parting::of_drain(begun, patience);
            assert_eq!((parting.from, parting.spread), (begun + from, spread), "{patience:?}");
        }
    }
}
