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
