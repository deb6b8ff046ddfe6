//! Answers of targets that can be read in more than one way, cut off, or followed by what nobody asked for.

use super::wire::{Message, exchange};
use crate::harness::{Router, SHORT, Setup, free_address};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the visitor must get.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// 502.
    Bad,
    /// This status and this body, whole.
    Whole(u16, &'static str),
    /// A head, and then the end of the connection before the end of the answer.
    CutOff,
}
use Reply::{Bad, CutOff, Whole};

/// An answer to a request.
pub struct Case {
    pub class: &'static str,
    pub bytes: Vec<u8>,
    pub want: Reply,
    /// The method of the request.
    pub method: &'static str,
    /// Whether the target closes behind it.
    pub closes: bool,
    /// What must not reach the visitor, in lower case.
    pub barred: &'static [&'static str],
}

impl Case {
    pub fn name(&self) -> String {
        self.bytes.escape_ascii().to_string().chars().take(110).collect()
    }
}

fn case(class: &'static str, want: Reply, bytes: impl AsRef<[u8]>) -> Case {
    Case { class, bytes: bytes.as_ref().to_vec(), want, method: "GET", closes: false, barred: &["poison"] }
}

fn closing(class: &'static str, want: Reply, bytes: impl AsRef<[u8]>) -> Case {
    Case { closes: true, ..case(class, want, bytes) }
}

const BEHIND: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

/// All of them.
pub fn corpus() -> Vec<Case> {
    [status_lines(), framings(), fields(), bodies(), connections()].into_iter().flatten().collect()
}

fn status_lines() -> Vec<Case> {
    let length = "\r\nContent-Length: 5\r\n\r\nhello";
    let bad = [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 abc OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 000 OK",
        "HTTP/1.1 600 OK",
        "HTTP/1.1 999 OK",
        "HTTP/1.1 -200 OK",
        "HTTP/2.0 200 OK",
        "HTTP/0.9 200 OK",
        "HTTP/1.2 200 OK",
        "HTTP/11 200 OK",
        "http/1.1 200 OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "<html>hello</html>",
    ];
    let mut cases: Vec<Case> =
        bad.into_iter().map(|line| closing("status line", Bad, format!("{line}{length}"))).collect();
    cases.push(closing("status line", Bad, ""));
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 200 Whatever it is", "HTTP/1.0 200 OK"] {
        cases.push(case("status line", Whole(200, "hello"), format!("{line}{length}")));
    }
    cases
}

fn framings() -> Vec<Case> {
    let framed = |lines: &str, body: &str| closing("framing", Bad, format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n{body}"));
    let mut cases: Vec<Case> = [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 99999999999999999999",
        "Content-Length: 5\r\nContent-Length:",
    ]
    .into_iter()
    .map(|lines| framed(lines, "hello"))
    .collect();
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked;q=1",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding:",
        "Content-Length: 5\r\nTransfer-Encoding: identity",
    ] {
        cases.push(framed(lines, "5\r\nhello\r\n0\r\n\r\n"));
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    cases.push(closing("framing", Bad, old));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    cases.push(case("framing", Whole(200, "hello"), chunked));
    cases.push(closing("framing", Whole(200, "hello"), "HTTP/1.1 200 OK\r\n\r\nhello"));
    cases.push(closing("framing", Whole(200, "hello"), "HTTP/1.0 200 OK\r\n\r\nhello"));
    cases
}

fn fields() -> Vec<Case> {
    let many = "X: y\r\n".repeat(300);
    let long = format!("X: {}\r\n", "x".repeat(70_000));
    [
        (Bad, &b"X: a\r\n b\r\n"[..]),
        (Bad, b"X: a\r\n\tb\r\n"),
        (Bad, b"Set-Cookie: a\r\n Content-Length: 0\r\n"),
        (Bad, b"X : a\r\n"),
        (Bad, b"Content-Length : 3\r\n"),
        (Bad, b"X: a\0b\r\n"),
        (Bad, b"X: a\x01b\r\n"),
        (Bad, b"X: a\x7fb\r\n"),
        (Bad, b"X: a\rb\r\n"),
        (Bad, b": a\r\n"),
        (Bad, b"X\r\n"),
        (Bad, b"X Y: a\r\n"),
        (Bad, b"X\xffY: a\r\n"),
        (Bad, many.as_bytes()),
        (Bad, long.as_bytes()),
        // Its lines end with CRLF on the way to the visitor.
        (Whole(200, "hello"), b"X: a\n"),
        (Whole(200, "hello"), b"X: a\tb\xe4\r\n"),
    ]
    .into_iter()
    .map(|(want, line)| {
        let head = [b"HTTP/1.1 200 OK\r\n", line, b"Content-Length: 5\r\n\r\nhello"].concat();
        closing("fields", want, head)
    })
    .collect()
}

fn bodies() -> Vec<Case> {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    let mut cases = vec![closing("body", CutOff, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello")];
    for body in [
        "5\r\nhel",
        "5\r\nhello\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\nx\r\n\r\n",
        "5\r\nhello\r\n-1\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\r\n10000000000000000\r\n",
    ] {
        cases.push(closing("body", CutOff, chunked(body)));
    }
    let extension = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000));
    cases.push(closing("body", CutOff, chunked(&extension)));
    let trailers = "X-Sum: 1\r\nContent-Length: 777\r\nSet-Cookie: evil=1\r\nTransfer-Encoding: evil\r\n";
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, content-length, set-cookie\r\n\r\n";
    cases.push(Case {
        barred: &["777", "evil"],
        ..case("body", Whole(200, "hello"), format!("{head}5\r\nhello\r\n0\r\n{trailers}\r\n"))
    });
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    cases.extend([
        case("extra bytes", Whole(200, "hello"), format!("{head}hello{BEHIND}")),
        case("extra bytes", Whole(200, "hello"), format!("{head}hello\r\n")),
        case("extra bytes", Whole(200, "hello"), format!("{head}hello world")),
        case("extra bytes", Whole(200, "hello"), chunked("5\r\nhello\r\n0\r\n\r\n") + BEHIND),
        case("extra bytes", Whole(204, ""), format!("HTTP/1.1 204 No Content\r\n\r\n{BEHIND}")),
        case("extra bytes", Whole(304, ""), format!("HTTP/1.1 304 Not Modified\r\n\r\n{BEHIND}")),
        case("extra bytes", Whole(304, ""), "HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\npoison"),
        Case { method: "HEAD", ..case("extra bytes", Whole(200, ""), format!("{head}hello")) },
        Case { method: "HEAD", ..case("extra bytes", Whole(200, ""), format!("{head}{BEHIND}")) },
        Case {
            barred: &["content-length: 6", "poison"],
            ..case("extra bytes", Whole(204, ""), "HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\npoison")
        },
        Case {
            barred: &["transfer-encoding", "poison"],
            ..case(
                "extra bytes",
                Whole(204, ""),
                "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            )
        },
    ]);
    cases
}

fn connections() -> Vec<Case> {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let named = |lines: &str, barred| {
        let bytes = format!("HTTP/1.1 200 OK\r\n{lines}\r\nContent-Length: 5\r\n\r\nhello");
        Case { barred, ..case("connection", Whole(200, "hello"), bytes) }
    };
    let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000);
    vec![
        closing("interim", Bad, format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{BEHIND}")),
        closing("interim", Bad, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\npoison"),
        case("interim", Whole(200, "hello"), format!("HTTP/1.1 100 Continue\r\n\r\n{ok}")),
        case("interim", Whole(200, "hello"), format!("HTTP/1.1 102 Processing\r\n\r\n{ok}")),
        case("interim", Whole(200, "hello"), format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{ok}")),
        closing("interim", Bad, format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello{ok}")),
        closing("interim", Bad, flood + ok),
        named("Connection: X-Secret\r\nX-Secret: evil", &["evil"]),
        named("Connection: close, X-Secret\r\nX-Secret: evil", &["evil"]),
        named("Connection: Content-Length", &["poison"]),
        named("Keep-Alive: timeout=777", &["777"]),
        named("Proxy-Authenticate: evil", &["evil"]),
        named("Proxy-Connection: evil", &["evil"]),
        named("Upgrade: evil", &["evil"]),
    ]
}

/// A server that answers `/N` with the bytes of the Nth case, and anything else as it should.
pub struct Answering {
    pub address: SocketAddr,
    server: JoinHandle<()>,
}

impl Answering {
    pub async fn start(corpus: Arc<[Case]>) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.unwrap();
        let server = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                tokio::spawn(answer(stream, Arc::clone(&corpus)));
            }
        });
        Self { address, server }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, corpus: Arc<[Case]>) {
    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => head.extend_from_slice(&buffer[..count]),
                Ok(0) | Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&std::mem::take(&mut head)).into_owned();
        let number = text.split(' ').nth(1).and_then(|path| path.strip_prefix('/')?.parse::<usize>().ok());
        let case = number.and_then(|number| corpus.get(number));
        let bytes = case.map_or(&b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthe second"[..], |case| &case.bytes);
        if stream.write_all(bytes).await.is_err() || case.is_some_and(|case| case.closes) {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// What is wrong with how the case's answer reached the visitor, as whoever is at `address` passed it on. What is safe has
/// nothing ambiguous and nothing barred in it, and the next request of another visitor gets its own answer. When
/// `strictly`, it is exactly what is wanted, and the request that the visitor has sent right behind the first gets its own
/// answer too, where the connection goes on.
pub async fn fault(address: SocketAddr, number: usize, case: &Case, strictly: bool) -> Option<String> {
    const SECOND: &str = "GET /second HTTP/1.1\r\nHost: shop\r\n\r\n";
    let patience = if strictly { SHORT } else { std::time::Duration::from_secs(2) };
    let (behind, wanted) = if strictly { (SECOND, 2) } else { ("", 1) };
    let requests = format!("{} /{number} HTTP/1.1\r\nHost: shop\r\n\r\n{behind}", case.method);
    let got = exchange(address, requests.as_bytes(), wanted, &[case.method == "HEAD"], patience).await;
    let text = String::from_utf8_lossy(&got.bytes).to_lowercase();
    if let Some(why) = got.ambiguous {
        return Some(why);
    }
    if let Some(word) = case.barred.iter().find(|word| text.contains(**word)) {
        return Some(format!("{word:?} got through"));
    }
    let next = exchange(address, SECOND.as_bytes(), 1, &[], patience).await;
    let (answer, own) = (got.answers.first(), got.answers.get(1));
    let is_second = |answer: &Message| answer.body == b"the second";
    if !own.is_none_or(is_second) || !next.answers.first().is_some_and(is_second) {
        return Some(format!(
            "it goes on with {}, another has {}",
            got.bytes.escape_ascii(),
            next.bytes.escape_ascii()
        ));
    }
    let status = got.statuses.first().copied();
    let ok = match case.want {
        Bad => status == Some(502),
        // Where the target ends the body by closing, its length is not known: chunks, or an end of the connection.
        Whole(wanted, body) => {
            status == Some(wanted)
                && answer.is_some_and(|answer| answer.body == body.as_bytes())
                && own.is_some() == strictly
        }
        CutOff => got.statuses.is_empty() && got.closed && text.starts_with("http/1.1 200"),
    };
    // A proxy that passes on what is broken off says so by closing.
    let safe = match case.want {
        Bad | CutOff => got.statuses.iter().all(|status| *status >= 500) || matches!(case.want, Bad),
        Whole(..) => ok || got.statuses.iter().all(|status| *status >= 500),
    };
    (!if strictly { ok } else { safe }).then(|| format!("{:?}, closed: {}, {text:.300}", got.statuses, got.closed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_can_be_read_in_two_ways_reach_no_visitor() {
    let corpus: Arc<[Case]> = corpus().into();
    let origin = Answering::start(Arc::clone(&corpus)).await;
    let setup = Setup::with_pools(&[("server0", origin.address, "r0"), ("server1", free_address(), "r1")]).one_worker();
    let router = Router::start(setup).await;
    let mut faults = Vec::new();
    for (number, case) in corpus.iter().enumerate() {
        if let Some(why) = fault(router.address(), number, case, true).await {
            faults.push(format!("{}: {}: {:?}: {why}", case.class, case.name(), case.want));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), corpus.len(), faults.join("\n"));
    assert!(corpus.len() >= 40, "{}", corpus.len());
}
