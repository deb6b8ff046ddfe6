//! `WebSocket`s of a real Chromium.

use crate::harness::{Browser, Issuer, Router, SHORT, Setup, SocketServer, free_address, until};
use serde_json::json;

/// Opens a WebSocket as a page does, and keeps it: what it is answered, and later how it was closed.
const OPEN: &str = "
    return new Promise(done => {
        const socket = new WebSocket(location.origin.replace('http', 'ws') + '/chat');
        window.goodbye = new Promise(told => {
            socket.onclose = event => told([event.code, event.reason, event.wasClean]);
        });
        window.goodbye.then(done);
        window.socket = socket;
        socket.onmessage = event => done(event.data);
        socket.onopen = () => socket.send('zażółć');
    })";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_told_of_the_end_of_its_websocket_at_a_drain_and_opens_another() {
    let (server0, server1) = (SocketServer::start().await, SocketServer::start().await);
    let pools = [("server0", server0.address(), "r0"), ("server1", server1.address(), "r1")];
    let (issuer, tls) = (Issuer::new(), free_address());
    issuer.issue("a", &["a.example"], 1);
    let router = Router::start(Setup::with_pools(&pools).server(&issuer.tls(&format!("\"{tls}\""), &["a"], ""))).await;
    let browser = Browser::start().await;
    // A browser that has the page by HTTP/2 opens a connection by HTTP/1.1 for a WebSocket.
    let ways = [("http", router.address(), "http/1.1", "server1"), ("https", tls, "h2", "server0")];
    for (scheme, address, protocol, next) in ways {
        browser.open(&format!("{scheme}://{address}/page")).await;
        let came_by = browser.run("return performance.getEntriesByType('navigation')[0].nextHopProtocol").await;
        assert_eq!((came_by, browser.text().await), (json!(protocol), "a page".to_owned()));
        assert_eq!(browser.run(OPEN).await, "zażółć", "{scheme}");
        until("it is a tunnel", SHORT, async || router.metric("cutover_tunnels").await[0].1 > 0.5).await;
        let drained = router.command(&["switch", next, "--drain", "2s"]).await.ok();
        assert!(drained.contains("1 of 1 requests under way were cut"), "{drained}");
        assert_eq!(browser.run("return window.goodbye").await, json!([1001, "going away", true]), "{scheme}");
        assert_eq!(browser.run(OPEN).await, "zażółć", "{scheme}");
        let closed = browser.run("window.socket.close(4000, 'enough'); return window.goodbye").await;
        assert_eq!(closed, json!([4000, "enough", true]), "{scheme}");
        until("none is left", SHORT, async || router.metric("cutover_tunnels").await[0].1 < 0.5).await;
    }
    for server in [server0, server1] {
        until("each server was told", SHORT, async || server.closed_with().await.contains(&1001)).await;
    }
}
