//! An origin that records what reaches it, a reader that takes no chances, and a visitor who sends any bytes.

use crate::harness::free_address;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A message whose bytes can be read in one way only.
#[derive(Debug)]
pub struct Message {
    /// The request line, or the status line.
    pub line: String,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// How many bytes it takes.
    pub length: usize,
}

impl Message {
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str())
    }
}

/// How far bytes are a message.
#[derive(Debug)]
pub enum Strict {
    Whole(Message),
    /// It is not all there.
    Partial,
    /// It can be read in more than one way, or is none.
    Ambiguous(String),
}

fn line<'b>(bytes: &'b [u8], at: &mut usize) -> Option<Result<&'b [u8], String>> {
    let rest = &bytes[*at..];
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    *at += end + 1;
    let [line @ .., b'\r'] = &rest[..end] else { return Some(Err("a bare LF".into())) };
    let odd = line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t');
    Some(if odd { Err(format!("a control character in {:?}", line.escape_ascii().to_string())) } else { Ok(line) })
}

/// What a line is, or out of the function with what is wrong.
macro_rules! take {
    ($line:expr) => {
        match $line {
            None => return Strict::Partial,
            Some(Err(why)) => return Strict::Ambiguous(why),
            Some(Ok(line)) => line,
        }
    };
}

fn fields(bytes: &[u8], at: &mut usize) -> Option<Result<Vec<(String, String)>, String>> {
    let mut fields = Vec::new();
    loop {
        let text = match line(bytes, at)? {
            Ok([]) => return Some(Ok(fields)),
            Ok(text) => text,
            Err(why) => return Some(Err(why)),
        };
        let Some(colon) = text.iter().position(|byte| *byte == b':') else { return Some(Err("no colon".into())) };
        let name = String::from_utf8_lossy(&text[..colon]).to_lowercase();
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            return Some(Err(format!("the name {name:?}")));
        }
        fields.push((name, String::from_utf8_lossy(&text[colon + 1..]).trim_matches([' ', '\t']).to_owned()));
    }
}

/// Reads the message at the beginning as RFC 9112 has it, where nothing is left to who reads it. A status line is
/// answered to a request without a body when `headless`.
pub fn read(bytes: &[u8], headless: bool) -> Strict {
    let mut at = 0;
    let first = String::from_utf8_lossy(take!(line(bytes, &mut at))).into_owned();
    let fields = take!(fields(bytes, &mut at));
    let answer = first.starts_with("HTTP/");
    if let Some(why) = if answer { None } else { bad_request(&first, &fields) } {
        return Strict::Ambiguous(why);
    }
    let all = |wanted: &str| -> Vec<String> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.clone()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    let status = first.split(' ').nth(1).unwrap_or_default();
    let none = answer && (headless || matches!(status, "204" | "304") || status.starts_with('1'));
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) if answer && !none => return Strict::Partial,
        ([_] | [], []) | ([], [_]) if none => Vec::new(),
        ([], []) => Vec::new(),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let Some(body) = length.parse().ok().and_then(|length: usize| bytes.get(at..at.checked_add(length)?))
            else {
                return Strict::Partial;
            };
            at += body.len();
            body.to_vec()
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") && !first.contains("HTTP/1.0") => {
            take!(chunks(bytes, &mut at))
        }
        _ => return Strict::Ambiguous(format!("framed by {lengths:?} and {codings:?}")),
    };
    Strict::Whole(Message { line: first, fields, body, length: at })
}

fn bad_request(first: &str, fields: &[(String, String)]) -> Option<String> {
    let words: Vec<&str> = first.split(' ').collect();
    let [method, target, "HTTP/1.1" | "HTTP/1.0"] = words.as_slice() else {
        return Some(format!("the line {first:?}"));
    };
    if http::Method::from_bytes(method.as_bytes()).is_err() || target.contains('#') || target.is_empty() {
        return Some(format!("the line {first:?}"));
    }
    let hosts: Vec<&str> = fields.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str()).collect();
    let good = |host: &str| {
        let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, port)) if address.contains(':') => ("v6", port.strip_prefix(':').unwrap_or(port)),
            Some(_) | None => host.split_once(':').unwrap_or((host, "")),
        };
        port.bytes().all(|byte| byte.is_ascii_digit())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_~%!$&'()*+;=".contains(&byte))
    };
    match hosts.as_slice() {
        [host] if good(host) => None,
        _ => Some(format!("the hosts {hosts:?}")),
    }
}

fn chunks(bytes: &[u8], at: &mut usize) -> Option<Result<Vec<u8>, String>> {
    let mut body = Vec::new();
    loop {
        let size = match line(bytes, at)? {
            Ok(size) => String::from_utf8_lossy(size).into_owned(),
            Err(why) => return Some(Err(why)),
        };
        let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(size) = usize::from_str_radix(&size, 16).ok().filter(|_| digits) else {
            return Some(Err(format!("the chunk size {size:?}")));
        };
        if size == 0 {
            return Some(fields(bytes, at)?.map(|_| body));
        }
        body.extend_from_slice(bytes.get(*at..at.checked_add(size)?)?);
        *at += size;
        match line(bytes, at)? {
            Ok([]) => {}
            Ok(_) | Err(_) => return Some(Err("bytes behind a chunk".into())),
        }
    }
}

/// The bytes of each stream, of whom it is that sends.
pub type Streams = Arc<Mutex<Vec<Vec<u8>>>>;

/// Who sends nothing for so long to an origin sends nothing more of a case.
const QUIET: Duration = Duration::from_millis(100);

/// A server that records every byte, and answers each request that can be read in one way only, unless it is for `/gate`.
pub struct Recorder {
    pub address: SocketAddr,
    streams: Streams,
    /// What has been looked at of each stream.
    looked: Mutex<Vec<usize>>,
    server: JoinHandle<()>,
}

/// What reached the origin since the last look.
#[derive(Debug, Default)]
pub struct Seen {
    pub requests: Vec<Message>,
    pub ambiguous: Vec<String>,
    /// All bytes, in lower case.
    pub text: String,
}

impl Recorder {
    pub async fn start() -> Self {
        Self::serving(record).await
    }

    /// Records what `serve` makes of each connection.
    pub async fn serving<F>(serve: impl Fn(TcpStream, Streams) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let streams = Streams::default();
        let all = Arc::clone(&streams);
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(stream, Arc::clone(&all)));
            }
        });
        Self { address, streams, looked: Mutex::default(), server }
    }

    /// What has come since the last look.
    pub fn look(&self) -> Seen {
        let (streams, mut looked) = (self.streams.lock().unwrap(), self.looked.lock().unwrap());
        looked.resize(streams.len(), 0);
        let mut seen = Seen::default();
        for (stream, at) in streams.iter().zip(looked.iter_mut()) {
            seen.text += &String::from_utf8_lossy(stream.get(*at..).unwrap_or_default()).to_lowercase();
            while let Some(rest) = stream.get(*at..) {
                match read(rest, false) {
                    Strict::Whole(message) => {
                        *at += message.length;
                        seen.requests.push(message);
                    }
                    Strict::Partial => break,
                    Strict::Ambiguous(why) => {
                        // What follows on it is anybody's guess.
                        *at = usize::MAX;
                        seen.ambiguous.push(why);
                        break;
                    }
                }
            }
        }
        seen
    }

    /// What has come since the last look, once nothing comes any more. What is not whole by then is nobody's any more:
    /// it is not counted with what comes later.
    pub async fn settled(&self) -> Seen {
        let size = || self.streams.lock().unwrap().iter().map(Vec::len).sum::<usize>();
        let mut before = None;
        while before != Some(size()) {
            before = Some(size());
            tokio::time::sleep(QUIET).await;
        }
        let seen = self.look();
        let (streams, mut looked) = (self.streams.lock().unwrap(), self.looked.lock().unwrap());
        for (_, at) in streams.iter().zip(looked.iter_mut()).filter(|(stream, at)| **at < stream.len()) {
            *at = usize::MAX;
        }
        seen
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(mut stream: TcpStream, streams: Streams) {
    let number = {
        let mut streams = streams.lock().unwrap();
        streams.push(Vec::new());
        streams.len() - 1
    };
    let (mut unread, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        streams.lock().unwrap()[number].extend_from_slice(&buffer[..count]);
        unread.extend_from_slice(&buffer[..count]);
        loop {
            match read(&unread, false) {
                Strict::Whole(message) => {
                    unread.drain(..message.length);
                    if message.line.contains(" /gate ") {
                        continue;
                    }
                    let body = if message.line.starts_with("HEAD ") { "" } else { "ok" };
                    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Strict::Partial => break,
                Strict::Ambiguous(_) => {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                    let _ = stream.write_all(answer).await;
                    return;
                }
            }
        }
    }
}

/// What a visitor got.
#[derive(Debug, Default)]
pub struct Got {
    pub statuses: Vec<u16>,
    pub closed: bool,
    pub bytes: Vec<u8>,
    /// What is wrong with the answers.
    pub ambiguous: Option<String>,
    pub answers: Vec<Message>,
}

/// Sends these bytes and reads until so many answers have come, or the other end closes, or for so long. `heads` says
/// which of them answer a HEAD.
pub async fn exchange(address: SocketAddr, bytes: &[u8], wanted: usize, heads: &[bool], patience: Duration) -> Got {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    // Whoever closes early need not read all of it.
    let _ = timeout(patience, stream.write_all(bytes)).await;
    let mut got = Got::default();
    let reading = async {
        let (mut buffer, mut at) = (vec![0; 64 * 1024], 0);
        while got.statuses.len() < wanted {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => {
                    got.closed = true;
                    break;
                }
                Ok(count) => got.bytes.extend_from_slice(&buffer[..count]),
            }
            loop {
                let headless = heads.get(got.statuses.len()).copied().unwrap_or(false);
                match read(&got.bytes[at..], headless) {
                    Strict::Whole(message) => {
                        at += message.length;
                        let status = message.line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
                        if status >= 200 {
                            got.statuses.push(status);
                            got.answers.push(message);
                        }
                    }
                    Strict::Partial => break,
                    Strict::Ambiguous(why) => {
                        got.ambiguous.get_or_insert(why);
                        break;
                    }
                }
            }
        }
    };
    // A peer that keeps its silence is as good as one that closes.
    let _ = timeout(patience, reading).await;
    got
}
