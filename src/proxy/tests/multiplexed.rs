//! Targets that speak HTTP/2.

use super::wire::{Visitor, ask, eventually, get};
use super::world::{Setting, TestPool, World};
use crate::config::{Protocol, Retry};
use crate::model::Period;
use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What happened to an origin.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<Request<()>>>,
    resets: AtomicUsize,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    refusals: AtomicUsize,
    /// Ends the wait of `/held`.
    release: Notify,
    /// Has every connection say goodbye.
    leave: Notify,
    left: AtomicUsize,
}

/// A server that does what the path says.
struct Origin {
    address: SocketAddr,
    seen: Arc<Seen>,
}

impl Origin {
    async fn new() -> Self {
        Self::with(100, |_| false).await
    }

    /// With that many streams per connection, and which connections, by number, say goodbye after their first request.
    async fn with(streams: u32, leaves: fn(usize) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let known = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = seen.connections.fetch_add(1, Ordering::SeqCst);
                let seen = Arc::clone(&seen);
                tokio::spawn(async move {
                    let mut builder = server::Builder::new();
                    builder.max_concurrent_streams(streams);
                    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                    let told = Arc::clone(&seen);
                    let mut told = std::pin::pin!(told.leave.notified());
                    let mut left = false;
                    loop {
                        tokio::select! {
                            () = &mut told, if !left => {
                                left = true;
                                connection.graceful_shutdown();
                                seen.left.fetch_add(1, Ordering::SeqCst);
                            }
                            accepted = connection.accept() => {
                                let Some(Ok((request, respond))) = accepted else { return };
                                tokio::spawn(serve(request, respond, Arc::clone(&seen)));
                                if leaves(number) {
                                    connection.graceful_shutdown();
                                }
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen: known }
    }

    fn world(&self, change: impl FnOnce(&mut Setting)) -> World {
        let mut pool = TestPool::new("server0", &[self.address]);
        pool.protocol = Protocol::H2;
        let mut setting = Setting::of(vec![pool]);
        change(&mut setting);
        World::new(setting)
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().iter().map(|request| request.uri().path().to_owned()).collect()
    }
}

/// Counts what is under way.
struct UnderWay(Arc<Seen>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, seen: Arc<Seen>) {
    let now = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most_under_way.fetch_max(now, Ordering::SeqCst);
    let _under_way = UnderWay(Arc::clone(&seen));
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let echoed = Response::builder().header("x-app", "yes");
    seen.requests.lock().unwrap().push(Request::from_parts(head, ()));
    match path.as_str() {
        "/refused-once" if seen.refusals.fetch_add(1, Ordering::SeqCst) == 0 => {
            // Only after it has some of the body.
            let mut body = body;
            let _ = body.data().await;
            respond.send_reset(Reason::REFUSED_STREAM);
        }
        "/echo" | "/refused-once" => {
            echo(body, respond.send_response(echoed.body(()).unwrap(), false).unwrap()).await;
        }
        "/refused" => respond.send_reset(Reason::REFUSED_STREAM),
        "/failed" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/held" => {
            tokio::select! {
                () = seen.release.notified() => {
                    let mut stream = respond.send_response(Response::new(()), false).unwrap();
                    stream.send_data("free".into(), true).unwrap();
                }
                _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {
                    seen.resets.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        "/early" => {
            let mut stream = respond.send_response(Response::builder().status(413).body(()).unwrap(), false).unwrap();
            stream.send_data("enough".into(), true).unwrap();
            // h2 drops what it has not sent yet when it is to reset a stream.
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::NO_ERROR);
        }
        "/open" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            // Nothing more, for as long as anyone wants it.
            let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        }
        "/small" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            for _ in 0..3000 {
                stream.send_data("a message of the app".into(), false).unwrap();
            }
            let _ = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        }
        "/cut" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data("half".into(), false).unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        "/sink" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            let mut body = body;
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
            }
            let _ = stream.send_data("all of it".into(), true);
        }
        "/odd-length" => {
            let odd = Response::builder().header("content-length", "");
            drop(respond.send_response(odd.body(()).unwrap(), true));
        }
        "/flushing" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            for _ in 0..300 {
                stream.send_data(Bytes::new(), false).unwrap();
            }
            stream.send_data("at last".into(), true).unwrap();
        }
        "/call" => {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream.send_data("message".into(), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "13".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        }
        _ => drop(respond.send_response(Response::builder().status(204).body(()).unwrap(), true)),
    }
}

async fn echo(mut body: RecvStream, mut stream: SendStream<Bytes>) {
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        stream.reserve_capacity(data.len());
        let mut data = data;
        while !data.is_empty() {
            let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
            stream.send_data(data.split_to(room.min(data.len())), false).unwrap();
        }
    }
    let _ = stream.send_data(Bytes::new(), true);
}

#[tokio::test]
async fn many_requests_share_a_connection() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let mut visitors = Vec::new();
    for _ in 0..20 {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
        visitors.push(visitor);
    }
    eventually("all are under way", || origin.requests().len() == 20).await;
    assert_eq!((origin.connections(), world.under_way()), (1, 40), "in the pool, and at the target");
    origin.seen.release.notify_waiters();
    for visitor in &mut visitors {
        let answer = visitor.answer().await;
        assert!(answer.status == 200 && answer.body().contains("free"), "{answer:?}");
    }
    eventually("nothing is under way", || world.under_way() == 0).await;
    assert_eq!(get(world.address, "/").await.status, 204);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_request_says_in_http2_what_it_said_before() {
    let origin = Origin::new().await;
    let world = origin.world(|setting| setting.trusted = vec!["127.0.0.0/8"]);
    let request = "POST /echo?a=b HTTP/1.1\r\nHost: shop.example:81\r\nX-Forwarded-Proto: https\r\nTE: trailers\r\n\
                   Upgrade: websocket\r\nConnection: upgrade, te\r\nKeep-Alive: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    let answer = ask(world.address, request).await;
    assert_eq!((answer.status, answer.header("x-app")), (200, Some("yes")));
    assert!(answer.body().contains("hello"), "{answer:?}");
    {
        let requests = origin.seen.requests.lock().unwrap();
        assert_eq!(requests[0].uri(), "https://shop.example:81/echo?a=b");
        assert_eq!(requests[0].headers()["te"], "trailers");
        for name in ["host", "upgrade", "connection", "keep-alive", "transfer-encoding"] {
            assert!(!requests[0].headers().contains_key(name), "{name}");
        }
    }
    ask(world.address, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(origin.requests()[1], "*");
}

#[tokio::test]
async fn what_the_target_did_not_look_at_is_sent_again_with_its_body() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let answer = ask(world.address, "POST /refused-once HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(answer.status, 200);
    assert!(answer.body().contains("hello"), "{answer:?}");
    assert_eq!(origin.requests().len(), 2);
    // But not for ever.
    assert_eq!(get(world.address, "/refused").await.status, 503);
    assert!(origin.requests().len() < 20, "{:?}", origin.requests());
}

#[tokio::test]
async fn what_the_target_may_have_looked_at_is_not() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    assert_eq!(ask(world.address, "POST /failed HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.status, 502);
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn what_a_target_fails_on_a_connection_that_is_used_is_tried_once_more_and_no_further() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    assert_eq!(get(world.address, "/").await.status, 204);
    assert_eq!(get(world.address, "/failed").await.status, 502);
    assert_eq!(origin.requests(), ["/", "/failed", "/failed"]);
    let thrifty = origin.world(|setting| setting.retry = Retry { budget: 0.0, min_per_second: 0 });
    assert_eq!(get(thrifty.address, "/").await.status, 204);
    assert_eq!(get(thrifty.address, "/failed").await.status, 502);
    assert_eq!(origin.requests().len(), 5, "{:?}", origin.requests());
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_a_413() {
    let origin = Origin::new().await;
    let world = origin.world(|setting| setting.limits.max_body = Some(10));
    let request = "POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello there\r\n0\r\n\r\n";
    assert_eq!(ask(world.address, request).await.status, 413);
    eventually("nothing is under way", || world.under_way() == 0).await;
}

/// Requests that are under way, one after the other.
async fn hold(world: &World, origin: &Origin, path: &str, count: usize) -> Vec<Visitor> {
    let before = origin.requests().len();
    let mut visitors = Vec::new();
    for number in 1..=count {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        eventually("it is under way", || origin.requests().len() == before + number).await;
        visitors.push(visitor);
    }
    visitors
}

#[tokio::test]
async fn where_every_stream_is_taken_that_is_the_routers_limit() {
    let origin = Origin::with(1, |_| false).await;
    let world = origin.world(|setting| setting.timeouts.answer = Period::from_millis(300));
    let mut visitors = hold(&world, &origin, "/open", 8).await;
    for visitor in &mut visitors {
        visitor.begun().await;
    }
    let answer = get(world.address, "/").await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{answer:?}");
    assert_eq!(world.pool(0).tally.sum(|tally| tally.failed.get()), 0, "no target is to blame");
}

#[tokio::test]
async fn who_waits_for_a_stream_of_a_pool_that_is_drained_gets_one() {
    let origin = Origin::with(1, |_| false).await;
    let mut world = origin.world(|_| {});
    let mut visitors = hold(&world, &origin, "/held", 8).await;
    for _ in 0..12 {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
        visitors.push(visitor);
    }
    eventually("all are in the pool", || world.pool(0).in_flight() == 20).await;
    world.setting.pools[0].drained = true;
    let version = world.publish();
    eventually("the worker knows it", || world.live.acknowledged(version)).await;
    let seen = Arc::clone(&origin.seen);
    let releasing = tokio::spawn(async move {
        loop {
            seen.release.notify_waiters();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    for visitor in &mut visitors {
        assert_eq!(visitor.answer().await.status, 200);
    }
    releasing.abort();
    eventually("nothing is under way", || world.under_way() == 0).await;
}

#[tokio::test]
async fn connections_that_have_said_goodbye_cost_no_request() {
    let origin = Origin::with(2, |_| false).await;
    let world = origin.world(|_| {});
    // Six connections with a request on each, and room for one more.
    let mut visitors = hold(&world, &origin, "/held", 11).await;
    let last = visitors.split_off(1);
    let (gone, staying): (Vec<_>, Vec<_>) = last.into_iter().enumerate().partition(|(at, _)| at % 2 == 0);
    drop(gone);
    eventually("one is left on each", || origin.seen.resets.load(Ordering::SeqCst) == 5).await;
    origin.seen.leave.notify_waiters();
    // Told on each, and read by the router.
    eventually("all have said so", || origin.seen.left.load(Ordering::SeqCst) == 6).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let answer = ask(world.address, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(answer.status, 204);
    assert_eq!((world.suspected(), origin.connections()), (0, 7));
    drop(staying);
}

#[tokio::test]
async fn who_does_not_read_small_messages_costs_the_others_no_connection() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let mut held = hold(&world, &origin, "/held", 1).await;
    let stream = TcpStream::connect(world.address).await.unwrap();
    let mut reader = h2::client::Builder::new();
    let (mut sender, connection) = reader.initial_window_size(0).handshake::<_, Bytes>(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut unread = Vec::new();
    for _ in 0..20 {
        sender = sender.ready().await.unwrap();
        let (answer, _) = sender.send_request(Request::get("http://a/small").body(()).unwrap(), true).unwrap();
        unread.push(answer.await.unwrap());
    }
    for _ in 0..50 {
        assert_eq!(get(world.address, "/").await.status, 204);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    origin.seen.release.notify_waiters();
    assert_eq!(held[0].answer().await.status, 200);
    assert_eq!(origin.connections(), 1);
    connection.abort();
}

#[tokio::test]
async fn a_target_that_flushes_nothing_costs_the_others_no_connection() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let mut held = hold(&world, &origin, "/held", 1).await;
    assert!(get(world.address, "/flushing").await.text().contains("at last"));
    origin.seen.release.notify_waiters();
    assert_eq!(held[0].answer().await.status, 200);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn how_a_call_ended_reaches_a_visitor_by_http1_who_takes_trailers() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let request = "GET /call HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n\r\n";
    let answer = ask(world.address, request).await;
    assert!(answer.body().ends_with("\r\n0\r\ngrpc-status: 13\r\n\r\n"), "{answer:?}");
    assert!(get(world.address, "/call").await.body().ends_with("\r\n0\r\n\r\n"), "nobody asked for trailers");
}

/// A frame's kind, flags and stream, once it has come.
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, [u8; 4])> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [high, middle, low, kind, flags, a, b, c, d] = head;
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    stream.read_exact(&mut vec![0; length]).await.ok()?;
    Some((kind, flags, [a, b, c, d]))
}

/// A target of raw frames: when so many streams were reset it goes on sending on them for a while, as if that had been
/// on its way, and then answers the first request.
async fn resetting(others: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        stream.read_exact(&mut [0; 24]).await.unwrap();
        let mut reset = Vec::new();
        while reset.len() < others {
            match frame(&mut stream).await.unwrap() {
                (4, 0, _) => stream.write_all(&[0, 0, 0, 4, 1, 0, 0, 0, 0]).await.unwrap(),
                (3, _, of) => reset.push(of),
                _ => {}
            }
        }
        for _ in 0..60 {
            let mut bytes = Vec::new();
            for [a, b, c, d] in &reset {
                bytes.extend([0, 0, 1, 0, 0, *a, *b, *c, *d, b'x']);
            }
            // With a PING, whose answer says that all of it was looked at.
            bytes.extend([0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
            stream.write_all(&bytes).await.unwrap();
            while !matches!(frame(&mut stream).await.unwrap(), (6, 1, _)) {}
        }
        // `:status: 204`, and the end of the stream.
        stream.write_all(&[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x89]).await.unwrap();
        while frame(&mut stream).await.is_some() {}
    });
    address
}

#[tokio::test]
async fn visitors_who_hang_up_cost_the_others_no_connection() {
    let mut pool = TestPool::new("server0", &[resetting(99).await]);
    pool.protocol = Protocol::H2;
    let world = World::new(Setting::of(vec![pool]));
    let mut first = Visitor::connect(world.address).await;
    first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is under way", || world.under_way() == 2).await;
    let mut others = Vec::new();
    for _ in 0..99 {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        others.push(visitor);
    }
    eventually("all are under way", || world.under_way() == 200).await;
    drop(others);
    assert_eq!(first.answer().await.status, 204);
}

#[tokio::test]
async fn a_connection_that_says_goodbye_is_replaced() {
    let origin = Origin::with(100, |number| number < 3).await;
    let world = origin.world(|_| {});
    let mut visitor = Visitor::connect(world.address).await;
    for _ in 0..6 {
        let answer = visitor.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").await;
        assert_eq!(answer.status, 204);
    }
    assert!((2..=4).contains(&origin.connections()), "{}", origin.connections());
    assert_eq!(origin.requests().len(), 6);
}

#[tokio::test]
async fn the_targets_limit_of_streams_is_kept_and_more_connections_are_made_up_to_a_limit() {
    let origin = Origin::with(2, |_| false).await;
    let world = origin.world(|_| {});
    // It says its limit in its first frame.
    assert_eq!(get(world.address, "/").await.status, 204);
    let mut visitors = Vec::new();
    for _ in 0..20 {
        let mut visitor = Visitor::connect(world.address).await;
        visitor.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
        visitors.push(visitor);
    }
    eventually("all places are taken", || origin.requests().len() == 17).await;
    let releasing = tokio::spawn({
        let seen = Arc::clone(&origin.seen);
        async move {
            loop {
                seen.release.notify_waiters();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    });
    for visitor in &mut visitors {
        assert_eq!(visitor.answer().await.status, 200);
    }
    releasing.abort();
    assert_eq!((origin.connections(), origin.seen.most_under_way.load(Ordering::SeqCst)), (8, 16));
}

#[tokio::test]
async fn an_answer_may_come_before_the_request_has_ended() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin").await;
    let answer = visitor.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    assert!(answer.body().contains("enough"), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_turns_out_too_long_is_told_so() {
    let origin = Origin::new().await;
    let world = origin.world(|setting| setting.limits.max_body = Some(4));
    let answer =
        ask(world.address, "POST /held HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    assert_eq!(answer.status, 413);
    eventually("nothing is under way", || world.under_way() == 0).await;
}

#[tokio::test]
async fn who_still_sends_behind_an_answer_that_has_begun_is_not_stalled() {
    let origin = Origin::new().await;
    let world = origin.world(|setting| setting.timeouts.stall = Period::from_millis(400));
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}/sink", world.address)).body(()).unwrap();
    let (answer, mut sending) = client.ready().await.unwrap().send_request(request, false).unwrap();
    let mut body = answer.await.unwrap().into_body();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        sending.send_data("x".into(), false).unwrap();
    }
    sending.send_data(Bytes::new(), true).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "all of it");
}

#[tokio::test]
async fn an_answer_with_a_length_that_is_no_number_is_a_502() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    assert_eq!(get(world.address, "/odd-length").await.status, 502);
}

#[tokio::test]
async fn both_ways_go_on_at_the_same_time() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    // More than all buffers on the way hold: it comes back while it is sent.
    let body = "x".repeat(3_000_000);
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn({
        let request = format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        async move {
            writing.write_all(request.as_bytes()).await.unwrap();
            writing
        }
    });
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut answer)).await.unwrap().unwrap();
    drop(sending.await.unwrap());
    let answer = String::from_utf8(answer).unwrap();
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(rest.matches('x').count(), body.len());
}

#[tokio::test]
async fn a_cut_answer_is_cut_for_the_visitor_and_a_call_that_failed_in_its_trailers_counts() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let answer = get(world.address, "/cut").await;
    assert!(answer.text().contains("half") && !answer.text().ends_with("0\r\n\r\n"), "{answer:?}");
    let failed = || world.pool(0).tally.sum(|tally| tally.failed.get());
    assert_eq!(failed(), 0, "a check of its own counts cuts");
    assert_eq!(get(world.address, "/call").await.status, 200);
    eventually("the call counts as failed", || failed() == 1).await;
}

#[tokio::test]
async fn a_visitor_who_hangs_up_ends_the_stream_and_a_time_out_too() {
    let origin = Origin::new().await;
    let world = origin.world(|_| {});
    let mut visitor = Visitor::connect(world.address).await;
    visitor.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually("it is under way", || origin.requests().len() == 1).await;
    drop(visitor);
    eventually("the stream is reset", || origin.seen.resets.load(Ordering::SeqCst) == 1).await;
    let impatient = origin.world(|setting| setting.timeouts.answer = Period::from_millis(100));
    assert_eq!(get(impatient.address, "/held").await.status, 504);
    eventually("the stream is reset", || origin.seen.resets.load(Ordering::SeqCst) == 2).await;
    eventually("nothing is under way", || world.under_way() + impatient.under_way() == 0).await;
}

#[tokio::test]
async fn a_target_that_speaks_http1_only_is_suspected_like_one_that_is_not_there() {
    let origin = super::wire::Origin::new(|_| super::wire::ok("")).await;
    let mut pool = TestPool::new("server0", &[origin.address]);
    pool.protocol = Protocol::H2;
    let world = World::new(Setting::of(vec![pool]));
    assert_eq!(get(world.address, "/").await.status, 503);
    assert!(world.suspected() > 0);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut pool = TestPool::new("server0", &[gone]);
    pool.protocol = Protocol::H2;
    let world = World::new(Setting::of(vec![pool]));
    assert_eq!(get(world.address, "/").await.status, 503);
    assert!(world.suspected() > 0);
}

#[tokio::test]
async fn the_connection_to_a_pool_that_is_drained_is_closed() {
    let origin = Origin::new().await;
    let mut world = origin.world(|_| {});
    assert_eq!(get(world.address, "/").await.status, 204);
    world.setting.pools[0].drained = true;
    world.publish();
    let seen = Arc::clone(&origin.seen);
    // The connection's task holds one, and the acceptor and the origin.
    eventually("the connection is closed", || Arc::strong_count(&seen) == 3).await;
}
