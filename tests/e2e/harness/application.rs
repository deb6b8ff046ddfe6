//! An application behind the router: a real HTTP/1.1 server in this process whose behaviour a test changes at run time.

use super::free_address;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::json;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

type AnswerBody = BoxBody<Bytes, io::Error>;

/// How an application treats the requests that come next.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The share of requests that fail, spread evenly.
    pub fail: f64,
    /// The status that a failing request is answered with.
    pub fail_with: u16,
    /// How long each answer takes.
    pub delay: Duration,
    /// Close the connection instead of an answer.
    pub hang_up: bool,
    /// Answers every request as if this path had been asked for.
    pub as_if: Option<&'static str>,
    /// What the health path answers.
    pub health: u16,
    /// Paths that it has nothing at: 404.
    pub missing: &'static [&'static str],
    /// Headers of all its answers.
    pub headers: &'static [(&'static str, &'static str)],
    /// The release that it names there, in a header and in JSON.
    pub release: Option<String>,
    /// Whether connections that come next are kept after an answer.
    pub keep_alive: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            fail: 0.0,
            fail_with: 500,
            delay: Duration::ZERO,
            hang_up: false,
            as_if: None,
            health: 200,
            missing: &[],
            headers: &[],
            release: None,
            keep_alive: true,
        }
    }
}

/// A request as the application saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Seen {
    /// The values of a header, joined by `, `.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<_> =
            self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// How many of the last requests are kept.
const KEPT: usize = 1000;

struct Inner {
    name: String,
    address: SocketAddr,
    behaviour: Mutex<Behaviour>,
    owed_failures: Mutex<f64>,
    seen: Mutex<VecDeque<Seen>>,
    metrics: Mutex<String>,
    first_failure: Mutex<Option<SystemTime>>,
    served: AtomicU64,
    failed: AtomicU64,
    in_flight: AtomicI64,
    most_in_flight: AtomicI64,
    uploaded: AtomicU64,
    gate: watch::Sender<bool>,
    leaving: watch::Sender<bool>,
    to_break: AtomicU64,
    server: Mutex<Option<JoinHandle<()>>>,
}

/// A running application. Its server ends with it.
pub struct Application(Arc<Inner>);

impl Application {
    /// One that answers everything with 200 and its name.
    pub async fn start(name: &str) -> Self {
        let inner = Arc::new(Inner {
            name: name.to_owned(),
            address: free_address(),
            behaviour: Mutex::default(),
            owed_failures: Mutex::default(),
            seen: Mutex::default(),
            metrics: Mutex::default(),
            first_failure: Mutex::default(),
            served: AtomicU64::default(),
            failed: AtomicU64::default(),
            in_flight: AtomicI64::default(),
            most_in_flight: AtomicI64::default(),
            uploaded: AtomicU64::default(),
            gate: watch::Sender::new(false),
            leaving: watch::Sender::new(false),
            to_break: AtomicU64::default(),
            server: Mutex::default(),
        });
        let application = Self(inner);
        application.start_again().await;
        application
    }

    /// The usual two: `server0` and `server1`.
    pub async fn pair() -> (Self, Self) {
        (Self::start("server0").await, Self::start("server1").await)
    }

    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Changes how the next requests are treated.
    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.0.behaviour.lock().unwrap());
    }

    /// Closes the listener and every connection: from now on connections are refused.
    pub async fn stop(&self) {
        let server = self.0.server.lock().unwrap().take();
        if let Some(server) = server {
            server.abort();
            let _ = server.await;
        }
    }

    /// As a server that restarts: refuses new connections, ends what it has begun, and closes those that are idle.
    pub async fn refuse(&self) {
        self.0.leaving.send_replace(true);
        let server = self.0.server.lock().unwrap().take();
        if let Some(server) = server {
            let _ = server.await;
        }
    }

    /// Breaks the connections of the next requests instead of an answer.
    pub fn break_next(&self, count: u64) {
        self.0.to_break.store(count, Ordering::SeqCst);
    }

    /// Listens again on the same address.
    pub async fn start_again(&self) {
        let listener = super::eventually("the application's port is free", super::SHORT, async || {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(self.0.address).ok()?;
            socket.listen(1024).ok()
        })
        .await;
        self.0.leaving.send_replace(false);
        let server = tokio::spawn(accept(Arc::clone(&self.0), listener));
        *self.0.server.lock().unwrap() = Some(server);
    }

    /// Lets everything that waits at `/gate`, `/events`, `/stall` and `/silent` go on, now and from now on.
    pub fn open_gate(&self) {
        self.0.gate.send_replace(true);
    }

    /// What `/metrics` says, for a Prometheus that scrapes the application.
    pub fn set_metrics(&self, text: &str) {
        text.clone_into(&mut self.0.metrics.lock().unwrap());
    }

    /// Requests answered or failed so far, without health checks and scrapes.
    pub fn served(&self) -> u64 {
        self.0.served.load(Ordering::SeqCst)
    }

    /// Of those, the ones that failed by design.
    pub fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::SeqCst)
    }

    /// When the first request failed by design.
    pub fn first_failure(&self) -> Option<SystemTime> {
        *self.0.first_failure.lock().unwrap()
    }

    /// Requests whose answer is not out yet.
    pub fn in_flight(&self) -> i64 {
        self.0.in_flight.load(Ordering::SeqCst)
    }

    /// The most such requests that there ever were at once.
    pub fn most_in_flight(&self) -> i64 {
        self.0.most_in_flight.load(Ordering::SeqCst)
    }

    /// Bytes received at `/upload` so far.
    pub fn uploaded(&self) -> u64 {
        self.0.uploaded.load(Ordering::SeqCst)
    }

    /// The last requests, oldest first.
    pub fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().iter().cloned().collect()
    }

    /// The last request of that target.
    pub fn last_seen(&self, target: &str) -> Seen {
        let seen = self.seen();
        let found = seen.iter().rev().find(|seen| seen.target == target);
        found.unwrap_or_else(|| panic!("{} never saw {target}", self.0.name)).clone()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        if let Some(server) = self.0.server.lock().unwrap().take() {
            server.abort();
        }
    }
}

async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    // Dropped, and with it every connection, when this task is aborted.
    let mut connections = JoinSet::new();
    let mut leaving = inner.leaving.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                connections.spawn(serve(Arc::clone(&inner), stream));
            }
            _ = leaving.wait_for(|leaving| *leaving) => break,
            Some(_) = connections.join_next() => {}
        }
    }
    // Who has connected by now is served: closing the socket would reset them.
    let listener = listener.into_std().unwrap();
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true).unwrap();
        connections.spawn(serve(Arc::clone(&inner), TcpStream::from_std(stream).unwrap()));
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve(inner: Arc<Inner>, stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let keep_alive = inner.behaviour.lock().unwrap().keep_alive;
    let mut leaving = inner.leaving.subscribe();
    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&inner), request));
    let mut first = [0; 3];
    if stream.peek(&mut first).await.is_ok_and(|count| first[..count] == *b"PRI") {
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = http2.serve_connection(TokioIo::new(stream), service).await;
        return;
    }
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(keep_alive)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        // One that is not kept ends by itself.
        _ = leaving.wait_for(|leaving| *leaving && keep_alive) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// Counts a request for as long as it, or the body of its answer, lives.
struct InFlight(Arc<Inner>);

impl InFlight {
    fn new(inner: &Arc<Inner>) -> Self {
        let before = inner.in_flight.fetch_add(1, Ordering::SeqCst);
        inner.most_in_flight.fetch_max(before + 1, Ordering::SeqCst);
        Self(Arc::clone(inner))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A body whose frames come from a task.
struct Piped {
    frames: mpsc::Receiver<Result<Frame<Bytes>, io::Error>>,
    _in_flight: InFlight,
}

impl Body for Piped {
    type Data = Bytes;
    type Error = io::Error;
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.frames.poll_recv(context)
    }
}

fn text(text: impl Into<Bytes>) -> AnswerBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

async fn gate_opened(inner: &Inner) {
    let _ = inner.gate.subscribe().wait_for(|open| *open).await;
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> io::Result<Response<AnswerBody>> {
    let behaviour = inner.behaviour.lock().unwrap().clone();
    let path = request.uri().path().to_owned();
    if path == "/up" {
        return Ok(health(&behaviour));
    }
    if path == "/metrics" {
        let metrics = inner.metrics.lock().unwrap().clone();
        let mut response = Response::new(text(metrics));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain; version=0.0.4"));
        return Ok(response);
    }
    let in_flight = InFlight::new(&inner);
    let (parts, body) = request.into_parts();
    let (body, trailers) = if path == "/upload" { count(&inner, body).await? } else { collect(body).await? };
    // By HTTP/2 it says the scheme and the host as well.
    let target = match (parts.version, parts.uri.path_and_query()) {
        (Version::HTTP_2, Some(path)) => path.to_string(),
        _ => parts.uri.to_string(),
    };
    let seen = Seen { method: parts.method, target, headers: parts.headers, body, trailers };
    remember(&inner, seen.clone());
    if !behaviour.delay.is_zero() {
        tokio::time::sleep(behaviour.delay).await;
    }
    inner.served.fetch_add(1, Ordering::SeqCst);
    let breaks = inner.to_break.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if behaviour.hang_up || breaks {
        note_failure(&inner);
        return Err(io::Error::other("hangs up, as asked"));
    }
    if fails(&inner, behaviour.fail) {
        note_failure(&inner);
        return Ok(named(&inner, with_status(behaviour.fail_with, text("failed, as asked\n"))));
    }
    let path = behaviour.as_if.unwrap_or(&path);
    let mut response = if behaviour.missing.contains(&path) {
        with_status(404, text(format!("{} has no {path}\n", inner.name)))
    } else {
        respond(&inner, path, &seen, in_flight).await
    };
    for (name, value) in behaviour.headers {
        response.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    Ok(named(&inner, response))
}

fn health(behaviour: &Behaviour) -> Response<AnswerBody> {
    let Some(release) = &behaviour.release else { return with_status(behaviour.health, text("")) };
    let mut response = with_status(behaviour.health, text(json!({ "build": { "release": release } }).to_string()));
    response.headers_mut().insert("x-release", HeaderValue::from_str(release).unwrap());
    response
}

fn with_status(status: u16, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

fn named(inner: &Inner, mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert("x-answered-by", HeaderValue::from_str(&inner.name).unwrap());
    response
}

fn remember(inner: &Inner, seen: Seen) {
    let mut all = inner.seen.lock().unwrap();
    if all.len() == KEPT {
        all.pop_front();
    }
    all.push_back(seen);
}

/// Spreads failures evenly: with a share of 0.25, every fourth request.
fn fails(inner: &Inner, share: f64) -> bool {
    let mut owed = inner.owed_failures.lock().unwrap();
    *owed += share;
    let due = *owed >= 1.0;
    if due {
        *owed -= 1.0;
    }
    due
}

fn note_failure(inner: &Inner) {
    inner.failed.fetch_add(1, Ordering::SeqCst);
    inner.first_failure.lock().unwrap().get_or_insert_with(SystemTime::now);
}

async fn collect(body: Incoming) -> io::Result<(Bytes, Option<HeaderMap>)> {
    let collected = body.collect().await.map_err(io::Error::other)?;
    let trailers = collected.trailers().cloned();
    Ok((collected.to_bytes(), trailers))
}

/// Reads a body away, counting what has come.
async fn count(inner: &Inner, mut body: Incoming) -> io::Result<(Bytes, Option<HeaderMap>)> {
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame.map_err(io::Error::other)?.data_ref() {
            inner.uploaded.fetch_add(data.len() as u64, Ordering::SeqCst);
        }
    }
    Ok((Bytes::new(), None))
}

/// What each path answers when nothing fails.
async fn respond(inner: &Arc<Inner>, path: &str, seen: &Seen, in_flight: InFlight) -> Response<AnswerBody> {
    match path {
        "/echo" => Response::new(text(echo(seen))),
        "/gate" => {
            gate_opened(inner).await;
            Response::new(text("went through\n"))
        }
        "/silent" => {
            gate_opened(inner).await;
            with_status(204, Empty::new().map_err(|never| match never {}).boxed())
        }
        "/events" => piped(inner, in_flight, Script::Events),
        "/stall" => with_length(piped(inner, in_flight, Script::Events), "1000000"),
        "/cut" => with_length(piped(inner, in_flight, Script::Cut), "1000000"),
        "/trailers" => {
            let mut response = piped(inner, in_flight, Script::Trailers);
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-checksum"));
            response
        }
        "/slow-end" => piped(inner, in_flight, Script::SlowEnd),
        "/grpc-failure" => {
            let mut response = piped(inner, in_flight, Script::GrpcFailure);
            response.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
            response
        }
        "/login" => with_cookies(
            text("welcome\n"),
            &["sessionid=abc; Path=/; HttpOnly", "csrftoken=def; Path=/", "theme=dark; Path=/"],
        ),
        "/account" => account(seen),
        "/named-hop" => {
            let mut response = Response::new(text("ok\n"));
            let headers = response.headers_mut();
            headers.insert("connection", HeaderValue::from_static("x-hop"));
            headers.insert("x-hop", HeaderValue::from_static("between us"));
            headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
            headers.insert("x-end", HeaderValue::from_static("to end"));
            response
        }
        _ => {
            if let Some(bytes) = path.strip_prefix("/bytes/") {
                return piped(inner, in_flight, Script::Bytes(bytes.parse().unwrap()));
            }
            if let Some(status) = path.strip_prefix("/status/") {
                return with_status(status.parse().unwrap(), text("as asked\n"));
            }
            Response::new(text(format!("{}\n", inner.name)))
        }
    }
}

/// Says whether the visitor is logged in; a session that it does not know is ended in every way there is.
fn account(seen: &Seen) -> Response<AnswerBody> {
    let session = seen.header("cookie").is_some_and(|cookies| cookies.split("; ").any(|it| it == "sessionid=abc"));
    if session || seen.headers.contains_key("authorization") {
        return Response::new(text("logged in\n"));
    }
    let mut response = with_cookies(text("nobody\n"), &["sessionid=; Path=/; Max-Age=0", "theme=plain; Path=/"]);
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cookies\""));
    response
}

fn with_cookies(body: AnswerBody, cookies: &[&'static str]) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    for cookie in cookies {
        response.headers_mut().append("set-cookie", HeaderValue::from_static(cookie));
    }
    response
}

fn echo(seen: &Seen) -> String {
    let headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    json!({
        "method": seen.method.as_str(),
        "target": seen.target,
        "headers": headers,
        "body": String::from_utf8_lossy(&seen.body),
    })
    .to_string()
}

fn with_length(mut response: Response<AnswerBody>, length: &'static str) -> Response<AnswerBody> {
    response.headers_mut().insert("content-length", HeaderValue::from_static(length));
    response
}

/// What a piped body does.
#[derive(Clone, Copy)]
enum Script {
    /// One piece at once, the other when the gate opens.
    Events,
    /// That many bytes.
    Bytes(usize),
    /// A few bytes, then the connection breaks.
    Cut,
    /// A few bytes at once, the last ones a moment later.
    SlowEnd,
    /// A body with a trailer.
    Trailers,
    /// A body with trailers that say that the call failed.
    GrpcFailure,
}

const PIECE: usize = 64 * 1024;

fn piped(inner: &Arc<Inner>, in_flight: InFlight, script: Script) -> Response<AnswerBody> {
    let (sender, frames) = mpsc::channel(1);
    tokio::spawn(play(Arc::clone(inner), script, sender));
    let mut response = Response::new(Piped { frames, _in_flight: in_flight }.boxed());
    if matches!(script, Script::Events) {
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
    }
    response
}

async fn play(inner: Arc<Inner>, script: Script, sender: mpsc::Sender<io::Result<Frame<Bytes>>>) {
    let data = |bytes: &'static str| Ok(Frame::data(Bytes::from_static(bytes.as_bytes())));
    match script {
        Script::Events => {
            let _ = sender.send(data("data: first\n\n")).await;
            tokio::select! {
                () = gate_opened(&inner) => {}
                () = sender.closed() => return,
            }
            let _ = sender.send(data("data: last\n\n")).await;
        }
        Script::Bytes(mut left) => {
            while left > 0 {
                let piece = left.min(PIECE);
                left -= piece;
                if sender.send(Ok(Frame::data(Bytes::from(vec![b'x'; piece])))).await.is_err() {
                    return;
                }
            }
        }
        Script::Cut => {
            let _ = sender.send(data("the beginning")).await;
            // The head and the first bytes leave before the break.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = sender.send(Err(io::Error::other("cut, as asked"))).await;
        }
        Script::SlowEnd => {
            let _ = sender.send(data("the beginning, ")).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            let _ = sender.send(data("the end")).await;
        }
        Script::Trailers => {
            let _ = sender.send(data("the body")).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", HeaderValue::from_static("abc123"));
            let _ = sender.send(Ok(Frame::trailers(trailers))).await;
        }
        Script::GrpcFailure => {
            let _ = sender.send(data("a part of the answer")).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("13"));
            let _ = sender.send(Ok(Frame::trailers(trailers))).await;
        }
    }
}
