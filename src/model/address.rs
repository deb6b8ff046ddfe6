//! Where a target listens.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

/// A `host:port`: an address, or a name that is resolved at each new connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetAddress {
    /// An IP address with a port.
    Socket(SocketAddr),
    /// A host name with a port.
    Name(Arc<str>, u16),
}

/// A text that is no `host:port`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an address: write HOST:PORT, such as \"127.0.0.1:9000\", \"[::1]:9000\" or \"app1.internal:9000\""
)]
pub struct InvalidAddress(String);

fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        // All digits and dots is an address with a fault in it, not a name.
        && host.bytes().any(|b| b.is_ascii_alphabetic())
}

impl FromStr for TargetAddress {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.chars().take(200).collect());
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(invalid()) } else { Ok(Self::Socket(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port: u16 = port.parse().map_err(|_| invalid())?;
        if port == 0 || !is_host_name(host) {
            return Err(invalid());
        }
        Ok(Self::Name(host.into(), port))
    }
}

impl TryFrom<String> for TargetAddress {
    type Error = InvalidAddress;
    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<TargetAddress> for String {
    fn from(address: TargetAddress) -> String {
        address.to_string()
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_read_and_faults_are_told() {
        for good in ["127.0.0.1:9000", "[::1]:80", "app1.internal:9000", "app_1:1"] {
            assert_eq!(good.parse::<TargetAddress>().unwrap().to_string(), good);
        }
        for bad in ["", "9000", "127.0.0.1", "127.0.0.1:0", "127.0.0.999:80", "a b:80", "::1:80", "http://a:80"] {
            assert!(bad.parse::<TargetAddress>().is_err(), "{bad}");
        }
    }
}
