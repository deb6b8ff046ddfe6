//! One health check: a connection (TCP or Unix, with TLS where the target speaks it), or a GET that must answer 2xx or
//! 3xx, and may say which release runs.

use super::reported;
use crate::config::{Health, Protocol};
use crate::model::ReleaseId;
use crate::transport::{ConnectError, Reach, TargetStream};
use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{Response, StatusCode, request};
use http_body::{Body, Frame};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

/// Who asks.
const AGENT: &str = concat!("cutover/", env!("CARGO_PKG_VERSION"));

/// The largest head of an answer.
const MAX_HEAD: u32 = 64 * 1024;

/// An answer that passed, and the task that drives the connection which its body comes on.
struct Passed {
    answer: Response<Answer>,
    _driver: AbortOnDropHandle<()>,
}

/// The body of an answer.
enum Answer {
    Http1(Incoming),
    Http2(RecvStream),
}

/// How a check came to nothing, in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The target does not do what it should.
    Target(String),
    /// This machine has no more of what a connection takes: nobody knows how the target is.
    Here(String),
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        if error.is_limit_here() { Self::Here(error.to_string()) } else { Self::Target(error.to_string()) }
    }
}

/// Checks a target once; the release that it says it runs, where it is asked for that and says so.
pub(super) async fn check(reach: &Reach, health: &Health) -> Result<Option<ReleaseId>, Failed> {
    let deadline = Instant::now() + health.timeout.get();
    let passed = match timeout_at(deadline, check_in_time(reach, health)).await {
        Ok(result) => result?,
        Err(_) => return Err(Failed::Target(format!("no answer to the health check within {}", health.timeout))),
    };
    let (Some(Passed { answer, _driver }), Some(source)) = (passed, &health.release) else { return Ok(None) };
    // It has passed by its head: a body that does not come says nothing of the release, and nothing of its health.
    Ok(timeout_at(deadline, reported::release(answer, source)).await.unwrap_or_default())
}

async fn check_in_time(reach: &Reach, health: &Health) -> Result<Option<Passed>, Failed> {
    let connected = reach.connect(health.timeout.get()).await?;
    let Some(path) = health.path.as_deref() else { return Ok(None) };
    let request = http::Request::get(path).header(USER_AGENT, AGENT);
    let host = reach.address().host_header();
    let asked = match reach.protocol() {
        Protocol::H1 => by_http1(connected.stream, request, &host).await,
        Protocol::H2 => by_http2(connected.stream, request, &host, reach.address().secure).await,
    };
    let passed = asked.map_err(|error| Failed::Target(format!("GET {path}: {error}")))?;
    let status: StatusCode = passed.answer.status();
    let has_passed = status.is_success() || status.is_redirection();
    if has_passed { Ok(Some(passed)) } else { Err(Failed::Target(format!("GET {path}: {status}"))) }
}

type Asked = Result<Passed, Box<dyn std::error::Error + Send + Sync>>;

async fn by_http1(stream: TargetStream, request: request::Builder, host: &str) -> Asked {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = request.header(HOST, host).header(CONNECTION, "close").body(Empty::<Bytes>::new())?;
    // Driven beside this future and ended with it, so that a check leaves nothing behind. How it ended is told to who
    // waits for the answer.
    let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let answer = sender.send_request(request).await?.map(Answer::Http1);
    Ok(Passed { answer, _driver: driver })
}

async fn by_http2(stream: TargetStream, request: request::Builder, host: &str, secure: bool) -> Asked {
    let mut builder = h2::client::Builder::new();
    builder.enable_push(false).max_header_list_size(MAX_HEAD);
    let (sender, connection) = builder.handshake::<_, Bytes>(stream).await?;
    let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));
    let path = request.uri_ref().and_then(|uri| uri.path_and_query()).map_or("/", |path| path.as_str()).to_owned();
    let scheme = if secure { "https" } else { "http" };
    let uri = http::Uri::builder().scheme(scheme).authority(host).path_and_query(&*path).build()?;
    let request = request.uri(uri).version(http::Version::HTTP_2).body(())?;
    let (answer, _) = sender.ready().await?.send_request(request, true)?;
    Ok(Passed { answer: answer.await?.map(Answer::Http2), _driver: driver })
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(Into::into),
            Self::Http2(stream) => Poll::Ready(ready!(stream.poll_data(cx)).map(|data| {
                let data = data?;
                stream.flow_control().release_capacity(data.len())?;
                Ok(Frame::data(data))
            })),
        }
    }
}
