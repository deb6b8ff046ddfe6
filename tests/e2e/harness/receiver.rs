//! A receiver of webhooks: a real HTTP server in this process that answers as a test tells it to, and keeps what came.

use super::{SHORT, eventually, free_address};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// How one request is answered.
#[derive(Debug, Clone)]
pub enum Reply {
    /// With this status and body.
    Answer(u16, String),
    /// Not at all.
    Hang,
}

/// What was posted.
#[derive(Debug, Clone)]
pub struct Letter {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Letter {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Whether it is signed with that key, as a receiver would check it.
    pub fn is_signed_with(&self, key: &str) -> bool {
        let Some(signature) = self.header("x-cutover-signature").strip_prefix("sha256=") else { return false };
        let bytes = (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).unwrap());
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(self.header("x-cutover-timestamp").as_bytes());
        mac.update(b".");
        mac.update(&self.body);
        mac.verify_slice(&bytes.collect::<Vec<u8>>()).is_ok()
    }
}

#[derive(Default)]
struct Inner {
    /// Replies to the next requests, in their order.
    next: Mutex<VecDeque<Reply>>,
    /// The reply to all others.
    usual: Mutex<Option<Reply>>,
    letters: Mutex<Vec<Letter>>,
}

/// A running receiver. Its server ends with it.
pub struct Receiver {
    address: SocketAddr,
    inner: Arc<Inner>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// One that answers everything with 200.
    pub async fn start() -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let inner = Arc::<Inner>::default();
        let server = tokio::spawn(accept(Arc::clone(&inner), listener));
        Self { address, inner, server }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers the next requests like this, each once, before the usual reply.
    pub fn next(&self, replies: &[Reply]) {
        self.inner.next.lock().unwrap().extend(replies.iter().cloned());
    }

    /// Answers all others like this from now on.
    pub fn usual(&self, reply: Reply) {
        *self.inner.usual.lock().unwrap() = Some(reply);
    }

    /// All that came so far.
    pub fn letters(&self) -> Vec<Letter> {
        self.inner.letters.lock().unwrap().clone()
    }

    /// Waits for a letter about that event, and gives the newest.
    pub async fn letter(&self, event: &str) -> Letter {
        eventually(&format!("a letter about {event}"), SHORT, async || {
            self.letters().into_iter().rev().find(|letter| letter.header("x-cutover-event") == event)
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(inner: Arc<Inner>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let inner = Arc::clone(&inner);
        let service = hyper::service::service_fn(move |request| answer(Arc::clone(&inner), request));
        connections.spawn(async move {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    inner.letters.lock().unwrap().push(Letter { headers: parts.headers, body });
    let next = inner.next.lock().unwrap().pop_front();
    let reply = next.or_else(|| inner.usual.lock().unwrap().clone());
    match reply.unwrap_or(Reply::Answer(200, String::new())) {
        Reply::Answer(status, body) => {
            Ok(Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap())
        }
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(Response::new(Full::default()))
        }
    }
}
