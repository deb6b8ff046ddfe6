//! The data plane: from a visitor's connection to an answer.
//!
//! Each worker is one thread with its own runtime, listening sockets, connections to targets and counters. A request
//! walks:
//!
//! ```text
//! listener ─ arrival ─ connection ─ request ─ routing::Table ─ journey ─ upstream ─ body ─ record
//!   accept    PROXY,     time-outs    is it fit,     which       tries,    a target's  both    counts, when
//!             TLS, ver-  (HTTP/2:     where does    pool and     and the   connection  ways    the last byte
//!             sion       http2)       it go         target       answer                        has gone
//! ```
//!
//! Nothing on this walk is shared between workers but the table, which is read through one atomic pointer.

mod accept;
mod access_log;
mod answers;
mod arrival;
mod assets;
mod attempt;
mod bell;
mod body;
mod budget;
mod caching;
mod client;
mod clients;
mod connection;
mod connections;
mod crowd;
mod framing;
mod gather;
mod headers;
mod http2;
mod idle_limit;
mod inbound;
mod inspector;
mod journey;
mod listener;
mod maintenance;
mod multiplex;
mod outgoing;
mod preview;
mod pump;
mod queue;
mod record;
mod redirect;
mod request;
mod restriction;
mod retries;
mod second;
mod skew;
mod timer;
mod trailers;
mod tunnel;
mod turn;
mod upgrade;
mod upstream;
mod visitor;
mod waiting;
mod websocket;
mod window;
mod worker;

#[cfg(test)]
mod tests;

pub use listener::{Door, DoorSocket, bind};

use crate::config::{AccessLog, ServerLimits, Timeouts};
use crate::routing::{Secret, WorkerEnd};
use ipnet::IpNet;
use rustls::ServerConfig;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a worker goes by for as long as the process lives.
#[derive(Debug, Clone)]
pub struct ProxySettings {
    /// Time-outs towards visitors and targets.
    pub timeouts: Timeouts,
    /// How much visitors may have open at once; each worker has its share.
    pub limits: ServerLimits,
    /// What TLS with visitors goes by, where there is any.
    pub tls: Option<Arc<ServerConfig>>,
    /// The port that visitors without TLS are sent to.
    pub redirect: Option<u16>,
    /// Networks of proxies whose word about the visitor is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What is logged of requests.
    pub access_log: AccessLog,
    /// What signs cookies and salts cohorts.
    pub secret: Arc<Secret>,
    /// How long requests may go on after the shutdown began.
    pub grace: Duration,
}

impl ProxySettings {
    /// Whether the word of the proxy at this address is believed.
    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

/// The running workers.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    /// Closed when the last worker has ended.
    alive: mpsc::Receiver<()>,
}

/// Starts one worker per end, each with its listening sockets. They run until `shutdown`, and then until their requests
/// have ended or the grace is over.
///
/// # Errors
/// When a thread or its runtime can't be made, or there are not as many sets of sockets as workers.
pub fn start(
    mut settings: ProxySettings,
    listeners: Vec<Vec<DoorSocket>>,
    ends: Vec<WorkerEnd>,
    shutdown: &CancellationToken,
) -> io::Result<Workers> {
    if listeners.len() != ends.len() {
        return Err(io::Error::other("every worker needs its listening sockets"));
    }
    settings.limits = connections::share(settings.limits, ends.len());
    let settings = Arc::new(settings);
    let log = access_log::start(&settings.access_log)?;
    let (alive_mark, alive) = mpsc::channel(1);
    let mut threads = Vec::with_capacity(ends.len());
    let (made, makes) = std::sync::mpsc::channel();
    for (listeners, end) in listeners.into_iter().zip(ends) {
        let (settings, log, shutdown) = (Arc::clone(&settings), log.clone(), shutdown.clone());
        let (alive_mark, made) = (alive_mark.clone(), made.clone());
        let thread = thread::Builder::new().name(format!("worker-{}", end.id.0)).spawn(move || {
            let _alive = alive_mark;
            // Made here, since a runtime of local tasks can't move between threads; `start` is told how it went.
            match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => {
                    let _ = made.send(Ok(()));
                    runtime.block_on(worker::run(settings, log, listeners, end, shutdown));
                }
                Err(error) => drop(made.send(Err(error))),
            }
        })?;
        threads.push(thread);
    }
    drop(made);
    makes.iter().take(threads.len()).collect::<io::Result<()>>()?;
    Ok(Workers { threads, alive })
}

impl Workers {
    /// Resolves when every worker has ended.
    pub async fn stopped(&mut self) {
        // Nothing is ever sent: the channel closes when the last worker drops its mark.
        while self.alive.recv().await.is_some() {}
    }

    /// Waits, blocking, until every worker has ended.
    pub fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker ended by a fault");
            }
        }
    }
}
