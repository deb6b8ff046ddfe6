//! Where a target listens, and whether it is spoken to by TLS.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// The port of `https://HOST`.
const HTTPS_PORT: u16 = 443;
/// `sun_path` of `sockaddr_un` without its closing zero; unix(7).
const LONGEST_UNIX_PATH: usize = 107;
/// Of a text that is repeated in an error.
const REPEATED: usize = 200;

/// A target as the file writes it: `HOST:PORT`, `https://HOST[:PORT]` or `unix:/PATH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetAddress {
    /// Whether it speaks TLS; never with [`Endpoint::Unix`].
    pub secure: bool,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// Where a target listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// An IP address with a port.
    Socket(SocketAddr),
    /// A host name with a port.
    Name(Arc<str>, u16),
    /// The absolute path of a Unix socket.
    Unix(Arc<Path>),
}

/// A text that is no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// None of the forms.
    #[error(
        "{0:?} is not an address: write HOST:PORT, such as \"127.0.0.1:9000\", \"[::1]:9000\" or \"app1.internal:9000\", \
         https://HOST or https://HOST:PORT for TLS, or unix:/PATH for a Unix socket"
    )]
    Form(String),
    /// A Unix socket whose path would depend on the folder that the router was started in.
    #[error("{0:?} has no absolute path: write unix:/PATH, such as \"unix:/run/app.sock\"")]
    RelativePath(String),
    /// A Unix socket whose path the operating system does not take.
    #[error(
        "{0:?} can't be a socket's path: write unix:/PATH with at most {LONGEST_UNIX_PATH} bytes and no control character"
    )]
    UnusablePath(String),
    /// TLS over a Unix socket.
    #[error("{0:?} asks for TLS on a Unix socket, which never leaves the machine: write unix:/PATH without https://")]
    SecureUnix(String),
}

/// Whether it can be the name of a host: letters, digits, `-`, `_` and `.`, at least one letter.
#[must_use]
pub fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        // All digits and dots is an address with a fault in it, not a name.
        && host.bytes().any(|b| b.is_ascii_alphabetic())
}

impl TargetAddress {
    /// What `Host` says to it where there is no visitor's to pass on: the host with its port, unless that goes without
    /// saying, and `localhost` on a Unix socket.
    #[must_use]
    pub fn host_header(&self) -> String {
        match &self.endpoint {
            Endpoint::Socket(address) if self.secure && address.port() == HTTPS_PORT => match address.ip() {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            },
            Endpoint::Name(host, HTTPS_PORT) if self.secure => host.to_string(),
            Endpoint::Socket(_) | Endpoint::Name(..) => self.endpoint.to_string(),
            Endpoint::Unix(_) => "localhost".to_owned(),
        }
    }
}

impl From<SocketAddr> for TargetAddress {
    /// That address, without TLS.
    fn from(address: SocketAddr) -> Self {
        Self { secure: false, endpoint: Endpoint::Socket(address) }
    }
}

impl FromStr for TargetAddress {
    type Err = InvalidAddress;
    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let told = || text.chars().take(REPEATED).collect::<String>();
        if let Some(path) = text.strip_prefix("unix:") {
            let unusable = path.len() > LONGEST_UNIX_PATH || path.contains(char::is_control);
            return match path {
                _ if !path.starts_with('/') => Err(InvalidAddress::RelativePath(told())),
                _ if unusable => Err(InvalidAddress::UnusablePath(told())),
                path => Ok(Self { secure: false, endpoint: Endpoint::Unix(Path::new(path).into()) }),
            };
        }
        let endpoint = match text.strip_prefix("https://") {
            Some(rest) if rest.starts_with("unix:") => return Err(InvalidAddress::SecureUnix(told())),
            Some(rest) => endpoint(rest, Some(HTTPS_PORT)),
            None => endpoint(text.strip_prefix("http://").unwrap_or(text), None),
        };
        let endpoint = endpoint.ok_or_else(|| InvalidAddress::Form(told()))?;
        Ok(Self { secure: text.starts_with("https://"), endpoint })
    }
}

/// The host of an authority (RFC 3986 §3.2), without its port: a name, or an address as it stands in a URL. None where it
/// is neither, or what stands behind it is no port; that may be left out, and be empty.
#[must_use]
pub fn host_of(authority: &str) -> Option<&str> {
    let is_port = |text: &str| text.is_empty() || port(text).is_some();
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, behind) = rest.split_once(']')?;
        let has_port = behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port);
        return (has_port && address.parse::<Ipv6Addr>().is_ok()).then(|| &authority[..address.len() + 2]);
    }
    let host = match authority.split_once(':') {
        Some((host, behind)) => is_port(behind).then_some(host)?,
        None => authority,
    };
    (is_host_name(host) || host.parse::<Ipv4Addr>().is_ok()).then_some(host)
}

/// A port in digits; the standard library would take a sign before them.
fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A host with its port, or with that of the scheme.
fn endpoint(text: &str, default_port: Option<u16>) -> Option<Endpoint> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return (address.port() != 0).then_some(Endpoint::Socket(address));
    }
    if let Some(port) = default_port {
        let bare = text.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let ip = match bare {
            Some(host) => host.parse().map(IpAddr::V6).ok(),
            None => text.parse().map(IpAddr::V4).ok(),
        };
        if let Some(ip) = ip {
            return Some(Endpoint::Socket(SocketAddr::new(ip, port)));
        }
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, given)) => (host, port(given).filter(|port| *port != 0)?),
        None => (text, default_port?),
    };
    is_host_name(host).then(|| Endpoint::Name(host.into(), port))
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
        if self.secure {
            f.write_str("https://")?;
        }
        self.endpoint.fmt(f)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> TargetAddress {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_form_is_read_and_printed_as_it_was_written() {
        for good in [
            "127.0.0.1:9000",
            "[::1]:80",
            "app1.internal:9000",
            "app_1:1",
            "unix:/run/app.sock",
            "https://app1.internal:8443",
            "https://127.0.0.1:1",
            "https://[::1]:8443",
        ] {
            assert_eq!(address(good).to_string(), good);
            assert_eq!(address(good).secure, good.starts_with("https"), "{good}");
            let json = serde_json::to_string(&address(good)).unwrap();
            assert_eq!(serde_json::from_str::<TargetAddress>(&json).unwrap(), address(good), "{json}");
        }
        assert_eq!(address("unix:/run/app.sock").endpoint, Endpoint::Unix(Path::new("/run/app.sock").into()));
        assert_eq!(address("app:1").endpoint, Endpoint::Name("app".into(), 1));
    }

    #[test]
    fn a_scheme_without_a_port_is_port_443_and_plain_http_goes_without_saying() {
        for (text, full) in [
            ("https://app.internal", "https://app.internal:443"),
            ("https://127.0.0.1", "https://127.0.0.1:443"),
            ("https://[::1]", "https://[::1]:443"),
            ("http://app:80", "app:80"),
            ("http://[::1]:9000", "[::1]:9000"),
        ] {
            assert_eq!(address(text).to_string(), full);
        }
    }

    #[test]
    fn a_text_that_is_no_target_is_refused_and_told_every_form() {
        for bad in [
            "",
            "9000",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.999:80",
            "a b:80",
            "::1:80",
            "[::1]",
            "a:",
            ":80",
            "http://a",
            "http://a:80/",
            "https://",
            "https://a/",
            "https://a:0",
            "https://a:",
            "https://::1",
            "https://127.0.0.999",
            "https://http://a:80",
            "ftp://a:80",
            "me@a:80",
            "a:+80",
        ] {
            let error = bad.parse::<TargetAddress>().unwrap_err();
            assert_eq!(error, InvalidAddress::Form(bad.to_owned()));
            for form in ["HOST:PORT", "https://HOST or https://HOST:PORT", "unix:/PATH"] {
                assert!(error.to_string().contains(form), "{error}");
            }
        }
    }

    #[test]
    fn a_unix_path_is_absolute_short_enough_and_plain() {
        let longest = format!("unix:/{}", "a".repeat(LONGEST_UNIX_PATH - 1));
        assert_eq!(address(&longest).to_string(), longest);
        let refused = |text: &str| text.parse::<TargetAddress>().unwrap_err();
        for relative in ["unix:", "unix:app.sock", "unix:../app.sock"] {
            assert_eq!(refused(relative), InvalidAddress::RelativePath(relative.to_owned()));
        }
        for unusable in [format!("{longest}a"), "unix:/a\0b".to_owned(), "unix:/a\nb".to_owned()] {
            assert_eq!(refused(&unusable), InvalidAddress::UnusablePath(unusable));
        }
        assert_eq!(refused("https://unix:/a"), InvalidAddress::SecureUnix("https://unix:/a".to_owned()));
        assert!(matches!(refused("http://unix:/a"), InvalidAddress::Form(_)));
    }

    #[test]
    fn a_target_is_asked_by_its_host_without_the_port_of_the_scheme() {
        for (text, host) in [
            ("app:80", "app:80"),
            ("127.0.0.1:443", "127.0.0.1:443"),
            ("https://app", "app"),
            ("https://app:8443", "app:8443"),
            ("https://[::1]:443", "[::1]"),
            ("https://10.0.0.1", "10.0.0.1"),
            ("unix:/run/app.sock", "localhost"),
        ] {
            assert_eq!(address(text).host_header(), host);
        }
    }

    odd_input! {
        fn a_target_is_read_again_as_it_is_written(
            text in prop_oneof![
                "(https?://)?([a-z0-9._-]{1,6}|[0-9]{1,3}(\\.[0-9]{1,3}){3}|\\[[0-9a-f:.]{2,8}\\])(:[+0-9]{0,6})?/?",
                "(unix:|https://unix:)/?[ -~]{0,8}",
                "[a-z0-9:/.\\[\\]@+-]{0,20}",
                ".{0,10}",
            ],
        ) {
            if let Ok(target) = text.parse::<TargetAddress>() {
                prop_assert_eq!(target.to_string().parse(), Ok(target.clone()));
                prop_assert!(!target.secure || text.starts_with("https://"), "{text}");
                let host = target.host_header();
                let authority = host.parse::<http::uri::Authority>();
                prop_assert!(authority.is_ok_and(|it| it.as_str() == host && !host.contains('@')), "{text} is {host}");
                if let Endpoint::Socket(_) | Endpoint::Name(..) = target.endpoint {
                    prop_assert!(!text.contains(['+', '@', ' ']) && !text.ends_with('/'), "{text}");
                }
            }
        }

        fn every_socket_and_every_name_can_be_written(
            ip in any::<IpAddr>(), name in "[a-z][a-z0-9._-]{0,20}", port in 1..=u16::MAX, secure in any::<bool>(),
        ) {
            for endpoint in [Endpoint::Socket(SocketAddr::new(ip, port)), Endpoint::Name(name.as_str().into(), port)] {
                let target = TargetAddress { secure, endpoint };
                prop_assert_eq!(target.to_string().parse(), Ok(target));
            }
        }
    }
}
