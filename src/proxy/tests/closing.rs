//! Targets that close connections without a word, and requests that can't be sent again.

use super::wire::Visitor;
use super::world::{Setting, TestPool, World};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How often each request came, by its path.
type Seen = Arc<Mutex<HashMap<String, u32>>>;

fn see(seen: &Seen, path: &str) {
    *seen.lock().unwrap().entry(path.to_owned()).or_default() += 1;
}

fn post(path: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi")
}

/// Answers one request, reads no more, and closes a few milliseconds after.
async fn close_soon(mut stream: TcpStream, number: u64, seen: Seen) {
    let mut buffer = [0; 4096];
    let mut head = String::new();
    while !head.ends_with("\r\n\r\nhi") {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        head.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    see(&seen, head.split(' ').nth(1).unwrap());
    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    tokio::time::sleep(Duration::from_millis(number % 4)).await;
}

#[tokio::test]
async fn a_target_that_closes_soon_after_each_answer_loses_hardly_a_request() {
    const VISITORS: usize = 4;
    const EACH: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Seen::default());
    let known = Arc::clone(&seen);
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(close_soon(stream, number, Arc::clone(&known)));
        }
    });
    let world = World::new(Setting::of(vec![TestPool::new("server0", &[address])]));
    let router = world.address;
    let visit = |visitor: usize| async move {
        let mut connection = Visitor::connect(router).await;
        let mut lost = 0;
        for number in 0..EACH {
            let status = connection.ask(&post(&format!("/{visitor}/{number}"))).await.status;
            assert!(status == 200 || status == 502, "{status}");
            lost += usize::from(status != 200);
            tokio::time::sleep(Duration::from_millis((number % 3) as u64)).await;
        }
        lost
    };
    let lost: usize = futures_util::future::join_all((0..VISITORS).map(visit)).await.iter().sum();
    println!("{lost} of {} lost", VISITORS * EACH);
    // One for each connection that there was before the first lesson, and some on a busy machine.
    assert!(lost <= VISITORS * EACH / 40, "{lost}");
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|times| *times == 1), "none is sent twice");
    assert!(seen.len() >= VISITORS * EACH - lost);
}
