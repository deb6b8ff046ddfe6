//! Everything between the accept of a connection and the first byte of HTTP: PROXY headers, versions, limits, families.

use crate::harness::{Application, Issuer, RawConnection, Router, SHORT, Setup, free_address, free_port, until};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const REQUEST: &str = "GET /seen HTTP/1.1\r\nHost: shop.example.com\r\nConnection: close\r\n\r\n";
const V2: &[u8] = b"\r\n\r\n\x00\r\nQUIT\n";
const ADDRESSES: [u8; 12] = [198, 51, 100, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

/// One more door, where a PROXY header comes first.
async fn behind_a_proxy(trusted: &str) -> (Router, Application, Application, SocketAddr) {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).server(&format!("trusted_proxies = [\"{trusted}\"]"));
    let router = Router::prepare(setup);
    let door = free_address();
    let plain = format!("listen = [\"{}\"", router.address());
    let listen = format!("{plain}, {{ address = \"{door}\", proxy_protocol = true }}");
    router.write_config(&router.setup.text().replace(&plain, &listen));
    router.start_again().await;
    (router, server0, server1, door)
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, rest].concat()
}

async fn refused(router: &Router, reason: &str) -> f64 {
    let metric = router.metric("cutover_connections_refused_total").await;
    metric.iter().find(|(labels, _)| labels.contains(reason)).unwrap().1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_proxy_header_that_has_begun_and_not_for_one_that_has_not() {
    let (router, _server0, _server1, door) = behind_a_proxy("127.0.0.1").await;
    let mut silent = RawConnection::open(door).await;
    let mut slow = RawConnection::open(door).await;
    slow.send("PROXY TCP4 ").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    router.signal("TERM");
    let since = Instant::now();
    assert_eq!(silent.read_to_end(SHORT).await, "");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    slow.send(&format!("198.51.100.7 10.0.0.1 12345 443\r\n{REQUEST}")).await;
    assert!(slow.read_to_end(SHORT).await.ends_with("server0\n"));
    assert!(router.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_header_says_who_the_visitor_is() {
    let (router, server0, _server1, door) = behind_a_proxy("127.0.0.1").await;
    let with_tls = [&ADDRESSES[..], &[0x20, 0, 5, 1, 0, 0, 0, 0]].concat();
    for (header, client, proto) in [
        (b"PROXY TCP4 198.51.100.7 10.0.0.1 12345 443\r\n".to_vec(), "198.51.100.7", "http"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n".to_vec(), "2001:db8::7", "http"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1", "http"),
        (v2(0x21, 0x11, &ADDRESSES), "198.51.100.7", "http"),
        (v2(0x21, 0x11, &with_tls), "198.51.100.7", "https"),
        (v2(0x20, 0x00, &[]), "127.0.0.1", "http"),
    ] {
        for in_pieces in [false, true] {
            let mut connection = RawConnection::open(door).await;
            let all = [&header[..], REQUEST.as_bytes()].concat();
            let size = if in_pieces { 1 } else { all.len() };
            for piece in all.chunks(size) {
                connection.try_send(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            let answer = connection.read_to_end(SHORT).await;
            assert!(answer.ends_with("server0\n"), "{header:?}: {answer}");
            let seen = server0.last_seen("/seen");
            assert_eq!(seen.header("x-forwarded-for").as_deref(), Some(client), "{header:?}");
            assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some(proto), "{header:?}");
        }
    }
    assert_eq!(router.visitor().get("/").await.by(), "server0", "the other door asks for none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_send_a_proxy_header_or_sends_none_is_closed() {
    let (router, server0, _server1, door) = behind_a_proxy("127.0.0.1").await;
    let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
    let bad = [REQUEST.as_bytes(), b"PROXY TCP4 1.2.3.4\r\n", long.as_bytes(), &v2(0x21, 0x11, &[0; 600])];
    for bytes in bad {
        let mut connection = RawConnection::open(door).await;
        let _ = connection.try_send(bytes).await;
        assert_eq!(connection.read_to_end(SHORT).await, "", "{bytes:?}");
    }
    assert!((refused(&router, "no-proxy-header").await - 4.0).abs() < 0.1);
    let mut connection = RawConnection::open_from("127.0.8.1".parse().unwrap(), door).await;
    let _ = connection.try_send(format!("PROXY TCP4 198.51.100.7 10.0.0.1 1 2\r\n{REQUEST}").as_bytes()).await;
    assert_eq!(connection.read_to_end(SHORT).await, "");
    assert!((refused(&router, "untrusted-proxy").await - 1.0).abs() < 0.1);
    assert_eq!(server0.served(), 0);
}

async fn curl(options: &str, url: &str) -> String {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-sS", "--max-time", "30"]).args(options.split_whitespace()).arg(url).kill_on_drop(true);
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{options} {url}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_sends_a_proxy_header_before_tls() {
    let (server0, server1) = Application::pair().await;
    let issuer = Issuer::new();
    issuer.issue("a", &["a.example"], 1);
    let door = free_address();
    let listen = format!("{{ address = \"{door}\", proxy_protocol = true }}");
    let server = issuer.tls(&listen, &["a"], "") + "\ntrusted_proxies = [\"127.0.0.0/8\"]";
    let _router = Router::start(Setup::before(&server0, &server1).server(&server)).await;
    let options = format!(
        "--haproxy-protocol --cacert {} --resolve a.example:{}:127.0.0.1",
        issuer.authority().display(),
        door.port()
    );
    for version in ["--http1.1", "--http2"] {
        let text = curl(&format!("{options} {version}"), &format!("https://a.example:{}/tls", door.port())).await;
        assert_eq!(text, "server0\n");
        assert_eq!(server0.last_seen("/tls").header("x-forwarded-proto").as_deref(), Some("https"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_is_told_by_its_preface_however_it_arrives() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let url = format!("http://{}/h2", router.address());
    assert_eq!(curl("--http2-prior-knowledge", &url).await, "server0\n");
    assert_eq!(curl("--http1.1", &url).await, "server0\n");
    // The preface and empty settings.
    let begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut connection = RawConnection::open(router.address()).await;
    for byte in begin {
        connection.try_send(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Its own settings, and that it has taken ours.
    connection.read_until("\0\0\0\x04\x01\0\0\0\0", SHORT).await;
    for begin in ["PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "PRI * HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(begin).await;
        let text = connection.read_until("\r\n", SHORT).await;
        assert!(text.starts_with("HTTP/1.1 ") || text.is_empty(), "{begin:?}: {text:?}");
    }
    // A request that arrives byte by byte, and begins like the other version.
    let mut connection = RawConnection::open(router.address()).await;
    for byte in REQUEST.replace("GET", "PROPFIND").bytes() {
        connection.try_send(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(connection.read_to_end(SHORT).await.ends_with("server0\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_a_preface_has_its_time() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).tables("[server.timeouts]\nhandshake = \"1s\"");
    let router = Router::start(setup).await;
    let since = Instant::now();
    let mut connection = RawConnection::open(router.address()).await;
    connection.send("PRI * HTTP/2.0\r\n").await;
    assert_eq!(connection.read_to_end(SHORT).await, "");
    assert!(since.elapsed() >= Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_has_more_connections_than_one_may() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).one_worker();
    let setup = setup.server("trusted_proxies = [\"127.0.7.0/24\"]");
    let router = Router::start(setup.tables("[server.limits]\nconnections_per_client = 3")).await;
    let mut visitors = Vec::new();
    for _ in 0..3 {
        let mut visitor = router.visitor();
        visitor.get("/").await;
        visitors.push(visitor);
    }
    assert_eq!(RawConnection::open(router.address()).await.read_to_end(SHORT).await, "");
    assert!((refused(&router, "client-limit").await - 1.0).abs() < 0.1);
    for source in ["127.0.9.9", "127.0.7.1", "127.0.7.1", "127.0.7.1", "127.0.7.1"] {
        let mut visitor = router.visitor().from(source.parse().unwrap());
        assert_eq!(visitor.get("/").await.by(), "server0", "{source}");
        visitors.push(visitor);
    }
    let open = router.metric("cutover_connections").await;
    assert_eq!(open, [(String::new(), 8.0)]);
    visitors.drain(..1);
    until("one may come again", SHORT, async || {
        let mut connection = RawConnection::open(router.address()).await;
        let _ = connection.try_send(REQUEST.as_bytes()).await;
        connection.read_to_end(SHORT).await.ends_with("server0\n")
    })
    .await;
    drop(visitors);
    until("all are gone", SHORT, async || router.metric("cutover_connections").await[0].1 < 0.1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_there_may_be_wait() {
    let (server0, server1) = Application::pair().await;
    let setup = Setup::before(&server0, &server1).one_worker();
    let router = Router::start(setup.tables("[server.limits]\nconnections = 2")).await;
    let mut visitors = [router.visitor(), router.visitor()];
    for visitor in &mut visitors {
        visitor.get("/").await;
    }
    let mut waiting = RawConnection::open(router.address()).await;
    waiting.send(REQUEST).await;
    visitors[0].get("/").await;
    assert_eq!(server0.seen().iter().filter(|seen| seen.target == "/seen").count(), 0);
    drop(visitors);
    assert!(waiting.read_to_end(SHORT).await.ends_with("server0\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_families_of_addresses_are_served_on_one_port() {
    let (server0, server1) = Application::pair().await;
    for listen in ["\"[::]:{}\"", "\"0.0.0.0:{}\", \"[::]:{}\"", "\"127.0.0.1:{}\", \"[::1]:{}\""] {
        let router = Router::prepare(Setup::before(&server0, &server1));
        let port = free_port();
        let listen = format!("listen = [{}]", listen.replace("{}", &port.to_string()));
        let plain = format!("listen = [\"{}\"]", router.address());
        router.write_config(&router.setup.text().replace(&plain, &listen));
        router.start_again().await;
        for (host, client) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
            assert_eq!(curl("-g", &format!("http://{host}:{port}/family")).await, "server0\n", "{listen}");
            let seen = server0.last_seen("/family");
            assert_eq!(seen.header("x-forwarded-for").as_deref(), Some(client), "{listen}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_files_may_be_open_than_the_system_begins_with() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1)).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", router.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard]: [u64; 2] = [3, 4].map(|word| files.split_whitespace().nth(word).unwrap().parse().unwrap());
    assert!(hard > 1024, "this machine allows so few that nothing can be told: {files}");
    assert_eq!(soft, hard);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_want_of_file_descriptors_is_not_told_each_time() {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    let id = router.id().to_string();
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count();
    let limit = format!("--nofile={}:", open + 5);
    let set = std::process::Command::new("prlimit").args(["--pid", &id, &limit]).status().unwrap();
    assert!(set.success());
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(RawConnection::open(router.address()).await);
    }
    let told = || router.log().matches("can't accept visitors").count();
    until("it is told", SHORT, async || told() > 0).await;
    // Time to try again many times.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(told(), 1);
    held.drain(1..);
    // Those who have left and were not accepted yet take a descriptor once more, maybe the one for the target's connection.
    until("visitors are served again", SHORT, async || router.visitor().get("/").await.status == 200).await;
}
