//! Fields (RFC 9113 §8.2), and what they would turn into by HTTP/1.1.

use super::{Case, MALFORMED, Passed, Status, UNREADABLE, Want, block, of, with};
use crate::harness::frames::{HEADERS, WHOLE, frame, request};

const CLASS: &str = "fields";

fn bad(name: &str, field: &str, value: &str, want: Want) -> Case {
    Case::new(CLASS, name, with(&[(field, value)]), want)
}

/// A request that passes, with fields of the visitor's.
fn good(name: &str, fields: &[(&str, &str)], needed: &'static [&'static str]) -> Case {
    Case::new(CLASS, name, of(&[&request("GET", "/page")[..], fields].concat()), Passed(needed))
}

/// A request that passes, without a field of the visitor's that turns into another behind the proxy.
fn name(field: &str, value: &str, barred: &'static [&'static str]) -> Case {
    let case = good(&format!("{field}: {value}"), &[(field, value)], &["get /page "]).barring(barred);
    Case { class: "names that turn into others", ..case }
}

pub fn cases() -> Vec<Case> {
    [names(), values(), of_connections(), cookies(), others()].into_iter().flatten().collect()
}

fn names() -> Vec<Case> {
    let mut latin = block(&request("GET", "/never"));
    latin.extend(b"\x00\x03x-\xe9\x011");
    vec![
        bad("8.2.1 a name in upper case", "X-Upper", "1", UNREADABLE),
        bad("8.2.1 a framing in upper case", "Transfer-Encoding", "chunked", UNREADABLE),
        bad("8.2.1 an empty name", "", "1", UNREADABLE),
        bad("8.2.1 a space in a name", "x a", "1", UNREADABLE),
        bad("8.2.1 a space behind a name", "transfer-encoding ", "chunked", UNREADABLE),
        bad("8.2.1 a colon in a name", "x:a", "1", UNREADABLE),
        bad("8.2.1 a field in a name", "transfer-encoding: chunked\r\nx", "1", UNREADABLE),
        bad("8.2.1 an LF in a name", "x\ny", "1", UNREADABLE),
        bad("8.2.1 a CR in a name", "x\ry", "1", UNREADABLE),
        bad("8.2.1 a NUL in a name", "x\0", "1", UNREADABLE),
        bad("8.2.1 a tab in a name", "x\ta", "1", UNREADABLE),
        bad("8.2.1 a control character in a name", "x\x7f", "1", UNREADABLE),
        Case::new(CLASS, "8.2.1 a name that is not ASCII", frame(HEADERS, WHOLE, 1, &latin), UNREADABLE),
    ]
}

fn values() -> Vec<Case> {
    let smuggled = "1\r\nContent-Length: 0\r\n\r\nGET /never HTTP/1.1\r\nHost: shop\r\n\r\n";
    vec![
        bad("8.2.1 a line break in a value", "x-a", "1\r\nx-b: 2", UNREADABLE).barring(&["\nx-b: 2"]),
        bad("8.2.1 an LF in a value", "x-a", "1\nx-b: 2", UNREADABLE).barring(&["\nx-b: 2"]),
        bad("8.2.1 a CR in a value", "x-a", "1\rx-b: 2", UNREADABLE),
        bad("8.2.1 a NUL in a value", "x-a", "1\0", UNREADABLE),
        bad("8.2.1 a request in a value", "x-a", smuggled, UNREADABLE),
        bad("8.2.1 a line break at the end of a value", "x-a", "1\r\n", UNREADABLE),
        bad("8.2.1 a line break in a cookie", "cookie", "a=1\r\nx-b: 2", UNREADABLE).barring(&["\nx-b: 2"]),
        bad("8.2.1 a value that begins with a space", "x-a", " 1", MALFORMED),
        bad("8.2.1 a value that begins with a tab", "x-a", "\t1", MALFORMED),
        bad("8.2.1 a value that ends with a space", "x-a", "1 ", MALFORMED),
        bad("8.2.1 a value that ends with a tab", "x-a", "1\t", MALFORMED),
    ]
}

fn of_connections() -> Vec<Case> {
    let connection = |field: &str, value: &str| bad(&format!("8.2.2 {field}: {value}"), field, value, MALFORMED);
    vec![
        connection("connection", "close"),
        connection("connection", "x-a"),
        connection("connection", "content-length"),
        connection("keep-alive", "timeout=5"),
        connection("proxy-connection", "close"),
        connection("transfer-encoding", "chunked"),
        connection("transfer-encoding", "identity"),
        connection("transfer-encoding", "gzip, chunked"),
        connection("upgrade", "websocket"),
        connection("upgrade", "h2c"),
        connection("te", "gzip"),
        connection("te", "trailers, gzip"),
        good("8.2.2 te: trailers", &[("te", "trailers")], &["get /page "]),
    ]
}

fn cookies() -> Vec<Case> {
    vec![
        good(
            "8.2.3 cookies in crumbs",
            &[("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")],
            &["cookie: a=1; b=2; c=3\r\n"],
        ),
        good("8.2.3 a cookie of several", &[("cookie", "a=1; b=2")], &["cookie: a=1; b=2\r\n"]),
    ]
}

fn others() -> Vec<Case> {
    vec![
        name("x_forwarded_for", "6.6.6.6", &["6.6.6.6"]),
        name("content_length", "777", &["777"]),
        name("transfer_encoding", "chunked", &["transfer_encoding"]),
        name("x_real_ip", "6.6.6.6", &["6.6.6.6"]),
        name("host_", "evil", &["evil"]),
        name("proxy", "http://evil/", &["evil"]),
        good("a value that is not ASCII", &[("x-a", "\u{e9}")], &["x-a: \u{e9}\r\n"]),
        good("an empty value", &[("x-a", "")], &["get /page "]),
        Case::new(CLASS, "a field more than a hundred", with(&vec![("x-many", "1"); 101]), Status(431)).permitted(),
    ]
}
