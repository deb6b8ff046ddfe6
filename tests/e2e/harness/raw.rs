//! Bytes on a socket, for what no well-behaved client or server would send.

use super::free_address;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A connection that a test writes and reads byte by byte.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// From this address, one of loopback's.
    pub async fn open_from(source: std::net::IpAddr, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    pub async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// As [`Self::send`], for a peer that may have closed.
    pub async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Says that nothing more is sent.
    pub async fn finish(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Whether nothing comes for so long.
    pub async fn is_silent(&mut self, time: Duration) -> bool {
        timeout(time, self.0.peek(&mut [0])).await.is_err()
    }

    /// Its two ways, for who reads and writes at the same time.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.0.into_split()
    }

    /// Reads until `end` was seen, and gives all that came.
    pub async fn read_until(&mut self, end: &str, within: Duration) -> String {
        let mut all = Vec::new();
        let read = timeout(within, async {
            let mut buffer = vec![0; 16 * 1024];
            while !String::from_utf8_lossy(&all).contains(end) {
                let count = self.0.read(&mut buffer).await.unwrap();
                assert!(count > 0, "closed before {end:?}, after {:?}", String::from_utf8_lossy(&all));
                all.extend_from_slice(&buffer[..count]);
            }
        });
        let came = read.await.is_ok();
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(came, "no {end:?} within {within:?}, only {all:?}");
        all
    }

    /// Reads until the peer closes or resets, and gives all that came.
    pub async fn read_to_end(&mut self, within: Duration) -> String {
        let mut all = Vec::new();
        let read = timeout(within, async {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(count @ 1..) = self.0.read(&mut buffer).await {
                all.extend_from_slice(&buffer[..count]);
            }
        });
        let closed = read.await.is_ok();
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(closed, "not closed within {within:?}, after {all:?}");
        all
    }
}

/// A server that answers each request head with fixed bytes and closes.
pub struct RawTarget {
    address: SocketAddr,
    requests: Arc<AtomicU64>,
    server: JoinHandle<()>,
}

impl RawTarget {
    pub async fn answering(answer: &'static [u8]) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let requests = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(answer_once(stream, answer, Arc::clone(&counter)));
            }
        });
        Self { address, requests, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Heads received so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for RawTarget {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer_once(mut stream: TcpStream, answer: &'static [u8], requests: Arc<AtomicU64>) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
        }
    }
    requests.fetch_add(1, Ordering::SeqCst);
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}
