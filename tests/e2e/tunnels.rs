//! Tunnels, `WebSocket` and others: which requests may begin one, what passes, and what a deploy does to those that are open.

use crate::harness::{
    Echo, Issuer, LONG, RawConnection, Router, SHORT, Setup, SocketServer, Sockets, free_address, talk, talk_by_tls,
    until,
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const ASKING: &str = "GET /chat HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: irc/6.9\r\n\r\n";

async fn before_echoes(setup: impl FnOnce(Setup) -> Setup) -> (Router, Echo, Echo) {
    let (server0, server1) = (Echo::start().await, Echo::start().await);
    let pools = [("server0", server0.address(), "r0"), ("server1", server1.address(), "r1")];
    let router = Router::start(setup(Setup::with_pools(&pools))).await;
    (router, server0, server1)
}

async fn before_sockets(setup: impl FnOnce(Setup) -> Setup) -> (Router, SocketServer, SocketServer) {
    let (server0, server1) = (SocketServer::start().await, SocketServer::start().await);
    let pools = [("server0", server0.address(), "r0"), ("server1", server1.address(), "r1")];
    let router = Router::start(setup(Setup::with_pools(&pools))).await;
    (router, server0, server1)
}

async fn tunnels(router: &Router) -> f64 {
    router.metric("cutover_tunnels").await.iter().map(|(_, count)| count).sum()
}

async fn tunnels_become(router: &Router, count: f64) {
    until(&format!("{count} tunnels"), SHORT, async || (tunnels(router).await - count).abs() < 0.5).await;
}

/// What comes of a talk that nothing disturbs.
fn undisturbed() -> Value {
    json!({
        "text": true, "binary": true, "large": true, "ping": true, "in order": true, "many": true,
        "the server was told": [4002], "the visitor was told": [4001, "bye"],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_client_and_server_talk_as_if_nobody_were_between_them() {
    let (router, _server0, _server1) = before_sockets(|setup| setup).await;
    assert_eq!(talk(router.address()).await, undisturbed());
    tunnels_become(&router, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_do_so_by_tls_on_both_sides() {
    let issuer = Issuer::new();
    issuer.issue("a", &["a.example"], 1);
    let server = SocketServer::start_with_tls(&issuer.chain("a"), &issuer.key("a")).await;
    let tls = free_address();
    let setup = Setup::with_pools(&[("server0", server.address(), "r0"), ("server1", free_address(), "r1")]);
    let verified =
        format!("[service.pool.server0.tls]\nca_file = {:?}\nserver_name = \"a.example\"", issuer.authority());
    let setup = setup.server(&issuer.tls(&format!("\"{tls}\""), &["a"], "")).service_tables(&verified);
    let router = Router::prepare(setup);
    let target = format!("targets = [\"{}\"]", server.address());
    router.write_config(&router.setup.text().replace(&target, &target.replace("[\"", "[\"https://")));
    router.start_again().await;
    assert_eq!(talk_by_tls(tls, &issuer.authority()).await, undisturbed());
    tunnels_become(&router, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_passes_with_what_came_early_and_half_a_close() {
    let (router, server0, _server1) = before_echoes(|setup| setup.tables("[access_log]\nsample = 1.0\n")).await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(&format!("{ASKING}early\n")).await;
    let head = connection.read_until("welcome\n", SHORT).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101 switching protocols\r\n"), "{head}");
    for line in ["\r\nupgrade: irc/6.9\r\n", "\r\nconnection: upgrade\r\n", "\r\nx-named: 1\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    tunnels_become(&router, 1.0).await;
    assert_eq!(router.view().await["pools"]["server0"]["in_flight"], 1);
    connection.send("late\n").await;
    connection.read_until("late\n", SHORT).await;
    connection.finish().await;
    assert_eq!(connection.read_to_end(SHORT).await, "goodbye\n");
    tunnels_become(&router, 0.0).await;
    let head = server0.heads().remove(0);
    assert!(head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: irc/6.9\r\n"), "{head}");
    until("it is in the access log", SHORT, async || {
        let log = router.output();
        log.lines().any(|line| line.contains("\"status\":101") && line.contains("\"bytes\":27"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_passes_both_ways_at_the_pace_of_the_reader() {
    const PIECE: usize = 1024 * 1024;
    const PIECES: usize = 64;
    let (router, _server0, _server1) = before_echoes(|setup| setup).await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(ASKING).await;
    connection.read_until("welcome\n", SHORT).await;
    let before = router.memory();
    let (mut reader, mut writer) = connection.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![b'z'; PIECE];
        for _ in 0..PIECES {
            writer.write_all(&piece).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    // Nobody reads for a while: all buffers on the way are full by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = router.memory().saturating_sub(before);
    assert!(grown < 4 * 1024 * 1024, "{grown} bytes more");
    let came = timeout(LONG, copy(&mut reader, &mut sink())).await.unwrap().unwrap();
    assert_eq!(came, (PIECE * PIECES + "goodbye\n".len()) as u64);
    sending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_request_that_may_become_a_tunnel_asks_the_target() {
    let (router, server0, _server1) = before_echoes(|setup| setup).await;
    let host = "Host: shop.example.com\r\n";
    for (asking, what) in [
        (format!("GET / HTTP/1.1\r\n{host}Upgrade: irc/6.9\r\n\r\n"), "Connection does not name it"),
        (format!("GET / HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n"), "h2c"),
        (format!("GET / HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: TLS/1.0, HTTP/2.0\r\n\r\n"), "TLS and HTTP"),
        (format!("GET / HTTP/1.0\r\n{host}Connection: Upgrade\r\nUpgrade: irc/6.9\r\n\r\n"), "HTTP/1.0"),
        (
            format!("POST / HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: irc/6.9\r\nContent-Length: 2\r\n\r\nhi"),
            "with a body",
        ),
    ] {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(&asking).await;
        let answer = connection.read_until("plain\n", SHORT).await;
        assert!(answer.contains(" 200 OK\r\n"), "{what}: {answer}");
        let head = server0.heads().pop().unwrap();
        assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{what}: {head}");
    }
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(&ASKING.replace("irc/6.9", "h2c, irc/6.9")).await;
    connection.read_until("welcome\n", SHORT).await;
    assert!(server0.heads().pop().unwrap().contains("\r\nupgrade: irc/6.9\r\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_behind_a_request_that_becomes_no_tunnel_is_served_at_once() {
    // Longer than the test waits: a request is not found when its time is over.
    let (router, _server0, _server1) = before_echoes(|setup| setup.tables("[server.timeouts]\nhead = \"5m\"\n")).await;
    let asking = "GET / HTTP/1.1\r\nHost: shop.example.com\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    for early in [0, 1, asking.len() / 2, asking.len() - 1, asking.len()] {
        let mut connection = RawConnection::open(router.address()).await;
        let (first, rest) = asking.split_at(early);
        connection.send(&format!("{asking}{first}")).await;
        let mut answers = connection.read_until("plain\n", SHORT).await;
        connection.send(rest).await;
        while answers.matches("plain\n").count() < 2 {
            answers += &connection.read_until("plain\n", SHORT).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_closes_websockets_one_by_one_before_its_end_and_counts_them() {
    let (router, server0, _server1) = before_sockets(|setup| setup).await;
    let sockets = Sockets::open(router.address(), 40).await;
    tunnels_become(&router, 40.0).await;
    let switch = router.command(&["switch", "server1", "--drain", "8s"]).await.ok();
    assert!(switch.contains("40 of 40 requests under way were cut"), "{switch}");
    let closed = sockets.closed().await;
    assert!(closed.iter().all(|(code, reason, _)| (*code, reason.as_str()) == (1001, "going away")), "{closed:?}");
    let mut times: Vec<_> = closed.iter().map(|(.., time)| *time).collect();
    times.sort_by(f64::total_cmp);
    println!("closed after {} to {} s, half of them by {} s", times[0], times[39], times[20]);
    assert!(times[0] >= 4.0 && times[39] - times[0] > 1.0, "in the last half, and not all at once: {times:?}");
    // The last of their servers may have to be waited for.
    until("each server is told as well", SHORT, async || server0.closed_with().await == [1001; 40]).await;
    assert_eq!(router.view().await["pools"]["server0"]["in_flight"], 0);
    // Who comes back is in the new pool, and stays there through a switch without a drain.
    drop(server0);
    let sockets = Sockets::open(router.address(), 3).await;
    router.command(&["switch", "server0"]).await;
    tunnels_become(&router, 3.0).await;
    drop(sockets);
    tunnels_become(&router, 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_that_were_to_end_go_on_when_their_pool_is_used_again() {
    const ALL: u32 = 40;
    let (router, _server0, _server1) = before_echoes(|setup| setup).await;
    let mut open = Vec::new();
    for _ in 0..ALL {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(ASKING).await;
        connection.read_until("welcome\n", SHORT).await;
        open.push(connection);
    }
    tunnels_become(&router, ALL.into()).await;
    // They end over two seconds, from the middle on.
    let switch = router.command(&["switch", "server1", "--drain", "8s"]);
    let back = async {
        until("the first has ended", LONG, async || tunnels(&router).await < ALL.into()).await;
        router.api("POST", "/switch", Some(json!({"pool": "server0"}))).await.ok();
    };
    let (switch, ()) = tokio::join!(switch, back);
    assert!(switch.code != 0 && switch.err.contains("server0 is in use again"), "{switch:?}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(tunnels(&router).await > 0.5, "those that had not been told go on");
}

/// A target that has agreed to a tunnel for this protocol, and the visitor before it. What they do next is up to the test.
async fn tunnel_to_a_silent_target(protocol: &str, tables: &str) -> (Router, TcpStream, TcpStream) {
    let target = TcpListener::bind(free_address()).await.unwrap();
    let address = target.local_addr().unwrap();
    let other = free_address();
    let router =
        Router::prepare(Setup::with_pools(&[("server0", address, "r0"), ("server1", other, "r1")]).tables(tables));
    router.launch();
    // Its health is asked for by a mere connect.
    let agreed = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
    let accepting = tokio::spawn(async move {
        loop {
            let (mut far, _) = target.accept().await.unwrap();
            let mut head = vec![0; 4096];
            if far.read(&mut head).await.is_ok_and(|count| count > 0) {
                far.write_all(agreed.as_bytes()).await.unwrap();
                return far;
            }
        }
    });
    until("the router is ready", LONG, async || TcpStream::connect(router.address()).await.is_ok()).await;
    let mut near = TcpStream::connect(router.address()).await.unwrap();
    near.write_all(ASKING.replace("irc/6.9", protocol).as_bytes()).await.unwrap();
    let mut head = vec![0; 4096];
    let count = timeout(SHORT, near.read(&mut head)).await.unwrap().unwrap();
    assert!(head[..count].starts_with(b"HTTP/1.1 101 "));
    (router, near, accepting.await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_ends_when_its_visitor_breaks_off_whatever_its_target_does() {
    let (router, near, mut far) = tunnel_to_a_silent_target("irc/6.9", "").await;
    tunnels_become(&router, 1.0).await;
    socket2::SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
    drop(near);
    assert_eq!(timeout(SHORT, far.read(&mut [0])).await.unwrap().unwrap_or_default(), 0);
    tunnels_become(&router, 0.0).await;
    drop(far);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_frees_the_target_at_its_end_without_waiting_for_the_visitor() {
    let (router, mut near, mut far) = tunnel_to_a_silent_target("irc/6.9", "").await;
    tunnels_become(&router, 1.0).await;
    let ends = async {
        // The visitor is told, and does not answer: the router reads on for a while.
        assert_eq!(timeout(SHORT, near.read(&mut [0])).await.unwrap().unwrap(), 0);
        let freed = timeout(Duration::from_secs(1), far.read(&mut [0])).await;
        assert_eq!(freed.expect("the target's side is over already").unwrap_or_default(), 0);
    };
    let drain = ["mode", "maintenance", "--drain", "1s"];
    let (drained, ()) = tokio::join!(router.command(&drain), ends);
    assert!(drained.ok().contains("1 of 1 requests under way were cut"));
}

/// What comes until the end.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(SHORT, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

/// What a close frame of a client says, as its server reads it.
fn unmasked(frame: &[u8]) -> Vec<u8> {
    assert_eq!((frame.len(), &frame[..2]), (18, &b"\x88\x8c"[..]), "{frame:?}");
    frame[6..].iter().zip(frame[2..6].iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

/// A tunnel that nothing passes for a second is to end, and has two more for the goodbyes.
const SHORT_LIVED: &str = "[server.timeouts]\ntunnel = \"1s\"";

const GOING_AWAY: &[u8] = b"\x03\xe9going away";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_frame_waits_for_the_end_of_a_frame_on_either_side_and_nothing_follows_it() {
    let (_router, mut near, mut far) = tunnel_to_a_silent_target("websocket", SHORT_LIVED).await;
    // Half a frame each way, of two bytes.
    near.write_all(b"\x81\x82kkkk\x01").await.unwrap();
    far.write_all(b"\x81\x02a").await.unwrap();
    assert_eq!(timeout(SHORT, far.read_exact(&mut [0; 7])).await.unwrap().unwrap(), 7);
    assert_eq!(timeout(SHORT, near.read_exact(&mut [0; 3])).await.unwrap().unwrap(), 3);
    // By now it is to end.
    tokio::time::sleep(Duration::from_secs(2)).await;
    near.write_all(b"\x02\x81\x80kkkk").await.unwrap();
    far.write_all(b"b\x81\x01c").await.unwrap();
    let mut came = [0; 15];
    timeout(SHORT, near.read_exact(&mut came)).await.unwrap().unwrap();
    assert_eq!((came[0], &came[1..3], &came[3..]), (b'b', &b"\x88\x0c"[..], GOING_AWAY));
    let mut came = [0; 19];
    timeout(SHORT, far.read_exact(&mut came)).await.unwrap().unwrap();
    assert_eq!((came[0], &unmasked(&came[1..])[..]), (2, GOING_AWAY));
    // Each answers, and closes; neither gets the other's answer.
    near.write_all(b"\x88\x82kkkk\x68\x82").await.unwrap();
    far.write_all(b"\x88\x02\x03\xe9").await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(rest(&mut near).await, b"");
    near.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn even_a_drain_without_time_says_goodbye_to_both_ends_of_a_websocket() {
    let (router, mut near, mut far) = tunnel_to_a_silent_target("websocket", "").await;
    tunnels_become(&router, 1.0).await;
    let drained = router.command(&["mode", "maintenance", "--drain", "0s"]).await.ok();
    assert!(drained.contains("1 of 1 requests under way were cut"), "{drained}");
    assert_eq!(unmasked(&rest(&mut far).await), GOING_AWAY);
    assert_eq!(rest(&mut near).await, [b"\x88\x0c", GOING_AWAY].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_under_way_is_left_to_the_two_ends() {
    let (_router, mut near, mut far) = tunnel_to_a_silent_target("websocket", SHORT_LIVED).await;
    // The visitor says goodbye, with 1000, and is not answered yet when the tunnel is to end.
    let goodbye = b"\x88\x82kkkk\x68\x83";
    near.write_all(goodbye).await.unwrap();
    let mut came = [0; 8];
    timeout(SHORT, far.read_exact(&mut came)).await.unwrap().unwrap();
    assert_eq!(&came, goodbye);
    tokio::time::sleep(Duration::from_secs(2)).await;
    far.write_all(b"\x88\x02\x03\xe8").await.unwrap();
    far.shutdown().await.unwrap();
    assert_eq!(rest(&mut near).await, b"\x88\x02\x03\xe8");
    near.shutdown().await.unwrap();
    assert_eq!(rest(&mut far).await, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_outlives_maintenance_and_read_only_unless_they_drain() {
    let (router, _server0, _server1) = before_echoes(|setup| setup).await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(ASKING).await;
    connection.read_until("welcome\n", SHORT).await;
    for mode in ["read-only", "maintenance"] {
        router.command(&["mode", mode]).await.ok();
        connection.send("still here\n").await;
        connection.read_until("still here\n", SHORT).await;
    }
    let mut late = RawConnection::open(router.address()).await;
    late.send(ASKING).await;
    late.read_until(" 503 ", SHORT).await;
    let drained = router.command(&["mode", "maintenance", "--drain", "1s"]).await.ok();
    assert!(drained.contains("1 of 1 requests under way were cut"), "{drained}");
    assert_eq!(connection.read_to_end(SHORT).await, "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_counts_the_101_as_an_answer_and_nothing_of_the_tunnel() {
    let (router, _server0, _server1) = before_echoes(|setup| setup).await;
    router.start_held_rollout().await;
    router.weigh(50.0).await;
    let mut open = Vec::new();
    for _ in 0..20 {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(ASKING).await;
        connection.read_until("welcome\n", SHORT).await;
        open.push(connection);
    }
    until("all are counted while they are open", SHORT, async || {
        let samples = router.metric("cutover_requests_total").await;
        let answered = samples.iter().filter(|(labels, _)| labels.contains("code_class=\"1xx\""));
        (answered.map(|(_, count)| count).sum::<f64>() - 20.0).abs() < 0.5
    })
    .await;
    drop(open);
    tunnels_become(&router, 0.0).await;
    let view = router.view().await;
    assert_eq!((&view["phase"], &view["held"]["by"]), (&json!("canary"), &json!("operator")), "{view}");
    let aborted = router.metric("cutover_requests_total").await;
    let aborted = aborted.iter().filter(|(labels, _)| labels.contains("aborted"));
    assert!(aborted.map(|(_, count)| count).sum::<f64>() < 0.5, "the end of a tunnel is no failure");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_tunnel_ends_and_a_busy_one_does_not() {
    let (router, _server0, _server1) = before_sockets(|setup| setup.tables("[server.timeouts]\ntunnel = \"2s\"")).await;
    let mut busy = RawConnection::open(router.address()).await;
    busy.send(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n",
    )
    .await;
    busy.read_until("\r\n\r\n", SHORT).await;
    let sockets = Sockets::open(router.address(), 1).await;
    let pinging = async {
        loop {
            // An empty, masked ping: the server answers with an empty pong.
            busy.try_send(b"\x89\x80\x00\x00\x00\x00").await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let closed = tokio::select! {
        () = pinging => unreachable!(),
        closed = sockets.closed() => closed,
    };
    assert_eq!(closed[0].0, 1001, "{closed:?}");
    tunnels_become(&router, 1.0).await;
    busy.try_send(b"\x89\x80\x00\x00\x00\x00").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_stops_closes_websockets_one_by_one_within_its_grace() {
    let (router, _server0, _server1) = before_sockets(|setup| setup.server("grace = \"8s\"")).await;
    let sockets = Sockets::open(router.address(), 40).await;
    let begun = tokio::time::Instant::now();
    let status = router.terminate().await;
    println!("40 WebSockets: stopped after {:?}", begun.elapsed());
    assert!(status.success(), "{status}");
    let closed = sockets.closed().await;
    assert!(closed.iter().all(|(code, reason, _)| (*code, reason.as_str()) == (1001, "going away")), "{closed:?}");
    let mut times: Vec<_> = closed.iter().map(|(.., time)| *time).collect();
    times.sort_by(f64::total_cmp);
    println!("closed after {} to {} s, half of them by {} s", times[0], times[39], times[20]);
    assert!(times[39] - times[0] > 2.0, "not all at once: {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tunnels_that_begin_during_a_stop_are_closed_within_the_grace_as_well() {
    const COUNT: usize = 10;
    let target = TcpListener::bind(free_address()).await.unwrap();
    let pools = [("server0", target.local_addr().unwrap(), "r0"), ("server1", free_address(), "r1")];
    let router = Router::start(Setup::with_pools(&pools).server("grace = \"5s\"")).await;
    let mut visitors = Vec::new();
    for _ in 0..COUNT {
        let mut visitor = RawConnection::open(router.address()).await;
        visitor.send(&ASKING.replace("irc/6.9", "websocket")).await;
        visitors.push(visitor);
    }
    let mut asked = Vec::new();
    while asked.len() < COUNT {
        // Its health is asked for by a mere connect.
        let (mut far, _) = timeout(SHORT, target.accept()).await.unwrap().unwrap();
        if far.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {
            asked.push(far);
        }
    }
    router.signal("TERM");
    until("it has begun to stop", SHORT, async || router.log().contains("stopping")).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for far in &mut asked {
        far.write_all(agreed).await.unwrap();
    }
    for mut visitor in visitors {
        let all = visitor.read_to_end(SHORT).await;
        assert!(all.starts_with("HTTP/1.1 101 ") && all.ends_with("going away"), "{all:?}");
    }
    drop(asked);
    assert!(router.ended().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let (router, _server0, _server1) = before_echoes(|setup| setup.server("grace = \"5m\"")).await;
    let mut connection = RawConnection::open(router.address()).await;
    connection.send(ASKING).await;
    connection.read_until("welcome\n", SHORT).await;
    router.signal("TERM");
    until("it has begun to stop", SHORT, async || router.log().contains("stopping")).await;
    assert!(!router.terminate().await.success(), "it says that it cut something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_outlives_a_reload_that_removes_its_pool_or_service() {
    let (router, _server0, _server1) = before_echoes(|setup| setup).await;
    let third = Echo::start().await;
    let text = router.setup.text();
    let address = third.address();
    let pool = format!("\n[service.pool.server2]\ntargets = [\"{address}\"]\n");
    let service = format!(
        "\n[[service]]\nname = \"other\"\nhosts = [\"other.example\"]\n[service.pool.one]\ntargets = [\"{address}\"]\n\
         [service.pool.two]\ntargets = [\"{}\"]\n",
        free_address()
    );
    let read = async |text: &str, times: usize| {
        router.write_config(text);
        router.reload();
        let again = || router.log().matches("the configuration was read again").count();
        until("it is read again", SHORT, async || again() >= times).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        again()
    };
    let times = read(&(text.clone() + &pool + &service), 1).await;
    let mut open = Vec::new();
    router.api("POST", "/switch", Some(json!({"pool": "server2"}))).await.ok();
    for asking in [ASKING.to_owned(), ASKING.replace("shop.example.com", "other.example")] {
        let mut connection = RawConnection::open(router.address()).await;
        connection.send(&asking).await;
        connection.read_until("welcome\n", SHORT).await;
        open.push(connection);
    }
    assert_eq!(third.heads().len(), 2);
    router.api("POST", "/switch", Some(json!({"pool": "server0"}))).await.ok();
    read(&text, times + 1).await;
    // Also that of the service that is gone is shown, for as long as it lasts.
    let shown = async || -> Vec<(String, f64)> { router.metric("cutover_tunnels").await };
    let of = |service: &str, count: f64| (format!("service=\"{service}\""), count);
    assert_eq!(shown().await, [of("other", 1.0), of("shop", 1.0)]);
    for connection in &mut open {
        connection.send("still here\n").await;
        connection.read_until("still here\n", SHORT).await;
    }
    for mut connection in open {
        connection.finish().await;
        assert_eq!(connection.read_to_end(SHORT).await, "goodbye\n");
    }
    until("its label is gone with it", SHORT, async || shown().await == [of("shop", 0.0)]).await;
}
