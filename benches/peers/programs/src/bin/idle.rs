//! Opens connections, asks once on each, and keeps them open until its standard input ends.
//!
//!     idle ADDRESS COUNT [tls]
//!
//! Says `open COUNT` when all of them are answered.

use peers::{Fault, connector, name};
use std::env;
use std::io::Read;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

fn main() -> Result<(), Fault> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [address, count, rest @ ..] = words.as_slice() else { return Err("idle ADDRESS COUNT [tls]".into()) };
    let count: usize = count.parse()?;
    let secure = rest.first().is_some_and(|word| word == "tls");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let open = runtime.block_on(async {
        let tls = connector(true)?;
        let mut open: Vec<Box<dyn Stream>> = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut stream: Box<dyn Stream> = match secure {
                true => Box::new(tls.connect(name(), stream).await?),
                false => Box::new(stream),
            };
            ask(&mut stream).await?;
            open.push(stream);
        }
        Ok::<_, Fault>(open)
    })?;
    println!("open {}", open.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// One request, and its answer of 1 KiB.
async fn ask(stream: &mut Box<dyn Stream>) -> Result<(), Fault> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await?;
        answer.extend_from_slice(&buffer[..read]);
        let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
        if read == 0 {
            return Err("closed before the answer".into());
        }
        if head.is_some_and(|head| answer.len() >= head + 4 + 1024) {
            return Ok(());
        }
    }
}
