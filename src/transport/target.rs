//! How a target is reached.

use super::names::{Known, Learned, Lookup};
use super::{Means, TargetStream};
use crate::config::Protocol;
use crate::model::{Endpoint, TargetAddress};
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

/// All that it takes to connect to a target, whoever does: the workers, and the health checks.
#[derive(Debug)]
pub struct Reach {
    address: TargetAddress,
    protocol: Protocol,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What is known of its name.
    known: Known,
}

/// A connection to a target.
#[derive(Debug)]
pub struct Connected {
    /// The connection, with TLS agreed on where the target speaks it.
    pub stream: TargetStream,
    /// The address behind the target's name that it goes to; nothing where the target is no name.
    pub peer: Option<SocketAddr>,
}

/// Why a target can't be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its name has no address, as far as anyone knows.
    #[error("no address is known of {0}: {1}")]
    NoAddress(Arc<str>, String),
    /// It does not accept.
    #[error("connect: {0}")]
    Connect(#[source] io::Error),
    /// This machine has no address that it could be reached from: IPv6 is off, say.
    #[error("connect: {0}; this machine has no address of that kind")]
    NoSource(#[source] io::Error),
    /// There is no TLS with it, or its certificate does not do.
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    /// It has TLS, and speaks HTTP/1.1 in it.
    #[error("TLS: the target does not offer HTTP/2 (by ALPN); turn it on there, or write protocol = \"h1\"")]
    NoHttp2,
    /// It did neither accept nor refuse.
    #[error("connect: no connection within {0:?}")]
    TimedOut(Duration),
    /// One of several addresses.
    #[error("{0}: {1}")]
    At(SocketAddr, #[source] Box<ConnectError>),
}

impl ConnectError {
    /// Whether this machine, or this process, has no more of what a connection takes: file descriptors, ports, memory.
    /// No target is to blame for that.
    #[must_use]
    pub fn is_limit_here(&self) -> bool {
        let limits = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
        match self {
            Self::Connect(error) => limits.iter().any(|errno| is(error, *errno)),
            Self::At(_, error) => error.is_limit_here(),
            Self::NoAddress(..) | Self::NoSource(_) | Self::Tls(_) | Self::NoHttp2 | Self::TimedOut(_) => false,
        }
    }
}

impl Reach {
    /// Of a target, by the means of its pool.
    #[must_use]
    pub fn new(address: TargetAddress, means: &Means) -> Self {
        let tls = means.verification(&address);
        Self { tls, protocol: means.protocol(), known: Known::default(), address }
    }

    /// Where the target listens.
    #[must_use]
    pub fn address(&self) -> &TargetAddress {
        &self.address
    }

    /// What the target speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The name and port that must be looked up, if the target has a name.
    #[must_use]
    pub fn name(&self) -> Option<(&Arc<str>, u16)> {
        match &self.address.endpoint {
            Endpoint::Name(host, port) => Some((host, *port)),
            Endpoint::Socket(_) | Endpoint::Unix(_) => None,
        }
    }

    /// Takes in what a look-up of the name found; one caller at a time.
    pub fn learn(&self, found: Result<Vec<SocketAddr>, String>) -> Learned {
        self.known.learn(found)
    }

    /// What is known of the name.
    #[must_use]
    pub fn lookup(&self) -> Arc<Lookup> {
        self.known.lookup()
    }

    /// Whether a connection to `peer` still goes where the target is.
    #[must_use]
    pub fn is_at(&self, peer: Option<SocketAddr>) -> bool {
        peer.is_none_or(|peer| self.known.has(peer))
    }

    /// Connects, trying the addresses of a name in turn, each for its part of the time.
    ///
    /// # Errors
    /// When none of them accepts in time, or TLS fails.
    pub async fn connect(&self, within: Duration) -> Result<Connected, ConnectError> {
        let deadline = Instant::now() + within;
        let late = |_| ConnectError::TimedOut(within);
        let host = match &self.address.endpoint {
            Endpoint::Unix(path) => {
                let stream = timeout_at(deadline, UnixStream::connect(path)).await.map_err(late)?;
                let stream = TargetStream::Unix(stream.map_err(ConnectError::Connect)?);
                return Ok(Connected { stream, peer: None });
            }
            Endpoint::Socket(address) => {
                let stream = timeout_at(deadline, self.connect_to(*address)).await.map_err(late)??;
                return Ok(Connected { stream, peer: None });
            }
            Endpoint::Name(host, _) => host,
        };
        let mut failed = None;
        let addresses = self.known.in_turn();
        for (tried, address) in addresses.iter().enumerate() {
            let now = Instant::now();
            let left = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let part = deadline.saturating_duration_since(now) / left;
            let at = |error| ConnectError::At(*address, Box::new(error));
            match timeout_at(now + part, self.connect_to(*address)).await {
                Ok(Ok(stream)) => return Ok(Connected { stream, peer: Some(*address) }),
                // What says something of the target goes before what says nothing of it.
                Ok(Err(error)) if failed.as_ref().is_none_or(ConnectError::is_limit_here) => failed = Some(at(error)),
                Ok(Err(_)) => {}
                Err(_) => failed = Some(at(ConnectError::TimedOut(part))),
            }
        }
        let unknown = || {
            let fault = self.known.lookup().fault.clone();
            ConnectError::NoAddress(Arc::clone(host), fault.unwrap_or_else(|| "it was not looked up yet".to_owned()))
        };
        Err(failed.unwrap_or_else(unknown))
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<TargetStream, ConnectError> {
        let stream = TcpStream::connect(address).await.map_err(|error| not_connected(address, error))?;
        stream.set_nodelay(true).map_err(ConnectError::Connect)?;
        let Some((config, name)) = &self.tls else {
            if self.address.secure {
                // What was verified by nothing is never spoken to in the clear instead.
                return Err(ConnectError::Tls(io::Error::other("the host is no name that a certificate can be for")));
            }
            return Ok(TargetStream::Tcp(stream));
        };
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name.clone(), stream);
        let stream = connecting.await.map_err(ConnectError::Tls)?;
        if self.protocol == Protocol::H2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ConnectError::NoHttp2);
        }
        Ok(TargetStream::Tls(Box::new(stream)))
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Why there is no connection to an address. The kernel has one word for no free port and for no address to go out from;
/// a socket that needs no connection, and sends nothing, tells them apart.
fn not_connected(address: SocketAddr, error: io::Error) -> ConnectError {
    let any: SocketAddr =
        if address.is_ipv6() { (Ipv6Addr::UNSPECIFIED, 0).into() } else { (Ipv4Addr::UNSPECIFIED, 0).into() };
    let has_no_source = || {
        UdpSocket::bind(any)
            .and_then(|socket| socket.connect(address))
            .is_err_and(|error| is(&error, Errno::ADDRNOTAVAIL))
    };
    if is(&error, Errno::ADDRNOTAVAIL) && has_no_source() {
        return ConnectError::NoSource(error);
    }
    ConnectError::Connect(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    fn reach(target: &str) -> Reach {
        Reach::new(target.parse().unwrap(), &Means::default())
    }

    #[tokio::test]
    async fn the_addresses_of_a_name_are_tried_in_turn() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = listener.local_addr().unwrap();
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let reach = reach("app.internal:80");
        let error = reach.connect(SOON).await.unwrap_err();
        assert_eq!(error.to_string(), "no address is known of app.internal: it was not looked up yet");
        reach.learn(Err("the name server is away".to_owned()));
        assert!(reach.connect(SOON).await.unwrap_err().to_string().ends_with(": the name server is away"));
        reach.learn(Ok(vec![gone, there]));
        for _ in 0..2 {
            assert_eq!(reach.connect(SOON).await.unwrap().peer, Some(there));
        }
        assert!(reach.is_at(Some(gone)) && reach.is_at(None));
        reach.learn(Ok(vec![gone]));
        assert!(!reach.is_at(Some(there)));
        let error = reach.connect(SOON).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{gone}: connect: ")), "{error}");
    }

    #[test]
    fn a_want_of_this_machine_is_told_from_a_fault_of_the_target() {
        let error = |errno: Errno| not_connected(([127, 0, 0, 1], 1).into(), io::Error::from(errno));
        for (errno, here) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::ADDRNOTAVAIL, true),
            (Errno::CONNREFUSED, false),
            (Errno::NETUNREACH, false),
            (Errno::TIMEDOUT, false),
        ] {
            assert_eq!(error(errno).is_limit_here(), here, "{errno:?}");
        }
        assert!(!ConnectError::NoSource(Errno::ADDRNOTAVAIL.into()).is_limit_here());
    }

    #[tokio::test]
    async fn a_unix_socket_is_connected_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let reach = reach(&format!("unix:{}", path.display()));
        assert!(matches!(reach.connect(SOON).await, Err(ConnectError::Connect(_))));
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(reach.connect(SOON).await.unwrap().stream, TargetStream::Unix(_)));
    }

    #[tokio::test]
    async fn what_should_be_verified_and_can_t_be_is_not_spoken_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = format!("https://{}", listener.local_addr().unwrap());
        assert!(matches!(reach(&target).connect(SOON).await, Err(ConnectError::Tls(_))));
    }
}
