//! The ways out to the applications, as the file has them: pools, and how much a service may ask of them.

use super::Timeouts;
use crate::model::{Period, PoolName, ReleaseId, TargetAddress};
use std::path::PathBuf;
use std::sync::Arc;

/// `[service.pool.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// At least one.
    pub targets: Vec<TargetAddress>,
    /// What runs in it, as far as the file knows.
    pub release: Option<ReleaseId>,
    /// What its targets speak.
    pub protocol: Protocol,
    /// How those of its targets are verified that speak TLS.
    pub tls: PoolTls,
}

/// What is spoken to targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2: by prior knowledge on plain targets, by ALPN on those with TLS.
    H2,
}

/// `[service.pool.NAME.tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolTls {
    /// The certificates, in PEM, that the targets' are checked by; those of the system where it is left out.
    pub ca_file: Option<PathBuf>,
    /// The host name or IP address that the targets' certificates must be for, and that SNI says; the host of the target
    /// where it is left out. An IP address is written without brackets.
    pub server_name: Option<Arc<str>>,
}

/// `[service.limits]`. The bounds are those of the whole router; each worker has its share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceLimits {
    /// Bytes of a request's body; `None` for no limit.
    pub max_body: Option<u64>,
    /// Requests that a pool works on at once; `None` for no limit.
    pub max_in_flight: Option<u64>,
    /// The most requests that wait for others to end, where there is such a limit.
    pub queue: u64,
    /// The longest that one waits.
    pub queue_wait: Period,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self { max_body: None, max_in_flight: None, queue: 100, queue_wait: Period::from_secs(5) }
    }
}

/// `[service.timeouts]`, each that of the server where it is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServiceTimeouts {
    /// Until a target accepts a connection, and TLS is agreed on with it.
    pub connect: Period,
    /// From the dispatch of a request to the head of the answer.
    pub answer: Period,
    /// Without a byte moving in a body, either way.
    pub stall: Period,
}

impl From<Timeouts> for ServiceTimeouts {
    /// Those of the server.
    fn from(server: Timeouts) -> Self {
        Self { connect: server.connect, answer: server.answer, stall: server.stall }
    }
}

impl Default for ServiceTimeouts {
    fn default() -> Self {
        Timeouts::default().into()
    }
}

/// `[service.retry]`: how many requests may be sent a second time, so that a failing pool does not get twice the load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Retries per request, 0 to 1.
    pub budget: f64,
    /// Retries in a second that are allowed in any case, however few requests there are.
    pub min_per_second: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { budget: 0.2, min_per_second: 3 }
    }
}

/// `[service.ejection]`: a target that fails visitors is left alone for a time, at most half of a pool at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// Errors in a row that eject a target; `None` where none is ejected.
    pub errors: Option<u32>,
    /// For how long.
    pub time: Period,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { errors: Some(5), time: Period::from_secs(30) }
    }
}
