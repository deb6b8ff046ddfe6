//! Pseudo-headers (RFC 9113 §8.3), and what they would turn into by HTTP/1.1.

use super::{Case, MALFORMED, Passed, Status, UNREADABLE, Want, block, never, of, with};
use crate::harness::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, frame, request};

const CLASS: &str = "pseudo-headers";

fn case(name: &str, fields: &[(&str, &str)], want: Want) -> Case {
    Case::new(CLASS, name, of(fields), want)
}

/// A request with another value of this pseudo-header.
fn other(name: &str, field: &str, value: &str, want: Want) -> Case {
    let fields: Vec<_> = never().into_iter().map(|(is, old)| (is, if is == field { value } else { old })).collect();
    case(name, &fields, want)
}

fn first(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    [&[(name, value)], &never()[..]].concat()
}

fn but(left_out: &str) -> Vec<(&'static str, &'static str)> {
    never().into_iter().filter(|(name, _)| *name != left_out).collect()
}

pub fn cases() -> Vec<Case> {
    [presence(), methods(), paths(), authorities(), schemes()].into_iter().flatten().collect()
}

fn presence() -> Vec<Case> {
    let late = |name: &'static str| [&but(name)[..], &[("x-a", "1")], &[(name, "/never")]].concat();
    vec![
        case("8.3 an unknown one", &first(":unknown", "1"), UNREADABLE),
        case("8.3 an empty name", &first(":", "1"), UNREADABLE),
        case("8.3 in upper case", &first(":Path", "/"), UNREADABLE),
        case("8.3 one of answers", &first(":status", "200"), MALFORMED),
        case("8.3 all behind a field", &first("x-a", "1"), MALFORMED),
        case("8.3 the path behind a field", &late(":path"), MALFORMED),
        case("8.3 the authority behind a field", &late(":authority"), MALFORMED),
        case("8.3.1 no method", &but(":method"), MALFORMED),
        case("8.3.1 no scheme", &but(":scheme"), MALFORMED),
        case("8.3.1 no path", &but(":path"), MALFORMED),
        case("8.3.1 none at all", &[("x-a", "1")], MALFORMED),
        case("8.3.1 two methods", &first(":method", "GET"), MALFORMED),
        case("8.3.1 two schemes", &first(":scheme", "http"), MALFORMED),
        case("8.3.1 two paths", &first(":path", "/"), MALFORMED),
        case("8.3.1 two authorities", &first(":authority", "shop.example.com"), MALFORMED),
    ]
}

fn methods() -> Vec<Case> {
    let connect = |more: &[(&'static str, &'static str)]| [&[(":method", "CONNECT")], more].concat();
    let method = |name: &str, value: &str| other(name, ":method", value, UNREADABLE);
    vec![
        method("8.3.1 an empty method", ""),
        method("8.3.1 a space in the method", "GE T"),
        method("8.3.1 a method with a target", "GET /never HTTP/1.1"),
        method("8.3.1 a line break in the method", "GET / HTTP/1.1\r\nx: y\r\n\r\nGET"),
        method("8.3.1 an LF in the method", "GET / HTTP/1.1\nx: y\n\nGET"),
        method("8.3.1 a NUL in the method", "GET\0"),
        method("8.3.1 a colon in the method", "GET:"),
        // A proxy may offer tunnels (RFC 9110 §9.3.6), and WebSockets by them if it announces that (RFC 8441).
        case("8.5 CONNECT", &connect(&[(":authority", "127.0.0.1:22")]), Status(501)).permitted(),
        case("8.5 CONNECT with a path", &connect(&but(":method")), MALFORMED),
        case(
            "RFC 8441 WebSocket by CONNECT, unasked",
            &connect(&[&[(":protocol", "websocket")], &but(":method")[..]].concat()),
            MALFORMED,
        )
        .permitted(),
        case("RFC 8441 a protocol of GET", &first(":protocol", "websocket"), MALFORMED).permitted(),
    ]
}

fn paths() -> Vec<Case> {
    let path = |name: &str, value: &str| other(name, ":path", value, MALFORMED);
    let long = {
        let path = format!("/{}", "x".repeat(16 * 1024));
        let block = block(&[&but(":path")[..], &[(":path", &path)]].concat());
        let (first, rest) = block.split_at(16_000);
        [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()
    };
    vec![
        path("8.3.1 an empty path", ""),
        path("8.3.1 a path without a slash", "never"),
        path("8.3.1 a query alone", "?never"),
        path("8.3.1 a whole URI as the path", "http://other.example.com/never").barring(&["other.example.com"]),
        path("8.3.1 an authority as the path", "other.example.com:80").barring(&["other.example.com"]),
        path("8.3.1 an asterisk that is not for OPTIONS", "*").permitted(),
        path("8.3.1 a space in the path", "/never ever").permitted(),
        path("8.3.1 a version in the path", "/never HTTP/1.1").permitted(),
        path("8.3.1 a space before the path", " /never"),
        path("8.3.1 a space behind the path", "/never "),
        path("8.3.1 a tab in the path", "/never\tever").permitted(),
        path("8.3.1 a control character in the path", "/never\x7f").permitted(),
        path("8.3.1 a line break in the path", "/never HTTP/1.1\r\nx: y").barring(&["\nx: y"]),
        path("8.3.1 a request in the path", "/ HTTP/1.1\r\nHost: shop\r\n\r\nGET /never"),
        path("8.3.1 a CR in the path", "/never\rx"),
        path("8.3.1 an LF in the path", "/never\nx: y").barring(&["\nx: y"]),
        path("8.3.1 a NUL in the path", "/never\0"),
        Case::new(CLASS, "a target that is too long", long, Status(414)).permitted(),
        // What is no part of a request's path goes no further.
        other("8.3.1 a fragment", ":path", "/page#never", Passed(&["get /page http/1.1\r\n"])),
        other("8.3.1 two slashes and a query", ":path", "//other/?a=b", Passed(&["get //other/?a=b http/1.1\r\n"])),
        case("8.3.1 an asterisk for OPTIONS", &request("OPTIONS", "*"), Passed(&["options * http/1.1\r\n"])),
    ]
}

fn authorities() -> Vec<Case> {
    let authority = |name: &str, value: &str| other(name, ":authority", value, MALFORMED);
    let host = |name: &str, hosts: &[(&str, &str)], want| Case::new(CLASS, name, with(hosts), want);
    let page = |hosts: &[(&'static str, &'static str)]| [&request("GET", "/page")[..], hosts].concat();
    vec![
        case("8.3.1 no host at all", &but(":authority"), MALFORMED).permitted(),
        authority("8.3.1 an empty authority", "").permitted(),
        authority("8.3.1 user information", "me@shop.example.com"),
        authority("8.3.1 user information with a password", "shop.example.com:80@other.example.com"),
        authority("8.3.1 a space in the authority", "shop.example.com other"),
        authority("8.3.1 a comma in the authority", "shop.example.com, other").permitted(),
        authority("8.3.1 a path in the authority", "shop.example.com/other"),
        authority("8.3.1 a fragment in the authority", "shop.example.com#other"),
        authority("8.3.1 a port that is none", "shop.example.com:http"),
        authority("8.3.1 an address that does not end", "[::1"),
        authority("8.3.1 a line break in the authority", "shop.example.com\r\nx: y").barring(&["\nx: y"]),
        authority("8.3.1 an LF in the authority", "shop.example.com\nx: y").barring(&["\nx: y"]),
        authority("8.3.1 a NUL in the authority", "shop.example.com\0"),
        // Not the host but the authority counts; the two should be the same.
        host("8.3.1 another host", &[("host", "other.example.com")], MALFORMED).permitted().barring(&["host: other"]),
        host("8.3.1 two hosts", &[("host", "shop.example.com"), ("host", "other.example.com")], MALFORMED)
            .permitted()
            .barring(&["host: other"]),
        host("8.3.1 a line break in the host", &[("host", "shop.example.com\r\nx: y")], UNREADABLE)
            .barring(&["\nx: y"]),
        case(
            "8.3.1 the host alone",
            &[&request("GET", "/page")[..3], &[("host", "shop.example.com")]].concat(),
            Passed(&["host: shop.example.com\r\n"]),
        ),
        case("8.3.1 the same host", &page(&[("host", "shop.example.com")]), Passed(&["host: shop.example.com\r\n"])),
    ]
}

fn schemes() -> Vec<Case> {
    let scheme = |name: &str, value: &str| other(name, ":scheme", value, MALFORMED);
    vec![
        scheme("8.3.1 a URI as the scheme", "http://other.example.com/?").barring(&["other.example.com"]),
        scheme("8.3.1 a line break in the scheme", "http\r\nx: y").barring(&["\nx: y"]),
        scheme("8.3.1 a request in the scheme", "http://shop/never HTTP/1.1\r\nHost: shop\r\n\r\nGET ")
            .barring(&["\r\nget "]),
        scheme("8.3.1 a space in the scheme", "ht tp"),
        scheme("8.3.1 an empty scheme", ""),
    ]
}
