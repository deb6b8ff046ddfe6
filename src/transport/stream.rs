//! The kinds of stream, each behind one type, so that what reads and writes need not care.

use super::forward;
use bytes::{Buf, Bytes};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A visitor's end.
#[derive(Debug)]
pub enum VisitorStream {
    /// As it comes.
    Plain(Rewound),
    /// By TLS.
    Tls(Box<server::TlsStream<Rewound>>),
}

/// A connection whose first bytes were read already, and are read again before the others.
#[derive(Debug)]
pub struct Rewound {
    first: Bytes,
    stream: TcpStream,
}

/// A target's end.
#[derive(Debug)]
pub enum TargetStream {
    /// Over the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
    /// Over the network, by TLS.
    Tls(Box<client::TlsStream<TcpStream>>),
}

impl VisitorStream {
    /// The connection below it.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => &stream.stream,
            Self::Tls(stream) => &stream.get_ref().0.stream,
        }
    }
}

impl Rewound {
    /// A connection, and what was read from it.
    #[must_use]
    pub fn new(stream: TcpStream, first: Bytes) -> Self {
        Self { first, stream }
    }
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first[..count]);
        self.first.advance(count);
        if self.first.is_empty() {
            // Its memory is not kept for as long as the connection lasts.
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl TargetStream {
    /// Has the kernel end the connection when the other machine acknowledges nothing of what it is sent for as long as
    /// `within`; after it was silent for `quiet`, it is asked whether it is there.
    pub fn ends_when_unheard(&self, quiet: Duration, within: Duration) {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Tls(stream) => SockRef::from(stream.get_ref().0),
            Self::Unix(_) => return,
        };
        let asks = TcpKeepalive::new().with_time(quiet).with_interval(quiet);
        // Where the kernel knows no such thing, the requests' own time-outs are left.
        let _ = socket.set_tcp_keepalive(&asks).and_then(|()| socket.set_tcp_user_timeout(Some(within)));
    }

    /// Ready when it may be that something can be read, the end too, or when nobody but who reads can tell.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(cx),
            Self::Unix(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether the socket is open and nothing has come on it that was not read. The kernel is asked, not what the runtime
    /// has last heard of it.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.peek().is_none()
    }

    /// Whether the other side has closed the socket, as the kernel knows, and all that came on it before was read.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.peek(), Some(Ok(0) | Err(_)))
    }

    /// How many bytes can be read, but not more than one; `None` while nothing can, not even the end.
    fn peek(&self) -> Option<io::Result<usize>> {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
            Self::Tls(stream) => SockRef::from(stream.get_ref().0),
        };
        let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
        Some(peeked).filter(|peeked| !peeked.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock))
    }
}

/// The same call on whatever it is.
macro_rules! each {
    ($self:ident: $($kind:ident)|+ => $stream:ident, $call:expr) => {
        match $self.get_mut() { $(Self::$kind(stream) => { let $stream = Pin::new(stream); $call })+ }
    };
}

macro_rules! streams {
    ($($of:ident: $($kind:ident)|+;)+) => {$(
        impl AsyncRead for $of {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                each!(self: $($kind)|+ => stream, stream.poll_read(cx, buffer))
            }
        }

        impl AsyncWrite for $of {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
                each!(self: $($kind)|+ => stream, stream.poll_write(cx, bytes))
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                each!(self: $($kind)|+ => stream, stream.poll_write_vectored(cx, slices))
            }

            fn is_write_vectored(&self) -> bool {
                match self { $(Self::$kind(stream) => stream.is_write_vectored(),)+ }
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self: $($kind)|+ => stream, stream.poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                each!(self: $($kind)|+ => stream, stream.poll_shutdown(cx))
            }
        }
    )+};
}

impl AsyncWrite for Rewound {
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            // As TLS writes most answers: a plain `send` costs the kernel less than a `writev`.
            [slice] => Pin::new(&mut self.stream).poll_write(cx, slice),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
    }

    forward!(stream: poll_write, is_write_vectored, poll_flush, poll_shutdown);
}

streams! {
    VisitorStream: Plain | Tls;
    TargetStream: Tcp | Unix | Tls;
}
