//! Who a request comes from, as far as the router believes it, and how it tells the target.
//!
//! What a visitor says of itself is replaced. A peer in `trusted_proxies` is believed: the client is then the
//! right-most address of `X-Forwarded-For` that is not itself a trusted proxy.

use super::headers::{Found, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP, add_line};
use super::visitor::Visitor;
use bytes::Bytes;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Who a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// The visitor's address.
    pub(super) address: IpAddr,
    /// Whether the visitor came by TLS.
    pub(super) secure: bool,
}

impl Client {
    /// The client of a request on a visitor's connection.
    pub(super) fn of(visitor: &Visitor, headers: &HeaderMap) -> Self {
        let peer = &visitor.peer;
        if !peer.trusted {
            return Self { address: peer.address, secure: peer.secure };
        }
        let trusted = &visitor.worker.settings.trusted_proxies;
        let secure = came_by_tls(headers).unwrap_or(peer.secure);
        Self { address: believed(peer.address, headers, trusted), secure }
    }

    /// What the target is told of it. What the request says itself is removed.
    pub(super) fn tell(self, visitor: &Visitor, headers: &mut HeaderMap, host: &HeaderValue, found: Found) -> Told {
        let peer = &visitor.peer;
        let told = if peer.trusted {
            let address = address_header(self.address);
            let said = headers.get(X_FORWARDED_HOST).filter(|said| is_host(said.as_bytes()));
            Told::of(self, &chain(headers, visitor), &address, said.unwrap_or(host))
        } else {
            self.tell_again(visitor, host)
        };
        if found.told {
            for name in &Told::NAMES {
                headers.remove(name);
            }
        }
        told
    }

    /// What is told of a connection's request. Most requests of a connection ask for the same host.
    fn tell_again(self, visitor: &Visitor, host: &HeaderValue) -> Told {
        let mut last = visitor.peer.told.borrow_mut();
        match &*last {
            Some((asked, told)) if asked == host => told.clone(),
            Some(_) | None => {
                let address = &visitor.peer.header;
                let told = Told::of(self, address, address, host);
                // Copied, for the original holds on to all that was read with it.
                if let Ok(host) = HeaderValue::from_bytes(host.as_bytes()) {
                    *last = Some((host, told.clone()));
                }
                told
            }
        }
    }
}

/// What a target is told of who a request comes from, as the lines of a head: they are the same for each request of a
/// connection, and go from there into the text of the request.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Bytes);

impl Told {
    /// The headers that it is told by.
    pub(super) const NAMES: [HeaderName; 5] =
        [X_FORWARDED_FOR, FORWARDED, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP];

    fn of(client: Client, chain: &HeaderValue, address: &HeaderValue, host: &HeaderValue) -> Self {
        let proto = HeaderValue::from_static(if client.secure { "https" } else { "http" });
        let mut lines = Vec::new();
        for (name, value) in Self::NAMES.iter().zip([chain, &forwarded(client, host), host, &proto, address]) {
            add_line(&mut lines, name, value);
        }
        Self(lines.into())
    }

    /// The lines.
    pub(super) fn lines(&self) -> &[u8] {
        &self.0
    }
}

/// An address as the value of a header.
pub(super) fn address_header(address: IpAddr) -> HeaderValue {
    // An address has no character that a header can't hold.
    HeaderValue::from_str(&address.to_string()).unwrap_or(HeaderValue::from_static("unknown"))
}

/// Whether a text can be the host of a request: a name or an address, and perhaps a port (RFC 3986 §3.2). There is no
/// character in it that ends a word, a quotation or a line. It may be empty: the visitor knows no name for the site.
pub(super) fn is_host(text: &[u8]) -> bool {
    let (good, port) = if let [b'[', address @ ..] = text {
        let end = address.iter().position(|byte| *byte == b']').unwrap_or(address.len());
        let (address, rest) = address.split_at(end);
        let of_address = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        (address.contains(&b':') && address.iter().all(of_address), rest.get(1..))
    } else {
        let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
        let (name, port) = text.split_at(end);
        let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_%!$&'()*+;=~".contains(byte);
        ((!name.is_empty() || port.is_empty()) && name.iter().all(of_name), Some(port))
    };
    good && match port {
        Some([b':', digits @ ..]) => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        Some([]) => true,
        Some(_) | None => false,
    }
}

fn believed(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let mut client = peer;
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    for entry in lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(',')) {
        // Beyond an entry that can't be read, nothing is known.
        let Some(address) = read_address(entry.trim()) else { break };
        client = address;
        if !trusted.iter().any(|network| network.contains(&address)) {
            break;
        }
    }
    client
}

/// An address of `X-Forwarded-For`; some proxies write a port to it.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse().ok().map(|with_port: SocketAddr| with_port.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// What a proxy says of the scheme, if it says anything.
fn came_by_tls(headers: &HeaderMap) -> Option<bool> {
    let last = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?;
    let last = last.to_str().unwrap_or_default().rsplit(',').next().unwrap_or_default();
    Some(last.trim().eq_ignore_ascii_case("https"))
}

/// `X-Forwarded-For` of a trusted proxy, and the proxy itself.
fn chain(headers: &HeaderMap, visitor: &Visitor) -> HeaderValue {
    let mut chain = Vec::new();
    for line in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(line.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(visitor.peer.header.as_bytes());
    HeaderValue::from_maybe_shared(Bytes::from(chain)).unwrap_or_else(|_| visitor.peer.header.clone())
}

fn forwarded(client: Client, host: &HeaderValue) -> HeaderValue {
    let proto = if client.secure { "https" } else { "http" };
    let host = host.to_str().unwrap_or_default();
    let value = match client.address {
        IpAddr::V4(address) => format!("for={address};proto={proto};host=\"{host}\""),
        IpAddr::V6(address) => format!("for=\"[{address}]\";proto={proto};host=\"{host}\""),
    };
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("for=unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_client_is_the_right_most_address_that_is_no_trusted_proxy() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let peer: IpAddr = "10.0.0.1".parse().unwrap();
        for (lines, client) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&["1.1.1.1", "192.0.2.7", "10.0.0.2"], "192.0.2.7"),
            (&["192.0.2.7:4711"], "192.0.2.7"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["2001:db8::1, fd00::2"], "2001:db8::1"),
            (&["::ffff:192.0.2.7"], "192.0.2.7"),
            (&["192.0.2.7, nonsense, 10.0.0.2"], "10.0.0.2"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[""], "10.0.0.1"),
            (&[], "10.0.0.1"),
        ] {
            let pairs: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
            assert_eq!(believed(peer, &headers(&pairs), &trusted), client.parse::<IpAddr>().unwrap(), "{lines:?}");
        }
    }

    #[test]
    fn the_last_word_on_the_scheme_counts() {
        for (proto, tls) in
            [("https", true), ("HTTPS", true), ("http, https", true), ("https, http", false), ("", false)]
        {
            assert_eq!(came_by_tls(&headers(&[("x-forwarded-proto", proto)])), Some(tls), "{proto}");
        }
        assert_eq!(came_by_tls(&headers(&[])), None);
    }

    #[test]
    fn forwarded_quotes_what_needs_it() {
        let value = |address: &str, host| {
            forwarded(Client { address: address.parse().unwrap(), secure: true }, &HeaderValue::from_static(host))
        };
        assert_eq!(value("192.0.2.7", "a:80"), "for=192.0.2.7;proto=https;host=\"a:80\"");
        assert_eq!(value("2001:db8::1", "a"), "for=\"[2001:db8::1]\";proto=https;host=\"a\"");
    }

    #[test]
    fn a_host_can_t_break_out_of_its_place() {
        for good in ["example.com", "a:80", "a:", "[::1]:80", "[::ffff:1.2.3.4]", "", "a_b-c.d"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            ":80", "a:b", "a:80:80", "::1", "[::1", "[::1]80", "[]", "[a]", "[::1]:x", "a[::1]", "a:123456", "a b",
            "a\"", "a\\b", "a,b", "a/b", "a@b", "a<b", "ä", "a\tb", "a?b", "a#b",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    /// An address in one of the ways in which proxies write it.
    fn written(address: IpAddr, way: u8) -> String {
        match (address, way % 3) {
            (_, 0) => address.to_string(),
            (IpAddr::V4(_), 1) => format!("{address}:4711"),
            (IpAddr::V4(address), _) => address.to_ipv6_mapped().to_string(),
            (IpAddr::V6(_), 1) => format!("[{address}]:4711"),
            (IpAddr::V6(_), _) => format!("[{address}]"),
        }
    }

    odd_input! {
        fn the_client_is_found_however_the_way_is_written(
            way in prop::collection::vec(
                (prop_oneof![any::<IpAddr>(), any::<[u8; 3]>().prop_map(|[a, b, c]| [10, a, b, c].into())], any::<u8>(), any::<bool>()),
                0..6,
            ),
        ) {
            let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
            let peer: IpAddr = "10.0.0.1".parse().unwrap();
            let mut headers = HeaderMap::new();
            let mut line = String::new();
            for (address, spelling, ends) in &way {
                line = if line.is_empty() { written(*address, *spelling) } else { format!("{line}, {}", written(*address, *spelling)) };
                if *ends {
                    headers.append(X_FORWARDED_FOR, std::mem::take(&mut line).parse().unwrap());
                }
            }
            if !line.is_empty() {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            let addresses: Vec<IpAddr> = way.iter().map(|(address, ..)| address.to_canonical()).collect();
            let is_trusted = |address: &&IpAddr| trusted[0].contains(*address);
            let expected = addresses.iter().rev().find(|address| !is_trusted(address)).or(addresses.first());
            prop_assert_eq!(believed(peer, &headers, &trusted), *expected.unwrap_or(&peer));
        }

        fn beyond_what_can_not_be_read_nothing_is_believed(odd in "[^,0-9a-f:.\u{0}-\u{1f}\u{7f}]{1,8}", before in any::<IpAddr>()) {
            let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
            let mut headers = HeaderMap::new();
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(format!("{before}, {odd}, 10.0.0.2").as_bytes()).unwrap());
            let client = believed("10.0.0.1".parse().unwrap(), &headers, &trusted);
            prop_assert_eq!(client.to_string().starts_with("10.0.0."), true, "{}", client);
        }

        fn a_host_fits_into_a_quotation(
            text in prop_oneof!["[a-zA-Z0-9._-]{0,8}(:[0-9]{0,6})?", "\\[[0-9a-fA-F:.]{0,12}\\](:[0-9]{0,6})?", "[ -~]{0,8}", ".{0,6}"],
            address in any::<IpAddr>(),
        ) {
            if is_host(text.as_bytes()) {
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\,/@<>?#{}|^`".contains(&byte)), "{text}");
                let host = HeaderValue::from_str(&text).unwrap();
                let value = forwarded(Client { address, secure: false }, &host);
                let text = format!(";proto=http;host=\"{text}\"");
                prop_assert!(value.to_str().unwrap().ends_with(&text), "{value:?}");
            }
        }

        fn names_and_addresses_are_hosts(name in "[a-z0-9-]{1,9}(\\.[a-z0-9-]{1,9}){0,3}\\.?", ip in any::<IpAddr>(), port in "(:[0-9]{0,5})?") {
            let address = match ip {
                IpAddr::V4(ip) => ip.to_string(),
                IpAddr::V6(ip) => format!("[{ip}]"),
            };
            for host in [name, address] {
                let text = format!("{host}{port}");
                prop_assert!(is_host(text.as_bytes()), "{text}");
            }
        }
    }
}
