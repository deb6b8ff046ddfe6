//! The visitors of the demonstration: each keeps its cookies, all come over keep-alive connections to the router's
//! port, and what they get is counted as they see it.

use super::applications::RELEASE_HEADER;
use super::tally::{Met, Tally};
use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{COOKIE, HOST, SET_COOKIE};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Few enough that a process with 256 file descriptors can hold both ends of them, and those to the applications.
const CONNECTIONS: usize = 40;
/// Visitors who share a connection, as they do behind a proxy.
const ON_A_CONNECTION: usize = 50;
/// How many visitors there are.
pub(super) const VISITORS: usize = CONNECTIONS * ON_A_CONNECTION;
/// Between two requests of a connection, in milliseconds: some 400 requests per second in all.
const PAUSE: std::ops::Range<u64> = 45..145;
/// The share of requests that are POSTs, which nobody may send twice.
const POSTS: f64 = 0.1;
/// Who gets no answer for so long leaves.
const PATIENCE: Duration = Duration::from_secs(10);
const PATHS: [&str; 4] = ["/", "/bread", "/cakes?sort=price", "/about"];

/// All visitors, on a thread of their own.
#[derive(Debug)]
pub(super) struct Visitors {
    tally: Arc<Mutex<Tally>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Visitors {
    /// They begin to come.
    pub(super) fn start(router: SocketAddr) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (tally, stop) = (Arc::<Mutex<Tally>>::default(), CancellationToken::new());
        let (counted, stopped) = (Arc::clone(&tally), stop.clone());
        let thread = thread::Builder::new().name("visitors".to_owned()).spawn(move || {
            runtime.block_on(async {
                let mut browsers = tokio::task::JoinSet::new();
                for _ in 0..CONNECTIONS {
                    browsers.spawn(browse(router, Arc::clone(&counted), stopped.clone()));
                }
                browsers.join_all().await;
            });
        });
        Ok(Self { tally, stop, thread: Some(thread.context("the visitors' thread")?) })
    }

    /// What they have met.
    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// They finish what they do, and come no more.
    pub(super) fn leave(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A visitor that panicked has been counted as far as it came.
            let _ = thread.join();
        }
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A visitor's cookies, by name.
#[derive(Debug, Clone, Default)]
struct Jar(BTreeMap<String, String>);

impl Jar {
    fn keep(&mut self, headers: &HeaderMap) {
        for cookie in headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().ok().and_then(|cookie| cookie.split(';').next()?.split_once('='));
            if let Some((name, value)) = pair {
                self.0.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
    }

    fn header(&self) -> Option<String> {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// The visitors of one connection, taking turns.
async fn browse(router: SocketAddr, tally: Arc<Mutex<Tally>>, stop: CancellationToken) {
    let mut jars = vec![Jar::default(); ON_A_CONNECTION];
    let mut connection = None;
    loop {
        let pause = Duration::from_millis(rand::random_range(PAUSE));
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let jar = &mut jars[rand::random_range(0..ON_A_CONNECTION)];
        let method = if rand::random_bool(POSTS) { Method::POST } else { Method::GET };
        let act = tally.lock().unwrap_or_else(PoisonError::into_inner).arrive();
        let visited = tokio::time::timeout(PATIENCE, visit(router, &mut connection, &method, jar)).await;
        // Whatever went wrong took its connection along.
        let met = visited.ok().and_then(Result::ok).unwrap_or(Met::Broken);
        tally.lock().unwrap_or_else(PoisonError::into_inner).leave(act, &method, met);
    }
}

async fn visit(
    router: SocketAddr,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    method: &Method,
    jar: &mut Jar,
) -> anyhow::Result<Met> {
    let mut sender = match connection.take() {
        Some(sender) => sender,
        None => connect(router).await?,
    };
    let (path, body) = match *method {
        Method::POST => ("/orders", Full::from("item=bread&count=1")),
        _ => (PATHS[rand::random_range(0..PATHS.len())], Full::default()),
    };
    let mut request = Request::builder().method(method).uri(path).header(HOST, "shop.example.com");
    if let Some(cookies) = jar.header() {
        request = request.header(COOKIE, cookies);
    }
    let (head, body) = sender.send_request(request.body(body)?).await?.into_parts();
    jar.keep(&head.headers);
    body.collect().await?;
    if sender.ready().await.is_ok() {
        *connection = Some(sender);
    }
    let release = head.headers.get(RELEASE_HEADER).and_then(|release| release.to_str().ok()).map(str::to_owned);
    Ok(Met::Answer { failed: head.status.is_server_error(), release })
}

async fn connect(router: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(router).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its end shows in the sender.
    drop(tokio::spawn(connection));
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::super::applications::{Applications, Fault};
    use super::*;

    #[test]
    fn a_jar_keeps_the_last_value_of_each_cookie() {
        let mut jar = Jar::default();
        assert_eq!(jar.header(), None);
        for cookies in [["a=1; Path=/; HttpOnly", "b=2"], ["a=3", "nonsense"]] {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(SET_COOKIE, cookie.parse().unwrap());
            }
            jar.keep(&headers);
        }
        assert_eq!(jar.header().unwrap(), "a=3; b=2");
    }

    fn eventually(what: &str, holds: impl Fn() -> bool) {
        for _ in 0..2000 {
            if holds() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("{what}");
    }

    #[test]
    fn visitors_meet_what_the_application_does() {
        let applications = Applications::start("1.0").unwrap();
        let mut visitors = Visitors::start(applications.server0.address).unwrap();
        eventually("many answers", || visitors.tally().total().requests > 200);
        let counts = visitors.tally().total();
        assert!(counts.posts > 0 && counts.bad_release() == 0, "{counts:?}");
        visitors.tally().watch_out_for("1.2");
        applications.server0.deploy("1.2", Fault::Errors { share: 1.0, after: Duration::ZERO });
        eventually("its failures are seen as its own", || visitors.tally().total().bad_release() > 20);
        assert!(applications.server0.first_failure().is_some());
        visitors.leave();
        let counts = visitors.tally().total();
        assert_eq!(counts.broken_gets + counts.broken_posts, 0, "{counts:?}");
    }

    #[test]
    fn a_crash_breaks_connections_and_a_deployment_ends_it() {
        let applications = Applications::start("1.0").unwrap();
        let application = &applications.server1;
        let mut visitors = Visitors::start(application.address).unwrap();
        application.deploy("1.2", Fault::Crash { after: Duration::from_millis(200) });
        eventually("broken connections", || visitors.tally().total().broken_gets > 0);
        assert!(!application.is_up() && application.first_failure().is_some());
        application.deploy("1.3", Fault::None);
        eventually("answers again", || application.answers().requests > 0);
        visitors.leave();
    }
}
