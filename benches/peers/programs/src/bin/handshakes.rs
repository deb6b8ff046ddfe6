//! TLS handshakes, one after the other on each of several lanes, each with one request on it.
//!
//!     handshakes ADDRESS LANES SECONDS new|resumed
//!
//! Says how many were made, how many of them were resumed, and how many failed.

use peers::{Fault, connector, name};
use rustls::HandshakeKind;
use std::cell::Cell;
use std::env;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;

#[derive(Default)]
struct Counts {
    made: Cell<u64>,
    resumed: Cell<u64>,
    failed: Cell<u64>,
}

fn main() -> Result<(), Fault> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [address, lanes, seconds, kind] = words.as_slice() else {
        return Err("handshakes ADDRESS LANES SECONDS new|resumed".into());
    };
    let lanes: usize = lanes.parse()?;
    let until = Instant::now() + Duration::from_secs(seconds.parse()?);
    let counts = Rc::new(Counts::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let mut all = Vec::new();
        for _ in 0..lanes {
            // Each lane has its own store of tickets.
            let (tls, counts, address) = (connector(kind == "resumed")?, Rc::clone(&counts), address.clone());
            all.push(tokio::task::spawn_local(async move {
                while Instant::now() < until {
                    let count = match shake(&tls, &address).await {
                        Ok(HandshakeKind::Resumed) => {
                            counts.resumed.set(counts.resumed.get() + 1);
                            &counts.made
                        }
                        Ok(_) => &counts.made,
                        Err(_) => &counts.failed,
                    };
                    count.set(count.get() + 1);
                }
            }));
        }
        for lane in all {
            lane.await?;
        }
        Ok::<_, Fault>(())
    })?;
    println!("made {} resumed {} failed {}", counts.made.get(), counts.resumed.get(), counts.failed.get());
    Ok(())
}

async fn shake(tls: &TlsConnector, address: &str) -> Result<HandshakeKind, Fault> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // The ports of this machine are few: none waits for strays that can't come on the loopback.
    stream.set_zero_linger()?;
    let mut stream = tls.connect(name(), stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await?;
    let mut buffer = [0; 4096];
    if stream.read(&mut buffer).await? == 0 {
        return Err("closed before the answer".into());
    }
    stream.get_ref().1.handshake_kind().ok_or_else(|| "no handshake".into())
}
