//! Connections to targets.

use super::TargetStream;
use crate::model::TargetAddress;
use std::io;
use tokio::net::TcpStream;

/// Connects to a target.
///
/// # Errors
/// When its name has no address, or it does not accept.
pub async fn connect(address: &TargetAddress) -> io::Result<TargetStream> {
    let stream = match address {
        TargetAddress::Socket(address) => TcpStream::connect(address).await,
        TargetAddress::Name(host, port) => TcpStream::connect((&**host, *port)).await,
    }?;
    stream.set_nodelay(true)?;
    Ok(TargetStream::Tcp(stream))
}
