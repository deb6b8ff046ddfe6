//! A router for a test: a table made by hand, and real workers.

use crate::config::{
    AccessLog, Caching, Ejection, Protocol, Retry, ServerLimits, ServiceLimits, StickyBy, Timeouts, UnsafeStatus,
};
use crate::model::{
    BasisPoints, Check, HostPattern, Indicator, PathPrefix, Period, Plan, StatusRatioCheck, Timestamp, Until,
};
use crate::proxy::{Door, ProxySettings, Workers, bind, start};
use crate::routing::counters::TargetLoad;
use crate::routing::{
    Bounds, Bucketer, Draws, HostIndex, Link, Live, MaintenanceAnswer, Measures, PerWorker, Pool, ReadOnly, Reason,
    Restriction, RetryAfter, Route, Secret, SeenVisitors, Split, Suspicion, Table, Target, Waiting, Writes,
};
use crate::transport::{Means, Reach};
use http::HeaderValue;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The worker of a test.
pub(super) const WORKERS: usize = 1;

/// A pool of a test.
#[derive(Clone)]
pub(super) struct TestPool {
    pub(super) name: &'static str,
    pub(super) targets: Vec<(String, Arc<TargetLoad>)>,
    pub(super) healthy: bool,
    pub(super) drained: bool,
    pub(super) protocol: Protocol,
    load: Arc<PerWorker<crate::routing::counters::PoolLoad>>,
    pub(super) tally: Arc<PerWorker<crate::routing::counters::PoolTally>>,
}

impl TestPool {
    pub(super) fn new(name: &'static str, targets: &[SocketAddr]) -> Self {
        Self {
            name,
            targets: targets.iter().map(|target| (target.to_string(), Arc::new(TargetLoad::new(WORKERS)))).collect(),
            healthy: true,
            drained: false,
            protocol: Protocol::H1,
            load: Arc::new(PerWorker::new(WORKERS)),
            tally: Arc::new(PerWorker::new(WORKERS)),
        }
    }

    fn pool(&self) -> Pool {
        let targets: Vec<Target> = self
            .targets
            .iter()
            .map(|(address, load)| Target {
                reach: Reach::new(address.parse().unwrap(), &Means::default()).into(),
                load: Arc::clone(load),
            })
            .collect();
        Pool {
            name: self.name.parse().unwrap(),
            release: Some("r1".parse().unwrap()),
            name_header: self.name.parse().unwrap(),
            release_header: Some("r1".parse().unwrap()),
            healthy: if self.healthy { (0..targets.len()).collect() } else { Box::default() },
            targets: targets.into(),
            protocol: self.protocol,
            warming: Box::default(),
            drained: self.drained,
            load: Arc::clone(&self.load),
            tally: Arc::clone(&self.tally),
        }
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.load.sum(|load| load.in_flight.get())
    }

    pub(super) fn rescues(&self) -> u64 {
        self.load.sum(|load| load.rescues.get())
    }

    /// Requests by code class: 1xx to 5xx, aborted.
    pub(super) fn ended(&self) -> [u64; 6] {
        let mut sum = [0; 6];
        for tally in self.tally.iter() {
            sum.iter_mut().zip(tally.by_class()).for_each(|(sum, count)| *sum += count);
        }
        sum
    }

    fn targets_in_flight(&self) -> u64 {
        self.targets.iter().map(|(_, load)| load.in_flight.sum(crate::routing::counters::TargetRequests::get)).sum()
    }
}

/// What a test sets up.
pub(super) struct Setting {
    pub(super) pools: Vec<TestPool>,
    /// The candidate's share; the candidate is the second pool.
    pub(super) weight: Option<u16>,
    pub(super) sticky: StickyBy,
    pub(super) caching: Caching,
    pub(super) skew: Option<usize>,
    pub(super) timeouts: Timeouts,
    pub(super) trusted: Vec<&'static str>,
    pub(super) planned: Option<UnsafeStatus>,
    pub(super) bypass: Vec<&'static str>,
    pub(super) exempt: Vec<&'static str>,
    pub(super) read_only: bool,
    pub(super) hold: bool,
    /// How long requests wait for a target that has stopped listening.
    pub(super) restart: Duration,
    pub(super) outage: Option<Instant>,
    pub(super) limits: ServiceLimits,
    pub(super) retry: Retry,
}

impl Setting {
    pub(super) fn of(pools: Vec<TestPool>) -> Self {
        Self {
            pools,
            weight: None,
            sticky: StickyBy::Cookie,
            caching: Caching::AsIs,
            skew: None,
            timeouts: Timeouts::default(),
            trusted: Vec::new(),
            planned: None,
            bypass: Vec::new(),
            exempt: Vec::new(),
            read_only: false,
            hold: false,
            restart: Duration::ZERO,
            outage: None,
            limits: ServiceLimits::default(),
            retry: Retry::default(),
        }
    }

    pub(super) fn timeouts(mut self, change: impl Fn(&mut Timeouts, Period)) -> Self {
        change(&mut self.timeouts, Period::from_millis(150));
        self
    }
}

/// With every check that the router can count for.
fn measures() -> Measures {
    Measures::of(&Plan { checks: vec![Check::StatusRatio(StatusRatioCheck::default())], ..Plan::default() })
}

/// A running router.
pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) setting: Setting,
    pub(super) live: Live,
    pub(super) suspicions: mpsc::Receiver<Suspicion>,
    pub(super) shutdown: CancellationToken,
    pub(super) draws: Arc<Draws>,
    seen: Arc<SeenVisitors>,
    pub(super) maintenance: Arc<PerWorker<crate::routing::counters::ServiceTally>>,
    pub(super) workers: Workers,
    version: AtomicU64,
    secret: Arc<Secret>,
}

impl World {
    pub(super) fn new(setting: Setting) -> Self {
        let (live, ends, suspicions) = Live::new(WORKERS);
        let secret = Arc::new(Secret::new(b"test"));
        let settings = ProxySettings {
            timeouts: setting.timeouts,
            limits: ServerLimits::default(),
            tls: None,
            redirect: None,
            trusted_proxies: setting.trusted.iter().map(|network| network.parse().unwrap()).collect(),
            access_log: AccessLog::default(),
            secret: Arc::clone(&secret),
            grace: Duration::from_secs(5),
        };
        let listeners = bind(&[Door::plain("127.0.0.1:0".parse().unwrap())], WORKERS).unwrap();
        let address = listeners[0][0].local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let draws = Arc::new(Draws::new(WORKERS, Instant::now(), measures()));
        let seen = Arc::default();
        let maintenance = Arc::new(PerWorker::new(WORKERS));
        let workers = start(settings, listeners, ends, &shutdown).unwrap();
        let version = AtomicU64::new(0);
        let world =
            Self { address, setting, live, suspicions, shutdown, draws, seen, maintenance, workers, version, secret };
        world.publish();
        world
    }

    /// Puts the setting in force as it is now; the table's version.
    pub(super) fn publish(&self) -> u64 {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        let setting = &self.setting;
        let service = "shop".parse().unwrap();
        let split = setting.weight.map(|weight| Split {
            candidate: 1,
            weight: BasisPoints::try_from(weight).unwrap(),
            bucketer: Bucketer::new(&self.secret, &service, &"r2".parse().unwrap()),
            draws: Arc::clone(&self.draws),
            seen: Arc::clone(&self.seen),
        });
        let route = Route {
            service,
            pools: setting.pools.iter().map(TestPool::pool).collect(),
            live: 0,
            split,
            sticky: setting.sticky.clone(),
            caching: setting.caching,
            skew: setting.skew,
            preview: None,
            exempt: setting.exempt.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            assets: None,
            planned: setting.planned.map(|status| self.maintenance_answer(Reason::Planned, status)),
            restriction: setting.read_only.then(|| self.read_only()),
            unplanned: self.maintenance_answer(Reason::Unplanned, UnsafeStatus::default()),
            hold: setting.hold,
            waiting: Arc::new(Waiting {
                max_wait: Duration::from_secs(60),
                max_requests: 10,
                max_bytes: 10_000,
                restart: setting.restart,
                refusal: self.maintenance_answer(Reason::Hold, UnsafeStatus::default()),
            }),
            outage: setting.outage,
            bounds: Arc::new(self.bounds()),
            tally: Arc::clone(&self.maintenance),
        };
        let (hosts, prefix): (_, PathPrefix) = ([HostPattern::Any], "/".parse().unwrap());
        let hosts = Arc::new(HostIndex::new([(hosts.as_slice(), &prefix)].into_iter()));
        self.live.publish(Table { version, hosts, services: Box::new([Arc::new(route)]) });
        version
    }

    fn bounds(&self) -> Bounds {
        let Setting { limits, timeouts, retry, .. } = &self.setting;
        Bounds::new(limits, (*timeouts).into(), *retry, Ejection::default().errors, None, WORKERS)
    }

    fn maintenance_answer(&self, reason: Reason, unsafe_status: UnsafeStatus) -> Arc<MaintenanceAnswer> {
        Arc::new(MaintenanceAnswer {
            reason,
            retry_after: RetryAfter { until: None, otherwise: Duration::from_secs(120) },
            unsafe_status,
            bypass: self.setting.bypass.iter().map(|network| network.parse().unwrap()).collect(),
            html: "<p>back soon</p>".into(),
            text: "back soon\n".into(),
            json: "{\"title\":\"back soon\"}".into(),
        })
    }

    fn read_only(&self) -> Arc<Restriction> {
        let refused = self.maintenance_answer(Reason::ReadOnly, UnsafeStatus::default());
        Arc::new(Restriction {
            read_only: Some(ReadOnly { writes: Writes::Refused(refused), exempt: Box::default() }),
            anonymous: None,
            name: HeaderValue::from_static("read-only"),
        })
    }

    /// Requests that wait.
    pub(super) fn held(&self) -> u64 {
        self.maintenance.sum(|tally| tally.held.get())
    }

    /// Targets that could not be connected to, and that nobody has looked into.
    pub(super) fn suspected(&self) -> usize {
        self.suspicions.len()
    }

    /// The token of a preview link to a pool.
    pub(super) fn token(&self, index: usize) -> String {
        let pool = self.pool(index).name.parse().unwrap();
        let expires = Timestamp::now() + Duration::from_secs(3600);
        Link::to(&"shop".parse().unwrap(), &pool, expires, &self.secret).token()
    }

    pub(super) fn pool(&self, index: usize) -> &TestPool {
        &self.setting.pools[index]
    }

    /// Requests under way, in pools and at targets.
    pub(super) fn under_way(&self) -> u64 {
        self.setting.pools.iter().map(|pool| pool.in_flight() + pool.targets_in_flight()).sum()
    }

    /// Requests, decided ones and failures of both sides over the last ticks: candidate, live.
    pub(super) fn drawn(&self) -> [[u64; 3]; 2] {
        self.counted(Until::Head, Indicator::Failed)
    }

    /// Requests, decided ones and those that were bad in this way, of both sides over the last ticks: candidate, live.
    pub(super) fn counted(&self, until: Until, indicator: Indicator) -> [[u64; 3]; 2] {
        let now = self.draws.tick_at(Instant::now());
        let mut sum = [[0; 3]; 2];
        for tick in now.saturating_sub(60)..=now {
            let counts = self.draws.read(tick, until);
            for (sum, side) in sum.iter_mut().zip([counts.sides.candidate, counts.sides.live]) {
                for (sum, count) in sum.iter_mut().zip([side.requests, side.decided, side.of(indicator).all]) {
                    *sum += count;
                }
            }
        }
        sum
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
