//! The access log: lines on standard output, written by a thread of its own.
//!
//! A worker only notes what a line needs and hands it over; when the writer falls behind, lines are dropped, counted and
//! told, rather than a visitor made to wait. What a visitor sent is escaped: no text of theirs can end a line or a word.

use super::preview;
use crate::config::{AccessLog, LogFormat};
use crate::model::{Happening, PoolName, ReleaseId, ServiceName, TargetAddress, Timestamp};
use crate::routing::{Pool, Reason, Route};
use http::request::Parts;
use http::{HeaderValue, Method, Uri, header::HOST};
use serde::Serialize;
use std::cell::Cell;
use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// Lines that may wait for the writer.
const QUEUE: usize = 8192;

/// How often dropped lines are told of at most.
const TELL: Duration = Duration::from_secs(10);

/// Where workers hand their lines over.
#[derive(Debug, Clone)]
pub(super) struct Log {
    lines: SyncSender<(Line, Ending)>,
    dropped: Arc<AtomicU64>,
}

/// Starts the writer, unless the log is off.
pub(super) fn start(settings: &AccessLog) -> io::Result<Option<Log>> {
    if settings.sample <= 0.0 {
        return Ok(None);
    }
    let (lines, queue) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let (format, counter) = (settings.format, Arc::clone(&dropped));
    std::thread::Builder::new().name("access-log".into()).spawn(move || write(&queue, format, &counter))?;
    Ok(Some(Log { lines, dropped }))
}

/// Decides, for one worker, which requests are logged.
pub(super) struct Sampler {
    log: Option<Log>,
    share: f64,
    owed: Cell<f64>,
}

impl Sampler {
    /// That logs a share of all requests, evenly spread.
    pub(super) fn new(log: Option<Log>, share: f64) -> Self {
        Self { log, share, owed: Cell::new(0.0) }
    }

    /// A line for a request, if it is to be logged.
    pub(super) fn line(&self, peer: IpAddr, head: &Parts) -> Option<Box<Line>> {
        self.log.as_ref()?;
        let owed = self.owed.get() + self.share;
        if owed < 1.0 {
            self.owed.set(owed);
            return None;
        }
        self.owed.set(owed - 1.0);
        Some(Box::new(Line::new(peer, head)))
    }

    /// Hands a line to the writer.
    pub(super) fn write(&self, line: Line, ending: Ending) {
        if let Some(log) = &self.log
            && log.lines.try_send((line, ending)).is_err()
        {
            log.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What is noted of a request.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // a set of marks, each with a name in the log
pub(super) struct Line {
    time: Timestamp,
    pub(super) client: IpAddr,
    pub(super) request_id: Option<HeaderValue>,
    method: Method,
    host: Option<HeaderValue>,
    uri: Uri,
    pub(super) service: Option<ServiceName>,
    pool: Option<PoolName>,
    release: Option<ReleaseId>,
    target: Option<TargetAddress>,
    pub(super) rescued: bool,
    pub(super) retried: bool,
    pub(super) failed_over: bool,
    pub(super) skew_guarded: bool,
    pub(super) maintenance: Option<Reason>,
    /// How long the request waited before it went on, last.
    pub(super) waited: Duration,
}

/// How a request ended.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) happening: Happening,
    pub(super) duration: Duration,
    pub(super) sent: u64,
}

impl Line {
    fn new(peer: IpAddr, head: &Parts) -> Self {
        Self {
            time: Timestamp::now(),
            client: peer,
            request_id: None,
            method: head.method.clone(),
            host: head.headers.get(HOST).cloned(),
            uri: head.uri.clone(),
            service: None,
            pool: None,
            release: None,
            target: None,
            rescued: false,
            retried: false,
            failed_over: false,
            skew_guarded: false,
            maintenance: None,
            waited: Duration::ZERO,
        }
    }

    /// The request ended in this pool.
    pub(super) fn in_pool(&mut self, route: &Route, pool: &Pool, target: Option<usize>) {
        self.service = Some(route.service.clone());
        self.pool = Some(pool.name.clone());
        self.release.clone_from(&pool.release);
        self.target = target.and_then(|index| pool.targets.get(index)).map(|target| target.reach.address().clone());
    }
}

/// A line as it is written.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_excessive_bools)] // a set of marks, each with a name in the log
struct Written<'l> {
    time: String,
    request_id: Option<String>,
    client: IpAddr,
    method: &'l str,
    host: Option<String>,
    path: String,
    status: u16,
    bytes: u64,
    duration_ms: f64,
    waited_ms: f64,
    service: Option<&'l str>,
    pool: Option<&'l str>,
    release: Option<&'l str>,
    target: Option<String>,
    owner: String,
    outcome: &'static str,
    rescued: bool,
    retried: bool,
    failed_over: bool,
    skew_guarded: bool,
    maintenance: Option<&'static str>,
}

impl<'l> Written<'l> {
    fn new(line: &'l Line, ending: &Ending) -> Self {
        let ruling = ending.happening.ruling();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self {
            time: line.time.to_string(),
            request_id: line.request_id.as_ref().map(text),
            client: line.client,
            method: line.method.as_str(),
            host: line.host.as_ref().map(text),
            path: path(&line.uri),
            status: ruling.status,
            bytes: ending.sent,
            duration_ms: millis(line.waited + ending.duration),
            waited_ms: millis(line.waited),
            service: line.service.as_ref().map(ServiceName::as_str),
            pool: line.pool.as_ref().map(PoolName::as_str),
            release: line.release.as_ref().map(ReleaseId::as_str),
            target: line.target.as_ref().map(ToString::to_string),
            owner: ruling.owner.to_string(),
            outcome: outcome(ending.happening),
            rescued: line.rescued,
            retried: line.retried,
            failed_over: line.failed_over,
            skew_guarded: line.skew_guarded,
            maintenance: line.maintenance.map(Reason::as_str),
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Words of the form `key=value`. What could be mistaken for more than one word is quoted as JSON does it.
    fn text(&self) -> String {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else { return String::new() };
        let words = fields.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| match value.as_str() {
            Some(text) if is_word(text) => format!("{key}={text}"),
            Some(_) | None => format!("{key}={value}"),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

/// The path and the query, without what only its owner should know.
fn path(uri: &Uri) -> String {
    match uri.path_and_query() {
        Some(target) => preview::loggable(target.as_str()).unwrap_or_else(|| target.to_string()),
        None => uri.to_string(),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' && byte != b'=')
}

/// Three digits behind the dot: microseconds.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn outcome(happening: Happening) -> &'static str {
    match happening {
        Happening::Answered(_) => "answered",
        Happening::ConnectFailed => "connect-failed",
        Happening::ClosedBeforeHead => "closed-before-head",
        Happening::MalformedHead => "malformed-head",
        Happening::HeadTimeout => "head-timeout",
        Happening::GrpcFailedInHead(_) => "grpc-failed-in-head",
        Happening::GrpcFailedInTrailers(_) => "grpc-failed-in-trailers",
        Happening::CutAfterHead(_) => "cut-after-head",
        Happening::BadRequest(_) => "bad-request",
        Happening::VisitorGone => "visitor-gone",
        Happening::RouterLimit => "router-limit",
        Happening::Maintenance(_) => "maintenance",
        Happening::NoService => "no-service",
        Happening::ByRouter(_) => "by-router",
    }
}

/// Writes lines until every worker has ended.
fn write(queue: &Receiver<(Line, Ending)>, format: LogFormat, dropped: &AtomicU64) {
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut told, mut last) = (0, Instant::now());
    loop {
        let next = match queue.try_recv() {
            Ok(next) => Ok(next),
            Err(TryRecvError::Empty) => {
                // Nothing waits: now is the time to let the lines be seen.
                let _ = out.flush();
                queue.recv()
            }
            Err(TryRecvError::Disconnected) => break,
        };
        let Ok((line, ending)) = next else { break };
        let line = Written::new(&line, &ending);
        let line = match format {
            LogFormat::Json => line.json(),
            LogFormat::Text => line.text(),
        };
        // Nobody may be reading any more; that is no reason to stop serving.
        let _ = writeln!(out, "{line}");
        let all = dropped.load(Ordering::Relaxed);
        if all > told && last.elapsed() > TELL {
            tracing::warn!(lines = all - told, "access log lines were dropped: standard output is too slow");
            (told, last) = (all, Instant::now());
        }
    }
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn written(uri: &str, host: &[u8]) -> (String, String) {
        let mut request = Request::builder().uri(uri).body(()).unwrap();
        request.headers_mut().insert(HOST, HeaderValue::from_bytes(host).unwrap());
        let mut line = Line::new("192.0.2.1".parse().unwrap(), &request.into_parts().0);
        line.time = Timestamp::UNIX_EPOCH;
        line.rescued = true;
        let ending = Ending { happening: Happening::Answered(200), duration: Duration::from_micros(1_500), sent: 7 };
        let written = Written::new(&line, &ending);
        (written.json(), written.text())
    }

    #[test]
    fn a_line_says_what_happened() {
        let (json, text) = written("/a?b=c", b"example.com");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((json["status"].as_u64(), json["duration_ms"].as_f64()), (Some(200), Some(1.5)));
        assert_eq!((json["path"].as_str(), json["owner"].as_str()), (Some("/a?b=c"), Some("nobody")));
        assert!(text.contains("host=example.com") && text.contains("path=\"/a?b=c\""), "{text}");
        assert!(text.contains("rescued=true") && !text.contains("maintenance"), "{text}");
    }

    #[test]
    fn the_token_of_a_preview_link_is_not_told() {
        let (json, text) = written("/a?x=1&cutover-preview=secret&y=2", b"a");
        assert!(json.contains("\"path\":\"/a?x=1&y=2\"") && text.contains("path=\"/a?x=1&y=2\""), "{json} {text}");
        let (json, text) = written("/a?cutover-preview=secret", b"a");
        assert!(!json.contains("secret") && !text.contains("secret"));
    }

    #[test]
    fn no_text_of_a_visitor_can_end_a_line_or_a_word() {
        let (json, text) = written("/x", b"a b\" status=500\\ \xff\t");
        assert!(!json.contains(['\n', '\t']) && !text.contains(['\n', '\t']));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["host"].as_str(), Some("a b\" status=500\\ \u{fffd}\t"));
        assert!(text.contains(r#"host="a b\" status=500\\ "#), "{text}");
        assert_eq!(text.matches(" status=200 ").count(), 1, "{text}");
    }

    #[test]
    fn a_sample_is_spread_evenly() {
        let (lines, _queue) = sync_channel(1);
        let log = Log { lines, dropped: Arc::default() };
        let sampler = Sampler::new(Some(log), 0.25);
        let head = Request::new(()).into_parts().0;
        let peer = "192.0.2.1".parse().unwrap();
        let logged: Vec<bool> = (0..8).map(|_| sampler.line(peer, &head).is_some()).collect();
        assert_eq!(logged, [false, false, false, true, false, false, false, true]);
    }

    #[test]
    fn lines_beyond_the_queue_are_dropped_and_counted() {
        let (lines, _queue) = sync_channel(1);
        let log = Log { lines, dropped: Arc::default() };
        let dropped = Arc::clone(&log.dropped);
        let sampler = Sampler::new(Some(log), 1.0);
        let head = Request::new(()).into_parts().0;
        for _ in 0..3 {
            let line = sampler.line("192.0.2.1".parse().unwrap(), &head).unwrap();
            let ending = Ending { happening: Happening::VisitorGone, duration: Duration::ZERO, sent: 0 };
            sampler.write(*line, ending);
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
