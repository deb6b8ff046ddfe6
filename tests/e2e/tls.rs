//! TLS with visitors, by curl and openssl, and the certificates that they are shown.

use crate::harness::{Application, Issuer, LONG, RawConnection, Router, SHORT, Setup, free_address, run_binary, until};
use futures_util::future::join_all;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsConnector;

struct World {
    router: Router,
    server0: Application,
    _server1: Application,
    issuer: Issuer,
    tls: SocketAddr,
}

/// A router for `a.example` (number 1), and for `b.example` and those below it (number 2).
async fn world(keys: &str, change: impl FnOnce(Setup) -> Setup) -> World {
    let (server0, server1) = Application::pair().await;
    let issuer = Issuer::new();
    issuer.issue("a", &["a.example"], 1);
    issuer.issue("b", &["b.example", "*.b.example"], 2);
    let tls = free_address();
    let server = issuer.tls(&format!("\"{tls}\""), &["a", "b"], keys);
    let router = Router::start(change(Setup::before(&server0, &server1).server(&server))).await;
    World { router, server0, _server1: server1, issuer, tls }
}

async fn shell(script: &str) -> (bool, String) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await.expect(script).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text.into_owned())
}

impl World {
    /// What visitors speak TLS by who trust its authority.
    fn connector(&self) -> TlsConnector {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.issuer.authority()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_root_certificates(roots).with_no_client_auth()).into()
    }

    /// What curl gets, its words after it.
    async fn curl(&self, host: &str, path: &str, options: &str) -> (bool, String) {
        let (address, authority) = (self.tls, self.issuer.authority());
        shell(&format!(
            "curl -sS -i --max-time 30 --cacert {} --resolve {host}:{}:{} {options} https://{host}:{}{path}",
            authority.display(),
            address.port(),
            address.ip(),
            address.port(),
        ))
        .await
    }

    /// The number of the certificate that a visitor is shown who asks for a name.
    async fn number(&self, name: &str) -> String {
        let name = if name.is_empty() { "-noservername".to_owned() } else { format!("-servername {name}") };
        let script = format!("openssl s_client -connect {} {name} </dev/null | openssl x509 -noout -serial", self.tls);
        let (_, text) = shell(&script).await;
        text.lines().find_map(|line| line.strip_prefix("serial=")).unwrap_or(&text).to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_served_by_every_version_of_tls_and_http() {
    let world = world("", |setup| setup).await;
    for (options, version) in [
        ("--http1.1 --tls-max 1.2", "HTTP/1.1 200"),
        ("--http1.1 --tlsv1.3", "HTTP/1.1 200"),
        ("--no-alpn", "HTTP/1.1 200"),
        ("--http2 --tls-max 1.2", "HTTP/2 200"),
        ("--http2 --tlsv1.3", "HTTP/2 200"),
    ] {
        let (ok, text) = world.curl("a.example", "/curl", options).await;
        assert!(ok && text.starts_with(version) && text.ends_with("server0\n"), "{options}: {text}");
        let seen = world.server0.last_seen("/curl");
        assert_eq!(seen.header("x-forwarded-proto").as_deref(), Some("https"), "{options}");
        assert_eq!(seen.header("x-forwarded-for").as_deref(), Some("127.0.0.1"), "{options}");
    }
    let (ok, text) = world.curl("a.example", "/old", "--tlsv1.0 --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0").await;
    assert!(!ok, "{text}");
    let failures = world.router.metric("cutover_tls_handshake_failures_total").await;
    assert!(failures[0].1 >= 1.0, "{failures:?}");
    world.router.start_held_rollout().await;
    let (_, text) = world.curl("a.example", "/cookie", "--http1.1").await;
    let cookie = text.lines().find(|line| line.to_lowercase().starts_with("set-cookie: cutover="));
    assert!(cookie.is_some_and(|cookie| cookie.contains("; Secure")), "{text}");
    let log = world.router.log() + &world.router.output();
    assert!(log.contains("serving TLS") && log.contains(&world.tls.to_string()), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_name_has_its_certificate_and_the_first_is_for_all_others() {
    let world = world("", |setup| setup).await;
    for (name, number) in [
        ("a.example", "01"),
        ("b.example", "02"),
        ("c.b.example", "02"),
        ("d.c.b.example", "01"),
        ("other.test", "01"),
        ("", "01"),
    ] {
        assert_eq!(world.number(name).await, number, "{name}");
    }
    for host in ["a.example", "b.example", "C.B.Example"] {
        let (ok, text) = world.curl(host, "/", "").await;
        assert!(ok, "{host}: {text}");
    }
    let (ok, _) = world.curl("other.test", "/", "").await;
    assert!(!ok, "curl refuses a certificate of another name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oldest_version_can_be_1_3() {
    let world = world(", min_version = \"1.3\"", |setup| setup).await;
    let (ok, text) = world.curl("a.example", "/", "--tls-max 1.2").await;
    assert!(!ok, "{text}");
    assert!(world.curl("a.example", "/", "").await.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_resumed_whichever_worker_gets_them() {
    let world = world("", |setup| setup).await;
    let session = world.issuer.chain("session");
    let request = "GET / HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let client = |how: &str| {
            format!(
                "printf '{request}' | openssl s_client -connect {} -servername a.example -ign_eof {version} {how} {}",
                world.tls,
                session.display()
            )
        };
        let (_, first) = shell(&client("-sess_out")).await;
        assert!(first.contains("New, TLSv1") && first.contains("server0"), "{version}: {first}");
        for _ in 0..6 {
            let (_, again) = shell(&client("-sess_in")).await;
            assert!(again.contains("Reused, TLSv1") && again.contains("server0"), "{version}: {again}");
        }
    }
}

/// Visitors who come again and again, with and without keeping their connection.
async fn visit(client: reqwest::Client, url: String, done: Arc<AtomicBool>, answers: Arc<AtomicU64>) -> Vec<String> {
    let mut failures = Vec::new();
    while !done.load(Ordering::Relaxed) {
        match client.get(&url).send().await {
            Ok(answer) if answer.status() == 200 => {
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(answer) => failures.push(answer.status().to_string()),
            Err(error) => failures.push(format!("{error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    failures
}

/// Three new certificates for `a.example`, each shown to new visitors before the next.
async fn change_thrice(world: &World, answers: &AtomicU64) {
    for number in 3..6 {
        let before = answers.load(Ordering::Relaxed);
        world.issuer.issue("a", &["a.example"], number);
        until("the new certificate is shown", SHORT, async || world.number("a.example").await == format!("0{number}"))
            .await;
        until("visitors are served", SHORT, async || answers.load(Ordering::Relaxed) > before + 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_change_under_load_without_a_lost_request() {
    let world = world("", |setup| setup).await;
    let (done, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let authority = reqwest::Certificate::from_pem(&std::fs::read(world.issuer.authority()).unwrap()).unwrap();
    let mut visitors = Vec::new();
    for kept in [8, 0] {
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([authority.clone()]);
        let builder = builder.resolve("a.example", world.tls).pool_max_idle_per_host(kept).timeout(SHORT);
        let url = format!("https://a.example:{}/visit", world.tls.port());
        let client = builder.build().unwrap();
        visitors.push(tokio::spawn(visit(client, url, Arc::clone(&done), Arc::clone(&answers))));
    }
    // One connection by HTTP/2 that outlasts at least the first change.
    let by_http2 = world.curl("a.example", "/visit?[1-100]", "--http2 --rate 20/s -w '=%{http_version}\\n'");
    let changes = change_thrice(&world, &answers);
    let ((ok, text), ()) = tokio::join!(by_http2, changes);
    assert!(ok && text.matches("=2\n").count() == 100 && text.matches("server0").count() >= 100, "{text}");
    done.store(true, Ordering::Relaxed);
    for visitor in visitors {
        assert_eq!(visitor.await.unwrap(), [""; 0]);
    }
    assert_eq!(world.number("b.example").await, "02", "the other stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_certificate_is_refused_loudly_and_the_old_one_stays() {
    let world = world("", |setup| setup).await;
    let expiry = world.router.metric("cutover_certificate_expiry_timestamp_seconds").await;
    assert!(expiry.len() == 2 && expiry.iter().all(|(_, at)| *at > 2.5e9), "{expiry:?}");
    let other = std::fs::read(world.issuer.key("b")).unwrap();
    let warned = async |part: &str| {
        let ready = world.router.readiness().await;
        ready.status == 200
            && ready.json()["warnings"].as_array().unwrap().iter().any(|warning| {
                let warning = warning.as_str().unwrap();
                warning.contains("the old one stays") && warning.contains(part)
            })
    };
    std::fs::write(world.issuer.key("a"), other).unwrap();
    until("another's key is refused", SHORT, async || warned("not the key of the first certificate").await).await;
    assert_eq!(world.number("a.example").await, "01");
    let told = world.router.log() + &world.router.output();
    assert!(told.contains("ERROR") && told.contains("the old one stays"), "{told}");
    let status = world.router.command(&["status"]).await.ok();
    assert!(status.contains("a new certificate is refused"), "{status}");

    world.issuer.issue_until("a", &["a.example"], 7, 2024);
    until("one that has expired is refused", SHORT, async || warned("this certificate has expired").await).await;
    assert_eq!(world.number("a.example").await, "01");
    world.issuer.issue("a", &["a.example"], 8);
    world.router.reload();
    until("a good one is taken", SHORT, async || world.number("a.example").await == "08").await;
    until("the warning has gone", SHORT, async || !warned("").await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_faults_of_certificates_with_their_line() {
    let (server0, server1) = Application::pair().await;
    let issuer = Issuer::new();
    issuer.issue("good", &["a.example"], 1);
    issuer.issue_until("late", &["a.example"], 2, 2024);
    std::fs::copy(issuer.key("late"), issuer.key("other")).unwrap();
    std::fs::copy(issuer.chain("good"), issuer.chain("other")).unwrap();
    let tls = issuer.tls(&format!("\"{}\"", free_address()), &["good", "late", "other"], "");
    let router = Router::prepare(Setup::before(&server0, &server1).server(&tls));
    let config = router.config();
    let checked = run_binary(&["check", "--config", config.to_str().unwrap()], &[], SHORT).await;
    assert_eq!(checked.code, 2, "{checked:?}");
    let line = |path: &str, part: &str| {
        let found = checked.err.lines().find(|line| line.contains(path));
        assert!(
            found.is_some_and(|line| line.contains("cutover.toml:4:") && line.contains(part)),
            "{path}: {checked:#?}"
        );
    };
    line("server.tls.certificates[1].chain", "has expired, on 2024-01-01");
    line("server.tls.certificates[2].key", "not the key of the first certificate");
    assert!(checked.err.contains("2 faults"), "{checked:?}");
    let run = run_binary(&["run", "--config", config.to_str().unwrap()], &[], SHORT).await;
    assert!(run.code != 0 && run.err.contains("TLS can't be spoken: ") && run.err.contains("other.key"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitors_without_tls_are_sent_to_it() {
    let world = world(", redirect = 8443", |setup| setup.server("trusted_proxies = [\"127.0.7.0/24\"]")).await;
    let mut visitor = world.router.visitor().of_host("a.example:8080");
    let answer = visitor.get("/a%2Fb?x=%20y").await;
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://a.example:8443/a%2Fb?x=%20y")));
    let answer = visitor.post("/form", "a=b").await;
    assert_eq!((answer.status, answer.header("location")), (308, Some("https://a.example:8443/form")));
    let answer = visitor.get("/.well-known/acme-challenge/token").await;
    assert_eq!((answer.status, answer.by()), (200, "server0"));
    assert_eq!(world.router.visitor().get_with("/", &[("host", "a:b:c")]).await.status, 400);
    let (ok, text) = world.curl("a.example", "/secure", "").await;
    assert!(ok && text.contains("server0"), "{text}");
    let mut behind = world.router.visitor().from("127.0.7.1".parse().unwrap());
    assert_eq!(behind.get_with("/", &[("x-forwarded-proto", "https")]).await.by(), "server0");
    assert_eq!(behind.get("/").await.status, 308);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_just_connected_when_the_router_stops_is_served() {
    let world = world("", Setup::one_worker).await;
    world.router.visitor().get("/").await;
    world.router.signal("STOP");
    let visits = (0..12).map(|number| world.curl("a.example", "/", ["--http1.1", "--http2"][number % 2]));
    let stopping = async {
        // Their connects wait in the kernel's queue by now.
        let port = format!(":{:04X} ", world.tls.port());
        let connected = || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            table
                .lines()
                .filter(|line| line.split_whitespace().nth(2).is_some_and(|to| format!("{to} ").ends_with(&port)))
                .count()
        };
        until("all have connected", SHORT, async || connected() >= 12).await;
        world.router.signal("TERM");
        world.router.signal("CONT");
    };
    let (answers, ()) = tokio::join!(join_all(visits), stopping);
    for (ok, text) in answers {
        assert!(ok && text.ends_with("server0\n"), "{text}");
    }
    assert!(world.router.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_waits_for_a_handshake_that_has_begun_and_not_for_one_that_has_not() {
    let world = world("", |setup| setup).await;
    let connector = world.connector();
    let mut silent = RawConnection::open(world.tls).await;
    // What the visitor sends is held up behind its first bytes.
    let (mine, mut between) = tokio::io::duplex(64 * 1024);
    let mut beyond = TcpStream::connect(world.tls).await.unwrap();
    let handshake = tokio::spawn(async move { connector.connect("a.example".try_into().unwrap(), mine).await });
    let mut hello = vec![0; 64];
    between.read_exact(&mut hello).await.unwrap();
    beyond.write_all(&hello).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.router.signal("TERM");
    let since = Instant::now();
    assert_eq!(silent.read_to_end(SHORT).await, "");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let joined = tokio::spawn(async move { tokio::io::copy_bidirectional(&mut between, &mut beyond).await });
    let mut stream = tokio::time::timeout(SHORT, handshake).await.unwrap().unwrap().expect("it is finished");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(SHORT, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(b"server0\n"), "{:?}", String::from_utf8_lossy(&answer));
    drop(stream);
    assert!(world.router.ended().await.success());
    joined.abort();
}

/// A visitor by TLS whose connection holds little on its way, and who reads nothing for so long. Whether it gets an
/// answer of that length to its end.
async fn has_all_after(world: &World, length: usize, pause: Duration) -> bool {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket2::SockRef::from(&socket).set_tcp_mss(536).unwrap();
    let stream = socket.connect(world.tls).await.unwrap();
    let mut stream = world.connector().connect("a.example".try_into().unwrap(), stream).await.unwrap();
    let request = format!("GET /bytes/{length} HTTP/1.1\r\nHost: a.example\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    tokio::time::sleep(pause).await;
    let mut came = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    let whole = async {
        while !came.ends_with(b"\r\n0\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => came.extend_from_slice(&buffer[..count]),
                Ok(0) | Err(_) => break,
            }
        }
    };
    tokio::time::timeout(SHORT, whole).await.unwrap();
    came.ends_with(b"\r\n0\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_waits_for_a_slow_reader_is_not_taken_for_an_idle_connection() {
    let world = world("", |setup| setup.tables("[server.timeouts]\nidle = \"1s\"")).await;
    // For some of these lengths the end is held by TLS alone.
    let lengths = (1..40).map(|part| part * 16 * 1024);
    let whole = join_all(lengths.map(|length| has_all_after(&world, length, Duration::from_secs(3)))).await;
    assert!(whole.iter().all(|whole| *whole), "{whole:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_handshakes_have_their_time() {
    let world = world("", |setup| setup.tables("[server.timeouts]\nhandshake = \"1s\"")).await;
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let since = Instant::now();
        let mut connection = RawConnection::open(world.tls).await;
        connection.try_send(bytes).await.unwrap();
        connection.read_to_end(SHORT).await;
        assert!(since.elapsed() >= Duration::from_millis(900));
    }
    let mut connection = RawConnection::open(world.tls).await;
    let _ = connection.try_send(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").await;
    connection.read_to_end(SHORT).await;
    // A connection is closed before it is counted.
    until("all three are counted", SHORT, async || {
        world.router.metric("cutover_tls_handshake_failures_total").await == [(String::new(), 3.0)]
    })
    .await;
    assert!(world.curl("a.example", "/", "").await.0, "others are served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_by_tls_serves_what_comes_after_a_rest() {
    let world = world("", |setup| setup).await;
    let stream = TcpStream::connect(world.tls).await.unwrap();
    let mut stream = world.connector().connect("a.example".try_into().unwrap(), stream).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut buffer = vec![0; 16 * 1024];
    // It rests before the first of them too, and the last two come together.
    for (asked, answers) in [(1, 1), (1, 1), (2, 2)] {
        tokio::time::sleep(Duration::from_secs(3)).await;
        stream.write_all(request.repeat(asked).as_bytes()).await.unwrap();
        let mut all = String::new();
        while all.matches("server0\n").count() < answers {
            let read = tokio::time::timeout(SHORT, stream.read(&mut buffer)).await;
            let count = read.expect("an answer").unwrap();
            assert!(count > 0, "closed after {all:?}");
            all += &String::from_utf8_lossy(&buffer[..count]);
        }
    }
    assert_eq!(world.server0.served(), 4);
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.router.signal("TERM");
    let end = tokio::time::timeout(SHORT, stream.read(&mut buffer)).await;
    assert!(matches!(end.expect("the end"), Ok(0)), "the end is told by TLS too");
}
