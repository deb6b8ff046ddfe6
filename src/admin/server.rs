//! Accepts connections and has the router answer them.

use super::listener::{AdminListener, ListeningSocket};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Connections that may be open at once; further ones wait in the socket's queue.
const CONNECTIONS: usize = 256;
/// A request's head has this long to arrive, and a connection this long to send its next one. Short, since whoever sends
/// none takes the place of an operator.
const HEAD_TIMEOUT: Duration = Duration::from_secs(2);
/// What a request's head may have; a bearer token and a few headers have less than 1 KiB.
const LARGEST_HEAD: usize = 16 * 1024;
/// For requests under way when the router stops; what they asked for is done or refused by then.
const GRACE: Duration = Duration::from_secs(5);
/// Before the next try when the system has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener inside the runtime.
struct Acceptor {
    /// Before the socket, so that nobody finds a file behind which nobody listens.
    _file: Option<SocketFile>,
    socket: Accepting,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket, removed when it is served no more.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Where it stays, the next start replaces it.
        let _ = std::fs::remove_file(&self.0);
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Acceptor {
    fn new(listener: AdminListener) -> io::Result<Self> {
        match listener.socket {
            ListeningSocket::Tcp(listener, _) => {
                Ok(Self { _file: None, socket: Accepting::Tcp(TcpListener::from_std(listener)?) })
            }
            ListeningSocket::Unix(listener, path) => {
                let file = Some(SocketFile(path));
                Ok(Self { _file: file, socket: Accepting::Unix(UnixListener::from_std(listener)?) })
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        match &self.socket {
            Accepting::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // Answers and events are small; waiting to fill a packet only delays them.
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Accepting::Unix(listener) => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

/// Serves until `shutdown`, and a little longer for the requests under way.
pub(super) async fn run(listener: AdminListener, router: Router, shutdown: CancellationToken) {
    let acceptor = match Acceptor::new(listener) {
        Ok(acceptor) => acceptor,
        Err(error) => return tracing::error!(%error, "the admin address can't be served"),
    };
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // Never closed, so never an error.
            let seat = Arc::clone(&seats).acquire_owned().await;
            (seat, acceptor.accept().await)
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (seat, stream) = accepted => match stream {
                Ok(stream) => {
                    let served = serve_connection(stream, router.clone(), shutdown.clone());
                    connections.spawn(async move {
                        served.await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin address can't take a connection");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    drop(acceptor);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(stream: Box<dyn Stream>, router: Router, shutdown: CancellationToken) {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(LARGEST_HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the admin address failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Admin, AdminListen};
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::task::JoinHandle;

    struct Running {
        listen: AdminListen,
        shutdown: CancellationToken,
        task: JoinHandle<()>,
    }

    fn start(listen: &AdminListen, router: Router) -> Running {
        let listener = super::super::bind(listen).unwrap();
        let listen = listener.address();
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(listener, router, shutdown.clone()));
        Running { listen, shutdown, task }
    }

    fn loopback() -> AdminListen {
        AdminListen::Tcp("127.0.0.1:0".parse().unwrap())
    }

    impl Running {
        async fn connect(&self) -> Box<dyn Stream> {
            match &self.listen {
                AdminListen::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
                AdminListen::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            }
        }

        async fn answer(&self, request: &str) -> String {
            let mut stream = self.connect().await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }
    }

    #[tokio::test]
    async fn a_unix_socket_answers_and_its_file_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let running = start(&AdminListen::Unix(path.clone()), Router::new().route("/", get(|| async { "hello" })));
        let answer = running.answer("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        assert!(answer.ends_with("hello"), "{answer}");
        running.shutdown.cancel();
        running.task.await.unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_when_the_router_stops() {
        let shutdown = CancellationToken::new();
        let stopping = shutdown.clone();
        let slow = get(move || async move {
            stopping.cancelled().await;
            "done"
        });
        let running = start(&loopback(), Router::new().route("/", slow));
        let mut stream = running.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::task::yield_now().await;
        let idle = running.connect().await;
        shutdown.cancel();
        let mut first = vec![0; 12];
        stream.read_exact(&mut first).await.unwrap();
        running.shutdown.cancel();
        assert_eq!(first, b"HTTP/1.1 200");
        running.task.await.unwrap();
        drop(idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_let_go() {
        let running = start(&loopback(), Router::new());
        let mut stream = running.connect().await;
        let mut nothing = Vec::new();
        stream.read_to_end(&mut nothing).await.unwrap();
        assert!(nothing.is_empty());
    }

    #[tokio::test]
    async fn the_guard_goes_before_every_path() {
        let access = super::super::Access::new(&Admin { listen: loopback(), token_file: None }).unwrap();
        let guard = axum::middleware::from_fn_with_state(Arc::new(access), super::super::access::guard);
        let running = start(&loopback(), Router::new().route("/", get(|| async { "hello" })).layer(guard));
        let asked = async |path: &str, host: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            running.answer(&request).await.to_ascii_lowercase()
        };
        for path in ["/", "/nowhere"] {
            let refused = asked(path, "evil.example").await;
            assert!(refused.starts_with("http/1.1 421 "), "{refused}");
            assert!(refused.contains("content-type: application/problem+json"), "{refused}");
        }
        let answered = asked("/", "localhost").await;
        assert!(answered.starts_with("http/1.1 200 "), "{answered}");
        assert!(answered.contains("cache-control: no-store"), "{answered}");
        assert!(answered.contains("x-content-type-options: nosniff"), "{answered}");
    }
}
