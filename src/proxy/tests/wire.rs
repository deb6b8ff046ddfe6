//! Both ends of the wire: origins that do what a test tells them, and visitors that send what it says.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What an origin does with a request.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Send(String),
    SendAndClose(String),
    /// Sends, and then nothing more.
    SendAndHang(String),
    /// Sends after a while.
    Later(String),
    Close,
    Hang,
}

pub(super) fn ok(body: &str) -> Action {
    Action::Send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

pub(super) fn status(status: u16) -> Action {
    Action::Send(format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 3\r\n\r\nbad"))
}

/// A server that does what it is told.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    pub(super) connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

type Handler = Arc<dyn Fn(&str) -> Action + Send + Sync>;

impl Origin {
    pub(super) async fn new(handler: impl Fn(&str) -> Action + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin =
            Self { address: listener.local_addr().unwrap(), connections: Arc::default(), requests: Arc::default() };
        let (connections, requests) = (Arc::clone(&origin.connections), Arc::clone(&origin.requests));
        let handler: Handler = Arc::new(handler);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&requests), Arc::clone(&handler)));
            }
        });
        origin
    }

    /// A server that answers as soon as it has seen any byte, and reads no further.
    pub(super) async fn hasty(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
                held.push(stream);
            }
        });
        address
    }

    /// All requests so far: heads and bodies as they came.
    pub(super) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> String {
        self.requests().last().cloned().unwrap_or_default()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, requests: Arc<Mutex<Vec<String>>>, handler: Handler) {
    let mut buffer = Vec::new();
    while let Some(message) = read_message(&mut stream, &mut buffer, false).await {
        requests.lock().unwrap().push(message.clone());
        let action = handler(&message);
        match action {
            Action::Send(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap_or_default(),
            Action::SendAndClose(bytes) => return stream.write_all(bytes.as_bytes()).await.unwrap_or_default(),
            Action::SendAndHang(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
                // Until the other side has had enough.
                let _ = stream.read(&mut [0]).await;
                return;
            }
            Action::Later(bytes) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                stream.write_all(bytes.as_bytes()).await.unwrap_or_default();
            }
            Action::Close => return,
            Action::Hang => {
                let _ = stream.read(&mut [0]).await;
                return;
            }
        }
    }
}

/// A visitor's connection.
pub(super) struct Visitor {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    text: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines().skip(1).filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name).map(|(_, v)| v)
    }

    pub(super) fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Visitor {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub(super) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Sends as much as the other side takes.
    pub(super) async fn push(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next answer; to a HEAD request when `head`. `None` when the connection ends before it.
    pub(super) async fn answer_to(&mut self, head: bool) -> Option<Answer> {
        let text = within(read_message(&mut self.stream, &mut self.buffer, head)).await?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, text })
    }

    pub(super) async fn answer(&mut self) -> Answer {
        self.answer_to(false).await.expect("an answer")
    }

    /// Waits until the head of an answer has come, whatever is to follow.
    pub(super) async fn begun(&mut self) {
        while !self.buffer.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut part = [0; 4096];
            let count = within(async { self.stream.read(&mut part).await.ok() }).await.unwrap_or_default();
            assert!(count > 0, "the connection has ended");
            self.buffer.extend_from_slice(&part[..count]);
        }
    }

    pub(super) async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer_to(request.starts_with("HEAD")).await.expect("an answer")
    }

    /// Whether the connection ends without another byte.
    pub(super) async fn is_closed(&mut self) -> bool {
        let read = within(async { Some(self.stream.read(&mut [0]).await) }).await;
        matches!(read, Some(Ok(0) | Err(_)))
    }
}

pub(super) async fn ask(address: SocketAddr, request: &str) -> Answer {
    Visitor::connect(address).await.ask(request).await
}

/// How often a request that a target got says each of what the router says to it.
pub(super) fn times_said(request: &str) -> [usize; 6] {
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "x-real-ip", "x-cutover-pool"]
        .map(|name| request.matches(&format!("\r\n{name}: ")).count())
}

pub(super) async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await
}

/// Waits for something, but not for ever.
pub(super) async fn within<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    let boxed: Pin<Box<dyn Future<Output = Option<T>>>> = Box::pin(future);
    tokio::time::timeout(Duration::from_secs(10), boxed).await.expect("it takes too long")
}

/// Waits until a condition holds.
pub(super) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it never came true that {what}");
}

/// Reads one message as it comes: head and body, chunks and trailers included. What a broken one has is given as it is.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>, no_body: bool) -> Option<String> {
    loop {
        if let Some(end) = message_end(buffer, no_body) {
            let rest = buffer.split_off(end);
            let message = std::mem::replace(buffer, rest);
            return Some(String::from_utf8(message).unwrap());
        }
        let mut part = vec![0; 65536];
        match stream.read(&mut part).await {
            Ok(0) | Err(_) if buffer.is_empty() => return None,
            Ok(0) | Err(_) => return Some(String::from_utf8(std::mem::take(buffer)).unwrap()),
            Ok(count) => buffer.extend_from_slice(&part[..count]),
        }
    }
}

fn message_end(buffer: &[u8], no_body: bool) -> Option<usize> {
    let find = |bytes: &[u8], needle: &[u8]| bytes.windows(needle.len()).position(|window| window == needle);
    let head = find(buffer, b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
    let status: Option<u16> = text.strip_prefix("http/1.1 ").and_then(|text| text[..3].parse().ok());
    if no_body || matches!(status, Some(100 | 204 | 304)) {
        return Some(head);
    }
    if text.contains("transfer-encoding: chunked") {
        let last = if buffer[head..].starts_with(b"0\r\n") { 3 } else { find(&buffer[head..], b"\r\n0\r\n")? + 5 };
        return Some(match &buffer[head + last..] {
            [b'\r', b'\n', ..] => head + last + 2,
            trailers => head + last + find(trailers, b"\r\n\r\n")? + 4,
        });
    }
    match text.split("content-length: ").nth(1) {
        Some(length) => {
            let length: usize = length.split("\r\n").next()?.parse().ok()?;
            (buffer.len() >= head + length).then_some(head + length)
        }
        // An answer without a length ends with its connection.
        None if status.is_some() => None,
        None => Some(head),
    }
}
