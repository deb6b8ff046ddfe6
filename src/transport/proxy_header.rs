//! The PROXY header of versions 1 and 2, by which a proxy before the router says who its visitor is
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Its end is found here, and bounded, before the header is read as a whole: however the bytes arrive, they say the same.

use memchr::memchr;
use proxy_header::{ParseConfig, Protocol, ProxyHeader, Tlv};
use std::net::IpAddr;

/// The longest header of version 1, with its end of line.
const LONGEST_V1: usize = 107;
/// The longest header of version 2 with all that it carries.
pub const LONGEST: usize = 512;
/// What version 1 begins with.
const V1: &[u8] = b"PROXY ";
/// What version 2 begins with.
const V2: &[u8] = b"\r\n\r\n\x00\r\nQUIT\n";
/// What goes before the addresses of version 2: the signature, version and command, family, length.
const V2_FIXED: usize = 16;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The visitor's address; none where the proxy connects for itself, or can't tell.
    pub source: Option<IpAddr>,
    /// Whether the visitor came to the proxy by TLS.
    pub secure: bool,
    /// Bytes of the header; the visitor's own follow.
    pub length: usize,
}

/// This is no header, or one that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a PROXY header")]
pub struct NoHeader;

/// Reads the header that a connection begins with; `None` while more of it is to come.
///
/// # Errors
/// When it can't become a header any more.
pub fn read(bytes: &[u8]) -> Result<Option<Told>, NoHeader> {
    let Some(length) = length(bytes)? else { return Ok(None) };
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let (header, read) = ProxyHeader::parse(header, ParseConfig { include_tlvs: true, ..ParseConfig::default() })
        .map_err(|_| NoHeader)?;
    if read != length {
        return Err(NoHeader);
    }
    let mut secure = false;
    for extra in header.tlvs() {
        if let Tlv::Ssl(ssl) = extra.map_err(|_| NoHeader)? {
            secure = ssl.client_ssl();
        }
    }
    let of_tcp = header.proxied_address().filter(|address| address.protocol == Protocol::Stream);
    Ok(Some(Told { source: of_tcp.map(|address| address.source.ip().to_canonical()), secure, length }))
}

/// The length of the header as a whole, once that is known.
fn length(bytes: &[u8]) -> Result<Option<usize>, NoHeader> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(V1) {
        let line = &bytes[..bytes.len().min(LONGEST_V1)];
        return match memchr(b'\n', line) {
            Some(end) => Ok(Some(end + 1)),
            None if line.len() == LONGEST_V1 => Err(NoHeader),
            None => Ok(None),
        };
    }
    if !begins(V2) {
        return Err(NoHeader);
    }
    let Some(&[high, low]) = bytes.get(V2_FIXED - 2..V2_FIXED) else { return Ok(None) };
    let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST { Err(NoHeader) } else { Ok(Some(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [V2, &[command, family], &length, rest].concat()
    }

    const V4_ADDRESSES: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb];

    #[track_caller]
    fn says(header: &[u8], source: Option<&str>, secure: bool, length: usize) {
        let told = Told { source: source.map(|source| source.parse().unwrap()), secure, length };
        assert_eq!(read(header), Ok(Some(told)), "{:?}", String::from_utf8_lossy(header));
    }

    #[test]
    fn version_1_names_the_visitor() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n", Some("192.0.2.7")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 12345 443\r\n", Some("2001:db8::1")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", Some("192.0.2.7")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let all = format!("{line}GET / HTTP/1.1\r\n");
            says(all.as_bytes(), source, false, line.len());
        }
    }

    #[test]
    fn version_2_names_the_visitor_and_whether_it_came_by_tls() {
        let header = v2(0x21, 0x11, &V4_ADDRESSES);
        says(&[&header[..], b"GET"].concat(), Some("192.0.2.7"), false, 28);
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        says(&v2(0x21, 0x21, &v6), Some("2001:db8::1"), false, 52);
        for (flags, secure) in [(1, true), (0, false), (6, false), (7, true)] {
            let ssl = [&V4_ADDRESSES[..], &[4, 0, 1, 0], &[0x20, 0, 5, flags, 0, 0, 0, 0]].concat();
            says(&v2(0x21, 0x11, &ssl), Some("192.0.2.7"), secure, 40);
        }
    }

    #[test]
    fn a_proxy_that_connects_for_itself_or_can_t_tell_names_nobody() {
        for header in [
            v2(0x20, 0x00, &[]),
            v2(0x20, 0x11, &V4_ADDRESSES),
            v2(0x21, 0x00, &[]),
            v2(0x21, 0x12, &V4_ADDRESSES),
            v2(0x21, 0x31, &[0; 216]),
        ] {
            says(&header, None, false, header.len());
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_that_is_clear() {
        let long_line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for bytes in [
            &b"G"[..],
            b"PROXX",
            b"PROXYxTCP4 192.0.2.7 10.0.0.1 12345 443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\n",
            b"PROXY TCP4 2001:db8::1 10.0.0.1 12345 443\r\n",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 70000\r\n",
            b"PROXY TCP5 192.0.2.7 10.0.0.1 12345 443\r\n",
            b"PROXY \r\n",
            b"PROXY\n",
            long_line.as_bytes(),
            b"\r\n\r\n\x00\r\nQUIX",
            &v2(0x11, 0x11, &V4_ADDRESSES),
            &v2(0x22, 0x11, &V4_ADDRESSES),
            &v2(0x21, 0x41, &V4_ADDRESSES),
            &v2(0x21, 0x11, &V4_ADDRESSES[..11]),
            &v2(0x21, 0x11, &[&V4_ADDRESSES[..], &[4, 0, 9, 0]].concat()),
            &v2(0x21, 0x11, &[0; 497])[..16],
        ] {
            assert_eq!(read(bytes), Err(NoHeader), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn the_longest_headers_are_read() {
        let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
        says(line.as_bytes(), None, false, 107);
        let padding = [&V4_ADDRESSES[..], &[4, 1, 225], &[0; 481]].concat();
        says(&v2(0x21, 0x11, &padding), Some("192.0.2.7"), false, 512);
    }

    fn any_start() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "PROXY (TCP4|TCP6|UNKNOWN|TCP)? ?[0-9a-f:. ]{0,40}\r?\n?.{0,8}".prop_map(String::into_bytes),
            (any::<u8>(), any::<u8>(), 0..600_u16, proptest::collection::vec(any::<u8>(), 0..600)).prop_map(
                |(command, family, length, rest)| {
                    let (command, family) = (0x20 | command & 3, family & 0x33);
                    [V2, &[command, family], &length.to_be_bytes()[..], &rest].concat()
                }
            ),
        ]
    }

    odd_input! {
        fn what_a_proxy_writes_is_read(
            source in any::<IpAddr>(), destination in any::<IpAddr>(), ports in any::<(u16, u16)>(),
            extras in proptest::collection::vec((0xe0..0xf0_u8, proptest::collection::vec(any::<u8>(), 0..20)), 0..3),
            tls in any::<Option<bool>>(), behind in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let (family, addresses) = match (source, destination) {
                (IpAddr::V4(a), IpAddr::V4(b)) => (0x11, [a.octets(), b.octets()].concat()),
                (IpAddr::V6(a), IpAddr::V6(b)) => (0x21, [a.octets(), b.octets()].concat()),
                (a, _) => (if a.is_ipv4() { 0x11 } else { 0x21 }, vec![0; if a.is_ipv4() { 8 } else { 32 }]),
            };
            let of_source = source.is_ipv4() == destination.is_ipv4();
            let mut rest = [&addresses[..], &ports.0.to_be_bytes(), &ports.1.to_be_bytes()].concat();
            for (kind, value) in extras {
                rest.extend([kind, 0, u8::try_from(value.len()).unwrap()]);
                rest.extend(value);
            }
            if let Some(tls) = tls {
                rest.extend([0x20, 0, 5, u8::from(tls), 0, 0, 0, 0]);
            }
            let header = v2(0x21, family, &rest);
            let told = read(&[&header[..], &behind].concat()).unwrap().unwrap();
            prop_assert_eq!((told.length, told.secure), (header.len(), tls == Some(true)));
            if of_source {
                prop_assert_eq!(told.source, Some(source.to_canonical()));
                let family = if source.is_ipv4() { 4 } else { 6 };
                let line = format!("PROXY TCP{family} {source} {destination} {} {}\r\n", ports.0, ports.1);
                let told = read(&[line.as_bytes(), &behind].concat()).unwrap().unwrap();
                prop_assert_eq!(told, Told { source: Some(source.to_canonical()), secure: false, length: line.len() });
            }
        }

        fn however_the_bytes_arrive_they_say_the_same(bytes in any_start()) {
            let whole = read(&bytes);
            for count in 0..bytes.len() {
                match read(&bytes[..count]) {
                    Ok(None) => {}
                    decided => {
                        prop_assert_eq!(decided, whole);
                        break;
                    }
                }
            }
            if let Ok(Some(told)) = whole {
                prop_assert!(told.length <= bytes.len() && told.length <= LONGEST);
            }
        }
    }
}
