//! One health check: a TCP connect, or a GET that must answer 2xx or 3xx.

use crate::config::Health;
use crate::model::TargetAddress;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// Checks a target once.
///
/// # Errors
/// A sentence that says how the check failed.
pub(super) async fn check(address: &TargetAddress, health: &Health) -> Result<(), String> {
    match tokio::time::timeout(health.timeout.get(), check_in_time(address, health.path.as_deref())).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer to the health check within {}", health.timeout)),
    }
}

async fn check_in_time(address: &TargetAddress, path: Option<&str>) -> Result<(), String> {
    let stream = match address {
        TargetAddress::Socket(address) => TcpStream::connect(address).await,
        TargetAddress::Name(host, port) => TcpStream::connect((host.as_ref(), *port)).await,
    }
    .map_err(|error| format!("connect: {error}"))?;
    let Some(path) = path else { return Ok(()) };
    let failed = |error: hyper::Error| format!("GET {path}: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = http::Request::get(path)
        .header(HOST, address.to_string())
        .header(USER_AGENT, concat!("cutover/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("GET {path}: {error}"))?;
    // Driven beside this future and ended with it, so that a check leaves nothing behind.
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let status = sender.send_request(request).await.map_err(failed)?.status();
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(format!("GET {path}: {status}")) }
}
