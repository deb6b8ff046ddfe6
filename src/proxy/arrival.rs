//! From the accept of a connection to the first byte of HTTP.
//!
//! ```text
//!          ┌─ PROXY header? ─ who is it? ─ TLS? ─ by ALPN ─────┐
//! accept ──┤                      │                            ├─► connection (HTTP/1.1) or http2
//!          └─ who is it? ─────────┴─ none: by its first bytes ─┘
//! ```
//!
//! All of it together has one time; who has sent nothing when the router stops has much less. What most connections are,
//! HTTP/1.1 without either, is read once: the bytes that tell the version are handed on with the stream.

use super::connection::{self, Registered};
use super::listener::Door;
use super::timer::Timer;
use super::visitor::{FAREWELL, Peer, Visitor};
use super::worker::Worker;
use super::{clients, connections, http2};
use crate::routing::TurnedAway;
use crate::transport::{Rewound, VisitorStream, proxy_header};
use bytes::BytesMut;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout_at;
use tokio_rustls::TlsAcceptor;

/// What HTTP/2 begins with where the visitor knows that it is spoken (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The most that is read at first: most heads and TLS hellos are shorter, and are handed on whole.
const FIRST_READ: usize = 4096;

/// Receives a connection.
pub(super) fn welcome(worker: &Rc<Worker>, stream: TcpStream, from: SocketAddr, door: Door) {
    // Answers go out as they are written; without this a small one may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let counted = worker.connections.enter();
    let worker = Rc::clone(worker);
    let by = worker.tick() + worker.settings.timeouts.handshake.get();
    if door.secure || door.listener.proxy_protocol {
        tokio::task::spawn_local(async move {
            if let Some((greeted, admitted)) = Box::pin(greet(worker, stream, from, door, by)).await {
                greeted.serve(by, (admitted, counted)).await;
            }
        });
        return;
    }
    let peer = Peer::new(&worker, from.ip(), false);
    let Some(admitted) = worker.clients.admit(&peer) else {
        return worker.reports.doors().turns_away(TurnedAway::ClientLimit);
    };
    let visitor = Visitor::new(worker, peer);
    tokio::task::spawn_local(undecided(stream, BytesMut::new(), visitor, by, (admitted, counted)));
}

/// That a connection is counted: as one of its client's, and of all.
type Counted = (clients::Admitted, connections::Counted);

/// A connection whose visitor is known.
enum Greeted {
    /// Without TLS; the first bytes will tell the version.
    Plain(TcpStream, BytesMut, Rc<Worker>, Rc<Peer>),
    Http1(VisitorStream, Rc<Worker>, Rc<Peer>),
    Http2(VisitorStream, Rc<Worker>, Rc<Peer>),
}

impl Greeted {
    /// Each kind has a box of its own, so that none keeps room for what another needs.
    fn serve(self, by: Instant, counted: Counted) -> Pin<Box<dyn Future<Output = ()>>> {
        match self {
            Self::Plain(stream, first, worker, peer) => {
                Box::pin(undecided(stream, first, Visitor::new(worker, peer), by, counted))
            }
            Self::Http1(stream, worker, peer) => {
                Box::pin(connection::serve(stream, Registered(Visitor::new(worker, peer)), counted))
            }
            Self::Http2(stream, worker, peer) => Box::pin(async move {
                http2::serve(stream, worker, peer).await;
                drop(counted);
            }),
        }
    }
}

/// Reads the PROXY header and speaks TLS, where the door asks for it. `None` where the connection is to be closed.
async fn greet(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    from: SocketAddr,
    door: Door,
    by: Instant,
) -> Option<(Greeted, clients::Admitted)> {
    let (tally, accepted) = (worker.reports.doors(), worker.now());
    let (mut first, mut address, mut secure) = (BytesMut::new(), from.ip(), door.secure);
    if door.listener.proxy_protocol {
        if !worker.settings.trusts(address.to_canonical()) {
            tally.turns_away(TurnedAway::UntrustedProxy);
            return None;
        }
        if !begins(&worker, &mut stream, &mut first, accepted, by).await {
            return None;
        }
        let Ok(Ok(told)) = timeout_at(by.into(), introduced(&mut stream, &mut first)).await else {
            tally.turns_away(TurnedAway::NoProxyHeader);
            return None;
        };
        address = told.source.unwrap_or(address);
        secure |= told.secure;
    }
    let peer = Peer::new(&worker, address, secure);
    let Some(admitted) = worker.clients.admit(&peer) else {
        tally.turns_away(TurnedAway::ClientLimit);
        return None;
    };
    let Some(tls) = worker.settings.tls.as_ref().filter(|_| door.secure) else {
        return Some((Greeted::Plain(stream, first, worker, peer), admitted));
    };
    if first.is_empty() && !begins(&worker, &mut stream, &mut first, accepted, by).await {
        return None;
    }
    let handshake = TlsAcceptor::from(Arc::clone(tls)).accept(Rewound::new(stream, first.freeze()));
    let fault = match Box::pin(timeout_at(by.into(), handshake)).await {
        Ok(Ok(stream)) => {
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let stream = VisitorStream::Tls(Box::new(stream));
            let kind = if is_http2 { Greeted::Http2 } else { Greeted::Http1 };
            return Some((kind(stream, worker, peer), admitted));
        }
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    tally.handshake_failures.add(1);
    tracing::debug!(client = %peer.address, %fault, "a TLS handshake failed");
    None
}

/// Waits for the visitor's first bytes, for as long as what begins with them may take. False when the router stops, and
/// the visitor has had the time of who has just connected.
async fn begins(worker: &Worker, stream: &mut TcpStream, first: &mut BytesMut, accepted: Instant, by: Instant) -> bool {
    let left = async {
        worker.visitors.closed().await;
        tokio::time::sleep_until((accepted + FAREWELL).into()).await;
    };
    tokio::select! {
        biased;
        // Who reads next finds out as well that the time or the stream has ended.
        _ = timeout_at(by.into(), poll_fn(|cx| poll_first(stream, first, cx))) => true,
        () = left => false,
    }
}

/// Reads what has come. False at the end of it.
fn poll_first(stream: &mut TcpStream, first: &mut BytesMut, cx: &mut Context<'_>) -> Poll<bool> {
    // Not `try_read`: after a read that leaves nothing, the next one would ask the kernel in vain.
    let mut space = [MaybeUninit::uninit(); FIRST_READ];
    let mut buffer = ReadBuf::uninit(&mut space);
    let read = ready!(Pin::new(stream).poll_read(cx, &mut buffer));
    first.extend_from_slice(buffer.filled());
    Poll::Ready(read.is_ok() && !buffer.filled().is_empty())
}

/// Reads the PROXY header; what came behind it is left.
async fn introduced(stream: &mut TcpStream, first: &mut BytesMut) -> io::Result<proxy_header::Told> {
    loop {
        if let Some(told) = proxy_header::read(first).map_err(io::Error::other)? {
            let _ = first.split_to(told.length);
            return Ok(told);
        }
        stream.readable().await?;
        let mut buffer = [0; proxy_header::LONGEST];
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => first.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// The version of HTTP that a connection begins with; `None` while that is not clear.
fn version(first: &[u8]) -> Option<Version> {
    match first {
        _ if first.starts_with(PREFACE) => Some(Version::Http2),
        _ if PREFACE.starts_with(first) => None,
        _ => Some(Version::Http1),
    }
}

/// Serves a connection without TLS by the version of HTTP that it begins with.
// No `async fn`: that would keep room for its arguments twice.
fn undecided(
    mut stream: TcpStream,
    mut first: BytesMut,
    visitor: Rc<Visitor>,
    by: Instant,
    counted: Counted,
) -> impl Future<Output = ()> {
    let registered = Registered(visitor);
    async move {
        let visitor = &registered.0;
        let decided = decide(&mut stream, &mut first, visitor, by).await;
        visitor.is_up();
        let stream = VisitorStream::Plain(Rewound::new(stream, first.freeze()));
        match decided {
            Some(Version::Http1) => connection::serve(stream, registered, counted).await,
            Some(Version::Http2) => {
                let (worker, peer) = (Rc::clone(&visitor.worker), Rc::clone(&visitor.peer));
                // Its streams have lanes of their own.
                drop(registered);
                Box::pin(http2::serve(stream, worker, peer)).await;
                drop(counted);
            }
            None => {}
        }
    }
}

/// Reads until the version is clear. `None` where the connection is to be closed.
async fn decide(stream: &mut TcpStream, first: &mut BytesMut, visitor: &Visitor, by: Instant) -> Option<Version> {
    let mut timer = Timer::new(visitor.worker.now());
    poll_fn(|cx| {
        visitor.worker.tick();
        visitor.woken_by(cx.waker());
        loop {
            if let Some(version) = version(first) {
                return Poll::Ready(Some(version));
            }
            match poll_first(stream, first, cx) {
                Poll::Ready(true) => visitor.has_sent(),
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => {
                    visitor.rests();
                    // A connection on which nothing comes is not kept for longer than one on which a head begins.
                    let by = visitor.deadline().map_or(by, |head| by.min(head));
                    return timer.poll_until(Some(by), &visitor.worker, cx).map(|()| None);
                }
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_version_is_clear_as_soon_as_it_can_be() {
        for (first, expected) in [
            (&b""[..], None),
            (b"P", None),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", None),
            (PREFACE, Some(Version::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0", Some(Version::Http2)),
            (b"G", Some(Version::Http1)),
            (b"PO", Some(Version::Http1)),
            (b"PRI * HTTP/1.1\r\n", Some(Version::Http1)),
            (b"PRI * HTTP/2.0\r\n\r\nXX", Some(Version::Http1)),
            (b"\r\n", Some(Version::Http1)),
        ] {
            assert_eq!(version(first), expected, "{:?}", String::from_utf8_lossy(first));
        }
    }

    odd_input! {
        fn however_the_first_bytes_come_the_version_is_the_same(kept in 0..=PREFACE.len(), behind in prop::collection::vec(any::<u8>(), 0..8)) {
            let all = [&PREFACE[..kept], &behind].concat();
            let whole = version(&all);
            prop_assert_eq!(whole == Some(Version::Http2), all.starts_with(PREFACE));
            let first = (0..=all.len()).find_map(|count| version(&all[..count]));
            prop_assert_eq!(first, whole);
        }
    }
}
