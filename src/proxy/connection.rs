//! A visitor's connection: HTTP/1.1 by hyper, and one timer that guards every phase of it.
//!
//! The timer is armed for the nearest deadline and re-armed only when it fires, or when a deadline comes nearer than
//! it; so a request on a busy connection costs no timer operation, only the notes that [`Visitor`] takes.
//!
//! A connection on which nothing comes is taken apart into its socket, with what TLS keeps, and is built anew once
//! something does: what hyper holds for it, most of it buffers, is more than ten times as much as all the rest.

use super::body::AnswerBody;
use super::framing::MAX_HEAD;
use super::gather::Gather;
use super::inbound::Inbound;
use super::inspector::Inspector;
use super::request::{self, Begun};
use super::timer::Timer;
use super::turn::pay;
use super::visitor::{Phase, Visitor};
use crate::transport::{VisitorStream, forward};
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The most that is held of a body on its way, per direction.
pub(super) const MAX_BUFFER: usize = 64 * 1024;

/// How long, and for how many bytes, the router goes on reading after it has answered a request whose body it did not
/// want: closing at once would reset the connection, and the answer could be lost.
pub(super) const LINGER: (Duration, usize) = (Duration::from_secs(2), 1024 * 1024);

/// How a connection ends.
enum End {
    /// By itself: all was written, or the visitor has gone.
    Done,
    /// It is to be closed at once.
    Cut,
    /// Not yet: nothing comes, and nothing of it is needed until something does.
    Rest,
}

/// Serves a visitor's connection until it ends. While nothing comes on it, little more than its socket is kept.
/// What it is `counted` by goes with it.
// No `async fn`: that would keep room for its arguments twice.
pub(super) fn serve<C>(mut stream: VisitorStream, registered: Registered, counted: C) -> impl Future<Output = ()> {
    let mut timer = Timer::new(registered.0.worker.now());
    let mut inspector = Inspector::default();
    async move {
        let visitor = &registered.0;
        let _counted = counted;
        loop {
            let (end, unread) = Box::pin(serve_awake(&mut stream, &mut inspector, visitor, &mut timer)).await;
            match end {
                End::Cut => return,
                End::Rest => {
                    inspector.take_back(&unread);
                    drop(unread);
                    if !inspector.keeps_a_part() {
                        rest(&stream, visitor, &mut timer).await;
                    }
                }
                End::Done => {
                    if let Some(tunnel) = visitor.take_tunnel() {
                        tunnel.serve(visitor, stream, inspector.rest_behind(unread)).await;
                    } else if visitor.is_still_sending() {
                        Box::pin(linger(stream)).await;
                    }
                    return;
                }
            }
        }
    }
}

/// Waits until something comes, or the connection is to be closed.
async fn rest(stream: &VisitorStream, visitor: &Visitor, timer: &mut Timer) {
    visitor.rests();
    poll_fn(|cx| {
        visitor.worker.tick();
        if visitor.is_cut() || visitor.is_closing() || stream.tcp().poll_read_ready(cx).is_ready() {
            return Poll::Ready(());
        }
        timer.poll_until(visitor.deadline(), &visitor.worker, cx)
    })
    .await;
    visitor.is_up();
}

/// Serves requests until the connection ends or comes to rest. Gives as well what was read and not understood.
async fn serve_awake(
    stream: &mut VisitorStream,
    inspector: &mut Inspector,
    visitor: &Rc<Visitor>,
    timer: &mut Timer,
) -> (End, Bytes) {
    let seat = Seat::default();
    let under_way = pin!(seat.serve());
    let under_way = RefCell::new(under_way);
    let service = service_fn(|request: Request<Incoming>| {
        let (head, body) = request.into_parts();
        seat.begun.set(Some(request::begin(visitor, head, Inbound::Http1(body))));
        poll_fn(|cx| {
            let Poll::Pending = under_way.borrow_mut().as_mut().poll(cx);
            seat.answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok::<_, Infallible>(answer)))
        })
    });
    let watched = Watched { stream: Gather(stream), inspector, visitor };
    let mut connection = http1::Builder::new()
        // With the empty line that may stand before it.
        .max_header_size(MAX_HEAD + 2)
        .max_buf_size(MAX_BUFFER)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(watched), service);
    let mut told = false;
    let end = poll_fn(|cx| {
        visitor.worker.tick();
        visitor.woken_by(cx.waker());
        loop {
            if visitor.is_cut() {
                return Poll::Ready(End::Cut);
            }
            if let Poll::Ready(ended) = Pin::new(&mut connection).poll(cx) {
                if ended.is_err() {
                    drop(visitor.take_tunnel());
                }
                return Poll::Ready(End::Done);
            }
            if visitor.goes_to_rest() {
                return Poll::Ready(End::Rest);
            }
            // Only now, for a request may have come that nobody has read yet, or a part of one; and the first is waited
            // for, since the visitor has just connected for it.
            if visitor.is_closing() && !told && !matches!(visitor.phase(), Phase::Head { .. }) {
                told = true;
                Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
            if timer.poll_until(visitor.deadline(), &visitor.worker, cx).is_pending() {
                return Poll::Pending;
            }
            let known = visitor.is_overdue();
            visitor.set_overdue();
            match visitor.phase() {
                // The request decides what the visitor gets; one that has not come whole is refused.
                Phase::Upload | Phase::Answer | Phase::Head { begun: true } if !known => {}
                Phase::Head { .. }
                | Phase::Idle
                | Phase::Router
                | Phase::Waiting
                | Phase::Upload
                | Phase::Answer
                | Phase::Body
                | Phase::Tail
                | Phase::Tunnel => return Poll::Ready(End::Cut),
            }
        }
    })
    .await;
    (end, connection.into_parts().read_buf)
}

/// Where the requests of a connection are served, one after the other. hyper moves what it is given to answer one there and
/// back; so it gets no more than what looks in here. It takes no request before it has the answer to the last one, and
/// forgets about one only when it ends the connection.
#[derive(Default)]
struct Seat {
    /// The request that comes next.
    begun: Cell<Option<Begun>>,
    /// The answer to the last one.
    answer: Cell<Option<Response<AnswerBody>>>,
}

impl Seat {
    /// Serves a request, and then others.
    async fn serve(&self) -> Infallible {
        loop {
            let next = poll_fn(|_| self.begun.take().map_or(Poll::Pending, Poll::Ready));
            let answer = next.await.complete().await;
            self.answer.set(Some(answer));
        }
    }
}

/// Reads and forgets what the visitor still sends, within bounds.
pub(super) async fn linger(mut stream: VisitorStream) {
    let (time, most) = LINGER;
    let read = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut read = 0;
        while read < most {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read += count,
            }
        }
    };
    // Either way it is closed next.
    let _ = tokio::time::timeout(time, read).await;
}

/// Takes the connection off the worker's list, however its task ends.
pub(super) struct Registered(pub(super) Rc<Visitor>);

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The connection's stream, with a note taken of each movement.
struct Watched<'a> {
    stream: Gather<'a>,
    inspector: &'a mut Inspector,
    visitor: &'a Visitor,
}

impl AsyncRead for Watched<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, inspector, visitor } = self.get_mut();
        inspector.poll_read(Pin::new(stream), visitor, cx, buffer)
    }
}

impl Watched<'_> {
    fn note(&self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count @ 1..)) = written {
            self.visitor.has_received();
            pay(count, cx);
        }
        written
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note(written, cx)
    }

    forward!(stream: is_write_vectored);

    /// hyper closes the connection. By TLS that can take as long as an answer: its last word has to find room, too.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.visitor.closes();
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// hyper flushes when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.visitor.phase() == Phase::Waiting && self.stream.is_closed_by_peer() {
            self.visitor.is_gone();
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        // Only now: TLS holds back what the socket does not take.
        if self.visitor.has_all(self.inspector.keeps_a_part()) && self.inspector.holds_back() {
            // hyper was told that nothing has come, and what has come already wakes nobody.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AccessLog, ServerLimits, Timeouts};
    use crate::proxy::ProxySettings;
    use crate::proxy::access_log::Sampler;
    use crate::proxy::visitor::Peer;
    use crate::proxy::worker::Worker;
    use crate::routing::{Live, Secret};
    use crate::transport::Rewound;
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    fn worker() -> Rc<Worker> {
        let settings = ProxySettings {
            timeouts: Timeouts::default(),
            limits: ServerLimits::default(),
            tls: None,
            redirect: None,
            trusted_proxies: Vec::new(),
            access_log: AccessLog::default(),
            secret: Arc::new(Secret::new(b"test")),
            grace: Duration::ZERO,
        };
        let end = Live::new(1).1.remove(0);
        Rc::new(Worker::new(settings.into(), Sampler::new(None, 0.0), end.table, end.id, end.reports))
    }

    #[tokio::test]
    async fn a_connection_that_is_being_closed_does_not_come_to_rest() {
        let worker = worker();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for is_closed in [false, true] {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut stream = VisitorStream::Plain(Rewound::new(stream, Bytes::new()));
            let peer = Peer::new(&worker, IpAddr::V4(Ipv4Addr::LOCALHOST), false);
            let visitor = Visitor::new(Rc::clone(&worker), peer);
            let mut inspector = Inspector::default();
            let mut watched = Watched { stream: Gather(&mut stream), inspector: &mut inspector, visitor: &visitor };
            if is_closed {
                watched.shutdown().await.unwrap();
            }
            // Longer than it takes to come to rest.
            tokio::time::sleep(Duration::from_millis(100)).await;
            worker.visitors.look(worker.tick());
            assert_eq!(visitor.goes_to_rest(), !is_closed);
        }
    }
}
