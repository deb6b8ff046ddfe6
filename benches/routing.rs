//! What the routing decision costs a request, and what a change of the table costs the control plane.
//!
//! `cargo bench --bench routing`
#![allow(clippy::expect_used)] // its own names and addresses are right

use cutover::config::{Caching, Protocol, StickyBy, UnsafeStatus};
use cutover::model::{BasisPoints, HostPattern, PathPrefix, Timestamp};
use cutover::routing::counters::TargetLoad;
use cutover::routing::{
    Asked, Bucketer, Draws, HostIndex, LastVisitor, Live, MaintenanceAnswer, Measures, PerWorker, Pool, Reason,
    RetryAfter, Route, Secret, Split, Table, Target, VisitorId, Waiting, mentions_preview,
};
use cutover::transport::{Means, Reach};
use divan::{Bencher, black_box};
use http::header::{COOKIE, HOST};
use http::{HeaderMap, HeaderValue, Method};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKERS: usize = 8;

fn main() {
    divan::main();
}

fn secret() -> Secret {
    Secret::new(b"a secret of the benchmark")
}

fn pool(name: &str, target: u16) -> Pool {
    let address = format!("127.0.0.1:{target}").parse().expect("an address");
    let reach = Arc::new(Reach::new(address, &Means::default()));
    Pool {
        name: name.parse().expect("a name"),
        release: None,
        name_header: HeaderValue::from_str(name).expect("a header"),
        release_header: None,
        targets: Box::new([Target { reach, load: Arc::new(TargetLoad::new(WORKERS)) }]),
        healthy: Box::new([0]),
        protocol: Protocol::H1,
        warming: Box::default(),
        drained: false,
        load: Arc::new(PerWorker::new(WORKERS)),
        tally: Arc::new(PerWorker::new(WORKERS)),
    }
}

fn answer(reason: Reason) -> Arc<MaintenanceAnswer> {
    Arc::new(MaintenanceAnswer {
        reason,
        retry_after: RetryAfter { until: None, otherwise: Duration::from_secs(120) },
        unsafe_status: UnsafeStatus::default(),
        bypass: Box::default(),
        html: "back soon".into(),
        text: "back soon".into(),
        json: "{}".into(),
    })
}

fn route(name: &str, draws: Option<&Arc<Draws>>, planned: bool) -> Route {
    let service = name.parse().expect("a name");
    let split = draws.map(|draws| Split {
        candidate: 1,
        weight: BasisPoints::try_from(1000).expect("a weight"),
        bucketer: Bucketer::new(&secret(), &service, &"2".parse().expect("a release")),
        draws: Arc::clone(draws),
        seen: Arc::default(),
    });
    Route {
        service,
        pools: Box::new([pool("server0", 9000), pool("server1", 9001)]),
        live: 0,
        split,
        sticky: StickyBy::Cookie,
        caching: Caching::default(),
        skew: None,
        preview: None,
        exempt: Box::default(),
        assets: None,
        planned: planned.then(|| answer(Reason::Planned)),
        restriction: None,
        unplanned: answer(Reason::Unplanned),
        hold: false,
        waiting: Arc::new(Waiting {
            max_wait: Duration::from_secs(5),
            max_requests: 10,
            max_bytes: 10_000,
            restart: Duration::ZERO,
            refusal: answer(Reason::Hold),
        }),
        outage: None,
        bounds: Arc::default(),
        tally: Arc::new(PerWorker::new(WORKERS)),
    }
}

/// A table with that many services, each with a host of its own; the first is `route`.
fn table(route: Route, services: usize) -> Table {
    let prefix: PathPrefix = "/".parse().expect("a prefix");
    let hosts: Vec<[HostPattern; 1]> =
        (0..services).map(|number| [format!("site{number}.example.com").parse().expect("a host")]).collect();
    let index = HostIndex::new(hosts.iter().map(|hosts| (hosts.as_slice(), &prefix)));
    let others = (1..services).map(|number| Arc::new(self::route(&format!("site{number}"), None, false)));
    let services = std::iter::once(Arc::new(route)).chain(others).collect();
    Table { version: 1, hosts: Arc::new(index), services }
}

fn headers(cookie: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("site0.example.com"));
    for (name, value) in [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(cookie) = cookie {
        let pairs = format!("theme=dark; sessionid=0123456789abcdef0123456789abcdef; cutover={cookie}");
        headers.insert(COOKIE, HeaderValue::from_str(&pairs).expect("a header"));
    }
    headers
}

fn decide(bencher: Bencher<'_, '_>, route: Route, headers: &HeaderMap) {
    let (table, secret) = (table(route, 100), secret());
    let last_visitor = LastVisitor::default();
    bencher.bench_local(|| {
        let asked = Asked {
            host: black_box("site0.example.com"),
            method: black_box(&Method::GET),
            query: black_box(None),
            path: black_box("/products/42"),
            headers: black_box(headers),
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            last_visitor: &last_visitor,
            preview_at: headers.get(COOKIE).is_some_and(|line| mentions_preview(line.as_bytes())).then(Timestamp::now),
        };
        black_box(table.route(&asked, &secret));
    });
}

/// The decision on one request.
mod decision {
    use super::{Arc, Bencher, Draws, Instant, Measures, VisitorId, WORKERS, decide, headers, route, secret};

    fn draws() -> Arc<Draws> {
        Arc::new(Draws::new(WORKERS, Instant::now(), Measures::default()))
    }

    #[divan::bench(sample_size = 1000)]
    fn with_a_cookie(bencher: Bencher<'_, '_>) {
        let cookie = VisitorId::random().cookie_value(&secret());
        decide(bencher, route("site0", Some(&draws()), false), &headers(Some(&cookie)));
    }

    #[divan::bench(sample_size = 1000)]
    fn of_a_new_visitor(bencher: Bencher<'_, '_>) {
        decide(bencher, route("site0", Some(&draws()), false), &headers(None));
    }

    #[divan::bench(sample_size = 1000)]
    fn with_a_forged_cookie(bencher: Bencher<'_, '_>) {
        let forged = format!("{}A.{}A", "A".repeat(21), "A".repeat(21));
        decide(bencher, route("site0", Some(&draws()), false), &headers(Some(&forged)));
    }

    #[divan::bench(sample_size = 1000)]
    fn without_a_split(bencher: Bencher<'_, '_>) {
        decide(bencher, route("site0", None, false), &headers(None));
    }

    #[divan::bench(sample_size = 1000)]
    fn in_maintenance(bencher: Bencher<'_, '_>) {
        decide(bencher, route("site0", None, true), &headers(None));
    }
}

/// What a split counts of one request: its dispatch, its head and its end.
mod counting {
    use super::{Bencher, Draws, Instant, Measures, WORKERS};
    use cutover::model::{Check, LatencyCheck, Plan, Until};
    use cutover::routing::{SeenVisitors, Side, VisitorKey, WorkerId};
    use divan::black_box;

    fn count(bencher: Bencher<'_, '_>, checks: Vec<Check>, key: VisitorKey) {
        let epoch = Instant::now();
        let draws = Draws::new(WORKERS, epoch, Measures::of(&Plan { checks, ..Plan::default() }));
        let (seen, worker) = (SeenVisitors::default(), WorkerId(0));
        bencher.bench_local(|| {
            let now = black_box(epoch);
            let dispatch = draws.dispatched(worker, now, Side::Candidate, black_box(key), &seen);
            draws.begins_answer(worker, now, &dispatch);
            draws.decided(worker, now, &dispatch, Until::Head, None, &seen);
            draws.decided(worker, now, &dispatch, Until::End, None, &seen);
        });
    }

    #[divan::bench(sample_size = 1000)]
    fn of_a_sticky_visitor(bencher: Bencher<'_, '_>) {
        count(bencher, Vec::new(), VisitorKey::Sticky(42));
    }

    #[divan::bench(sample_size = 1000)]
    fn of_a_request_without_a_key(bencher: Bencher<'_, '_>) {
        count(bencher, Vec::new(), VisitorKey::Alone);
    }

    #[divan::bench(sample_size = 1000)]
    fn with_latency_checks(bencher: Bencher<'_, '_>) {
        let checks = Until::ALL.map(|until| Check::Latency(LatencyCheck { until, ..LatencyCheck::default() }));
        count(bencher, checks.into(), VisitorKey::Alone);
    }
}

/// One service changes: the next table is built from the old one, and put in force.
#[divan::bench(args = [1, 100, 10_000])]
fn swap(bencher: Bencher<'_, '_>, services: usize) {
    let (live, _ends, _suspicions) = Live::new(WORKERS);
    live.publish(table(route("site0", None, false), services));
    bencher.with_inputs(|| Arc::new(route("site0", None, true))).bench_local_values(|changed| {
        let mut next = Table::clone(&live.table());
        next.version += 1;
        next.services[0] = changed;
        live.publish(next);
    });
}
