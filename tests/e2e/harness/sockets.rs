//! The client and the server of Python's package `websockets`, and a server that speaks another protocol after a 101.

use super::{LONG, SHORT, free_address, until};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Where `tests/run` has installed what the script needs.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-clients/bin/python");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/harness/sockets.py");

fn script(arguments: &[String]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut command = Command::new(PYTHON);
    command.arg(SCRIPT).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{PYTHON}: {error}; run tests/run once"));
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    timeout(LONG, lines.next_line()).await.unwrap().unwrap().expect("the script says something")
}

/// A WebSocket server of that package.
pub struct SocketServer {
    address: SocketAddr,
    _child: Child,
}

impl SocketServer {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// By TLS, with the certificate in these files.
    pub async fn start_with_tls(chain: &Path, key: &Path) -> Self {
        Self::start_with(&[chain, key]).await
    }

    async fn start_with(certificate: &[&Path]) -> Self {
        let address = free_address();
        let files = certificate.iter().map(|file| file.display().to_string());
        let arguments: Vec<_> = ["serve".to_owned(), address.port().to_string()].into_iter().chain(files).collect();
        let (child, _) = script(&arguments);
        until("the WebSocket server listens", LONG, async || TcpStream::connect(address).await.is_ok()).await;
        Self { address, _child: child }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// With which codes its sockets were closed so far; 1006 where it was told none.
    pub async fn closed_with(&self) -> Vec<u16> {
        let (_child, mut lines) = script(&["closed".into(), self.address.port().to_string()]);
        serde_json::from_str(&line(&mut lines).await).unwrap()
    }
}

/// What came of everything that a client of that package tries once.
pub async fn talk(address: SocketAddr) -> Value {
    talk_with(&["talk".into(), address.port().to_string()]).await
}

/// The same by TLS with `a.example`, whose certificate is by the authority in this file.
pub async fn talk_by_tls(address: SocketAddr, authority: &Path) -> Value {
    talk_with(&["talk".into(), address.port().to_string(), authority.display().to_string()]).await
}

async fn talk_with(arguments: &[String]) -> Value {
    let (_child, mut lines) = script(arguments);
    serde_json::from_str(&line(&mut lines).await).unwrap()
}

/// Clients of that package with an open WebSocket each.
pub struct Sockets {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Sockets {
    pub async fn open(address: SocketAddr, count: usize) -> Self {
        let (child, mut lines) = script(&["stay".into(), address.port().to_string(), count.to_string()]);
        assert_eq!(line(&mut lines).await, "open");
        Self { _child: child, lines }
    }

    /// For each, how it was closed: code, reason, and after how many seconds.
    pub async fn closed(mut self) -> Vec<(u16, String, f64)> {
        serde_json::from_str(&line(&mut self.lines).await).unwrap()
    }
}

/// A server that answers each request with a 101 to what it asks for, and then echoes bytes until they end.
pub struct Echo {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Echo {
    pub async fn start() -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let heads = Arc::new(Mutex::default());
        let kept = Arc::clone(&heads);
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(echo(stream, Arc::clone(&kept)));
            }
        });
        Self { address, heads, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads that came so far, in lower case.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn echo(stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if !stream.read_line(&mut head).await.is_ok_and(|count| count > 0) {
            return;
        }
    }
    let head = head.to_ascii_lowercase();
    let asked = head.lines().find_map(|line| line.strip_prefix("upgrade: ")).map(ToOwned::to_owned);
    heads.lock().unwrap().push(head);
    let Some(asked) = asked else {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nplain\n").await;
        // What is still to be read would reset the connection.
        let _ = stream.shutdown().await;
        let _ = timeout(SHORT, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
        return;
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {asked}\r\nX-Named: 1\r\n\r\nwelcome\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
    let _ = stream.write_all(b"goodbye\n").await;
    let _ = timeout(SHORT, stream.shutdown()).await;
}
