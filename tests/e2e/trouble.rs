//! Behaviour under trouble: targets that fail or refuse, more requests than a pool may have, bodies that are too large,
//! time-outs by service.

use crate::harness::{Answer, Application, Load, RawConnection, RawTarget, Router, SHORT, Setup, until};
use bytes::Bytes;
use http::Method;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Checks that are too rare to take a target out by themselves.
const NO_CHECKS: &str = "[service.health]\ninterval = \"1h\"\ntimeout = \"5s\"\n";

async fn three() -> [Application; 3] {
    [Application::start("first").await, Application::start("second").await, Application::start("third").await]
}

fn addresses(applications: &[Application]) -> Vec<SocketAddr> {
    applications.iter().map(Application::address).collect()
}

/// One pool of these targets, and one that is not used.
async fn before(targets: &[SocketAddr], spare: &Application, tables: &str) -> Router {
    Router::start(setup(targets, spare, tables)).await
}

fn setup(targets: &[SocketAddr], spare: &Application, tables: &str) -> Setup {
    Setup::with_pools(&[("server0", targets[0], "r0"), ("server1", spare.address(), "r1")])
        .targets("server0", targets)
        .one_worker()
        .service_tables(tables)
}

/// The sum of a metric's samples whose labels have this in them.
async fn sum(router: &Router, metric: &str, labels: &str) -> f64 {
    router.metric(metric).await.iter().filter(|(found, _)| found.contains(labels)).map(|(_, value)| value).sum()
}

async fn until_queued(router: &Router, count: f64) {
    until(&format!("{count} requests wait"), SHORT, async || {
        (sum(router, "cutover_queued_requests", "server0").await - count).abs() < 0.5
    })
    .await;
}

/// A visitor who asks for something and waits for the answer.
fn asking(router: &Router, path: &str) -> JoinHandle<Result<Answer, String>> {
    let (mut visitor, path) = (router.visitor(), path.to_owned());
    tokio::spawn(async move { visitor.ask(Method::GET, &path, &[], Bytes::new()).await })
}

async fn status_of(asking: JoinHandle<Result<Answer, String>>) -> u16 {
    asking.await.unwrap().unwrap().status
}

/// How many of the targets are left alone.
fn ejected(view: &serde_json::Value) -> usize {
    let targets = view["pools"]["server0"]["targets"].as_array().unwrap();
    targets.iter().filter(|target| target["ejected_until"].is_string()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_fails_everything_is_ejected_and_comes_back_and_at_most_half_of_a_pool_is() {
    let applications = three().await;
    let spare = Application::start("spare").await;
    let tables = "[service.ejection]\nerrors = 5\ntime = \"4s\"\n";
    let setup = setup(&addresses(&applications), &spare, tables).service("slow_start = \"0s\"");
    let router = Router::start(setup).await;
    applications[0].behave(|behaviour| behaviour.fail = 1.0);
    let mut visitor = router.visitor();
    let mut failed = 0;
    until("the target is ejected", SHORT, async || {
        failed += u32::from(visitor.get("/").await.status == 500);
        ejected(&router.view().await) == 1
    })
    .await;
    assert!((5..=15).contains(&failed), "{failed} failures until it was ejected");
    let view = router.view().await;
    let first = &view["pools"]["server0"]["targets"][0];
    assert!(first["ejected_until"].is_string() && first["healthy"] == true, "{first}");
    assert!(view["warnings"].to_string().contains("left alone"), "{view}");
    let served = applications[0].served();
    for _ in 0..50 {
        assert_eq!(visitor.get("/").await.status, 200, "nobody is sent there");
    }
    assert_eq!(applications[0].served(), served);
    assert!(router.command(&["status"]).await.ok().contains("ejected until"));
    assert!(router.log().contains("target ejected"), "{}", router.log());

    // A second one of three would be more than half.
    applications[1].behave(|behaviour| behaviour.fail = 1.0);
    for _ in 0..60 {
        visitor.get("/").await;
        assert!(ejected(&router.view().await) <= 1);
    }
    for application in &applications {
        application.behave(|behaviour| behaviour.fail = 0.0);
    }
    until("it is back", SHORT, async || {
        visitor.get("/").await;
        applications[0].served() > served && ejected(&router.view().await) == 0
    })
    .await;
    assert!(sum(&router, "cutover_ejections_total", "server0").await >= 1.0);
    assert!(router.history().await.is_empty(), "it is no decision of a rollout's");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_visitors_eject_nobody() {
    let applications = three().await;
    let spare = Application::start("spare").await;
    let router = before(&addresses(&applications), &spare, "").await;
    let mut visitor = router.visitor();
    for _ in 0..40 {
        assert_eq!(visitor.get("/status/404").await.status, 404);
        assert_eq!(visitor.get("/status/501").await.status, 501);
    }
    for _ in 0..30 {
        let mut gone = RawConnection::open(router.address()).await;
        gone.send("GET /gate HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    }
    until("they have gone", SHORT, async || sum(&router, "cutover_inflight_requests", "server0").await < 0.5).await;
    assert_eq!(ejected(&router.view().await), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_visitor_notices_a_target_that_closes_all_connections_and_it_is_soon_left_alone() {
    let [second, third, spare] = three().await;
    let closing = Closing::start().await;
    let targets = [closing.address, second.address(), third.address()];
    let router = Router::start(setup(&targets, &spare, "").health(NO_CHECKS)).await;
    let connected = closing.connections();
    let load = Load::on(router.address()).rate(200.0).without_posts().start();
    until("enough has been asked for", SHORT, async || load.so_far().gets >= 600).await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    let tried = closing.connections() - connected;
    println!("{tried} connections to a target that closes them all, of {} requests", tally.gets);
    assert!((1..=30).contains(&tried), "{tried} connections");
    assert!(sum(&router, "cutover_retries_total", "").await >= 1.0);
    assert_eq!(ejected(&router.view().await), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_to_a_pool_that_fails_wholly_are_bounded() {
    let spare = Application::start("spare").await;
    let broken = RawTarget::answering(b"").await;
    let tables = "[service.retry]\nbudget = 0.1\nmin_per_second = 1\n[service.ejection]\nerrors = 0\n";
    let router = Router::start(setup(&[broken.address()], &spare, tables).health(NO_CHECKS)).await;
    let mut visitor = router.visitor();
    let (start, asked) = (Instant::now(), 500);
    for _ in 0..asked {
        assert_eq!(visitor.get("/").await.status, 502);
    }
    // A tenth of the requests, and one for each second of the last ten and of the time that it took.
    let most = asked + asked / 10 + 11 + start.elapsed().as_secs();
    let sent = broken.requests();
    println!("{sent} requests sent for {asked} that failed");
    assert!((asked + asked / 20..=most).contains(&sent), "{sent} sent for {asked}, at most {most}");
    assert!(sum(&router, "cutover_retries_refused_total", "").await > 100.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_never_has_more_than_its_limit_and_the_others_wait_in_order() {
    let [server0, spare, _] = three().await;
    let tables = "[service.limits]\nmax_in_flight = 1\nqueue = 4\nqueue_wait = \"60s\"\n";
    let router = before(&[server0.address()], &spare, tables).await;
    let first = asking(&router, "/gate");
    until("the first one is there", SHORT, async || server0.in_flight() == 1).await;
    let mut waiting = Vec::new();
    for number in 0..4_u8 {
        waiting.push(asking(&router, &format!("/{number}")));
        until_queued(&router, f64::from(number + 1)).await;
    }
    let refused = router.visitor().get("/refused").await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.header("x-cutover-maintenance"), None, "it is no maintenance");
    // Who hangs up leaves the line.
    waiting.remove(1).abort();
    until_queued(&router, 3.0).await;
    waiting.push(asking(&router, "/4"));
    until_queued(&router, 4.0).await;
    server0.open_gate();
    assert_eq!(status_of(first).await, 200);
    for asking in waiting {
        assert_eq!(status_of(asking).await, 200);
    }
    let order: Vec<String> = server0.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(order, ["/gate", "/0", "/2", "/3", "/4"]);
    assert_eq!(server0.most_in_flight(), 1);
    assert!((sum(&router, "cutover_limited_requests_total", "server0").await - 1.0).abs() < 0.1);
    until_queued(&router, 0.0).await;
    let failed = sum(&router, "cutover_requests_total", "code_class=\"5xx\"").await;
    assert!(failed < 0.5, "what was refused is not charged to the pool");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_limit_holds_and_everyone_is_answered() {
    let [server0, spare, _] = three().await;
    server0.behave(|behaviour| behaviour.delay = Duration::from_millis(10));
    let tables = "[service.limits]\nmax_in_flight = 5\nqueue = 200\nqueue_wait = \"60s\"\n";
    // Two workers share the limit.
    let setup = Setup::before(&server0, &spare).service_tables(tables);
    let router = Router::start(setup).await;
    let load = Load::on(router.address()).connections(40).rate(2000.0).start();
    until("enough has been asked for", SHORT, async || load.so_far().all() >= 1500).await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
    println!("at most {} of 40 at once, of {} requests", server0.most_in_flight(), tally.all());
    assert!((2..=5).contains(&server0.most_in_flight()), "{}", server0.most_in_flight());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_waited_for_too_long_is_told_to_come_back() {
    let [server0, spare, _] = three().await;
    let tables = "[service.limits]\nmax_in_flight = 1\nqueue_wait = \"1s\"\n";
    let router = before(&[server0.address()], &spare, tables).await;
    let first = asking(&router, "/gate");
    until("the first one is there", SHORT, async || server0.in_flight() == 1).await;
    let late = router.visitor().get("/late").await;
    assert_eq!((late.status, late.header("retry-after")), (503, Some("1")));
    until_queued(&router, 0.0).await;
    server0.open_gate();
    assert_eq!(status_of(first).await, 200);
    assert_eq!(router.visitor().get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_a_hold_and_maintenance_move_those_that_wait() {
    let [server0, server1, _] = three().await;
    let tables = "[service.limits]\nmax_in_flight = 1\nqueue_wait = \"60s\"\n";
    let router = before(&[server0.address()], &server1, tables).await;
    let first = asking(&router, "/gate");
    until("the first one is there", SHORT, async || server0.in_flight() == 1).await;
    let waiting = asking(&router, "/maintenance");
    until_queued(&router, 1.0).await;
    router.command(&["mode", "maintenance"]).await.ok();
    assert_eq!(status_of(waiting).await, 503);
    router.command(&["mode", "serve"]).await.ok();

    let waiting = asking(&router, "/hold");
    until_queued(&router, 1.0).await;
    router.command(&["mode", "hold"]).await.ok();
    router.view_when("it waits in the hold", SHORT, |view| view["held_requests"] == 1).await;
    router.command(&["mode", "serve"]).await.ok();
    until_queued(&router, 1.0).await;

    router.command(&["switch", "server1"]).await.ok();
    let moved = waiting.await.unwrap().unwrap();
    assert_eq!((moved.status, moved.by()), (200, "second"), "the old pool is still full");
    server0.open_gate();
    assert_eq!(status_of(first).await, 200);
    assert_eq!(server0.served(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_limits_of_those_that_wait_and_loses_no_count() {
    let [server0, spare, _] = three().await;
    let tables = |most: u8| format!("[service.limits]\nmax_in_flight = {most}\nqueue = 2\nqueue_wait = \"60s\"\n");
    let setup = |most: u8| setup(&[server0.address()], &spare, &tables(most));
    let start = setup(1);
    let (listen, admin) = (start.listen, start.admin);
    let router = Router::start(start).await;
    // An answer that has begun is under way for as long as its body is.
    let first = asking(&router, "/events");
    until("the first one is there", SHORT, async || server0.in_flight() == 1).await;
    let waiting = [asking(&router, "/1"), asking(&router, "/2")];
    until_queued(&router, 2.0).await;
    assert_eq!(router.visitor().get("/").await.status, 503);
    let mut changed = setup(2);
    (changed.listen, changed.admin) = (listen, admin);
    router.write_config(&changed.text());
    router.reload();
    for asking in waiting {
        assert_eq!(status_of(asking).await, 200);
    }
    assert!((sum(&router, "cutover_limited_requests_total", "server0").await - 1.0).abs() < 0.1);
    server0.open_gate();
    assert_eq!(status_of(first).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_becomes_live_fills_up_slowly() {
    let [server0, server1, _] = three().await;
    server1.behave(|behaviour| behaviour.delay = Duration::from_millis(50));
    let tables = "[service.limits]\nmax_in_flight = 20\nqueue_wait = \"60s\"\n";
    let setup = Setup::before(&server0, &server1).one_worker().service("slow_start = \"10m\"").service_tables(tables);
    let router = Router::start(setup).await;
    let started = Instant::now();
    router.command(&["switch", "server1"]).await.ok();
    let load = Load::on(router.address()).connections(10).rate(1000.0).without_posts().start();
    until("enough has been asked for", SHORT, async || load.so_far().all() >= 60).await;
    let tally = load.stop().await;
    assert!(tally.failed_gets.is_empty(), "{tally:?}");
    // Two at first, and one more in each 33 seconds.
    let most = 2 + i64::try_from(started.elapsed().as_secs() / 33).unwrap();
    assert!((1..=most).contains(&server1.most_in_flight()), "{}", server1.most_in_flight());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_recovered_gets_a_small_share_at_first() {
    let applications = three().await;
    let health = "[service.health]\npath = \"/up\"\ninterval = \"250ms\"\ntimeout = \"5s\"\nrise = 1\nfall = 1\n";
    let spare = Application::start("spare").await;
    let setup = setup(&addresses(&applications), &spare, "").service("slow_start = \"10m\"").health(health);
    let router = Router::start(setup).await;
    let healthy =
        |healthy: bool| move |view: &serde_json::Value| view["pools"]["server0"]["targets"][0]["healthy"] == healthy;
    let mut visitor = router.visitor();
    for _ in 0..300 {
        visitor.get("/").await;
    }
    let served = applications[0].served();
    assert!((60..=140).contains(&served), "a third each at first: {served} of 300");
    applications[0].behave(|behaviour| behaviour.health = 503);
    router.view_when("it is down", SHORT, healthy(false)).await;
    applications[0].behave(|behaviour| behaviour.health = 200);
    router.view_when("it is up", SHORT, healthy(true)).await;
    let before = applications[0].served();
    for _ in 0..600 {
        assert_eq!(visitor.get("/").await.status, 200);
    }
    // A tenth of its third, and what has come to it since.
    let came = applications[0].served() - before;
    println!("{came} of 600 requests to a target that has just recovered");
    assert!((3..=60).contains(&came), "{came} of 600");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_too_large_is_a_413_however_it_comes() {
    let [server0, spare, _] = three().await;
    let router = before(&[server0.address()], &spare, "[service.limits]\nmax_body = 1000\n").await;
    let mut visitor = router.visitor();
    let fits = visitor.ask(Method::POST, "/fits", &[], Bytes::from(vec![b'x'; 1000])).await.unwrap();
    assert_eq!(fits.status, 200);
    let head = "POST /long HTTP/1.1\r\nHost: shop.example.com\r\n";
    let mut declared = RawConnection::open(router.address()).await;
    declared.send(&format!("{head}Content-Length: 1001\r\n\r\n")).await;
    let answer = declared.read_until("\r\n\r\n", SHORT).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "at once, before any of it comes: {answer}");
    assert_eq!(server0.seen().len(), 1, "nothing of it reaches the target");

    let mut chunked = RawConnection::open(router.address()).await;
    chunked.send(&format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    for _ in 0..3 {
        chunked.send(&format!("190\r\n{}\r\n", "x".repeat(400))).await;
    }
    let answer = chunked.read_to_end(SHORT).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("too large"), "{answer}");
    until("the target's request is cut", SHORT, async || server0.in_flight() == 0).await;
    assert_eq!(server0.served(), 1, "half a request is none");
    let failed = sum(&router, "cutover_requests_total", "code_class=\"5xx\"").await;
    assert!(failed < 0.5, "the visitor's fault is not the pool's");
    assert_eq!(visitor.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_outs_are_those_of_the_service() {
    let [server0, spare, _] = three().await;
    let tables = "[service.timeouts]\nanswer = \"1s\"\nstall = \"1s\"\n";
    let router = before(&[server0.address()], &spare, tables).await;
    server0.behave(|behaviour| behaviour.delay = Duration::from_secs(40));
    assert_eq!(router.visitor().get("/").await.status, 504);
    server0.behave(|behaviour| behaviour.delay = Duration::ZERO);
    let mut stalled = RawConnection::open(router.address()).await;
    stalled.send("GET /stall HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    let answer = stalled.read_to_end(SHORT).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("data: first\n\n"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_without_file_descriptors_blames_no_target() {
    let [server0, spare, _] = three().await;
    let router = Router::start(setup(&[server0.address()], &spare, "").health(NO_CHECKS)).await;
    let mut visitor = RawConnection::open(router.address()).await;
    // Its own answer, so that there is a connection to the visitor and none to a target.
    visitor.send("GET /.cutover/nothing HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    visitor.read_until("\r\n\r\n", SHORT).await;
    let limit = |files: &str| {
        let id = router.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={files}:")]).status().unwrap();
        assert!(set.success());
    };
    limit("3");
    visitor.send("GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    let answer = visitor.read_until("\r\n\r\n", SHORT).await;
    assert!(answer.contains("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    limit("1024");
    assert!(router.log().contains("LimitNOFILE"), "{}", router.log());
    assert_eq!(router.view().await["pools"]["server0"]["targets"][0]["healthy"], true);
    assert_eq!(router.visitor().get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_that_there_is_no_file_descriptor_for_takes_no_target_down() {
    let [server0, spare, _] = three().await;
    let often = "[service.health]\ninterval = \"100ms\"\ntimeout = \"1s\"\nfall = 1\n";
    let router = Router::start(setup(&[server0.address()], &spare, "").health(often)).await;
    // So that all of it has started.
    assert_eq!(router.visitor().get("/").await.status, 200);
    let limit = |files: &str| {
        let id = router.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={files}:")]).status().unwrap();
        assert!(set.success());
    };
    limit("3");
    until("it is told", SHORT, async || router.log().contains("can't check a target")).await;
    limit("1024");
    let log = router.log();
    assert!(!log.lines().any(|line| line.contains("health changed") && line.contains("Too many")), "{log}");
    assert_eq!(router.view().await["pools"]["server0"]["targets"][0]["healthy"], true);
    // And they go on.
    drop(server0);
    router.view_when("server0 is down", SHORT, |view| view["pools"]["server0"]["targets"][0]["healthy"] == false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_target_with_a_patient_check_does_not_keep_the_router_from_serving() {
    let server0 = Application::start("server0").await;
    let silent = tokio::net::TcpListener::bind(crate::harness::free_address()).await.unwrap();
    let pools = [("server0", server0.address(), "r0"), ("server1", silent.local_addr().unwrap(), "r1")];
    let patient = "[service.health]\npath = \"/\"\ntimeout = \"10m\"\n";
    let router = Router::start(Setup::with_pools(&pools).one_worker().health(patient)).await;
    assert!(router.log().contains("count as up"), "{}", router.log());
    assert_eq!(router.visitor().get("/").await.status, 200);
}

/// A server that accepts connections and closes them at once.
struct Closing {
    address: SocketAddr,
    accepted: std::sync::Arc<std::sync::atomic::AtomicU64>,
    server: JoinHandle<()>,
}

impl Closing {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind(crate::harness::free_address()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = std::sync::Arc::<std::sync::atomic::AtomicU64>::default();
        let count = std::sync::Arc::clone(&accepted);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                drop(stream);
            }
        });
        Self { address, accepted, server }
    }

    fn connections(&self) -> u64 {
        self.accepted.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.server.abort();
    }
}
