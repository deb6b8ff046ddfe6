//! Connections by HTTP/2 that a target ends without a word, just when something comes that can't be sent again.

use crate::harness::{Application, RawConnection, Router, SHORT, Setup, free_address};
use bytes::Bytes;
use http::{Method, Response};
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};

/// A server of HTTP/2 whose connections a test can end at once.
#[derive(Default)]
struct Server {
    sockets: Mutex<Vec<std::net::TcpStream>>,
    posts: Mutex<Vec<String>>,
}

async fn serve(server: Arc<Server>, stream: TcpStream) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        if request.method() == Method::POST {
            server.posts.lock().unwrap().push(request.uri().path().to_owned());
        }
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(b"done"), true).unwrap();
    }
}

async fn start() -> (SocketAddr, Arc<Server>) {
    let (address, server) = (free_address(), Arc::<Server>::default());
    let (listener, known) = (TcpListener::bind(address).await.unwrap(), Arc::clone(&server));
    tokio::spawn(async move {
        loop {
            let stream = listener.accept().await.unwrap().0.into_std().unwrap();
            known.sockets.lock().unwrap().push(stream.try_clone().unwrap());
            tokio::spawn(serve(Arc::clone(&known), TcpStream::from_std(stream).unwrap()));
        }
    });
    (address, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_nobody_has_read_yet_costs_no_post() {
    const ROUNDS: usize = 40;
    let (address, server) = start().await;
    let other = Application::start("server1").await;
    let setup = Setup::with_pools(&[("server0", address, "r0"), ("server1", other.address(), "r1")]).one_worker();
    let setup = setup.pool_keys("protocol = \"h2\"").health("[service.health]\ninterval = \"1h\"\n");
    let router = Router::start(setup).await;
    let (mut visitor, mut connection) = (router.visitor(), RawConnection::open(router.address()).await);
    for round in 0..ROUNDS {
        assert_eq!(visitor.get("/").await.text(), "done");
        // The router gets to know of the end and of the request together, and of the request first.
        router.signal("STOP");
        connection.send(&format!("POST /{round} HTTP/1.1\r\n")).await;
        for socket in server.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        connection.send("Host: shop.example.com\r\nContent-Length: 2\r\n\r\nhi").await;
        router.signal("CONT");
        let answer = connection.read_until("0\r\n\r\n", SHORT).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "round {round}: {answer}");
    }
    let expected: Vec<_> = (0..ROUNDS).map(|round| format!("/{round}")).collect();
    assert_eq!(*server.posts.lock().unwrap(), expected, "each has come once");
}
