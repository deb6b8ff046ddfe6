//! The two applications of the demonstration: real HTTP servers on free ports of this machine, whose release is
//! changed as a deployment would change it.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What every release answers its health check on, whatever else is wrong with it.
pub(super) const HEALTH_PATH: &str = "/up";
/// The release that answered.
pub(super) const RELEASE_HEADER: HeaderName = HeaderName::from_static("x-release");
/// The share of requests that fails in any release: no site is without errors, and the judgement has to bear it.
pub(super) const USUAL_ERRORS: f64 = 0.002;
/// What an application thinks before it answers, in milliseconds.
const THINKING: std::ops::Range<u64> = 1..6;
/// Visitors of the demonstration post less; others may try it with `--keep`.
const LARGEST_BODY: usize = 64 * 1024;

/// What is wrong with a release.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// This share of its answers is a 500, from this time after its first visitor on; its health check stays green.
    Errors { share: f64, after: Duration },
    /// It takes so many times as long for an answer, from this time after its first visitor on.
    Slow { times: u32, after: Duration },
    /// Its process ends, this time after its first visitor: its port is closed and its connections are reset.
    Crash { after: Duration },
}

/// Answers since the release was deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Answers {
    pub(super) requests: u64,
    pub(super) failures: u64,
}

/// One application.
#[derive(Debug)]
pub(super) struct Application {
    pub(super) address: SocketAddr,
    running: Mutex<Running>,
    up: watch::Sender<bool>,
}

/// A release that was deployed.
#[derive(Debug)]
struct Running {
    release: String,
    fault: Fault,
    first_visitor: Option<Instant>,
    first_failure: Option<Instant>,
    answers: Answers,
}

impl Running {
    fn new(release: &str, fault: Fault) -> Self {
        let release = release.to_owned();
        Self { release, fault, first_visitor: None, first_failure: None, answers: Answers::default() }
    }

    /// How long it thinks before the next answer, of what is usual.
    fn thinks(&mut self, usual: Duration, now: Instant) -> Duration {
        let since = *self.first_visitor.get_or_insert(now);
        match self.fault {
            Fault::Slow { times, after } if now.saturating_duration_since(since) >= after => {
                self.first_failure.get_or_insert(now);
                usual * times
            }
            Fault::Slow { .. } | Fault::None | Fault::Errors { .. } | Fault::Crash { .. } => usual,
        }
    }

    /// Whether the next answer is a failure.
    fn fails(&mut self, now: Instant) -> bool {
        let since = *self.first_visitor.get_or_insert(now);
        let is_faulty = match self.fault {
            Fault::Errors { share, after } => now - since >= after && rand::random_bool(share),
            Fault::None | Fault::Slow { .. } | Fault::Crash { .. } => false,
        };
        if is_faulty {
            self.first_failure.get_or_insert(now);
        }
        let fails = is_faulty || rand::random_bool(USUAL_ERRORS);
        self.answers.requests += 1;
        self.answers.failures += u64::from(fails);
        fails
    }
}

impl Application {
    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another release in its place; one that has crashed comes up again.
    pub(super) fn deploy(&self, release: &str, fault: Fault) {
        *self.running() = Running::new(release, fault);
        self.up.send_replace(true);
    }

    /// What it has answered since it was deployed.
    pub(super) fn answers(&self) -> Answers {
        self.running().answers
    }

    /// Whether its process runs.
    pub(super) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// When its fault first showed.
    pub(super) fn first_failure(&self) -> Option<Instant> {
        self.running().first_failure
    }

    fn crash(&self) {
        self.running().first_failure.get_or_insert_with(Instant::now);
        self.up.send_replace(false);
    }

    async fn serve(self: Arc<Self>, mut listener: TcpListener) {
        let mut up = self.up.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => Some(accepted),
                _ = up.wait_for(|up| !up) => None,
            };
            match accepted {
                Some(Ok((stream, _))) => drop(tokio::spawn(Arc::clone(&self).converse(stream))),
                // Most likely the process has no file descriptor left, and will have one soon.
                Some(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                None => {
                    drop(listener);
                    let came_back = up.wait_for(|up| *up).await.is_ok();
                    match TcpListener::bind(self.address).await {
                        Ok(again) if came_back => listener = again,
                        // Someone else has the port by now: it stays down, and the router says so.
                        Ok(_) | Err(_) => return,
                    }
                }
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: TcpStream) {
        // A crash resets its connections; nothing else closes them on this side. A stream that can't be set so works.
        let _ = stream.set_zero_linger();
        let _ = stream.set_nodelay(true);
        let mut up = self.up.subscribe();
        let service = service_fn(|request| Arc::clone(&self).answer(request));
        tokio::select! {
            // However it ends, the router has its own view of it.
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
            _ = up.wait_for(|up| !up) => {}
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let is_order = request.method() == Method::POST;
        let path = request.uri().path().to_owned();
        if path == HEALTH_PATH {
            return Ok(Response::new(Full::from("up\n")));
        }
        let body = Limited::new(request.into_body(), LARGEST_BODY).collect().await;
        let usual = Duration::from_millis(rand::random_range(THINKING));
        let pause = self.running().thinks(usual, Instant::now());
        tokio::time::sleep(pause).await;
        let (release, fails) = self.decide();
        let status = match (fails, is_order, body) {
            (true, _, _) => StatusCode::INTERNAL_SERVER_ERROR,
            (false, true, Ok(_)) => StatusCode::CREATED,
            (false, _, Err(_)) => StatusCode::BAD_REQUEST,
            (false, false, Ok(_)) => StatusCode::OK,
        };
        let mut response = Response::new(Full::from(page(&release, status)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        if let Ok(release) = release.parse() {
            headers.insert(RELEASE_HEADER, release);
        }
        Ok(response)
    }

    /// The release that answers, and whether it fails to.
    fn decide(self: &Arc<Self>) -> (String, bool) {
        let mut running = self.running();
        let is_first = running.answers.requests == 0;
        let fails = running.fails(Instant::now());
        if let (true, Fault::Crash { after }) = (is_first, running.fault) {
            let application = Arc::clone(self);
            drop(tokio::spawn(async move {
                tokio::time::sleep(after).await;
                application.crash();
            }));
        }
        (running.release.clone(), fails)
    }
}

fn page(release: &str, status: StatusCode) -> String {
    let text = if status.is_success() { "Fresh bread, every day." } else { "Something went wrong." };
    format!("<!doctype html>\n<title>Shop {release}</title>\n<h1>Shop, release {release}</h1>\n<p>{text}</p>\n")
}

/// Both applications, on a thread of their own.
#[derive(Debug)]
pub(super) struct Applications {
    pub(super) server0: Arc<Application>,
    pub(super) server1: Arc<Application>,
    stop: CancellationToken,
}

impl Applications {
    /// Starts both, with this release.
    pub(super) fn start(release: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = CancellationToken::new();
        let open = || runtime.block_on(TcpListener::bind("127.0.0.1:0")).context("a port for an application");
        let listeners = [open()?, open()?];
        let mut applications = Vec::new();
        for listener in &listeners {
            let address = listener.local_addr()?;
            let running = Mutex::new(Running::new(release, Fault::None));
            applications.push(Arc::new(Application { address, running, up: watch::Sender::new(true) }));
        }
        let [first, second] = listeners;
        let (server0, server1) = (Arc::clone(&applications[0]), Arc::clone(&applications[1]));
        let serving = (Arc::clone(&server0).serve(first), Arc::clone(&server1).serve(second));
        let stopped = stop.clone();
        thread::Builder::new().name("applications".to_owned()).spawn(move || {
            runtime.block_on(async {
                let both = async { tokio::join!(serving.0, serving.1) };
                stopped.run_until_cancelled(both).await;
            });
        })?;
        Ok(Self { server0, server1, stop })
    }
}

impl Drop for Applications {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
