//! The listening sockets, and the loop that accepts visitors.

use super::visitor::{Peer, Visitor};
use super::worker::Worker;
use super::{connection, http2};
use crate::transport::VisitorStream;
use futures_util::FutureExt;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Connections that may wait to be accepted, per socket; the kernel caps it at its own limit.
const BACKLOG: i32 = 4096;

/// Visitors' connections of one worker. More wait in the kernel's queue until others end.
const MOST_CONNECTIONS: usize = 32_768;

/// How long accepting rests when the process has no file descriptor left.
const REST: Duration = Duration::from_millis(50);

/// Binds every address once per worker, so that the kernel spreads the visitors over them. Port 0 becomes the same
/// free port for all workers.
///
/// # Errors
/// When an address can't be bound: it is taken, or not of this machine.
pub fn bind(listen: &[SocketAddr], workers: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let mut sockets: Vec<Vec<TcpListener>> = (0..workers.max(1)).map(|_| Vec::new()).collect();
    for address in listen {
        let mut address = *address;
        if address.port() != 0 {
            // A socket that shares its port would bind beside another program's; one that does not shows the clash.
            drop(socket(address, false)?);
        }
        for own in &mut sockets {
            let socket = socket(address, true)?;
            address = socket.local_addr()?;
            own.push(socket);
        }
    }
    Ok(sockets)
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("can't listen on {address}: {error}"));
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).map_err(told)?;
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
pub(super) async fn accept(worker: Rc<Worker>, listener: TcpListener, shutdown: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a worker can't use its listening socket"),
    };
    loop {
        let room = async {
            while worker.connections.count() >= MOST_CONNECTIONS {
                worker.connections.fewer().await;
            }
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = room => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => welcome(&worker, stream, peer),
            Err(error) if is_the_visitors(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "can't accept a visitor");
                tokio::time::sleep(REST).await;
            }
        }
    }
    // Who has come already is served once more: closing the socket would turn them away.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        welcome(&worker, stream, peer);
    }
}

fn welcome(worker: &Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    // Answers go out as they are written; without this a small one may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let peer = Peer::new(worker, peer.ip(), false);
    let counted = worker.connections.enter();
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async {
        let head = worker.settings.timeouts.head.get();
        if let Ok(true) = tokio::time::timeout(head, begins_http2(&stream)).await {
            Box::pin(http2::serve(VisitorStream::Plain(stream), worker, peer)).await;
        } else {
            let visitor = Visitor::new(worker, peer);
            connection::serve(VisitorStream::Plain(stream), visitor).await;
        }
        drop(counted);
    });
}

/// Whether a connection begins with the preface of HTTP/2.
async fn begins_http2(stream: &TcpStream) -> bool {
    let mut first = [0; 16];
    matches!(stream.peek(&mut first).await, Ok(16) if first == *b"PRI * HTTP/2.0\r\n")
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
        let sockets = bind(&["127.0.0.1:0".parse().unwrap()], 3).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|own| own[0].local_addr().unwrap().port()).collect();
        assert!(ports.len() == 3 && ports[0] != 0 && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
    }

    #[test]
    fn a_port_that_is_taken_is_told() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = bind(&[other.local_addr().unwrap()], 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().contains(&other.local_addr().unwrap().to_string()), "{error}");
    }
}
