//! Bytes from one socket to another, and nothing else: the floor of what a proxy in user space costs.
//!
//!     relay LISTEN TARGET

use std::env;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<(), Fault> {
    let mut words = env::args().skip(1);
    let (Some(listen), Some(target)) = (words.next(), words.next()) else { return Err("relay LISTEN TARGET".into()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind(listen).await?;
        loop {
            let (mut near, _) = listener.accept().await?;
            let target = target.clone();
            tokio::task::spawn_local(async move {
                let Ok(mut far) = TcpStream::connect(target).await else { return };
                let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    })
}
