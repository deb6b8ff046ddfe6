//! Many visitors at a steady rate, and what they got.

use super::Visitor;
use bytes::Bytes;
use http::Method;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// What all visitors of a load got.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub gets: u64,
    pub posts: u64,
    /// Answers by application; the router's own under the empty name.
    pub by: BTreeMap<String, u64>,
    /// GET requests that got no answer, or a 5xx; with what they got.
    pub failed_gets: Vec<String>,
    /// The same for POST.
    pub failed_posts: Vec<String>,
}

impl Tally {
    pub fn all(&self) -> u64 {
        self.gets + self.posts
    }

    pub fn answered_by(&self, application: &str) -> u64 {
        self.by.get(application).copied().unwrap_or(0)
    }
}

/// What a load is like.
#[derive(Debug, Clone)]
pub struct Load {
    address: SocketAddr,
    connections: u32,
    identities: usize,
    rate: f64,
    post_every: u64,
    headers: &'static [(&'static str, &'static str)],
    path: &'static str,
    host: &'static str,
}

impl Load {
    /// 100 requests per second by 400 visitors over 8 connections, one in ten a POST.
    pub fn on(address: SocketAddr) -> Self {
        Self {
            address,
            connections: 8,
            identities: 400,
            rate: 100.0,
            post_every: 10,
            headers: &[],
            path: "/page",
            host: "shop.example.com",
        }
    }

    /// Requests per second in all.
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// How many different visitors come round and round.
    pub fn visitors(mut self, identities: usize) -> Self {
        self.identities = identities;
        self
    }

    /// Over how many connections: so many requests can be under way.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// Sent with each request.
    pub fn headers(mut self, headers: &'static [(&'static str, &'static str)]) -> Self {
        self.headers = headers;
        self
    }

    /// Asks for that path of that host.
    pub fn of(mut self, host: &'static str, path: &'static str) -> Self {
        (self.host, self.path) = (host, path);
        self
    }

    /// GET only.
    pub fn without_posts(mut self) -> Self {
        self.post_every = u64::MAX;
        self
    }

    /// POST only.
    pub fn only_posts(mut self) -> Self {
        self.post_every = 1;
        self
    }

    /// Starts the visitors.
    pub fn start(self) -> RunningLoad {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let tasks = (0..self.connections)
            .map(|_| tokio::spawn(visit(self.clone(), Arc::clone(&tally), Arc::clone(&stop), Arc::clone(&sent))))
            .collect();
        RunningLoad { tally, stop, tasks }
    }
}

/// Visitors that come until they are stopped.
pub struct RunningLoad {
    tally: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl RunningLoad {
    /// What they got so far.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Lets every request end and gives what they got.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
        self.so_far()
    }
}

impl Drop for RunningLoad {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// One connection's share of the load. Its visitors, each with a jar of its own, use it in turn.
async fn visit(load: Load, tally: Arc<Mutex<Tally>>, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) {
    let mut visitor = Visitor::new(load.address).of_host(load.host);
    let mut jars = vec![BTreeMap::new(); (load.identities / load.connections as usize).max(1)];
    let mut ticks = interval(Duration::from_secs_f64(f64::from(load.connections) / load.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0;
    while !stop.load(Ordering::SeqCst) {
        ticks.tick().await;
        let is_post = (sent.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(load.post_every);
        let (method, body) = if is_post { (Method::POST, "order=1") } else { (Method::GET, "") };
        turn = (turn + 1) % jars.len();
        std::mem::swap(&mut visitor.cookies, &mut jars[turn]);
        let answer = visitor.ask(method, load.path, load.headers, Bytes::from_static(body.as_bytes())).await;
        std::mem::swap(&mut visitor.cookies, &mut jars[turn]);
        let mut tally = tally.lock().unwrap();
        let failure = match &answer {
            Ok(answer) => {
                *tally.by.entry(answer.by().to_owned()).or_default() += 1;
                (answer.status >= 500).then(|| format!("{} by {:?}: {}", answer.status, answer.by(), answer.text()))
            }
            Err(error) => Some(error.clone()),
        };
        if is_post {
            tally.posts += 1;
            tally.failed_posts.extend(failure);
        } else {
            tally.gets += 1;
            tally.failed_gets.extend(failure);
        }
    }
}
