//! The ways in for visitors, as the file has them.

use crate::model::Period;
use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where visitors connect without TLS; may be empty where there is TLS.
    pub listen: Vec<Listener>,
    /// Where they connect with TLS.
    pub tls: Option<Tls>,
    /// Worker threads; 0 is one per core.
    pub workers: usize,
    /// The file whose content signs cookies and links; made where it is missing.
    pub secret_file: PathBuf,
    /// Networks of proxies whose `X-Forwarded-*`, `Forwarded` and PROXY headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Time-outs towards visitors and targets.
    pub timeouts: Timeouts,
    /// How much visitors may have open at once.
    pub limits: ServerLimits,
    /// How often names of targets are resolved again.
    pub dns_refresh: Period,
    /// How long requests may go on after a signal to stop.
    pub grace: Period,
}

impl Server {
    /// [`Server::dns_refresh`] where the file does not say.
    pub const DNS_REFRESH: Period = Period::from_secs(10);

    /// [`Server::grace`] where the file does not say. Service managers wait longer before they kill.
    pub const GRACE: Period = Period::from_secs(30);

    /// One without TLS, everything else as where the file does not say.
    #[must_use]
    pub fn at(listen: Vec<Listener>, secret_file: PathBuf) -> Self {
        Self {
            listen,
            tls: None,
            workers: 0,
            secret_file,
            trusted_proxies: Vec::new(),
            timeouts: Timeouts::default(),
            limits: ServerLimits::default(),
            dns_refresh: Self::DNS_REFRESH,
            grace: Self::GRACE,
        }
    }

    /// All listeners, those with TLS last.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listen.iter().chain(self.tls.iter().flat_map(|tls| &tls.listen))
    }
}

/// A place where visitors connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The address; port 0 is a free one.
    pub address: SocketAddr,
    /// Whether each connection begins with a PROXY header, which only trusted proxies may send.
    pub proxy_protocol: bool,
}

impl From<SocketAddr> for Listener {
    /// Without the PROXY protocol.
    fn from(address: SocketAddr) -> Self {
        Self { address, proxy_protocol: false }
    }
}

/// `[server.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Where visitors connect; at least one.
    pub listen: Vec<Listener>,
    /// At least one; the first is for clients whose SNI matches none.
    pub certificates: Vec<CertificateFiles>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// Where listeners without TLS send visitors: `https://` with this port, which is left out where it is 443. `None`:
    /// they serve themselves.
    pub redirect: Option<u16>,
}

/// A certificate with its key, both in PEM; read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its root.
    pub chain: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// `[server.timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the accept of a connection to the end of PROXY header, protocol detection and TLS handshake, together.
    pub handshake: Period,
    /// From the first byte of a request, or a new connection, to the end of the request's head.
    pub head: Period,
    /// Between two requests of one connection.
    pub idle: Period,
    /// Until a target accepts a connection.
    pub connect: Period,
    /// From the dispatch of a request to the head of the answer.
    pub answer: Period,
    /// Without a byte moving in a body, either way.
    pub stall: Period,
    /// Without a byte moving in a WebSocket or another tunnel, either way.
    pub tunnel: Period,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Period::from_secs(10),
            head: Period::from_secs(10),
            idle: Period::from_secs(75),
            connect: Period::from_secs(2),
            answer: Period::from_secs(30),
            stall: Period::from_secs(60),
            tunnel: Period::from_secs(3600),
        }
    }
}

/// `[server.limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Visitors' connections of the whole router at once, of which each worker has its share; at least 1.
    pub connections: usize,
    /// Connections of one client address, or one IPv6 /64, at once; trusted proxies are exempt. `None` for no limit.
    pub connections_per_client: Option<usize>,
    /// Streams of one HTTP/2 connection at once; at least 1.
    pub streams: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { connections: 65_536, connections_per_client: Some(4096), streams: 100 }
    }
}
