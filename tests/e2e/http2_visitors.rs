//! HTTP/2 from visitors by real clients, and what becomes of their streams when traffic moves or the router stops.

use crate::harness::frames::{FrameConnection, GOAWAY, PING, REFUSED_STREAM, RST_STREAM, Reaction, frame, get};
use crate::harness::{Application, LONG, Router, SHORT, Setup, heavy_turn, until};
use std::process::Stdio;
use std::time::Duration;

async fn router() -> (Router, Application, Application) {
    let (server0, server1) = Application::pair().await;
    let router = Router::start(Setup::before(&server0, &server1).one_worker()).await;
    (router, server0, server1)
}

/// What a program prints.
async fn output(program: &str, arguments: &[&str]) -> String {
    let run = tokio::process::Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let done = tokio::time::timeout(LONG, run).await;
    let output =
        done.unwrap_or_else(|_| panic!("{program} takes too long")).unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

async fn curl(router: &Router, path: &str, more: &[&str]) -> String {
    let url = format!("http://{}{path}", router.address());
    let arguments = ["-sS", "--http2-prior-knowledge", "-H", "Host: shop.example.com", &url];
    output("curl", &[&arguments[..], more].concat()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_gets_and_sends_what_it_wants() {
    let (router, server0, _server1) = router().await;
    let page = curl(&router, "/page", &["-i"]).await;
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    assert!(head.contains("\r\ndate: ") && head.contains("x-answered-by: server0"), "{head}");
    assert!(!head.contains("connection:") && !head.contains("transfer-encoding"), "{head}");
    assert_eq!(body, "server0\n");
    // HEAD, no content, and headers that were between the router and its target only.
    let head = curl(&router, "/page", &["-I"]).await;
    assert!(head.starts_with("HTTP/2 200") && head.contains("content-length: 8"), "{head}");
    server0.open_gate();
    assert!(curl(&router, "/silent", &["-i"]).await.starts_with("HTTP/2 204"));
    let hop = curl(&router, "/named-hop", &["-i"]).await;
    assert!(!hop.contains("x-hop") && !hop.contains("keep-alive") && hop.contains("x-end"), "{hop}");
    // Large bodies, both ways.
    assert_eq!(curl(&router, "/bytes/5000000", &["-w", "%{size_download}", "-o", "/dev/null"]).await, "5000000");
    let file = router.folder().join("upload");
    std::fs::write(&file, vec![b'x'; 5_000_000]).unwrap();
    let data = format!("@{}", file.display());
    curl(&router, "/upload", &["--data-binary", &data]).await;
    assert_eq!(server0.uploaded(), 5_000_000);
    assert_eq!(server0.last_seen("/upload").header("content-length").as_deref(), Some("5000000"));
    // What the router itself says.
    let long = format!("/{}", "x".repeat(17_000));
    let refused = curl(&router, &long, &["-i"]).await;
    assert!(refused.starts_with("HTTP/2 414") && refused.contains("content-length: "), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let (router, server0, _server1) = router().await;
    let url = format!("http://{}/trailers", router.address());
    let shown =
        output("nghttp", &["-v", "--no-dep", "-H", ":authority: shop.example.com", "-H", "te: trailers", &url]).await;
    assert!(shown.contains("x-checksum: "), "{shown}");
    let file = router.folder().join("body");
    std::fs::write(&file, "some").unwrap();
    let data = format!("--data={}", file.display());
    let url = format!("http://{}/echo", router.address());
    output(
        "nghttp",
        &["--no-dep", "--no-content-length", "-H", "trailer: x-sum", "--trailer", "x-sum: 7", &data, &url],
    )
    .await;
    let seen = server0.last_seen("/echo");
    assert_eq!(seen.body.as_ref(), b"some");
    assert_eq!(seen.trailers.map(|trailers| trailers["x-sum"].clone()), Some("7".parse().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_of_many_connections_are_all_answered() {
    let _turn = heavy_turn().await;
    let (router, server0, _server1) = router().await;
    let url = format!("http://{}/bytes/3000", router.address());
    let shown = output("h2load", &["-n", "5000", "-c", "10", "-m", "32", &url]).await;
    assert!(shown.contains("5000 succeeded, 0 failed"), "{shown}");
    assert_eq!(server0.served(), 5000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_cuts_the_streams_of_the_old_pool_alone() {
    let (router, server0, server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    connection.send(&get(1, "/gate")).await;
    until("it is under way", SHORT, async || server0.in_flight() == 1).await;
    router.command(&["switch", "server1"]).await.ok();
    connection.send(&get(3, "/gate")).await;
    until("the next is in the other pool", SHORT, async || server1.in_flight() == 1).await;
    router.command(&["switch", "server0"]).await.ok();
    router.command(&["switch", "server1", "--drain", "1s"]).await.ok();
    assert!(matches!(connection.reaction(1).await, Reaction::Reset(_)));
    server1.open_gate();
    assert_eq!(connection.reaction(3).await, Reaction::Status(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_streams_end_and_takes_no_more() {
    let (router, server0, _server1) = router().await;
    let mut connection = FrameConnection::open(router.address()).await;
    let mut idle = FrameConnection::open(router.address()).await;
    connection.send(&get(1, "/gate")).await;
    idle.send(&get(1, "/page")).await;
    assert_eq!(idle.reaction(1).await, Reaction::Status(200));
    until("it is under way", SHORT, async || server0.in_flight() == 1).await;
    let (status, ()) = tokio::join!(router.terminate(), async {
        let first = connection.until("it is told", |frame| frame.kind == GOAWAY).await;
        assert_eq!(first.number(4), 0);
        // A client that does not know yet is served; one that should is not.
        let ping = connection.until("the router asks whether it was heard", |frame| frame.kind == PING).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        connection.send(&get(3, "/page")).await;
        let refused = connection.until("it is refused", |frame| frame.kind == RST_STREAM).await;
        assert_eq!((refused.stream, refused.number(0)), (3, REFUSED_STREAM));
        connection.send(&frame(PING, 1, 0, &ping.content)).await;
        let last = connection.until("it is told for good", |frame| frame.kind == GOAWAY).await;
        assert!(last.number(0) <= 3, "{last:?}");
        assert!(idle.closes(SHORT).await);
        server0.open_gate();
        assert_eq!(connection.reaction(1).await, Reaction::Status(200));
        assert!(connection.closes(SHORT).await);
    });
    assert!(status.success(), "{status}");
}
