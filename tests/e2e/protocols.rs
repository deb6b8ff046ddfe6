//! Every pair of protocols, by curl: what visitors speak, and what targets do.

use crate::harness::{Application, Issuer, LONG, Router, Setup, free_address};
use std::net::SocketAddr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

/// How visitors come: what it is called, the scheme, what curl is told, and the version that answers.
const VISITORS: [(&str, &str, &str, &str); 4] = [
    ("HTTP/1.1", "http", "--http1.1", "HTTP/1.1"),
    ("HTTP/1.1 by TLS", "https", "--http1.1", "HTTP/1.1"),
    ("HTTP/2 by prior knowledge", "http", "--http2-prior-knowledge", "HTTP/2"),
    ("HTTP/2 by TLS", "https", "--http2", "HTTP/2"),
];

struct World {
    router: Router,
    server0: Application,
    _server1: Application,
    issuer: Issuer,
    tls: SocketAddr,
}

/// A router whose targets speak this.
async fn world(protocol: &str) -> World {
    let (server0, server1) = Application::pair().await;
    let issuer = Issuer::new();
    issuer.issue("a", &["a.example"], 1);
    let tls = free_address();
    let server = issuer.tls(&format!("\"{tls}\""), &["a"], "");
    let setup = Setup::before(&server0, &server1).server(&server).pool_keys(&format!("protocol = \"{protocol}\""));
    let router = Router::start(setup).await;
    World { router, server0, _server1: server1, issuer, tls }
}

impl World {
    async fn curl(&self, visitor: (&str, &str, &str, &str), path: &str, options: &[&str]) -> String {
        let mut command = self.curl_command(visitor, path, options);
        let output = timeout(2 * LONG, command.output()).await.expect("curl ends").unwrap();
        assert!(output.status.success(), "{visitor:?} {path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn curl_command(&self, visitor: (&str, &str, &str, &str), path: &str, options: &[&str]) -> Command {
        let (_, scheme, version, _) = visitor;
        let address = if scheme == "https" { self.tls } else { self.router.address() };
        let (authority, to) = (self.issuer.authority(), format!("a.example:{}:{}", address.port(), address.ip()));
        let url = format!("{scheme}://a.example:{}{path}", address.port());
        let fixed = ["-sS", "--max-time", "60", "--cacert", authority.to_str().unwrap(), "--resolve", &to, version];
        let mut command = Command::new("curl");
        command.args(fixed).args(options).arg(&url).stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_visitors_and_targets_speak_requests_and_answers_are_the_same() {
    for protocol in ["h1", "h2"] {
        let world = world(protocol).await;
        let file = world.router.folder().join("upload");
        std::fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
        let data = format!("@{}", file.display());
        let mut uploaded = 0;
        world.server0.open_gate();
        for visitor in VISITORS {
            let pair = format!("{} to {protocol}", visitor.0);
            let page = world.curl(visitor, "/page?a=%20b", &["-i", "-H", "Cookie: a=1; b=2"]).await;
            assert!(page.starts_with(&format!("{} 200", visitor.3)), "{pair}: {page}");
            assert!(page.ends_with("server0\n") && page.contains("x-answered-by: server0"), "{pair}: {page}");
            let seen = world.server0.last_seen("/page?a=%20b");
            for (name, value) in [
                ("x-forwarded-proto", visitor.1),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-cutover-pool", "server0"),
                ("x-cutover-release", "r0"),
                ("cookie", "a=1; b=2"),
            ] {
                assert_eq!(seen.header(name).as_deref(), Some(value), "{pair}: {name}");
            }
            // No body where there is none, and all of it where there is one, with its length and without.
            let head = world.curl(visitor, "/page", &["-I"]).await;
            assert!(head.contains(" 200") && head.contains("content-length: 8"), "{pair}: {head}");
            let silent = world.curl(visitor, "/silent", &["-i"]).await;
            assert!(silent.contains(" 204"), "{pair}: {silent}");
            let size = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}"];
            assert_eq!(world.curl(visitor, "/bytes/4000000", &size).await, "200 4000000", "{pair}");
            for more in [
                &["-X", "POST", "--data-binary", data.as_str()][..],
                &["-X", "POST", "-T", &data[1..], "-H", "Transfer-Encoding: chunked"],
            ] {
                world.curl(visitor, "/upload", more).await;
                uploaded += 3_000_000;
                assert_eq!(world.server0.uploaded(), uploaded, "{pair}: {more:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_visitors_and_targets_speak_faults_are_told_in_the_same_way() {
    for protocol in ["h1", "h2"] {
        let world = world(protocol).await;
        let status = ["-o", "/dev/null", "-w", "%{http_code}"];
        for visitor in VISITORS {
            let pair = format!("{} to {protocol}", visitor.0);
            world.server0.behave(|behaviour| behaviour.fail = 1.0);
            assert_eq!(world.curl(visitor, "/page", &status).await, "500", "{pair}");
            world.server0.behave(|behaviour| behaviour.fail = 0.0);
            let long = format!("/{}", "x".repeat(17_000));
            assert_eq!(world.curl(visitor, &long, &status).await, "414", "{pair}");
            world.router.command(&["mode", "maintenance"]).await.ok();
            let down = world.curl(visitor, "/page", &["-i", "-H", "Accept: application/json"]).await.to_lowercase();
            assert!(down.contains(" 503") && down.contains("retry-after: "), "{pair}: {down}");
            assert!(down.contains("\"status\":503"), "{pair}: {down}");
            world.router.command(&["mode", "serve"]).await.ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_visitors_and_targets_speak_each_event_of_a_stream_comes_at_once() {
    for protocol in ["h1", "h2"] {
        let world = world(protocol).await;
        let mut streams = Vec::new();
        for visitor in VISITORS {
            let mut curl = world.curl_command(visitor, "/events", &["-N"]).stdout(Stdio::piped()).spawn().unwrap();
            let mut events = BufReader::new(curl.stdout.take().unwrap()).lines();
            let first = timeout(LONG, events.next_line()).await.unwrap().unwrap();
            assert_eq!(first.as_deref(), Some("data: first"), "{visitor:?} to {protocol}");
            streams.push((curl, events));
        }
        world.server0.open_gate();
        for (mut curl, mut events) in streams {
            let mut last = Vec::new();
            while let Some(line) = timeout(LONG, events.next_line()).await.unwrap().unwrap() {
                last.push(line);
            }
            assert_eq!(last, ["", "data: last", ""], "{protocol}");
            assert!(curl.wait().await.unwrap().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_speaks_http_2_is_asked_for_no_upgrade() {
    let world = world("h2").await;
    let asking = ["-i", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13"];
    for visitor in &VISITORS[..2] {
        let answer = world.curl(*visitor, "/socket", &asking).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("server0\n"), "{visitor:?}: {answer}");
        let seen = world.server0.last_seen("/socket");
        assert_eq!((seen.header("upgrade"), seen.header("connection")), (None, None), "{visitor:?}");
    }
}
