//! A configuration that has passed every check: the types that the rest of the product reads.

use crate::model::{HostPattern, PathPrefix, Period, PoolName, ServiceName};
use http::{HeaderName, HeaderValue};
use ipnet::IpNet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

mod server;
mod targets;

pub use server::{CertificateFiles, Listener, Server, ServerLimits, Timeouts, Tls, TlsVersion};
pub use targets::{Ejection, Pool, PoolTls, Protocol, Retry, ServiceLimits, ServiceTimeouts};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The ways in for visitors.
    pub server: Server,
    /// The way in for operators.
    pub admin: Admin,
    /// The file that the state is kept in.
    pub state: PathBuf,
    /// The metrics source of PromQL checks.
    pub prometheus: Option<Prometheus>,
    /// What is logged of requests.
    pub access_log: AccessLog,
    /// Who is told what was decided.
    pub notify: Vec<Notify>,
    /// At least one, with names and routes that differ.
    pub services: Vec<Service>,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where the admin API listens.
    pub listen: AdminListen,
    /// The file with the bearer token; needed on an address that is not loopback.
    pub token_file: Option<PathBuf>,
}

/// An address of the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminListen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket, written `unix:PATH`.
    Unix(PathBuf),
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[prometheus]`. The files are read again while the router runs, so that what they hold can be renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prometheus {
    /// The base URL of the server, `http://…` or `https://…`, without a password.
    pub url: String,
    /// How long a query may take.
    pub timeout: Period,
    /// How the router says who it is.
    pub login: PrometheusLogin,
    /// The certificates that the server's is checked by; those of the system where it is left out.
    pub ca_file: Option<PathBuf>,
    /// The router's own certificate.
    pub client: Option<ClientCertificate>,
    /// Sent with each query.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Prometheus {
    /// A server that needs nothing but to be asked.
    #[must_use]
    pub fn at(url: String, timeout: Period) -> Self {
        Self { url, timeout, login: PrometheusLogin::None, ca_file: None, client: None, headers: Vec::new() }
    }
}

/// How the router says to Prometheus who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrometheusLogin {
    /// Not at all.
    None,
    /// By the token in this file.
    Bearer(PathBuf),
    /// By a name and the password in this file.
    Basic {
        /// The name.
        username: String,
        /// The file.
        password_file: PathBuf,
    },
}

/// A certificate with its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, and those between it and its root.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[access_log]`: which requests are logged to standard output, and how.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AccessLog {
    /// The form of a line.
    pub format: LogFormat,
    /// The share of requests that is logged: 0 is off, 1 is all.
    pub sample: f64,
}

/// The form of an access log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// `key=value` words.
    Text,
}

/// `[[service]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The hosts it answers for; [`HostPattern::Any`] where the file names none.
    pub hosts: Vec<HostPattern>,
    /// The path it is mounted on.
    pub path_prefix: PathPrefix,
    /// The pool that is live while there is no state; always one of `pools`.
    pub live: PoolName,
    /// Two or more, in the order of the file.
    pub pools: Vec<Pool>,
    /// How targets are checked.
    pub health: Health,
    /// What makes a visitor the same visitor.
    pub sticky: StickyBy,
    /// How a candidate becomes live.
    pub rollout: RolloutConfig,
    /// What visitors get while nothing serves them.
    pub maintenance: Maintenance,
    /// What becomes of requests that would change something, in mode read-only.
    pub read_only: ReadOnly,
    /// How everyone is made to appear logged out, in mode anonymous.
    pub anonymous: Anonymous,
    /// How requests wait.
    pub hold: Hold,
    /// Whether an asset that is not in the visitor's pool is looked for in the other one, while that is warm.
    pub skew_guard: bool,
    /// What shared caches are told while a split is on.
    pub caching: Caching,
    /// How much may be under way at once.
    pub limits: ServiceLimits,
    /// How long its targets may take.
    pub timeouts: ServiceTimeouts,
    /// How often a request may be sent a second time.
    pub retry: Retry,
    /// When a target that fails visitors is left alone.
    pub ejection: Ejection,
    /// How long a target's share grows to its full size after a switch or a recovery; zero for not at all.
    pub slow_start: Period,
}

impl Service {
    /// [`Service::slow_start`] where the file does not say.
    pub const SLOW_START: Period = Period::from_secs(10);

    /// The pool of that name.
    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == *name)
    }
}

/// `[service.health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// A path that must answer 2xx or 3xx; without one, a TCP connect is enough.
    pub path: Option<String>,
    /// Between two checks of a target.
    pub interval: Period,
    /// Of one check.
    pub timeout: Period,
    /// Passed checks in a row until a target is up; at least 1.
    pub rise: u32,
    /// Failed checks in a row until a target is down; at least 1.
    pub fall: u32,
    /// Where the answer to a check says which release runs.
    pub release: Option<ReleaseSource>,
}

/// Where a target's answer to its health check says which release runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseSource {
    /// In this header.
    Header(HeaderName),
    /// In this field of the JSON body; `a.b` is the field `b` of the object `a`.
    Json(String),
}

impl fmt::Display for ReleaseSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Json(field) => write!(f, "json:{field}"),
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            path: None,
            interval: Period::from_secs(1),
            timeout: Period::from_millis(500),
            rise: 2,
            fall: 3,
            release: None,
        }
    }
}

/// `[service.sticky]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StickyBy {
    /// A signed cookie set by the router.
    #[default]
    Cookie,
    /// The value of a request header.
    Header(HeaderName),
    /// The visitor's address.
    ClientIp,
    /// Nothing: each request is drawn for itself.
    None,
}

/// `[service.rollout]`: the plan of a rollout, as it is before a command changes its steps.
pub use crate::model::{
    Check, ErrorRatioCheck, OnInconclusive, Plan as RolloutConfig, PromQlCheck, Step as StepConfig,
};

/// `[[notify]]`: someone who is told what was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Where it is told, by a POST; `http` or `https`. Often a secret in itself, so it belongs in no log.
    pub url: String,
    /// In which form.
    pub kind: NotifyKind,
    /// The file with the key that the body is signed with.
    pub secret_file: Option<PathBuf>,
    /// What is told: names of decisions, or [`Notify::GATE_FAILURE`].
    pub events: Vec<String>,
    /// Of which services; all where it is left out.
    pub services: Option<Vec<ServiceName>>,
    /// Where people can look, with `{{service}}` to be filled in.
    pub link: Option<String>,
}

impl Notify {
    /// The event of a gate that has failed, whatever came of it.
    pub const GATE_FAILURE: &str = "gate-failure";
}

/// The form of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NotifyKind {
    /// The decision and the service as JSON.
    #[default]
    Webhook,
    /// What Slack and those compatible with it take.
    Slack,
}

/// `[service.maintenance]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Maintenance {
    /// The operator's page; read again when it changes.
    pub page: Option<PathBuf>,
    /// While this file exists, the service is in maintenance.
    pub file: Option<PathBuf>,
    /// What `Retry-After` says.
    pub retry_after: Period,
    /// The status of unsafe methods in planned maintenance.
    pub unsafe_status: UnsafeStatus,
    /// Client networks that reach the application all the same.
    pub bypass: Vec<IpNet>,
    /// Path prefixes that reach it; that of ACME challenges always does.
    pub exempt: Vec<PathPrefix>,
    /// The folder with what the operator's page needs: images, styles, fonts.
    pub assets: Option<PathBuf>,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            page: None,
            file: None,
            retry_after: Period::from_secs(120),
            unsafe_status: UnsafeStatus::ServiceUnavailable,
            bypass: Vec::new(),
            exempt: Vec::new(),
            assets: None,
        }
    }
}

/// How planned maintenance answers unsafe methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsafeStatus {
    /// 503, as for all others.
    #[default]
    ServiceUnavailable,
    /// 405 with `Allow: GET, HEAD`.
    MethodNotAllowed,
}

/// `[service.read_only]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOnly {
    /// What becomes of unsafe requests.
    pub unsafe_requests: UnsafeRequests,
    /// Path prefixes whose requests pass whatever they do.
    pub exempt: Vec<PathPrefix>,
}

/// What becomes of an unsafe request in mode read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsafeRequests {
    /// 503 with `Retry-After`.
    #[default]
    ServiceUnavailable,
    /// 405 with `Allow: GET, HEAD`.
    MethodNotAllowed,
    /// It goes on as a GET, without its body.
    AsGet,
}

/// `[service.anonymous]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Anonymous {
    /// The names of the cookies by which the application knows who is logged in; `None` where nobody has said. None of
    /// them: only `Authorization` says it.
    pub cookies: Option<Vec<String>>,
}

/// `[service.hold]`. The bounds are those of the whole router; each worker has its share of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The longest that a request waits.
    pub max_wait: Period,
    /// The most requests that wait at once; at least 1.
    pub max_requests: u64,
    /// The most bytes that the heads of waiting requests take up.
    pub max_bytes: u64,
    /// How long requests that could not be sent wait for a target that has stopped listening to come back; zero for not
    /// at all.
    pub restart: Period,
}

impl Default for Hold {
    fn default() -> Self {
        Self {
            max_wait: Period::from_secs(30),
            max_requests: 1000,
            max_bytes: 16 * 1024 * 1024,
            restart: Period::from_secs(5),
        }
    }
}

/// What shared caches are told of answers that depend on a visitor's cohort, while a split is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// `Cache-Control: private`: no shared cache keeps them.
    #[default]
    Private,
    /// `Vary: Cookie`, or the header that visitors are drawn by.
    Vary,
    /// What the application says.
    AsIs,
}
