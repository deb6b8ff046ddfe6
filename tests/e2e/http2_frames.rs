//! HTTP/2 from visitors, frame by frame: what takes more than one turn. What is wrong at once is in `raw_http2`.

use crate::harness::frames::{
    ACK, CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, FrameConnection, GOAWAY, HEADERS,
    NO_ERROR, PADDED, PING, PREFACE, PROTOCOL_ERROR, REFUSED_STREAM, RST_STREAM, Reaction, SETTINGS, WHOLE,
    WINDOW_UPDATE, fields, frame, get, request,
};
use crate::harness::{Application, Router, SHORT, Setup, until};

async fn router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    (router, server0, server1)
}

/// A request whose body is still to come.
fn post(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &fields(&request("POST", path)))
}

fn all(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
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
    // Bodies that are not as their heads say, at once and later; and one that is taken back.
    let begins = |stream| {
        let head = [request("POST", "/upload"), vec![("content-length", "5")]].concat();
        frame(HEADERS, END_HEADERS, stream, &fields(&head))
    };
    let requests = [
        (25, DATA, END_STREAM, &b"less"[..], false),
        (27, DATA, 0, b"longer", true),
        (29, RST_STREAM, 0, &[0, 0, 0, 1], true),
    ];
    for (stream, kind, flags, content, waits) in requests {
        connection.send(&begins(stream)).await;
        if waits {
            until("it waits for the body", SHORT, async || server0.in_flight() == 1).await;
        }
        connection.send(&frame(kind, flags, stream, content)).await;
        let expected = if kind == DATA { Reaction::Reset(PROTOCOL_ERROR) } else { Reaction::None };
        assert_eq!(connection.reaction(stream).await, expected, "{stream}");
        until("it has ended", SHORT, async || server0.in_flight() == 0).await;
    }
    // What ends the connection: a fault that h2 finds, one that the router finds, and a head without end.
    connection.send(&frame(HEADERS, WHOLE, 31, &[0x80])).await;
    assert!(matches!(connection.reaction(31).await, Reaction::GoAway(_)));
    let mut connection = FrameConnection::silent(router.address()).await;
    connection.send(&[PREFACE, &get(1, "/never")].concat()).await;
    assert!(connection.closes(SHORT).await);
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&frame(HEADERS, END_STREAM, 1, &fields(&request("GET", "/never")))).await;
    assert!(connection.closes(SHORT).await);

    let expected = [("400", 6.0), ("408", 1.0), ("431", 3.0)];
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
    for (status, lines) in [(200, 6), (400, 6), (408, 1), (431, 3), (499, 1), (503, 1)] {
        until(&format!("{status} is logged"), SHORT, async || logged(status) == lines).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_on_their_way_when_their_requests_are_answered_end_nothing() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    let refused = fields(&[&request("POST", "/never")[..], &[("expect", "more")]].concat());
    for upload in 0..300 {
        let stream = 1 + 2 * upload;
        connection.send(&frame(HEADERS, END_HEADERS, stream, &refused)).await;
        let head = connection.until("it is answered", |frame| frame.kind == HEADERS && frame.stream == stream).await;
        assert_eq!(head.status(), Some(417));
        connection.until("no more is wanted", |frame| frame.kind == RST_STREAM && frame.stream == stream).await;
        connection.send(&all(&[frame(DATA, 0, stream, b"on its"), frame(DATA, END_STREAM, stream, b"way")])).await;
    }
    connection.send(&get(601, "/page")).await;
    assert_eq!(connection.reaction(601).await, Reaction::Status(200));
    assert!(server0.seen().iter().all(|seen| seen.target != "/never"));
    let refused = router.metric("cutover_bad_requests_total").await;
    let count =
        |status: &str| refused.iter().find(|(labels, _)| labels.contains(status)).map_or(0.0, |(_, count)| *count);
    assert_eq!((count("417"), count("400")), (300.0, 0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_messages_that_wait_for_their_turn_end_nothing() {
    let (router, server0, _server1) = router().await;
    router.command(&["mode", "hold"]).await.ok();
    let mut connection = FrameConnection::open(router.address()).await;
    let messages = frame(DATA, 0, 1, &[b'x'; 20]).repeat(3200);
    connection.send(&all(&[post(1, "/upload"), messages, frame(PING, 0, 0, b"all here")])).await;
    connection.until("all of them have come", |frame| frame.kind == PING && frame.content == b"all here").await;
    router.command(&["mode", "serve"]).await.ok();
    connection.send(&frame(DATA, END_STREAM, 1, b"")).await;
    let head = connection.until("they have passed", |frame| frame.kind == HEADERS && frame.stream == 1).await;
    assert_eq!((head.status(), server0.uploaded()), (Some(200), 64_000));
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
    assert_eq!(answer.status(), Some(400));
    let reset = connection.until("the stream ends", |frame| frame.kind == RST_STREAM).await;
    assert_eq!((reset.stream, reset.number(0)), (1, NO_ERROR));
}
