//! HTTP/2 from visitors that mean harm, or take for ever: each is let go with bounded work and memory, and an ordinary
//! visitor is served meanwhile.

use crate::harness::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FrameConnection, GOAWAY, HEADERS, NO_ERROR,
    PADDED, PING, PREFACE, PRIORITY, RST_STREAM, Reaction, SETTINGS, SETTINGS_TIMEOUT, WHOLE, WINDOW_UPDATE, fields,
    frame, get, request,
};
use crate::harness::{Application, LONG, Router, SHORT, Setup, heavy_turn, until};
use std::time::{Duration, Instant};

/// What a flood may add to the memory of the process.
const MOST_MEMORY: u64 = 48 * 1024 * 1024;

/// Connections of a flood.
const ATTACKERS: usize = 4;

/// The most that each of them sends.
const MOST_BYTES: usize = 32 * 1024 * 1024;

const SMALL: &str =
    "[server.timeouts]\nhead = \"1s\"\nidle = \"3s\"\nconnect = \"1s\"\nanswer = \"20s\"\nstall = \"2s\"\n";

async fn router(tables: &str) -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker().tables(tables)).await;
    (router, server0, server1)
}

/// Sends `begin`, and then parts without end, on several connections; true if all were closed by the router.
async fn floods(router: &Router, begin: &[u8], part: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut connections = Vec::new();
    for _ in 0..ATTACKERS {
        let mut connection = FrameConnection::open(router.address()).await;
        connection.try_send(begin).await;
        connections.push((connection, 0, false));
    }
    let mut number = 0;
    let mut visited = 0;
    while connections.iter().any(|(_, sent, closed)| !closed && *sent < MOST_BYTES) {
        let mut bytes = Vec::new();
        while bytes.len() < 64 * 1024 {
            bytes.extend(part(number));
            number += 1;
        }
        for (connection, sent, closed) in connections.iter_mut().filter(|(_, _, closed)| !closed) {
            *sent += bytes.len();
            *closed = !connection.try_send(&bytes).await;
        }
        if visited * 16 < number {
            visited = number;
            let answer = router.visitor().get("/page").await;
            assert_eq!(answer.status, 200, "an ordinary visitor is served meanwhile");
        }
    }
    let mut all_closed = true;
    for (connection, ..) in &mut connections {
        all_closed &= connection.closes(SHORT).await;
    }
    all_closed
}

/// A part of a flood, by its number.
type Part<'a> = Box<dyn Fn(u32) -> Vec<u8> + 'a>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_are_cut_short() {
    let _turn = heavy_turn().await;
    let (router, server0, _server1) = router("").await;
    for _ in 0..20 {
        router.visitor().get("/page").await;
    }
    let before = router.memory();
    let number = |number: u32| number.to_be_bytes();
    let post = frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/gate")));
    let endless = frame(HEADERS, 0, 1, &fields(&request("GET", "/never")));
    let many: Vec<_> = (0..100).map(|stream| get(1 + 2 * stream, "/gate")).collect();
    let field = fields(&[("x-more", &"x".repeat(16_000))]);
    let cases: Vec<(&str, Vec<u8>, Part<'_>)> = vec![
        (
            "rapid reset, CVE-2023-44487",
            vec![],
            Box::new(|n| [get(1 + 2 * n, "/gate"), frame(RST_STREAM, 0, 1 + 2 * n, &number(CANCEL))].concat()),
        ),
        (
            "resets made of the router, CVE-2025-8671",
            vec![],
            Box::new(|n| {
                [get(1 + 2 * n, "/gate"), frame(WINDOW_UPDATE, 0, 1 + 2 * n, &number((1 << 31) - 1))].concat()
            }),
        ),
        ("CONTINUATION without end, CVE-2024-27316", endless.clone(), Box::new(|_| frame(CONTINUATION, 0, 1, &field))),
        ("empty CONTINUATION", endless, Box::new(|_| frame(CONTINUATION, 0, 1, &[]))),
        ("empty DATA, CVE-2019-9518", post.clone(), Box::new(|_| frame(DATA, 0, 1, &[]))),
        ("DATA of padding alone", post.clone(), Box::new(|_| frame(DATA, PADDED, 1, &[0]))),
        ("tiny DATA", post, Box::new(|_| frame(DATA, 0, 1, b"x"))),
        ("PING, CVE-2019-9512", vec![], Box::new(|_| frame(PING, 0, 0, b"12345678"))),
        ("answers to no PING", vec![], Box::new(|_| frame(PING, 1, 0, b"12345678"))),
        (
            "SETTINGS, CVE-2019-9515",
            vec![],
            Box::new(|n| frame(SETTINGS, 0, 0, &[&[0, 4][..], &number(n % 1000)].concat())),
        ),
        (
            "PRIORITY, CVE-2019-9513",
            many.concat(),
            Box::new(|n| frame(PRIORITY, 0, 1 + 2 * (n % 100), &[0, 0, 0, 0, 7])),
        ),
        ("WINDOW_UPDATE", many.concat(), Box::new(|n| frame(WINDOW_UPDATE, 0, 1 + 2 * (n % 100), &number(1)))),
        ("frames of an unknown kind", vec![], Box::new(|_| frame(0xab, 0, 0, b"whatever"))),
        ("more streams than allowed", many.concat(), Box::new(|n| get(201 + 2 * n, "/gate"))),
    ];
    for (name, begin, part) in cases {
        let since = Instant::now();
        assert!(floods(&router, &begin, part).await, "{name}: not closed");
        let grown = router.memory().saturating_sub(before);
        assert!(grown < MOST_MEMORY, "{name}: {grown} bytes more");
        until("its requests have ended", SHORT, async || server0.in_flight() == 0).await;
        eprintln!("{name}: {:?}, {grown} bytes more", since.elapsed());
    }
    // What the resets sent to the application in vain is bounded, too.
    assert!(server0.seen().iter().all(|seen| seen.target != "/never"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_repeated_out_of_the_table_with_a_stalled_window_take_bounded_memory() {
    let _turn = heavy_turn().await;
    let (router, server0, _server1) = router("").await;
    router.visitor().get("/page").await;
    let before = router.memory();
    let mut connections = Vec::new();
    for _ in 0..10 {
        let mut connection = FrameConnection::with_settings(router.address(), &[(4, 0)]).await;
        // A field of nearly 4 KiB goes into the table, and each request names it as often as a head has room for.
        let value = "x".repeat(3900);
        let entry = {
            let mut entry = fields(&[("x-big", &value)]);
            entry[0] = 0x40;
            entry
        };
        connection.send(&frame(HEADERS, WHOLE, 1, &[&fields(&request("GET", "/gate"))[..], &entry].concat())).await;
        for stream in 1..100 {
            let block = [&fields(&request("GET", "/gate"))[..], &[0xbe; 7]].concat();
            connection.send(&frame(HEADERS, WHOLE, 1 + 2 * stream, &block)).await;
        }
        // Far more than a head has room for, in very few bytes.
        let block = [&fields(&request("GET", "/never"))[..], &[0xbe; 4000]].concat();
        connection.try_send(&frame(HEADERS, WHOLE, 201, &block)).await;
        connections.push(connection);
    }
    let answer = router.visitor().get("/page").await;
    assert_eq!(answer.status, 200);
    let grown = router.memory().saturating_sub(before);
    // A thousand heads of 27 KiB, each once on its way to the application.
    assert!(grown < 200 * 1024 * 1024, "{grown} bytes more");
    for connection in &mut connections {
        let refused = connection.until("too large a head ends it", |frame| frame.kind == GOAWAY).await;
        assert_eq!(refused.number(4), ENHANCE_YOUR_CALM);
    }
    drop(connections);
    until("its requests have ended", LONG, async || server0.in_flight() == 0).await;
    assert!(server0.seen().iter().all(|seen| seen.target != "/never"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_does_not_open_ends_its_stream_alone() {
    let (router, server0, _server1) = router(SMALL).await;
    let mut connection = FrameConnection::with_settings(router.address(), &[(4, 10)]).await;
    let since = Instant::now();
    connection.send(&get(1, "/bytes/20000000")).await;
    connection.send(&get(3, "/bytes/20000000")).await;
    // The second reads on, slowly.
    let mut reset = None;
    while reset.is_none() {
        connection.send(&frame(WINDOW_UPDATE, 0, 3, &10_u32.to_be_bytes())).await;
        while let Some(frame) = connection.next(Duration::from_millis(100)).await {
            if frame.kind == RST_STREAM {
                reset = Some((frame.stream, frame.number(0)));
            }
        }
        assert!(since.elapsed() < SHORT, "the stalled stream is reset");
    }
    assert_eq!(reset, Some((1, CANCEL)));
    assert!(since.elapsed() > Duration::from_millis(1900));
    until("its application is free again", SHORT, async || server0.in_flight() == 1).await;
    connection.send(&get(5, "/page")).await;
    assert_eq!(connection.reaction(5).await, Reaction::Status(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_ends_its_stream_alone() {
    let (router, server0, _server1) = router(SMALL).await;
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&frame(HEADERS, END_HEADERS, 1, &fields(&request("POST", "/upload")))).await;
    connection.send(&frame(DATA, 0, 1, b"some")).await;
    connection.send(&get(3, "/gate")).await;
    assert_eq!(connection.reaction(1).await, Reaction::None);
    let answer = connection.until("it is given up", |frame| frame.kind == HEADERS && frame.stream == 1).await;
    assert_eq!(answer.status(), Some(408));
    server0.open_gate();
    assert_eq!(connection.reaction(3).await, Reaction::Status(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_nothing_is_cut_off() {
    let (router, server0, _server1) = router("[server.timeouts]\nidle = \"10m\"\nstall = \"2s\"\n").await;
    // Windows that never stop it.
    let mut connection = FrameConnection::with_settings(router.address(), &[(4, (1 << 31) - 1)]).await;
    connection.send(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes())).await;
    for stream in 0..20 {
        connection.send(&get(1 + 2 * stream, "/bytes/10000000")).await;
    }
    until("all are under way", SHORT, async || server0.in_flight() == 20).await;
    // What the router has to answer to these is no sign that anything is taken.
    until("the connection has ended", LONG, async || {
        tokio::time::sleep(Duration::from_millis(250)).await;
        !connection.try_send(&frame(PING, 0, 0, &[0; 8])).await
    })
    .await;
    until("all have ended", SHORT, async || server0.in_flight() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_back_its_windows_is_told_to_go() {
    let (router, _server0, _server1) = router(SMALL).await;
    let mut connection = FrameConnection::open(router.address()).await;
    let refused = [request("GET", "/never"), vec![("expect", "miracles")]].concat();
    // So much comes between the two that the answer is there, and not yet sent, when the window closes.
    let between = frame(0xab, 0, 0, &[0; 16_384]).repeat(5);
    let closed = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    connection.send(&[frame(HEADERS, WHOLE, 1, &fields(&refused)), between, closed].concat()).await;
    connection.until("it is told", |frame| frame.kind == GOAWAY).await;
    assert!(connection.closes(SHORT).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_silent_clients_are_told_to_go() {
    let (router, _server0, _server1) = router(SMALL).await;
    // Half a preface.
    let mut connection = FrameConnection::silent(router.address()).await;
    connection.send(&PREFACE[..20]).await;
    assert!(connection.closes(SHORT).await);
    // No acknowledgement of the settings, whatever else there is.
    let mut connection = FrameConnection::silent(router.address()).await;
    connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[]), &get(1, "/gate")].concat()).await;
    let end = connection.until("it is told why", |frame| frame.kind == GOAWAY).await;
    assert_eq!(end.number(4), SETTINGS_TIMEOUT);
    assert!(connection.closes(SHORT).await);
    // A head without end, while another stream is under way.
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&get(1, "/gate")).await;
    connection.send(&frame(HEADERS, END_STREAM, 3, &fields(&request("GET", "/page")))).await;
    let end = connection.until("it is told why", |frame| frame.kind == GOAWAY).await;
    assert_eq!(end.number(4), ENHANCE_YOUR_CALM);
    assert!(connection.closes(SHORT).await);
    // No request at all.
    let mut connection = FrameConnection::open(router.address()).await;
    let since = Instant::now();
    let end = connection.until("it is told", |frame| frame.kind == GOAWAY).await;
    assert_eq!(end.number(4), NO_ERROR);
    assert!(connection.closes(SHORT).await && since.elapsed() < Duration::from_secs(8));
    // None for a while.
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&get(1, "/page")).await;
    assert_eq!(connection.reaction(1).await, Reaction::Status(200));
    let since = Instant::now();
    let end = connection.until("it is told", |frame| frame.kind == GOAWAY).await;
    assert_eq!(end.number(4), NO_ERROR);
    assert!(since.elapsed() > Duration::from_millis(1500), "an idle one lives longer than a head may take");
    assert!(connection.closes(SHORT).await);
}
