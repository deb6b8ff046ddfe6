//! The listening sockets, and the loop that accepts visitors.

use super::arrival::welcome;
use super::worker::{TELL, Worker};
use crate::config::Listener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Connections that may wait to be accepted, per socket; the kernel caps it at its own limit.
const BACKLOG: i32 = 4096;

/// How long accepting rests when the process has no file descriptor left.
const REST: Duration = Duration::from_millis(50);

/// A place where visitors connect, and how they begin there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Door {
    /// Where, and whether a PROXY header comes first.
    pub listener: Listener,
    /// Whether TLS is spoken.
    pub secure: bool,
}

/// A listening socket of a door.
#[derive(Debug)]
pub struct DoorSocket {
    door: Door,
    socket: TcpListener,
}

impl Door {
    /// Without a PROXY header and without TLS.
    #[must_use]
    pub fn plain(address: SocketAddr) -> Self {
        Self { listener: address.into(), secure: false }
    }
}

impl DoorSocket {
    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Binds every door once per worker, so that the kernel spreads the visitors over them. Port 0 becomes the same free
/// port for all workers.
///
/// # Errors
/// When an address can't be bound: it is taken, or not of this machine.
pub fn bind(doors: &[Door], workers: usize) -> io::Result<Vec<Vec<DoorSocket>>> {
    let kind = |address: SocketAddr| Kind { address, only_v6: has_twin(address, doors) };
    // A socket that shares its port would bind beside another program's; one that does not shows the clash. All of them
    // are tried before the first is bound to stay, for they may share a port among themselves.
    for door in doors.iter().filter(|door| door.listener.address.port() != 0) {
        drop(socket(kind(door.listener.address), false)?);
    }
    let mut sockets: Vec<Vec<DoorSocket>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
    for door in doors {
        let mut kind = kind(door.listener.address);
        for own in &mut sockets {
            let socket = socket(kind, true)?;
            kind.address = socket.local_addr()?;
            own.push(DoorSocket { door: *door, socket });
        }
    }
    Ok(sockets)
}

/// Whether the same port of every address of IPv4 has a door of its own, so that `[::]` is left with IPv6.
fn has_twin(address: SocketAddr, doors: &[Door]) -> bool {
    let twin = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    address.is_ipv6() && address.port() != 0 && doors.iter().any(|door| door.listener.address == twin)
}

/// What a socket is bound to.
#[derive(Clone, Copy)]
struct Kind {
    address: SocketAddr,
    /// Whether it leaves the addresses of IPv4 to another.
    only_v6: bool,
}

fn socket(kind: Kind, shared: bool) -> io::Result<TcpListener> {
    let address = kind.address;
    let told = |error: io::Error| io::Error::new(error.kind(), format!("can't listen on {address}: {error}"));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(told)?;
    if kind.only_v6 {
        socket.set_only_v6(true).map_err(told)?;
    }
    socket.set_reuse_address(true).map_err(told)?;
    socket.set_reuse_port(shared).map_err(told)?;
    socket.bind(&address.into()).map_err(told)?;
    if shared {
        socket.listen(BACKLOG).map_err(told)?;
    }
    socket.set_nonblocking(true).map_err(told)?;
    Ok(socket.into())
}

/// Accepts visitors until the shutdown.
pub(super) async fn accept(worker: Rc<Worker>, own: DoorSocket, shutdown: CancellationToken) {
    let door = own.door;
    let most = worker.settings.limits.connections as u64;
    let listener = match tokio::net::TcpListener::from_std(own.socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a worker can't use its listening socket"),
    };
    // When it was told last that nobody can be accepted.
    let mut told = None;
    loop {
        let room = async {
            // More wait in the kernel's queue until others end.
            while worker.connections.count() >= most {
                worker.connections.fewer().await;
            }
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = room => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => welcome(&worker, stream, peer, door),
            Err(error) if is_the_visitors(&error) => {}
            Err(error) => {
                let now = worker.tick();
                if told.is_none_or(|told| now.saturating_duration_since(told) >= TELL) {
                    told = Some(now);
                    tracing::warn!(%error, "can't accept visitors; they wait until others have left");
                }
                tokio::time::sleep(REST).await;
            }
        }
    }
    // Who has come already is served once more: closing the socket would turn them away. The kernel is asked: the runtime
    // may not have heard of all of them, and gives a task only so many at a time. No more than wait there: others come
    // for as long as it listens.
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    welcome(&worker, stream, peer, door);
                }
            }
            Err(error) if is_the_visitors(&error) => {}
            Err(_) => return,
        }
    }
}

/// Whether the connection was gone before it could be accepted.
fn is_the_visitors(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_port() {
        let sockets = bind(&[Door::plain("127.0.0.1:0".parse().unwrap())], 3).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|own| own[0].local_addr().unwrap().port()).collect();
        assert!(ports.len() == 3 && ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(&[Door::plain(other.local_addr().unwrap())], 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&other.local_addr().unwrap().to_string()), "{error}");
    }
    #[test]
    fn both_families_have_the_same_port() {
        let port = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
        for addresses in [["0.0.0.0", "[::]"], ["[::]", "0.0.0.0"], ["127.0.0.1", "[::]"], ["[::]", "127.0.0.1"]] {
            let doors = addresses.map(|address| Door::plain(format!("{address}:{port}").parse().unwrap()));
            let sockets = bind(&doors, 2).unwrap_or_else(|error| panic!("{addresses:?}: {error}"));
            let reached = std::net::TcpStream::connect(("127.0.0.1", port)).map(drop);
            assert!(reached.is_ok() && sockets.iter().all(|own| own.len() == 2), "{addresses:?}: {reached:?}");
        }
        let sockets = bind(&[Door::plain(format!("[::]:{port}").parse().unwrap())], 1).unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "alone it has both: {sockets:?}");
    }
}
