//! Requests that wait: in mode hold, and while a switch is made.

use crate::harness::{Application, Load, RawConnection, Router, SHORT, Setup, Visitor, heavy_turn, until};
use bytes::Bytes;
use http::Method;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;

async fn held(router: &Router) -> u64 {
    router.view().await["held_requests"].as_u64().unwrap()
}

async fn until_held(router: &Router, count: u64) {
    router.view_when(&format!("{count} requests wait"), SHORT, |view| view["held_requests"] == count).await;
}

/// A visitor who posts, and waits for the answer.
fn posting(router: &Router, path: String) -> JoinHandle<Result<(u16, String), String>> {
    let mut visitor = router.visitor();
    tokio::spawn(async move {
        let answer = visitor.ask(Method::POST, &path, &[], Bytes::from_static(b"reading=1")).await?;
        Ok((answer.status, answer.by().to_owned()))
    })
}

/// How often the application saw each path.
fn times_seen(application: &Application) -> BTreeMap<String, u32> {
    let mut times = BTreeMap::new();
    for seen in application.seen() {
        *times.entry(seen.target).or_default() += 1;
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_requests_go_on_once_each_and_in_order_of_arrival() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    assert_eq!(router.visitor().get("/before").await.by(), "server0");
    router.command(&["mode", "hold"]).await.ok();
    let mut waiting = Vec::new();
    for number in 0..60 {
        waiting.push(posting(&router, format!("/{number}")));
        until_held(&router, number + 1).await;
    }
    assert_eq!(times_seen(&server0).len(), 1, "nothing comes through");
    let gauge = router.metric("cutover_held_requests").await;
    assert_eq!(gauge, [("service=\"shop\"".to_owned(), 60.0)]);
    // Long enough for the application to note all of a window before the first answer lets another one go.
    server0.behave(|behaviour| behaviour.delay = Duration::from_millis(100));
    router.command(&["mode", "serve"]).await.ok();
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok((200, "server0".to_owned())));
    }
    let order: Vec<String> = server0.seen().into_iter().skip(1).map(|seen| seen.target).collect();
    assert_eq!(order.len(), 60, "none is lost, none is doubled");
    // Those of one window are under way together, and may overtake each other.
    for (place, target) in order.iter().enumerate() {
        let number: usize = target[1..].parse().unwrap();
        assert!(number.abs_diff(place) < 40, "{number} came as {place}: {order:?}");
    }
    let first: Vec<&str> = order[..4].iter().map(String::as_str).collect();
    assert!(["/0", "/1", "/2", "/3"].iter().all(|early| first.contains(early)), "{order:?}");
    assert_eq!(held(&router).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_may_be_left_for_maintenance_or_for_another_pool() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.command(&["mode", "hold"]).await.ok();
    let waiting: Vec<_> = (0..20).map(|number| posting(&router, format!("/{number}"))).collect();
    until_held(&router, 20).await;
    router.command(&["switch", "server1", "--hold"]).await.ok();
    assert_eq!(held(&router).await, 20, "the mode goes on");
    router.command(&["mode", "serve"]).await.ok();
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok((200, "server1".to_owned())));
    }
    router.command(&["mode", "hold"]).await.ok();
    let waiting: Vec<_> = (0..20).map(|number| posting(&router, format!("/{number}"))).collect();
    until_held(&router, 20).await;
    router.command(&["mode", "maintenance"]).await.ok();
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok((503, String::new())));
    }
    assert_eq!((server0.served(), server1.served()), (0, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_exceeds_a_bound_is_told_to_come_back() {
    let (server0, server1) = Application::pair().await;
    let bounds = "[service.hold]\nmax_requests = 5\nmax_bytes = 4000\nmax_wait = \"2s\"\n";
    let router = Router::start(Setup::before(&server0, &server1).one_worker().service_tables(bounds)).await;
    router.command(&["mode", "hold"]).await.ok();
    let mut waiting: Vec<_> = (0..4).map(|number| posting(&router, format!("/{number}"))).collect();
    until_held(&router, 4).await;
    let long = "x".repeat(4000);
    let too_large = router.visitor().ask(Method::GET, "/", &[("x-long", &long)], Bytes::new()).await.unwrap();
    assert_eq!((too_large.status, too_large.header("x-cutover-maintenance")), (503, Some("hold")), "too many bytes");
    waiting.push(posting(&router, "/4".to_owned()));
    until_held(&router, 5).await;
    let too_many = router.visitor().get("/").await;
    assert_eq!(too_many.status, 503);
    assert_eq!(too_many.header("x-cutover-maintenance"), Some("hold"));
    let come_back: u64 = too_many.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=10).contains(&come_back), "after about as long as one waits: {come_back}");
    // And those that wait are told when their time is over.
    for request in waiting {
        assert_eq!(request.await.unwrap(), Ok((503, String::new())));
    }
    assert_eq!((held(&router).await, server0.served()), (0, 0));
    let counted = router.metric("cutover_maintenance_responses_total").await;
    let of = |reason: &str, method: &str| {
        let labels = format!("service=\"shop\",reason=\"{reason}\",method=\"{method}\"");
        counted.iter().find(|(found, _)| *found == labels).unwrap().1
    };
    assert!((of("hold", "GET") - 2.0).abs() < 0.1 && (of("hold", "POST") - 5.0).abs() < 0.1, "{counted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_who_hangs_up_frees_the_place() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.command(&["mode", "hold"]).await.ok();
    let head = |rest: &str| format!("POST /gone HTTP/1.1\r\nHost: shop.example.com\r\n{rest}");
    // As much as goes into the sockets between: behind more, the visitor's end could not be seen.
    let large = "y".repeat(100_000);
    let requests = [
        ("without a body", "GET /gone HTTP/1.1\r\nHost: shop.example.com\r\n\r\n".to_owned()),
        ("with a small body", head("Content-Length: 4\r\n\r\nbody")),
        ("with half a body", head("Content-Length: 100\r\n\r\nhalf")),
        ("with more body than anyone holds", head(&format!("Content-Length: 1000000\r\n\r\n{large}"))),
        ("with a body that is asked for first", head("Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")),
        ("with another behind it", head("Content-Length: 0\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n")),
    ];
    for (what, request) in requests {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(&request).await;
        until(&format!("it waits, {what}"), SHORT, async || held(&router).await == 1).await;
        drop(connection);
        until(&format!("its place is free, {what}"), SHORT, async || held(&router).await == 0).await;
    }
    router.command(&["mode", "serve"]).await.ok();
    assert_eq!(router.visitor().get("/after").await.by(), "server0");
    assert_eq!(times_seen(&server0), BTreeMap::from([("/after".to_owned(), 1)]), "nobody is served who has gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exempt_path_passes_those_that_wait_and_explain_says_why() {
    let (server0, server1) = Application::pair().await;
    let table = "[service.maintenance]\nexempt = [\"/hooks\"]";
    let router = Router::start(Setup::before(&server0, &server1).one_worker().service_tables(table)).await;
    router.start_held_rollout().await;
    router.weigh(50.0).await;
    router.command(&["mode", "hold"]).await.ok();
    let waits = posting(&router, "/waits".to_owned());
    until_held(&router, 1).await;
    assert_eq!(router.visitor().post("/hooks/paid", "paid=1").await.by(), "server0");
    assert_eq!(held(&router).await, 1);
    let explained = router.command(&["explain", "--host", "shop.example.com", "--path", "/hooks/x"]).await.ok();
    assert!(explained.contains("requests are held, and the path is exempt"), "{explained}");
    assert!(explained.contains("it takes no part in the split: server0 is live"), "{explained}");
    router.command(&["mode", "serve"]).await.ok();
    assert_eq!(waits.await.unwrap().unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_stays_with_its_sender_and_arrives_whole() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    router.command(&["mode", "hold"]).await.ok();
    let memory = router.memory();
    let upload = Bytes::from(vec![b'z'; 16 << 20]);
    let uploads: Vec<_> = (0..4)
        .map(|_| {
            let (mut visitor, upload) = (router.visitor(), upload.clone());
            tokio::spawn(async move { visitor.ask(Method::POST, "/upload", &[], upload).await.unwrap().status })
        })
        .collect();
    until_held(&router, 4).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let grown = router.memory().saturating_sub(memory);
    assert!(grown < 16 << 20, "the router holds {grown} bytes for 64 MiB that wait");
    router.command(&["mode", "serve"]).await.ok();
    for upload in uploads {
        assert_eq!(upload.await.unwrap(), 200);
    }
    assert_eq!(server0.uploaded(), 64 << 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_switches_under_a_hold_lose_and_double_nothing() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    for application in [&server0, &server1] {
        application.behave(|behaviour| behaviour.delay = Duration::from_millis(20));
    }
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let load = Load::on(router.address()).rate(300.0).connections(24).start();
    let mut waited_for = 0;
    for turn in 0..20 {
        let (new, old) = if turn % 2 == 0 { ("server1", &server0) } else { ("server0", &server1) };
        let answer = router.api("POST", "/switch", Some(json!({"pool": new, "hold": true}))).await.ok();
        assert_eq!((old.in_flight(), &answer["drain"]["cut"]), (0, &json!(0)), "switch {turn}");
        waited_for += answer["drain"]["waited_for"].as_u64().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let tally = load.stop().await;
    println!("20 switches under a hold waited for {waited_for} requests; {} in all, {} POST", tally.all(), tally.posts);
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{tally:?}");
    assert!(waited_for > 0 && tally.posts > 20);
    assert_eq!(server0.served() + server1.served(), tally.all(), "every request was served once");
    assert_eq!(held(&router).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_under_a_hold_gives_up_when_old_requests_do_not_end_and_cuts_them_when_told() {
    let (server0, server1) = Application::pair().await;
    let bounds = "[service.hold]\nmax_wait = \"4s\"\n";
    let router = Router::start(Setup::before(&server0, &server1).service_tables(bounds)).await;
    let mut stream = RawConnection::open(router.address()).await;
    stream.send("GET /events HTTP/1.1\r\nHost: shop.example.com\r\n\r\n").await;
    stream.read_until("first", SHORT).await;
    let revision = router.view().await["revision"].clone();

    let switch = router.command(&["switch", "server1", "--hold"]);
    let meanwhile = async {
        router.view_when("requests are held", SHORT, |view| view["warnings"].to_string().contains("wait")).await;
        let second = router.command(&["switch", "server1", "--hold"]).await;
        assert!(second.code == 1 && second.err.contains("is under way"), "{second:?}");
        router.visitor().post("/", "waits").await
    };
    let (refused, waited) = tokio::join!(switch, meanwhile);
    assert!(refused.code == 1 && refused.err.contains("1 request is still under way"), "{refused:?}");
    assert!(refused.err.contains("--drain"), "{refused:?}");
    assert_eq!((waited.status, waited.by()), (200, "server0"), "what waited goes on where it would have gone");
    let view = router.view().await;
    assert_eq!((&view["live"], &view["revision"], &view["held_requests"]), (&json!("server0"), &revision, &json!(0)));

    let too_long = router.command(&["switch", "server1", "--hold", "--drain", "10s"]).await;
    assert!(too_long.code == 1 && too_long.err.contains("at most 3s"), "{too_long:?}");
    let switched = router.command(&["--json", "switch", "server1", "--hold", "--drain", "1s"]).await.json();
    assert_eq!((&switched["drain"]["waited_for"], &switched["drain"]["cut"]), (&json!(1), &json!(1)));
    assert_eq!(router.visitor().get("/").await.by(), "server1");
    stream.read_to_end(SHORT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_dies_in_the_middle_of_a_switch_leaves_the_old_pool_live() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let mut slow = router.visitor();
    let _slow = tokio::spawn(async move { slow.ask(Method::GET, "/gate", &[], Bytes::new()).await });
    until("the slow request is in the old pool", SHORT, async || server0.in_flight() == 1).await;
    let mut visitor = router.visitor();
    let waits = async {
        router.view_when("requests are held", SHORT, |view| view["warnings"].to_string().contains("wait")).await;
        let request = tokio::spawn(async move { visitor.ask(Method::POST, "/", &[], Bytes::new()).await });
        until_held(&router, 1).await;
        router.kill();
        request.await.unwrap()
    };
    let (switch, waited) = tokio::join!(router.command(&["switch", "server1", "--hold"]), waits);
    assert!(switch.code != 0 && waited.is_err(), "{switch:?} {waited:?}");
    router.start_again().await;
    assert_eq!(router.view().await["live"], "server0");
    let answer = Visitor::new(router.address()).post("/", "again").await;
    assert_eq!((answer.status, answer.by()), (200, "server0"));
}
