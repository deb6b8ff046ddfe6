//! Connections to targets.

use super::TargetStream;
use crate::model::{Endpoint, TargetAddress};
use std::io;
use tokio::net::{TcpStream, UnixStream};

/// Connects to a target.
///
/// # Errors
/// When its name has no address, or it does not accept.
pub async fn connect(address: &TargetAddress) -> io::Result<TargetStream> {
    let stream = match &address.endpoint {
        Endpoint::Unix(path) => return UnixStream::connect(path).await.map(TargetStream::Unix),
        // TLS comes with its settings.
        _ if address.secure => return Err(io::ErrorKind::Unsupported.into()),
        Endpoint::Socket(address) => TcpStream::connect(address).await,
        Endpoint::Name(host, port) => TcpStream::connect((&**host, *port)).await,
    }?;
    stream.set_nodelay(true)?;
    Ok(TargetStream::Tcp(stream))
}
