//! One health check: a TCP connect, or a GET that must answer 2xx or 3xx, and may say which release runs.

use super::reported;
use crate::config::Health;
use crate::model::{ReleaseId, TargetAddress};
use crate::transport;
use bytes::Bytes;
use http::Response;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// An answer that passed, and the connection that its body comes on.
type Passed = (Response<Incoming>, AbortOnDropHandle<hyper::Result<()>>);

/// Checks a target once; the release that it says it runs, where it is asked for that and says so.
///
/// # Errors
/// A sentence that says how the check failed.
pub(super) async fn check(address: &TargetAddress, health: &Health) -> Result<Option<ReleaseId>, String> {
    let deadline = Instant::now() + health.timeout.get();
    let passed = match timeout_at(deadline, check_in_time(address, health.path.as_deref())).await {
        Ok(result) => result?,
        Err(_) => return Err(format!("no answer to the health check within {}", health.timeout)),
    };
    let (Some((answer, _driver)), Some(source)) = (passed, &health.release) else { return Ok(None) };
    // It has passed by its head: a body that does not come says nothing of the release, and nothing of its health.
    Ok(timeout_at(deadline, reported::release(answer, source)).await.unwrap_or_default())
}

async fn check_in_time(address: &TargetAddress, path: Option<&str>) -> Result<Option<Passed>, String> {
    let stream = transport::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    let Some(path) = path else { return Ok(None) };
    let failed = |error: hyper::Error| format!("GET {path}: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = http::Request::get(path)
        .header(HOST, address.host_header())
        .header(USER_AGENT, concat!("cutover/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("GET {path}: {error}"))?;
    // Driven beside this future and ended with it, so that a check leaves nothing behind.
    let driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status();
    let has_passed = status.is_success() || status.is_redirection();
    if has_passed { Ok(Some((answer, driver))) } else { Err(format!("GET {path}: {status}")) }
}
