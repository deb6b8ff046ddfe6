//! A whole router: the store, the control plane, the admin API, the workers.

use super::{certificates, secret};
use crate::adapters::{Gates, Notices, PrometheusSource, SqliteStore};
use crate::config::{AdminListen, Config, Listener, Server};
use crate::control::ports::{MetricsSource, Notifier, Store};
use crate::control::{Handle, Setup, StoreThread};
use crate::model::Period;
use crate::proxy::{self, Door, DoorSocket, ProxySettings, Workers};
use crate::routing::Live;
use crate::transport::Certificates;
use crate::{admin, control};
use anyhow::Context;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long the first round of health checks is awaited. It takes its time-out where a target is silent, and a multiple of
/// that where many are, for checks take turns. That must keep nobody from whom other targets could serve.
const FIRST_ROUND: Duration = Duration::from_secs(30);

/// A running router.
pub struct Router {
    /// The control plane.
    pub handle: Handle,
    /// What visitors are shown by TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Where visitors connect without TLS.
    pub listen: Vec<SocketAddr>,
    /// Where they connect with TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Where operators connect.
    pub admin: AdminListen,
    workers: Workers,
    control: JoinHandle<()>,
    admin_api: JoinHandle<()>,
    control_shutdown: CancellationToken,
    proxy_shutdown: CancellationToken,
}

impl Router {
    /// Starts a router: from its return on it serves visitors, in the state that was stored. A `grace` goes before that of
    /// the configuration.
    ///
    /// # Errors
    /// When the state, the secret, an address or a token can't be had; the message says what to do.
    pub async fn start(config: Config, grace: Option<Period>) -> anyhow::Result<Self> {
        let mut store = SqliteStore::open(&config.state)?;
        let stored = store.load().context("the state can't be read")?;
        let secret = Arc::new(secret::load(&config.server.secret_file)?);
        let access = admin::Access::new(&config.admin)?;
        let admin_listener = admin::bind(&config.admin.listen)
            .with_context(|| format!("the admin API can't listen on {}", config.admin.listen))?;
        let admin = admin_listener.address();
        let worker_count = match config.server.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            count => count,
        };
        let certificates = certificates::read(config.server.tls.as_ref())?;
        let doors = doors(&config.server);
        let listeners = proxy::bind(&doors, worker_count)?;
        let listen = listeners.iter().flatten().take(doors.len()).map(DoorSocket::local_addr);
        let mut listen: Vec<_> = listen.collect::<Result<_, _>>().context("the visitors' address")?;
        let listen_tls = listen.split_off(config.server.listen.len());
        let metrics = config.prometheus.as_ref().map(PrometheusSource::new).transpose()?;
        let settings = ProxySettings {
            timeouts: config.server.timeouts,
            limits: config.server.limits,
            tls: certificates.as_ref().map(|certificates| certificates.server_config()).transpose()?,
            redirect: config.server.tls.as_ref().and_then(|tls| tls.redirect),
            trusted_proxies: config.server.trusted_proxies.clone(),
            access_log: config.access_log,
            secret: Arc::clone(&secret),
            grace: grace.unwrap_or(config.server.grace).get(),
        };
        let notifier = match config.notify.as_slice() {
            [] => None,
            notify => Some(Arc::new(Notices::start(notify)?) as Arc<dyn Notifier>),
        };
        let (live, ends, suspicions) = Live::new(worker_count);
        let setup = Setup {
            config,
            live: Arc::new(live),
            suspicions,
            secret,
            store: StoreThread::start(Box::new(store)).context("the store's thread")?,
            stored,
            metrics: metrics.map(|source| Arc::new(source) as Arc<dyn MetricsSource>),
            certificates: certificates.clone(),
            gates: Arc::new(Gates::new()?),
            notifier,
        };
        let (control_shutdown, proxy_shutdown) = (CancellationToken::new(), CancellationToken::new());
        let (handle, control) = control::start(setup, control_shutdown.clone()).await?;
        let admin_api = tokio::spawn(admin::serve(admin_listener, handle.clone(), access, control_shutdown.clone()));
        wait_until_checked(&handle).await;
        let workers = proxy::start(settings, listeners, ends, &proxy_shutdown).context("the workers' threads")?;
        handle.serves();
        Ok(Self {
            handle,
            certificates,
            listen,
            listen_tls,
            admin,
            workers,
            control,
            admin_api,
            control_shutdown,
            proxy_shutdown,
        })
    }

    /// Stops: no new connections, requests in flight end within their grace, the state is written.
    ///
    /// # Errors
    /// When a part of it had ended in a way that it never should.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.proxy_shutdown.cancel();
        self.workers.stopped().await;
        self.workers.join();
        self.control_shutdown.cancel();
        self.control.await.context("the control plane")?;
        self.admin_api.await.context("the admin API")
    }
}

/// Where visitors connect, those with TLS last.
fn doors(server: &Server) -> Vec<Door> {
    let door = |secure| move |listener: &Listener| Door { listener: *listener, secure };
    let with_tls = server.tls.iter().flat_map(|tls| &tls.listen);
    server.listen.iter().map(door(false)).chain(with_tls.map(door(true))).collect()
}

async fn wait_until_checked(handle: &Handle) {
    let since = Instant::now();
    while !handle.has_checked() {
        if since.elapsed() > FIRST_ROUND {
            tracing::warn!(
                "the first round of health checks did not end within {FIRST_ROUND:?}: targets that were not checked yet count as up"
            );
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
