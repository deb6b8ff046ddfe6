//! HTTP/2 from visitors, frame by frame: each rule of RFC 9113 that a server has to enforce, broken on a connection of
//! its own. The numbers are those of the sections.

use crate::harness::frames::{
    ACK, CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR,
    FrameConnection, GOAWAY, HEADERS, NO_ERROR, PADDED, PING, PREFACE, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE,
    REFUSED_STREAM, RST_STREAM, Reaction, SETTINGS, STREAM_CLOSED, WHOLE, WINDOW_UPDATE, fields, frame, get, request,
};
use crate::harness::{Application, Router, SHORT, Setup, until};

async fn router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    (router, server0, server1)
}

/// What a rule allows.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    /// The stream is reset with one of these errors, or answered 400, and the connection goes on.
    Stream(&'static [u32]),
    /// The connection ends, with one of these errors.
    Connection(&'static [u32]),
    /// The request is answered so.
    Status(u16),
    /// The frame is nothing to speak of, and the request after it is answered 200.
    Ignored,
}

/// The name of a case, what is sent on stream 1 after the settings, and what may come of it.
type Case = (&'static str, Vec<u8>, Allowed);

/// Sends each case on a connection of its own, and gives what went wrong.
async fn wrongs(router: &Router, cases: Vec<Case>) -> Vec<String> {
    let mut wrongs = Vec::new();
    for (name, mut bytes, allowed) in cases {
        let mut connection = FrameConnection::open(router.address()).await;
        if matches!(allowed, Allowed::Ignored) {
            bytes.extend(get(1, "/page"));
        }
        connection.try_send(&bytes).await;
        let reaction = connection.reaction(1).await;
        let right = match (allowed, reaction) {
            (Allowed::Stream(errors), Reaction::Reset(error)) => errors.contains(&error),
            (Allowed::Stream(_), Reaction::Status(status)) => status == 400,
            (Allowed::Connection(errors), Reaction::GoAway(error)) => {
                errors.contains(&error) && connection.closes(SHORT).await
            }
            (Allowed::Status(status), reaction) => reaction == Reaction::Status(status),
            (Allowed::Ignored, reaction) => reaction == Reaction::Status(200),
            (Allowed::Stream(_) | Allowed::Connection(_), _) => false,
        };
        if !right {
            wrongs.push(format!("{name}: {reaction:?}, not {allowed:?}"));
        } else if !matches!(allowed, Allowed::Connection(_)) {
            connection.try_send(&get(101, "/page")).await;
            let after = connection.reaction(101).await;
            if after != Reaction::Status(200) {
                wrongs.push(format!("{name}: the connection does not go on, {after:?}"));
            }
        }
    }
    wrongs
}

/// A request with these fields after the pseudo-headers.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    let mut all = request("GET", "/never");
    all.extend(more);
    frame(HEADERS, WHOLE, 1, &fields(&all))
}

/// A request of these fields alone.
fn of(all: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &fields(all))
}

/// A request whose body is still to come.
fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(&request("POST", path)))
}

fn all(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

const PROTOCOL: Allowed = Allowed::Connection(&[PROTOCOL_ERROR]);
const SIZE: Allowed = Allowed::Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
/// RFC 9113 §5.4: what could end the stream alone may end the connection, and does where h2 can't read a field.
const UNREADABLE: Allowed = PROTOCOL;
const MALFORMED: Allowed = Allowed::Stream(&[PROTOCOL_ERROR]);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::too_many_lines)] // one table
async fn frames_that_break_their_rules_end_what_they_belong_to() {
    let (router, server0, _server1) = router().await;
    let setting = |name: u16, value: u32| {
        let content = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
        frame(SETTINGS, 0, 0, &content)
    };
    let block = fields(&request("GET", "/never"));
    let window = |size: u32| size.to_be_bytes().to_vec();
    let cases: Vec<Case> = vec![
        ("4.1 a frame of an unknown kind", frame(0xab, 0xff, 0, b"whatever"), Allowed::Ignored),
        ("4.1 the reserved bit", frame(PING, 0, 1 << 31, b"12345678"), Allowed::Ignored),
        ("4.2 a frame larger than allowed", frame(DATA, 0, 1, &[0; 16_385]), SIZE),
        (
            "4.3 an index into nothing",
            frame(HEADERS, WHOLE, 1, &[0xff, 0x7f]),
            Allowed::Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "4.3 the index 0",
            frame(HEADERS, WHOLE, 1, &[0x80]),
            Allowed::Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        (
            "4.3 a table larger than allowed",
            frame(HEADERS, WHOLE, 1, &[0x3f, 0xe1, 0xff, 0x03]),
            Allowed::Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ),
        ("5.1 DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x"), PROTOCOL),
        ("5.1 RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &window(8)), PROTOCOL),
        ("5.1 WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, &window(1)), PROTOCOL),
        (
            "5.1 DATA after the end of the stream",
            all(&[get(1, "/gate"), frame(DATA, END_STREAM, 1, b"x")]),
            Allowed::Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        (
            "5.1 HEADERS after the end of the stream",
            all(&[get(1, "/gate"), get(1, "/never")]),
            Allowed::Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]),
        ),
        ("5.1 PRIORITY on an idle stream", frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 9]), Allowed::Ignored),
        ("5.1.1 a stream with an even number", get(2, "/never"), PROTOCOL),
        ("5.1.1 a number lower than the last", all(&[get(5, "/gate"), get(3, "/never")]), PROTOCOL),
        ("6.1 DATA on stream 0", frame(DATA, 0, 0, b"x"), PROTOCOL),
        (
            "6.1 more padding than content",
            all(&[post(1, "/upload"), frame(DATA, PADDED | END_STREAM, 1, &[9, 1, 2])]),
            PROTOCOL,
        ),
        ("6.2 HEADERS on stream 0", frame(HEADERS, WHOLE, 0, &block), PROTOCOL),
        ("6.2 more padding than content", frame(HEADERS, WHOLE | PADDED, 1, &[200, 1, 2]), PROTOCOL),
        (
            "6.2 another frame within a head",
            all(&[frame(HEADERS, END_STREAM, 1, &block), frame(PING, 0, 0, b"12345678")]),
            PROTOCOL,
        ),
        (
            "6.2 another stream's head within a head",
            all(&[frame(HEADERS, END_STREAM, 1, &block), get(3, "/never")]),
            PROTOCOL,
        ),
        ("6.3 PRIORITY on stream 0", frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 9]), PROTOCOL),
        ("6.3 a short PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 1]), SIZE),
        ("6.4 RST_STREAM on stream 0", frame(RST_STREAM, 0, 0, &window(8)), PROTOCOL),
        ("6.4 a short RST_STREAM", all(&[get(1, "/gate"), frame(RST_STREAM, 0, 1, &[0, 0, 8])]), SIZE),
        ("6.5 an acknowledgement with content", frame(SETTINGS, ACK, 0, &[0, 1, 0, 0, 0, 0]), SIZE),
        ("6.5 SETTINGS on a stream", frame(SETTINGS, 0, 1, &[0, 1, 0, 0, 0, 0]), PROTOCOL),
        ("6.5 half a setting", frame(SETTINGS, 0, 0, &[0, 1, 0]), SIZE),
        ("6.5.2 a push that is neither on nor off", setting(2, 2), PROTOCOL),
        (
            "6.5.2 a window beyond the largest",
            setting(4, 1 << 31),
            Allowed::Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]),
        ),
        ("6.5.2 a frame size below the least", setting(5, 16_383), PROTOCOL),
        ("6.5.2 a frame size above the largest", setting(5, 1 << 24), PROTOCOL),
        ("6.5.2 an unknown setting", setting(0xfafa, 7), Allowed::Ignored),
        (
            "6.6 a client's PUSH_PROMISE",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&window(2)[..], &block].concat()),
            PROTOCOL,
        ),
        ("6.7 PING on a stream", frame(PING, 0, 1, b"12345678"), PROTOCOL),
        ("6.7 a short PING", frame(PING, 0, 0, b"1234"), SIZE),
        ("6.8 GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8]), PROTOCOL),
        ("6.9 the connection's window grows by 0", frame(WINDOW_UPDATE, 0, 0, &window(0)), PROTOCOL),
        (
            "6.9 a stream's window grows by 0",
            all(&[get(1, "/gate"), frame(WINDOW_UPDATE, 0, 1, &window(0))]),
            Allowed::Connection(&[PROTOCOL_ERROR]),
        ),
        ("6.9 a short WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1]), SIZE),
        (
            "6.9.1 the connection's window overflows",
            frame(WINDOW_UPDATE, 0, 0, &window((1 << 31) - 1)),
            Allowed::Connection(&[FLOW_CONTROL_ERROR]),
        ),
        (
            "6.9.1 a stream's window overflows",
            all(&[get(1, "/gate"), frame(WINDOW_UPDATE, 0, 1, &window((1 << 31) - 1))]),
            Allowed::Stream(&[FLOW_CONTROL_ERROR]),
        ),
        ("6.10 CONTINUATION after nothing", frame(CONTINUATION, END_HEADERS, 1, &block), PROTOCOL),
        (
            "6.10 CONTINUATION after a whole head",
            all(&[get(1, "/gate"), frame(CONTINUATION, END_HEADERS, 1, &block)]),
            PROTOCOL,
        ),
        (
            "6.10 CONTINUATION on another stream",
            all(&[frame(HEADERS, END_STREAM, 1, &block), frame(CONTINUATION, END_HEADERS, 3, b"")]),
            PROTOCOL,
        ),
        (
            "6.10 CONTINUATION on stream 0",
            all(&[frame(HEADERS, END_STREAM, 1, &block), frame(CONTINUATION, END_HEADERS, 0, b"")]),
            PROTOCOL,
        ),
    ];
    let wrongs = wrongs(&router, cases).await;
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    assert!(server0.seen().iter().all(|seen| seen.target != "/never"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_requests_reach_nobody_and_the_connection_goes_on() {
    let (router, server0, _server1) = router().await;
    let never = || [(":method", "GET"), (":scheme", "http"), (":path", "/never"), (":authority", "shop.example.com")];
    let but = |left_out: &str| never().into_iter().filter(|(name, _)| *name != left_out).collect::<Vec<_>>();
    let other = |name: &'static str, value: &'static str| {
        never().map(|(known, old)| if known == name { (known, value) } else { (known, old) })
    };
    let first = |name: &'static str, value: &'static str| [&[(name, value)], &never()[..]].concat();
    let upload = |length: &'static str, frames: &[Vec<u8>]| {
        let mut head = request("POST", "/never");
        head.push(("content-length", length));
        all(&[frame(HEADERS, END_HEADERS, 1, &fields(&head)), frames.concat()])
    };
    let trailers = |flags, pairs: &[(&str, &str)]| {
        all(&[post(1, "/never"), frame(DATA, 0, 1, b"x"), frame(HEADERS, flags, 1, &fields(pairs))])
    };
    let cases: Vec<Case> = vec![
        ("8.2.1 a name in upper case", with(&[("X-Upper", "1")]), UNREADABLE),
        ("8.2.1 a space in a name", with(&[("x a", "1")]), UNREADABLE),
        ("8.2.1 a colon in a name", with(&[("x:a", "1")]), UNREADABLE),
        ("8.2.1 an empty name", with(&[("", "1")]), UNREADABLE),
        ("8.2.1 a line break in a value", with(&[("x-a", "1\r\nx-b: 2")]), UNREADABLE),
        ("8.2.1 a NUL in a value", with(&[("x-a", "1\0")]), UNREADABLE),
        ("8.2.1 a value that begins with a space", with(&[("x-a", " 1")]), MALFORMED),
        ("8.2.1 a value that ends with a tab", with(&[("x-a", "1\t")]), MALFORMED),
        ("8.2.2 connection", with(&[("connection", "close")]), MALFORMED),
        ("8.2.2 keep-alive", with(&[("keep-alive", "timeout=5")]), MALFORMED),
        ("8.2.2 proxy-connection", with(&[("proxy-connection", "close")]), MALFORMED),
        ("8.2.2 transfer-encoding", with(&[("transfer-encoding", "chunked")]), MALFORMED),
        ("8.2.2 upgrade", with(&[("upgrade", "websocket")]), MALFORMED),
        ("8.2.2 te other than trailers", with(&[("te", "gzip")]), MALFORMED),
        ("8.3 an unknown pseudo-header", of(&first(":unknown", "1")), UNREADABLE),
        ("8.3 a pseudo-header of answers", of(&first(":status", "200")), MALFORMED),
        ("8.3 a pseudo-header after a field", of(&first("x-a", "1")), MALFORMED),
        ("8.3.1 no method", of(&but(":method")), MALFORMED),
        ("8.3.1 no scheme", of(&but(":scheme")), MALFORMED),
        ("8.3.1 no path", of(&but(":path")), MALFORMED),
        ("8.3.1 no host at all", of(&but(":authority")), MALFORMED),
        ("8.3.1 an empty path", of(&other(":path", "")), MALFORMED),
        ("8.3.1 a path without a slash", of(&other(":path", "never")), MALFORMED),
        ("8.3.1 an asterisk that is not for OPTIONS", of(&other(":path", "*")), MALFORMED),
        ("8.3.1 a space in the path", of(&other(":path", "/never ever")), MALFORMED),
        ("8.3.1 a control character in the path", of(&other(":path", "/never\x7f")), MALFORMED),
        ("8.3.1 a line break in the path", of(&other(":path", "/never HTTP/1.1\r\nx: y")), MALFORMED),
        ("8.3.1 a line break in the method", of(&other(":method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET")), UNREADABLE),
        ("8.3.1 a line break in the authority", of(&other(":authority", "a\r\nx: y")), MALFORMED),
        ("8.3.1 user information", of(&other(":authority", "me@shop.example.com")), MALFORMED),
        ("8.3.1 two methods", of(&first(":method", "GET")), MALFORMED),
        ("8.3.1 two paths", of(&first(":path", "/")), MALFORMED),
        ("8.3.1 two authorities", of(&first(":authority", "a")), MALFORMED),
        ("8.3.1 another host", with(&[("host", "other.example.com")]), MALFORMED),
        ("8.3.1 two hosts", with(&[("host", "shop.example.com"), ("host", "other.example.com")]), MALFORMED),
        ("8.1 trailers that are not the end", trailers(END_HEADERS, &[("x-sum", "1")]), MALFORMED),
        ("8.1.1 a length that is none", upload("x", &[frame(DATA, END_STREAM, 1, b"x")]), MALFORMED),
        ("8.1.1 an empty length", with(&[("content-length", "")]), MALFORMED),
        ("8.1.1 two lengths", with(&[("content-length", "0"), ("content-length", "1")]), MALFORMED),
        ("8.1.1 less than the length", upload("5", &[frame(DATA, END_STREAM, 1, b"x")]), MALFORMED),
        ("8.1.1 more than the length", upload("1", &[frame(DATA, END_STREAM, 1, b"xy")]), MALFORMED),
        ("8.1.1 a length and no body", with(&[("content-length", "1")]), MALFORMED),
        (
            "5.3.1 a head that depends on itself",
            frame(HEADERS, WHOLE | 0x20, 1, &[&[0, 0, 0, 1, 9], &fields(&never())[..]].concat()),
            MALFORMED,
        ),
        ("8.5 CONNECT", of(&[(":method", "CONNECT"), (":authority", "127.0.0.1:22")]), Allowed::Status(501)),
        ("8.5 CONNECT with a path", of(&other(":method", "CONNECT")), MALFORMED),
        (
            "RFC 8441 WebSocket by CONNECT",
            of(&[&[(":method", "CONNECT"), (":protocol", "websocket")], &but(":method")[..]].concat()),
            MALFORMED,
        ),
        ("a field more than a hundred", with(&vec![("x-many", "1"); 101]), Allowed::Status(431)),
        (
            "a target that is too long",
            {
                let path = format!("/{}", "x".repeat(16 * 1024));
                let block = fields(&[&but(":path")[..], &[(":path", &path)]].concat());
                let (first, rest) = block.split_at(16_000);
                all(&[frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)])
            },
            Allowed::Status(414),
        ),
    ];
    let wrongs = wrongs(&router, cases).await;
    assert!(wrongs.is_empty(), "{}", wrongs.join("\n"));
    until("what was begun in vain has ended", SHORT, async || server0.in_flight() == 0).await;
    // What broke off in its body had reached the application by then, but was never whole.
    assert!(server0.seen().iter().all(|seen| seen.target != "/never"), "{:?}", server0.seen());
}

/// A request whose list of fields is longer than allowed, in two frames.
fn too_long(stream: u32) -> Vec<u8> {
    let (half, name) = ("x".repeat(16_300), "x-more");
    let block = fields(&[&request("GET", "/never")[..], &[(name, &half), (name, &half)]].concat());
    let (first, rest) = block.split_at(16_384);
    let (second, third) = rest.split_at(16_384.min(rest.len()));
    let middle = frame(CONTINUATION, if third.is_empty() { END_HEADERS } else { 0 }, stream, second);
    let last = if third.is_empty() { vec![] } else { frame(CONTINUATION, END_HEADERS, stream, third) };
    all(&[frame(HEADERS, END_STREAM, stream, first), middle, last])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_refused_is_counted_and_logged() {
    let (server0, server1) = Application::pair().await;
    let tables =
        "[access_log]\nformat = \"json\"\nsample = 1.0\n[server.timeouts]\nhead = \"1s\"\n[server.limits]\nstreams = 3";
    let router = Router::start(Setup::before(&server0, &server1).one_worker().tables(tables)).await;
    let malformed = |stream| {
        let head = [request("GET", "/never"), vec![("connection", "close")]].concat();
        frame(HEADERS, WHOLE, stream, &fields(&head))
    };
    let many = [request("GET", "/never"), vec![("x-many", "1"); 101]].concat();
    let mut connection = FrameConnection::open(router.address()).await;
    let mut stream = 1;
    for (bytes, expected) in [
        (too_long(1), Reaction::Status(431)),
        (malformed(3), Reaction::Reset(PROTOCOL_ERROR)),
        (frame(HEADERS, WHOLE, 5, &fields(&many)), Reaction::Status(431)),
        (get(7, "/page"), Reaction::Status(200)),
        // All in one read, so that h2 refuses some before it hands over the others.
        (all(&[too_long(9), get(11, "/page"), malformed(13), get(15, "/page")]), Reaction::Status(431)),
    ] {
        connection.send(&bytes).await;
        assert_eq!(connection.reaction(stream).await, expected, "{stream}");
        stream += 2;
    }
    for _ in 0..2 {
        connection.until("the others are answered", |frame| frame.kind == HEADERS).await;
    }
    // One more than there may be.
    connection.send(&all(&[get(17, "/gate"), get(19, "/gate"), get(21, "/gate"), get(23, "/never")])).await;
    assert_eq!(connection.reaction(23).await, Reaction::Reset(REFUSED_STREAM));
    server0.open_gate();
    for _ in 0..3 {
        connection.until("the others are answered", |frame| frame.kind == HEADERS).await;
    }
    // What ends the connection: a fault that h2 finds, one that the router finds, and a head without end.
    connection.send(&frame(HEADERS, WHOLE, 25, &[0x80])).await;
    assert!(matches!(connection.reaction(25).await, Reaction::GoAway(_)));
    let mut connection = FrameConnection::silent(router.address()).await;
    connection.send(&[PREFACE, &get(1, "/never")].concat()).await;
    assert!(connection.closes(SHORT).await);
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&frame(HEADERS, END_STREAM, 1, &fields(&request("GET", "/never")))).await;
    assert!(connection.closes(SHORT).await);

    let expected = [("400", 4.0), ("408", 1.0), ("431", 3.0)];
    let all_counted = async || {
        let mut counts = router.metric("cutover_bad_requests_total").await;
        counts.retain(|(_, count)| *count > 0.0);
        counts.len() == expected.len()
            && expected.iter().all(|(status, expected)| {
                counts.iter().any(|(labels, count)| labels.contains(status) && (count - expected).abs() < 0.1)
            })
    };
    until("all are counted", SHORT, all_counted).await;
    let logged = |status: u64| {
        let output = router.output();
        let lines = output.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["status"] == status).count()
    };
    for (status, lines) in [(200, 6), (400, 4), (408, 1), (431, 3), (503, 1)] {
        until(&format!("{status} is logged"), SHORT, async || logged(status) == lines).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_frames_of_a_body_that_comes_end_nothing() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    for upload in 0..5 {
        let stream = 1 + 2 * upload;
        connection.send(&post(stream, "/upload")).await;
        for _ in 0..100 {
            // Cut in the middle of a head, now and then.
            connection.send(&all(&[frame(DATA, 0, stream, b"x"), frame(DATA, 0, stream, b"")])).await;
            connection.send(&frame(DATA, 0, stream, b"")[..5]).await;
            connection.send(&frame(DATA, 0, stream, b"")[5..]).await;
        }
        connection.send(&frame(DATA, END_STREAM, stream, b"")).await;
        assert_eq!(connection.reaction(stream).await, Reaction::Status(200));
    }
    assert_eq!(server0.uploaded(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_begins_with_the_settings() {
    let (router, _server0, _server1) = router().await;
    for (what, first) in [
        ("a request", get(1, "/page")),
        ("a PING", frame(PING, 0, 0, b"12345678")),
        ("an acknowledgement", frame(SETTINGS, ACK, 0, &[])),
    ] {
        let mut connection = FrameConnection::silent(router.address()).await;
        connection.send(&[PREFACE, &first].concat()).await;
        let end = connection.until("it is told why", |frame| frame.kind == GOAWAY).await;
        assert_eq!(end.number(4), PROTOCOL_ERROR, "{what}");
        assert!(connection.closes(SHORT).await, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_frames_do_what_they_are_for() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    // A PING is answered with what it says.
    connection.send(&frame(PING, 0, 0, b"whatever")).await;
    let pong = connection.until("the PING is answered", |frame| frame.kind == PING).await;
    assert_eq!((pong.flags, pong.content.as_slice()), (ACK, &b"whatever"[..]));
    // A head in pieces, padded, with a priority, is one.
    let block =
        fields(&[&request("GET", "/pieces")[..], &[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]].concat());
    let (first, rest) = block.split_at(10);
    connection
        .send(&frame(HEADERS, END_STREAM | PADDED | 0x20, 1, &[&[3, 0, 0, 0, 0, 9], first, &[0; 3]].concat()))
        .await;
    for piece in rest.chunks(90) {
        connection.send(&frame(CONTINUATION, 0, 1, piece)).await;
    }
    connection.send(&frame(CONTINUATION, END_HEADERS, 1, &[])).await;
    assert_eq!(connection.reaction(1).await, Reaction::Status(200));
    let seen = server0.last_seen("/pieces");
    assert_eq!(seen.header("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(seen.header("host").as_deref(), Some("shop.example.com"));
    // A body, padded, with trailers.
    connection.send(&post(3, "/body")).await;
    connection.send(&frame(DATA, PADDED, 3, b"\x02one \0\0")).await;
    connection.send(&frame(DATA, 0, 3, b"two")).await;
    connection.send(&frame(HEADERS, WHOLE, 3, &fields(&[("x-sum", "7")]))).await;
    assert_eq!(connection.reaction(3).await, Reaction::Status(200));
    let seen = server0.last_seen("/body");
    assert_eq!((seen.method.as_str(), seen.body.as_ref()), ("POST", &b"one two"[..]));
    assert_eq!(seen.header("transfer-encoding").as_deref(), Some("chunked"));
}

/// h2 takes these off before anyone sees them, where RFC 9113 §8.1 and §8.3.1 call the request malformed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pseudo_headers_among_trailers_and_fragments_go_no_further() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&post(1, "/body")).await;
    connection.send(&frame(DATA, 0, 1, b"x")).await;
    connection.send(&frame(HEADERS, WHOLE, 1, &fields(&[(":path", "/never"), ("x-sum", "7")]))).await;
    assert_eq!(connection.reaction(1).await, Reaction::Status(200));
    let trailers = server0.last_seen("/body").trailers.unwrap_or_default();
    assert!(trailers.keys().all(|name| !name.as_str().contains("path")), "{trailers:?}");
    connection.send(&get(3, "/page#/never")).await;
    assert_eq!(connection.reaction(3).await, Reaction::Status(200));
    assert_eq!(server0.last_seen("/page").target, "/page");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_out_as_the_windows_let_it() {
    let (router, _server0, _server1) = router().await;
    // One byte at a time, to begin with.
    let mut connection = FrameConnection::with_settings(router.address(), &[(4, 1)]).await;
    connection.send(&get(1, "/bytes/2000")).await;
    let mut received = 0;
    while received < 5 {
        let data = connection.until("a byte comes", |frame| frame.kind == DATA).await;
        assert_eq!(data.content.len(), 1);
        received += 1;
        assert!(
            connection.next(std::time::Duration::from_millis(200)).await.is_none(),
            "no more than there is room for"
        );
        connection.send(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())).await;
    }
    // A larger window for all streams lets the rest through.
    connection.send(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x40, 0])).await;
    loop {
        let data = connection.until("the rest comes", |frame| frame.kind == DATA).await;
        received += data.content.len();
        if data.flags & END_STREAM != 0 {
            break;
        }
    }
    assert_eq!(received, 2000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_beyond_its_window_is_refused() {
    // Nobody ever reads what comes there.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server1 = Application::start("server1").await;
    let pools = [("server0", deaf.local_addr().unwrap(), "r0"), ("server1", server1.address(), "r1")];
    let router = Router::start(Setup::with_pools(&pools)).await;
    let mut connection = FrameConnection::open(router.address()).await;
    // Much more than the target's socket, the router and the stream's window hold together.
    connection.send(&post(3, "/gate")).await;
    let part = frame(DATA, 0, 3, &[b'x'; 16_384]);
    let mut sent = 0;
    let refused = loop {
        if sent > 2000 || !connection.try_send(&part).await {
            break connection.reaction(3).await;
        }
        sent += 1;
        if let Some(frame) = connection.next(std::time::Duration::from_millis(1)).await
            && (frame.kind == GOAWAY || frame.kind == RST_STREAM && frame.stream == 3)
        {
            break if frame.kind == GOAWAY {
                Reaction::GoAway(frame.number(4))
            } else {
                Reaction::Reset(frame.number(0))
            };
        }
    };
    assert!(
        matches!(refused, Reaction::Reset(FLOW_CONTROL_ERROR) | Reaction::GoAway(FLOW_CONTROL_ERROR)),
        "{refused:?} after {sent} parts"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_allowed_are_refused_and_the_others_go_on() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    for number in 0..100 {
        connection.send(&get(1 + 2 * number, "/gate")).await;
    }
    connection.send(&get(201, "/page")).await;
    assert_eq!(connection.reaction(201).await, Reaction::Reset(REFUSED_STREAM));
    server0.open_gate();
    assert_eq!(connection.reaction(1).await, Reaction::Status(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ends_the_request_to_the_application_and_the_other_streams_go_on() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&get(1, "/gate")).await;
    connection.send(&get(3, "/gate")).await;
    until("both are under way", SHORT, async || server0.in_flight() == 2).await;
    connection.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())).await;
    until("the application is told", SHORT, async || server0.in_flight() == 1).await;
    server0.open_gate();
    assert_eq!(connection.reaction(3).await, Reaction::Status(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_ends_its_stream_without_an_error() {
    let (router, _server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    // The router's own answer, to a request whose body never ends.
    let mut head = request("CONNECT-NOT", "/never");
    head.push(("host", "other.example.com"));
    connection.send(&frame(HEADERS, END_HEADERS, 1, &fields(&head))).await;
    let answer = connection.until("it is answered", |frame| frame.kind == HEADERS && frame.stream == 1).await;
    assert_eq!(answer.status(), 400);
    let reset = connection.until("the stream ends", |frame| frame.kind == RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (1, NO_ERROR));
}
