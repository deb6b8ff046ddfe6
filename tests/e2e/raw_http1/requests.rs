//! Requests that can be read in more than one way, and their harmless neighbours; from RFC 9110 and 9112 and from known
//! ways to smuggle. What nobody may take for a request of its own asks for `/inner`.

use super::Want::{self, Passed, Refused};

/// A request, or several, on one connection.
pub struct Case {
    /// What it is about.
    pub class: &'static str,
    pub name: String,
    pub bytes: Vec<u8>,
    pub want: Want,
    /// What must not reach the target, in lower case.
    pub barred: &'static [&'static str],
}

/// What a recipient may read in one way, by RFC 9110 §8.6 (equal lengths) and RFC 9112 §2.2 (a line that ends with LF alone),
/// §5.2 (folds, if they are replaced) and §7.1.1 (bad white space), and what a limit is a matter of taste for. This router
/// refuses it all the same; for who does not, the request behind it is one.
const PERMITTED: [&str; 13] = [
    "Content-Length: 5\\r\\nContent-Length: 5",
    "Content-Length: 5, 5",
    "Content-Length:\\r\\n 5",
    "Transfer-Encoding:\\r\\n chunked",
    "X: a\\nContent-Length: 5",
    "X: a\\nTransfer-Encoding: chunked",
    "space before an extension",
    "a long extension",
    "long extensions together",
    "a fold in trailers",
    "LF in trailers",
    "too many trailers",
    "trailers that are too long",
];

impl Case {
    /// Whether the request behind a request that should rather be refused may be taken for one.
    pub fn may_go_on(&self) -> bool {
        PERMITTED.contains(&self.name.as_str())
    }
}

const INNER: &str = "GET /inner HTTP/1.1\r\nHost: shop\r\n\r\n";
const OUTER: &[&str] = &["POST /outer "];

/// A POST with these lines, an empty chunked body, and a second request.
fn framed(status: u16, lines: &str) -> Case {
    let bytes = format!("POST /outer HTTP/1.1\r\nHost: shop\r\n{lines}\r\n\r\n0\r\n\r\n{INNER}");
    Case { name: lines.escape_debug().to_string(), ..whole("transfer codings", Refused(status), bytes) }
}

/// A chunked POST with this body, and a second request.
fn chunked(name: &str, body: &str) -> Case {
    let head = "POST /outer HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n";
    Case { name: name.into(), ..whole("chunks", Refused(400), format!("{head}{body}{INNER}")) }
}

fn whole(class: &'static str, want: Want, bytes: impl AsRef<[u8]>) -> Case {
    let bytes = bytes.as_ref().to_vec();
    let name: String = bytes.escape_ascii().to_string().chars().take(100).collect();
    Case { class, name, bytes, want, barred: &[] }
}

/// A GET with this field line, in its raw bytes.
fn field(status: u16, line: &[u8]) -> Case {
    let bytes = [b"GET /outer HTTP/1.1\r\nHost: shop\r\n", line, b"\r\n\r\n"].concat();
    Case { name: line.escape_ascii().to_string().chars().take(60).collect(), ..whole("fields", Refused(status), bytes) }
}

/// A GET with this request line.
fn line(status: u16, line: &str) -> Case {
    whole("request line", Refused(status), format!("{line}\r\nHost: shop\r\n\r\n"))
}

/// A GET with these lines in place of `Host`.
fn host(lines: &str) -> Case {
    whole("host", Refused(400), format!("GET /outer HTTP/1.1\r\n{lines}\r\n\r\n"))
}

/// A POST that passes, with a field of the visitor's that may not.
fn name(lines: &str, barred: &'static [&'static str]) -> Case {
    let bytes = format!("POST /outer HTTP/1.1\r\nHost: shop\r\n{lines}\r\nContent-Length: 5\r\n\r\nhello");
    Case { barred, name: lines.escape_debug().to_string(), ..whole("names", Passed(OUTER), bytes) }
}

/// All of them.
pub fn corpus() -> Vec<Case> {
    let cases = [codings(), lengths(), chunks(), fields(), lines(), hosts(), names(), sequences()];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    let known = |name: &&str| cases.iter().any(|case| case.name == **name);
    assert_eq!(PERMITTED.iter().find(|name| !known(name)), None);
    cases
}

fn codings() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked;q=1"),
        (400, "Transfer-Encoding: chunked, chunked"),
        (501, "Transfer-Encoding: gzip, chunked"),
        (501, "Transfer-Encoding: identity, chunked"),
        (400, "Transfer-Encoding: chunked, gzip"),
        (400, "Transfer-Encoding: chunked, identity"),
        (501, "Transfer-Encoding: gzip"),
        (501, "Transfer-Encoding: identity"),
        (501, "Transfer-Encoding: xchunked"),
        (501, "Transfer-Encoding: chunkedx"),
        (501, "Transfer-Encoding: 'chunked'"),
        (501, "Transfer-Encoding: trailers"),
        (501, "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"),
        (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        (400, "Transfer-Encoding: chunked;q=1"),
        (400, "Transfer-Encoding: chunked; a=b"),
        (400, "Transfer-Encoding: \"chunked\""),
        (400, "Transfer-Encoding: chunked,"),
        (400, "Transfer-Encoding: ,chunked"),
        (400, "Transfer-Encoding:"),
        (400, "Transfer-Encoding: chunked chunked"),
        (400, "Transfer-Encoding: \u{b}chunked"),
        (400, "Transfer-Encoding: chunked\u{b}"),
        (400, "Transfer-Encoding: \0chunked"),
        (400, "Transfer-Encoding: chunked\0"),
        (400, "Transfer-Encoding: \u{a0}chunked"),
        (400, "Transfer-Encoding : chunked"),
        (400, "Transfer-Encoding\t: chunked"),
        (400, " Transfer-Encoding: chunked"),
        (400, "\tTransfer-Encoding: chunked"),
        (400, "Transfer-Encoding:\r\n chunked"),
        (400, "Transfer-Encoding: chunked\r\n , identity"),
        (400, "Transfer-Encoding\r\n: chunked"),
        (400, "X: a\nTransfer-Encoding: chunked"),
        (400, "X: a\rTransfer-Encoding: chunked"),
        (400, "X: a\r\r\nTransfer-Encoding: chunked"),
        (400, "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        (400, "Transfer-Encoding: chunked\r\nContent-Length: 0"),
        (400, "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        (400, "Content-Length: 4096\r\nTransfer-Encoding: chunked"),
        (501, "Content-Length: 40\r\nTransfer-Encoding: identity"),
        (501, "Content-Length: 5\r\nTransfer-Encoding: xchunked"),
        (400, "Content-Length: 5\r\nTransfer-Encoding:"),
    ]
    .into_iter()
    .map(|(status, lines)| framed(status, lines))
    .collect();
    for lines in ["", "Connection: keep-alive\r\nContent-Length: 5\r\n"] {
        let head = format!("POST /outer HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n{lines}\r\n");
        cases.push(whole("transfer codings", Refused(400), format!("{head}0\r\n\r\n{INNER}")));
    }
    for value in ["chunked", "CHUNKED", "\tchunked \t", "  Chunked"] {
        let head = format!("POST /outer HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding:{value}\r\n\r\n");
        cases.push(whole("transfer codings", Passed(OUTER), format!("{head}5\r\nhello\r\n0\r\n\r\n")));
    }
    cases
}

fn lengths() -> Vec<Case> {
    let refused = |lines: &str| {
        let bytes = format!("POST /outer HTTP/1.1\r\nHost: shop\r\n{lines}\r\n\r\nhello{INNER}");
        Case { name: lines.escape_debug().to_string(), ..whole("lengths", Refused(400), bytes) }
    };
    let mut cases: Vec<Case> = [
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 0\r\nContent-Length: 5",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 0",
        "Content-Length: 5, 5",
        "Content-Length: 5, 6",
        "Content-Length: 5,",
        "Content-Length: ,5",
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: -5",
        "Content-Length: 5 5",
        "Content-Length: 0x5",
        "Content-Length: 5.0",
        "Content-Length: 1e1",
        "Content-Length: 5_",
        "Content-Length:",
        "Content-Length:  \t ",
        "Content-Length: five",
        "Content-Length: \"5\"",
        "Content-Length: 5;a=b",
        "Content-Length: 99999999999999999999",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: \u{665}",
        "Content-Length: 5\u{b}",
        "Content-Length: \u{b}5",
        "Content-Length: 5\0",
        "Content-Length : 5",
        "Content-Length\t: 5",
        "Content-Length:\r\n 5",
        "Content-Length: 5\r\n 5",
        " Content-Length: 5",
        "X: a\nContent-Length: 5",
        "X: a\rContent-Length: 5",
    ]
    .into_iter()
    .map(refused)
    .collect();
    cases.push(Case { want: Refused(413), ..refused("Content-Length: 18446744073709551615") });
    for (length, body) in [("5", "hello"), ("  5\t", "hello"), ("0", ""), ("05", "hello")] {
        let bytes = format!("POST /outer HTTP/1.1\r\nHost: shop\r\nContent-Length:{length}\r\n\r\n{body}");
        cases.push(whole("lengths", Passed(OUTER), bytes));
    }
    cases
}

fn chunks() -> Vec<Case> {
    let many = |count: usize, part: &str| part.repeat(count);
    let mut cases: Vec<Case> = [
        ("no digit", "x\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("no size at all", "\r\nhello\r\n0\r\n\r\n".into()),
        ("minus", "-1\r\nhello\r\n0\r\n\r\n".into()),
        ("plus", "+5\r\nhello\r\n0\r\n\r\n".into()),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n".into()),
        ("underscore", "0_5\r\nhello\r\n0\r\n\r\n".into()),
        ("space before", " 5\r\nhello\r\n0\r\n\r\n".into()),
        ("space behind", "5 \r\nhello\r\n0\r\n\r\n".into()),
        ("tab behind", "5\t\r\nhello\r\n0\r\n\r\n".into()),
        ("space before an extension", "5 ;a=b\r\nhello\r\n0\r\n\r\n".into()),
        ("LF behind the size", "5\nhello\r\n0\r\n\r\n".into()),
        ("CR behind the size", "5\rhello\r\n0\r\n\r\n".into()),
        ("two CR behind the size", "5\r\r\nhello\r\n0\r\n\r\n".into()),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n".into()),
        ("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n".into()),
        ("NUL in an extension", "5;a\0b\r\nhello\r\n0\r\n\r\n".into()),
        ("only an extension", ";a\r\nhello\r\n0\r\n\r\n".into()),
        ("a long extension", format!("5;{}\r\nhello\r\n0\r\n\r\n", many(300, "a"))),
        ("long extensions together", format!("{}0\r\n\r\n", many(100, &format!("1;{}\r\na\r\n", many(200, "a"))))),
        ("a byte behind a chunk", "5\r\nhelloX\r\n0\r\n\r\n".into()),
        ("two bytes behind a chunk", "5\r\nhelloXX0\r\n\r\n".into()),
        ("nothing behind a chunk", "5\r\nhello0\r\n\r\n".into()),
        ("LF behind a chunk", "5\r\nhello\n0\r\n\r\n".into()),
        ("CR behind a chunk", "5\r\nhello\r0\r\n\r\n".into()),
        ("a chunk that is too short", "5\r\nhell\r\n0\r\n\r\n".into()),
        ("17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n".into()),
        ("too large", "10000000000000005\r\nhello\r\n0\r\n\r\n".into()),
        ("much too large", "FFFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n".into()),
        ("the end by LF", "5\r\nhello\r\n0\n\n".into()),
        ("the end by CRLF and LF", "5\r\nhello\r\n0\r\n\n".into()),
        ("the end by LF and CRLF", "5\r\nhello\r\n0\n\r\n".into()),
        ("a fold in trailers", "0\r\nX: a\r\n b\r\n\r\n".into()),
        ("space in a trailer's name", "0\r\nX : a\r\n\r\n".into()),
        ("no colon in trailers", "0\r\nX\r\n\r\n".into()),
        ("LF in trailers", "0\r\nX: a\nY: b\r\n\r\n".into()),
        ("NUL in trailers", "0\r\nX: a\0b\r\n\r\n".into()),
        ("a request in trailers", "0\r\nGET /inner HTTP/1.1\r\nHost: shop\r\n\r\n".into()),
        ("too many trailers", format!("0\r\n{}\r\n", many(101, "X: a\r\n"))),
        ("trailers that are too long", format!("0\r\nX: {}\r\n\r\n", many(17_000, "a"))),
    ]
    .into_iter()
    .map(|(name, body)| chunked(name, &body))
    .collect();
    let head = "POST /outer HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n";
    for body in ["5\r\nhello\r\n0\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "a;x=y\r\n0123456789\r\n000\r\n\r\n"] {
        cases.push(whole("chunks", Passed(OUTER), format!("{head}\r\n{body}")));
    }
    let named = "Trailer: x-sum, content-length, host, authorization, x-forwarded-for, transfer-encoding, cookie\r\n";
    let trailers = "X-Sum: 1\r\nContent-Length: 777\r\nHost: evil\r\nAuthorization: evil\r\nX-Forwarded-For: 6.6.6.6\r\n\
                    Transfer-Encoding: evil\r\nCookie: evil=1\r\n";
    cases.push(Case {
        name: "trailers that belong into a head".into(),
        barred: &[": evil", "777", "6.6.6.6", "evil=1"],
        ..whole("chunks", Passed(OUTER), format!("{head}{named}\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"))
    });
    cases
}

fn fields() -> Vec<Case> {
    let long = format!("X: {}", "x".repeat(33_000));
    let many = "X: y\r\n".repeat(100) + "X: y";
    let mut cases: Vec<Case> = [
        (400, &b"X: a\nY: b"[..]),
        (400, b"X: a\n\r\nGET /inner HTTP/1.1"),
        (400, b"X: a\rb"),
        (400, b"X: a\r\n b"),
        (400, b"X: a\r\n\tb"),
        (400, b"X: a\0b"),
        (400, b"X: a\x01b"),
        (400, b"X: a\x1bb"),
        (400, b"X: a\x7fb"),
        (400, b"X : a"),
        (400, b"X\t: a"),
        (400, b"X\r\n: a"),
        (400, b": a"),
        (400, b" : a"),
        (400, b"X"),
        (400, b"X a"),
        (400, b"X Y: a"),
        (400, b"X(Y: a"),
        (400, b"X\"Y: a"),
        (400, b"X/Y: a"),
        (400, b"X@Y: a"),
        (400, b"X[Y]: a"),
        (400, b"X{Y}: a"),
        (400, b"X\0Y: a"),
        (400, b"X\xffY: a"),
        (400, "X\u{e4}: a".as_bytes()),
        (431, long.as_bytes()),
        (431, many.as_bytes()),
    ]
    .into_iter()
    .map(|(status, line)| field(status, line))
    .collect();
    for bytes in [
        "GET /outer HTTP/1.1\nHost: shop\n\n",
        "GET /outer HTTP/1.1\r\nHost: shop\n\r\n",
        "GET /outer HTTP/1.1\nHost: shop\r\n\r\n",
        "GET /outer HTTP/1.1\r\nHost: shop\r\n\n",
        "GET /outer HTTP/1.1\r\n Host: shop\r\n\r\n",
    ] {
        cases.push(whole("fields", Refused(400), bytes));
    }
    for line in [&b"X:"[..], b"X: a\tb", b"X: \xe4\xff", b"X:\t a \t", b"!#$%&'*+-.^`|~0: a"] {
        let bytes = [b"GET /outer HTTP/1.1\r\nHost: shop\r\n", line, b"\r\n\r\n"].concat();
        cases.push(whole("fields", Passed(&["GET /outer "]), bytes));
    }
    cases
}

fn lines() -> Vec<Case> {
    let long = format!("GET /{} HTTP/1.1", "x".repeat(17_000));
    let longer = format!("GET /{} HTTP/1.1", "x".repeat(60_000));
    let mut cases: Vec<Case> = [
        (400, "GET  /outer HTTP/1.1"),
        (400, "GET /outer  HTTP/1.1"),
        (400, "GET /outer HTTP/1.1 "),
        (400, " GET /outer HTTP/1.1"),
        (400, "GET\t/outer\tHTTP/1.1"),
        (400, "GET /outer\tHTTP/1.1"),
        (400, "GET /outer"),
        (400, "GET /outer "),
        (400, "GET"),
        (400, "GET /outer http/1.1"),
        (400, "GET /outer HTTP/1"),
        (400, "GET /outer HTTP/11"),
        (400, "GET /outer HTTP/1.10"),
        (400, "GET /outer HTTP/01.1"),
        (400, "GET /outer HTTP/1,1"),
        (400, "GET /outer HTTP /1.1"),
        (400, "GET /outer HTTPS/1.1"),
        (400, "GET /outer XTTP/1.1"),
        (400, "GET /outer HTTP/-1.1"),
        (505, "GET /outer HTTP/0.9"),
        (505, "GET /outer HTTP/1.2"),
        (505, "GET /outer HTTP/2.0"),
        (505, "GET /outer HTTP/3.0"),
        (505, "GET /outer HTTP/9.9"),
        (400, "G(T /outer HTTP/1.1"),
        (400, "G\u{e4}T /outer HTTP/1.1"),
        (400, "/outer HTTP/1.1"),
        (400, "GET outer HTTP/1.1"),
        (400, "GET shop HTTP/1.1"),
        (400, "GET shop:80 HTTP/1.1"),
        (400, "GET ?a HTTP/1.1"),
        (400, "GET * HTTP/1.1"),
        (400, "POST * HTTP/1.1"),
        (400, "OPTIONS ** HTTP/1.1"),
        (400, "GET /outer#inner HTTP/1.1"),
        (400, "GET /outer?a#b HTTP/1.1"),
        (400, "GET http://shop/outer#inner HTTP/1.1"),
        (400, "GET /ou ter HTTP/1.1"),
        (400, "GET /outer HTTP/1.1 /inner HTTP/1.1"),
        (400, "GET /ou\0ter HTTP/1.1"),
        (400, "GET /ou\u{b}ter HTTP/1.1"),
        (400, "GET /ou\rter HTTP/1.1"),
        (400, "GET /ou\nter HTTP/1.1"),
        (400, "GET /ou\u{7f}ter HTTP/1.1"),
        (400, "GET /ou<ter HTTP/1.1"),
        (400, "GET http://user@shop/outer HTTP/1.1"),
        (400, "GET http://user:word@shop/outer HTTP/1.1"),
        (400, "GET http:///outer HTTP/1.1"),
        (400, "GET http:// HTTP/1.1"),
        (400, "GET http:/outer HTTP/1.1"),
        (400, "GET ftp://shop/outer HTTP/1.1"),
        (400, "GET http://shop:port/outer HTTP/1.1"),
        (400, "GET http://[::1/outer HTTP/1.1"),
        (501, "CONNECT shop:80 HTTP/1.1"),
        (501, "CONNECT /outer HTTP/1.1"),
        (414, &long),
        (414, &longer),
    ]
    .into_iter()
    .map(|(status, text)| line(status, text))
    .collect();
    for (text, reaches) in [
        ("OPTIONS * HTTP/1.1", &["OPTIONS * "][..]),
        ("GET //evil/outer HTTP/1.1", &["GET //evil/outer "]),
        ("GET /a%00b HTTP/1.1", &["GET /a%00b "]),
        ("GET /%2e%2e/outer HTTP/1.1", &["GET /%2e%2e/outer "]),
        ("BREW /outer HTTP/1.1", &["BREW /outer "]),
        ("GET /outer?a=b&c=[d] HTTP/1.1", &["GET /outer?a=b&c=[d] "]),
    ] {
        cases.push(whole("request line", Passed(reaches), format!("{text}\r\nHost: shop\r\n\r\n")));
    }
    cases
}

fn hosts() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "X: y",
        "Host: shop\r\nHost: shop",
        "Host: shop\r\nHost: evil",
        "Host: shop\r\nX: y\r\nhost: evil",
        "Host: shop, evil",
        "Host: shop evil",
        "Host: shop\tevil",
        "Host: shop/evil",
        "Host: shop?evil",
        "Host: shop#evil",
        "Host: shop\\evil",
        "Host: user@shop",
        "Host: shop@evil",
        "Host: shop:80:80",
        "Host: shop:port",
        "Host: shop:-1",
        "Host: :80",
        "Host: [::1",
        "Host: ::1",
        "Host: [shop]",
        "Host: http://shop",
        "Host: \"shop\"",
        "Host: <shop>",
        "Host: shop\0",
        "Host: \u{e4}",
        "Host : shop",
        " Host: shop",
        "Host: shop\r\n evil",
        "Host:\r\n shop",
    ]
    .into_iter()
    .map(host)
    .collect();
    for bytes in [
        "GET /outer HTTP/1.0\r\nHost: shop\r\nHost: evil\r\n\r\n",
        "GET /outer HTTP/1.0\r\nHost: shop evil\r\n\r\n",
        "GET http://shop/outer HTTP/1.1\r\n\r\n",
        "GET http://shop/outer HTTP/1.1\r\nHost: shop\r\nHost: evil\r\n\r\n",
    ] {
        cases.push(whole("host", Refused(400), bytes));
    }
    for bytes in [
        "GET http://shop/outer HTTP/1.1\r\nHost: evil\r\n\r\n",
        "GET HTTP://shop/outer HTTP/1.1\r\nHost: evil\r\n\r\n",
        "GET https://shop:443/outer HTTP/1.1\r\nHost: evil\r\n\r\n",
    ] {
        cases.push(Case { barred: &["evil"], ..whole("host", Passed(&["GET /outer "]), bytes) });
    }
    for value in ["shop", "shop:80", "[::1]:80", "127.0.0.1", "SHOP"] {
        let bytes = format!("GET /outer HTTP/1.1\r\nHost: {value}\r\n\r\n");
        cases.push(whole("host", Passed(&["GET /outer "]), bytes));
    }
    cases
}

fn names() -> Vec<Case> {
    [
        ("X_Forwarded_For: 6.6.6.6", &["6.6.6.6"][..]),
        ("X-Forwarded_For: 6.6.6.6", &["6.6.6.6"]),
        ("X.Forwarded.Proto: evil", &["evil"]),
        ("X_Real_IP: 6.6.6.6", &["6.6.6.6"]),
        ("Content_Length: 777", &["777"]),
        ("Content.Length: 777", &["777"]),
        ("Transfer_Encoding: chunked", &["transfer_encoding"]),
        ("Transfer_Encoding: evil", &["evil"]),
        ("Host_: evil", &["evil"]),
        ("Proxy: http://evil/", &["evil"]),
        ("Connection: X-Mine\r\nX-Mine: evil", &["evil"]),
        ("Connection: close, X-Mine\r\nX-Mine: evil", &["evil"]),
        ("Keep-Alive: timeout=777", &["777"]),
        ("Proxy-Connection: evil", &["evil"]),
        ("TE: evil", &["evil"]),
        ("Upgrade: evil", &["evil"]),
        ("Connection: Content-Length", &[]),
        ("Connection: Host", &[]),
    ]
    .into_iter()
    .map(|(lines, barred)| name(lines, barred))
    .collect()
}

fn sequences() -> Vec<Case> {
    let second = "GET /second HTTP/1.1\r\nHost: shop\r\n\r\n";
    let both = &["POST /outer ", "GET /second "][..];
    let first = "POST /outer HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nhello";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let inner = INNER.len();
    let sequence = |want, bytes: String| whole("sequences", want, bytes);
    vec![
        sequence(Passed(both), format!("{first}{second}")),
        sequence(Passed(both), format!("\r\n{first}\r\n{second}")),
        sequence(Passed(both), format!("POST /outer HTTP/1.1\r\nHost: shop\r\n{chunked}{second}")),
        sequence(
            Passed(&["GET /outer ", "GET /second "]),
            format!("GET /outer HTTP/1.1\r\nHost: shop\r\nContent-Length: {inner}\r\n\r\n{INNER}{second}"),
        ),
        sequence(
            Passed(&["HEAD /outer ", "GET /second "]),
            format!("HEAD /outer HTTP/1.1\r\nHost: shop\r\nContent-Length: {inner}\r\n\r\n{INNER}{second}"),
        ),
        sequence(
            Passed(&["GET /outer ", "GET /second "]),
            format!("GET /outer HTTP/1.1\r\nHost: shop\r\nUpgrade: evil\r\nConnection: upgrade\r\n\r\n{second}"),
        ),
        sequence(Want::ThenRefused(OUTER, 400), format!("{first}XGET /second HTTP/1.1\nHost: shop\n\n")),
        sequence(Want::ThenRefused(OUTER, 400), format!("{first}\r\n\r\n\r\n{second}")),
        sequence(Want::ThenRefused(OUTER, 400), format!("{first}0\r\n\r\n{INNER}")),
        sequence(Want::ThenRefused(OUTER, 505), format!("{first}GET /inner HTTP/2.0\r\n\r\n")),
        sequence(Refused(400), format!("\r\n\r\n{second}")),
        sequence(Refused(400), format!("\n{second}")),
        sequence(Refused(400), "\x16\x03\x01\x02\0\x01\0\x01\x7f\x03\x03".into()),
        sequence(Refused(505), "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n".into()),
    ]
}
