//! Who gets the candidate: the share, the cookie, and what else makes a visitor the same visitor.

use crate::harness::{Application, LONG, Router, Setup, Visitor, heavy_turn};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const NEW_VISITORS: u32 = 20_000;

/// How many standard deviations of `n` draws at `share` the candidate's part is away from it.
fn deviations(candidates: u32, n: u32, share: f64) -> f64 {
    let got = f64::from(candidates) / f64::from(n);
    let deviations = (got - share) / (share * (1.0 - share) / f64::from(n)).sqrt();
    println!("{n} draws at {share}: {got:.5}, {deviations:+.2} standard deviations");
    deviations.abs()
}

/// For splits that are tested on the side: a fair one fails this less than once in a million runs.
fn assert_share(candidates: u32, n: u32, share: f64) {
    assert!(deviations(candidates, n, share) < 5.0, "{candidates} of {n} draws, not {share}");
}

async fn split_router(service_tables: &str, server: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).service_tables(service_tables).server(server)).await;
    router.start_held_rollout().await;
    (router, server0, server1)
}

/// Of `n` requests, each by somebody new, those that the candidate answered.
async fn new_visitors(router: &Router, n: u32) -> u32 {
    const CONNECTIONS: u32 = 4;
    let mut crowd = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut visitor = router.visitor();
        crowd.push(tokio::spawn(async move {
            let mut candidates = 0;
            for _ in 0..n / CONNECTIONS {
                visitor.forget();
                let answer = visitor.get("/").await;
                assert_eq!(answer.status, 200);
                assert!(visitor.cookies.contains_key("cutover"), "no cookie for a new visitor of {}", answer.by());
                candidates += u32::from(answer.by() == "server1");
            }
            candidates
        }));
    }
    let mut candidates = 0;
    for visitor in crowd {
        candidates += visitor.await.unwrap();
    }
    candidates
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_20000_new_visitors_the_weights_share_gets_the_candidate() {
    let _turn = heavy_turn().await;
    let (router, _server0, _server1) = split_router("", "").await;
    for percent in [1.0, 10.0, 50.0] {
        router.weigh(percent).await;
        let draw = async || deviations(new_visitors(&router, NEW_VISITORS).await, NEW_VISITORS, percent / 100.0);
        // A fair split is outside once in 370 times; then it must be inside twice in a row.
        if draw().await > 3.0 {
            assert!(draw().await <= 3.0 && draw().await <= 3.0, "the share is not {percent}%");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rising_weight_only_adds_visitors_and_a_falling_one_only_removes_the_last_added() {
    let _turn = heavy_turn().await;
    let (router, _server0, _server1) = split_router("", "").await;
    let mut visitor = router.visitor();
    let mut crowd: Vec<(BTreeMap<String, String>, f64)> = vec![(BTreeMap::new(), f64::INFINITY); 1000];
    // The weight at which each visitor first met the candidate.
    for percent in [1.0, 2.5, 10.0, 25.0, 50.0, 75.0, 99.0] {
        router.weigh(percent).await;
        for (cookies, joined) in &mut crowd {
            visitor.cookies.clone_from(cookies);
            let by = visitor.get("/").await.by().to_owned();
            cookies.clone_from(&visitor.cookies);
            if by == "server1" {
                *joined = joined.min(percent);
            } else {
                assert!(joined.is_infinite(), "joined at {joined}% and was moved back at {percent}%");
            }
        }
    }
    let joined = crowd.iter().filter(|(_, joined)| joined.is_finite()).count();
    assert!(joined > 900, "only {joined} of 1000 met the candidate at up to 99%");
    for percent in [50.0, 2.5] {
        router.weigh(percent).await;
        for (cookies, joined) in &crowd {
            visitor.cookies.clone_from(cookies);
            let expected = if *joined <= percent { "server1" } else { "server0" };
            assert_eq!(visitor.get("/").await.by(), expected, "joined at {joined}%, now {percent}%");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cookie_is_set_only_while_a_split_is_on_and_says_what_it_must() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    assert_eq!(router.visitor().get("/").await.header("set-cookie"), None, "no split is on");
    router.start_held_rollout().await;
    let mut visitor = router.visitor();
    let answer = visitor.get("/").await;
    let cookie = answer.header("set-cookie").expect("a split is on").to_owned();
    let attributes: Vec<_> = cookie.split("; ").collect();
    assert!(cookie.starts_with("cutover="), "{cookie}");
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax"] {
        assert!(attributes.contains(&attribute), "{attribute} in {cookie}");
    }
    assert!(!attributes.contains(&"Secure"), "not on TLS: {cookie}");
    assert_eq!(visitor.get("/").await.header("set-cookie"), None, "who has the cookie is not given another");
    router.api("POST", "/rollout/rollback", None).await.ok();
    assert_eq!(router.visitor().get("/").await.header("set-cookie"), None, "the split is over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_or_foreign_cookie_is_treated_as_none() {
    let (router, _server0, _server1) = split_router("", "").await;
    let (elsewhere, _elsewhere0, _elsewhere1) = split_router("", "").await;
    router.weigh(50.0).await;
    let mut visitor = router.visitor();
    visitor.get("/").await;
    let own = visitor.cookies["cutover"].clone();
    let mut stranger = elsewhere.visitor();
    stranger.get("/").await;
    let foreign = stranger.cookies["cutover"].clone();
    let mut forged: Vec<String> = (0..own.len())
        .map(|place| {
            // Another letter at one place. The last letter of base64 may carry unused bits, so it is not tried.
            let mut bytes = own.clone().into_bytes();
            bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
            String::from_utf8(bytes).unwrap()
        })
        .take(own.len() - 1)
        .collect();
    forged.extend([foreign, String::new(), "server1".into(), format!("{own}x"), "x".repeat(4000), own.to_uppercase()]);
    for cookie in forged {
        visitor.cookies.insert("cutover".into(), cookie.clone());
        let answer = visitor.get("/").await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("set-cookie").is_some(), "{cookie:?} was taken for a cookie of this router's");
    }
    visitor.cookies.insert("cutover".into(), own);
    assert_eq!(visitor.get("/").await.header("set-cookie"), None, "its own cookie is known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_outlives_a_restart_of_the_router() {
    let (router, _server0, _server1) = split_router("", "").await;
    router.weigh(50.0).await;
    let mut crowd = Vec::new();
    for _ in 0..30 {
        let mut visitor = router.visitor();
        let by = visitor.get("/").await.by().to_owned();
        crowd.push((visitor.cookies, by));
    }
    router.kill();
    router.start_again().await;
    let mut visitor = router.visitor();
    for (cookies, by) in crowd {
        visitor.cookies = cookies;
        let answer = visitor.get("/").await;
        assert_eq!((answer.by(), answer.header("set-cookie")), (by.as_str(), None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_release_draws_another_cohort() {
    let (router, _server0, _server1) = split_router("", "").await;
    router.weigh(50.0).await;
    let mut visitor = router.visitor();
    let mut crowd = Vec::new();
    for _ in 0..200 {
        visitor.forget();
        let by = visitor.get("/").await.by().to_owned();
        crowd.push((visitor.cookies.clone(), by));
    }
    router.api("POST", "/rollout/rollback", None).await.ok();
    let body = serde_json::json!({"pool": "server1", "release": "another", "steps": [{"weight": 50, "hold": "1h"}]});
    router.api("POST", "/rollout", Some(body)).await.ok();
    let mut same = 0;
    for (cookies, by) in &crowd {
        visitor.cookies.clone_from(cookies);
        same += usize::from(visitor.get("/").await.by() == by);
    }
    // A fair coin for each; eight standard deviations on either side.
    assert!((44..=156).contains(&same), "{same} of 200 got the same pool as for the release before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_header_the_same_value_gets_the_same_pool_and_no_cookie() {
    let (router, _server0, _server1) = split_router("[service.sticky]\nby = \"header:X-Account\"", "").await;
    router.weigh(50.0).await;
    let mut visitor = router.visitor();
    let n = 1000;
    let mut candidates = 0;
    for account in 0..n {
        let account = format!("account-{account}");
        let first = visitor.get_with("/", &[("x-account", &account)]).await;
        let again = visitor.get_with("/", &[("x-account", &account)]).await;
        assert_eq!(first.by(), again.by(), "{account}");
        assert_eq!(first.header("set-cookie"), None);
        candidates += u32::from(first.by() == "server1");
    }
    assert_share(candidates, n, 0.5);
    let mut without = 0;
    for _ in 0..n {
        without += u32::from(visitor.get("/").await.by() == "server1");
    }
    assert_share(without, n, 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_client_address_the_same_address_gets_the_same_pool() {
    let (router, _server0, _server1) = split_router("[service.sticky]\nby = \"client-ip\"", "").await;
    router.weigh(50.0).await;
    let n = 250;
    let mut candidates = 0;
    for number in 0..n {
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 2, u8::try_from(number + 1).unwrap()));
        let first = Visitor::new(router.address()).from(source).get("/").await;
        // What a visitor who is no trusted proxy says of its address changes nothing.
        let again =
            Visitor::new(router.address()).from(source).get_with("/", &[("x-forwarded-for", "192.0.2.77")]).await;
        assert_eq!(first.by(), again.by(), "{source}");
        assert_eq!(first.header("set-cookie"), None);
        candidates += u32::from(first.by() == "server1");
    }
    assert_share(candidates, n, 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_client_address_a_trusted_proxy_tells_the_address() {
    let (router, _server0, _server1) =
        split_router("[service.sticky]\nby = \"client-ip\"", "trusted_proxies = [\"127.0.0.0/8\"]").await;
    router.weigh(50.0).await;
    let mut proxy = router.visitor();
    let n = 1000;
    let mut candidates = 0;
    for number in 0..n {
        let client = format!("198.51.{}.{}", number / 250, number % 250);
        let first = proxy.get_with("/", &[("x-forwarded-for", &client)]).await;
        // Only the last address was added by the proxy; the visitor may have written those before it.
        let again = proxy.get_with("/", &[("x-forwarded-for", &format!("203.0.113.9, {client}"))]).await;
        assert_eq!(first.by(), again.by(), "{client}");
        candidates += u32::from(first.by() == "server1");
    }
    assert_share(candidates, n, 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_stickiness_each_request_is_drawn_for_itself() {
    let (router, _server0, _server1) = split_router("[service.sticky]\nby = \"none\"", "").await;
    router.weigh(50.0).await;
    let mut visitor = router.visitor();
    let n = 2000;
    let mut candidates = 0;
    for _ in 0..n {
        let answer = visitor.get("/").await;
        assert_eq!(answer.header("set-cookie"), None);
        candidates += u32::from(answer.by() == "server1");
    }
    assert_share(candidates, n, 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_cannot_choose_a_pool() {
    let (router, _server0, _server1) = split_router("", "").await;
    router.weigh(0.01).await;
    let mut visitor = router.visitor();
    let tries =
        [("x-cutover-pool", "server1"), ("x-cutover-release", "r1"), ("cookie", "cutover=server1; pool=server1")];
    for (name, value) in tries {
        for _ in 0..20 {
            visitor.forget();
            // One draw in 10,000 gets the candidate by right; twice in 20 is not by right.
            let first = visitor.get_with("/?pool=server1", &[(name, value)]).await;
            if first.by() == "server1" {
                visitor.forget();
                assert_eq!(visitor.get_with("/", &[(name, value)]).await.by(), "server0", "{name}: {value}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_are_found_by_host_and_longest_path_prefix() {
    let (first, second) = Application::pair().await;
    let third = Application::start("third").await;
    let idle = Application::start("idle").await;
    let setup = Setup::before(&first, &idle).service("hosts = [\"shop.example.com\", \"*.shop.example.com\"]");
    let text = setup.text()
        + &format!(
            r#"
[[service]]
name = "api"
hosts = ["shop.example.com"]
path_prefix = "/api"
[service.pool.server0]
targets = ["{second}"]
[service.pool.server1]
targets = ["{idle}"]

[[service]]
name = "wild"
hosts = ["*.example.com"]
[service.pool.server0]
targets = ["{third}"]
[service.pool.server1]
targets = ["{idle}"]
"#,
            idle = idle.address(),
            second = second.address(),
            third = third.address()
        );
    let router = Router::prepare(setup);
    router.write_config(&text);
    router.start_again().await;
    for (host, path, by) in [
        ("shop.example.com", "/", "server0"),
        ("SHOP.example.com:8080", "/", "server0"),
        ("shop.example.com", "/api", "server1"),
        ("shop.example.com", "/api/v1?q=/", "server1"),
        ("shop.example.com", "/apis", "server0"),
        ("shop.example.com", "/%61pi", "server0"),
        ("eu.shop.example.com", "/api", "server0"),
        ("blog.example.com", "/", "third"),
    ] {
        let answer = router.visitor().of_host(host).get(path).await;
        assert_eq!((answer.status, answer.by()), (200, by), "{host}{path}");
    }
    for host in ["example.com", "example.org", "127.0.0.1"] {
        assert_eq!(router.visitor().of_host(host).get("/").await.status, 404, "{host} has no service");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_spread_over_the_targets_of_a_pool_by_their_load() {
    let _turn = heavy_turn().await;
    let (slow, quick) = Application::pair().await;
    let other = Application::start("other").await;
    let setup = Setup::before(&slow, &other).targets("server0", &[slow.address(), quick.address()]);
    let router = Router::start(setup).await;
    slow.behave(|behaviour| behaviour.delay = std::time::Duration::from_millis(200));
    let mut crowd = Vec::new();
    for _ in 0..16 {
        let mut visitor = router.visitor();
        crowd.push(tokio::spawn(async move {
            for _ in 0..20 {
                assert_eq!(visitor.get("/").await.status, 200);
            }
        }));
    }
    for visitor in crowd {
        tokio::time::timeout(LONG, visitor).await.unwrap().unwrap();
    }
    println!("{} requests by the slow target, {} by the quick one", slow.served(), quick.served());
    assert!(slow.served() > 0 && quick.served() > 2 * slow.served(), "fewer in flight is chosen first");
}
