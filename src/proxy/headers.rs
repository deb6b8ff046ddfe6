//! Which headers pass between visitor and target.
//!
//! One look over a head's names tells what is in it, so that nothing is searched for that is not there.

use super::client::Told;
use crate::routing::Pool;
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_CUTOVER_POOL: HeaderName = HeaderName::from_static("x-cutover-pool");
static X_CUTOVER_RELEASE: HeaderName = HeaderName::from_static("x-cutover-release");
pub(super) const X_CUTOVER_MODE: HeaderName = HeaderName::from_static("x-cutover-mode");
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");

/// What a gRPC call ends with, by its protocol.
const OF_CALL: HeaderValue = HeaderValue::from_static("grpc-status, grpc-message, grpc-status-details-bin");

/// Headers that the router adds to those of a request at most.
const ADDED: usize = 3;

/// What belongs to one connection only, besides what [`Found`] tells apart.
const HOP_BY_HOP: [HeaderName; 7] =
    [KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, UPGRADE, EXPECT, HTTP2_SETTINGS];

/// What is in a head.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::struct_excessive_bools)] // a set of marks, each asked for by name
pub(super) struct Found {
    pub(super) connection: bool,
    pub(super) te: bool,
    pub(super) upgrade: bool,
    pub(super) expect: bool,
    pub(super) transfer_encoding: bool,
    pub(super) content_length: bool,
    pub(super) grpc_status: bool,
    pub(super) request_id: bool,
    pub(super) cookie: bool,
    pub(super) service_worker: bool,
    /// A word to caches.
    pub(super) caching: bool,
    /// A word on the visitor's way, beyond those that the router replaces; and one of these.
    pub(super) forwarded: bool,
    pub(super) told: bool,
    hop_by_hop: bool,
    claim: bool,
}

impl Found {
    /// Looks over a head.
    pub(super) fn in_head(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "connection" => found.connection = true,
                "te" => found.te = true,
                "transfer-encoding" => found.transfer_encoding = true,
                "content-length" => found.content_length = true,
                "grpc-status" => found.grpc_status = true,
                "x-request-id" => found.request_id = true,
                "cookie" => found.cookie = true,
                "host" | "content-type" => {}
                "service-worker" => found.service_worker = true,
                "cache-control" | "surrogate-control" | "x-accel-expires" | "edge-control" => found.caching = true,
                "keep-alive" | "proxy-connection" | "proxy-authenticate" | "proxy-authorization" | "http2-settings" => {
                    found.hop_by_hop = true;
                }
                "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" | "x-real-ip" => {
                    found.told = true;
                }
                "upgrade" => (found.hop_by_hop, found.upgrade) = (true, true),
                "expect" => (found.hop_by_hop, found.expect) = (true, true),
                other => {
                    found.claim |= is_claim(other);
                    found.forwarded |= is_forwarded(other);
                    found.caching |= other.ends_with("cdn-cache-control");
                }
            }
        }
        found
    }
}

/// Whether a visitor's header could pass for the router's word. CGI-like interfaces (WSGI, Rack, PHP) turn `-` into `_`,
/// some of them whatever is no letter or digit, and so can't tell `X_Cutover_Pool` or `X.Real.IP` from what the router
/// vouches for.
pub(super) fn is_claim(name: &str) -> bool {
    // What frames or routes a message is read once, where it is spelled as it should be.
    if matches!(name.as_bytes(), [b'c' | b't' | b'f' | b'h' | b'p', ..]) {
        // `Proxy` itself is the proxy that a CGI program asks for what it needs from elsewhere ("httpoxy").
        return name == "proxy" || !is_plain(name) && MEANT.iter().any(|meant| is_read_as(name, meant));
    }
    // All that it vouches for begins so, but `Forwarded`.
    if !matches!(name.as_bytes(), [b'x', second, ..] if !second.is_ascii_alphanumeric()) {
        return false;
    }
    reads_as(name, "x-cutover-")
        || (reads_as(name, "x-forwarded-") || VOUCHED.iter().any(|vouched| reads_as(name, vouched.as_str())))
            && !is_plain(name)
}

/// The router says them of each request, besides those that begin with `X-Forwarded-` and `X-Cutover-`.
const VOUCHED: [HeaderName; 2] = [X_REAL_IP, X_REQUEST_ID];

/// Fields that say where a message ends, what becomes of it and who sends it.
const MEANT: [&str; 9] = [
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "forwarded",
    "host",
    "proxy",
    "proxy-authorization",
];

/// Whether a name has only one spelling.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Whether a name is this one, with anything for a dash, and anything that is no letter or digit behind it.
fn is_read_as(name: &str, meant: &str) -> bool {
    reads_as(name, meant) && name.bytes().skip(meant.len()).all(|byte| !byte.is_ascii_alphanumeric())
}

/// Whether a name begins like this, with anything for a dash.
pub(super) fn reads_as(name: &str, beginning: &str) -> bool {
    let same = |(is, wanted): (u8, u8)| is == wanted || wanted == b'-' && !is.is_ascii_alphanumeric();
    name.len() >= beginning.len() && name.bytes().zip(beginning.bytes()).all(same)
}

/// Removes what a visitor says of a way that the router knows nothing of: `X-Forwarded-Port`, `-Prefix`, `-Ssl` and so on.
/// The three that it does know of are replaced.
pub(super) fn strip_forwarded(headers: &mut HeaderMap) {
    let told: Vec<HeaderName> = headers.keys().filter(|name| is_forwarded(name.as_str())).cloned().collect();
    for name in told {
        headers.remove(name);
    }
}

fn is_forwarded(name: &str) -> bool {
    name.starts_with("x-forwarded-") && Told::NAMES.iter().all(|known| known.as_str() != name)
}

/// Removes what belongs to the visitor's connection from a request's head, and what could pass for the router's word.
pub(super) fn strip_request(headers: &mut HeaderMap, found: Found) {
    if found.connection {
        remove_named(headers);
        headers.remove(CONNECTION);
    }
    if found.hop_by_hop {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
    }
    if found.claim {
        let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
        for name in claims {
            headers.remove(name);
        }
    }
    if found.transfer_encoding {
        headers.insert(TRANSFER_ENCODING, CHUNKED);
    }
    if found.te {
        let trailers = headers.get_all(TE).iter().flat_map(tokens).any(|token| token.eq_ignore_ascii_case("trailers"));
        headers.remove(TE);
        if trailers {
            headers.insert(TE, TRAILERS);
            // RFC 9110 §10.1.4: who sends TE names it.
            headers.insert(CONNECTION, HeaderValue::from_static("te"));
        }
    }
    headers.reserve(ADDED);
}

/// Which pool and release a request goes to, as the target is told.
pub(super) fn of_pool(pool: &Pool) -> impl Iterator<Item = (&'static HeaderName, &HeaderValue)> {
    let release = pool.release_header.iter().map(|release| (&X_CUTOVER_RELEASE, release));
    std::iter::once((&X_CUTOVER_POOL, &pool.name_header)).chain(release)
}

/// Whether a request says this anew each time that it is sent.
pub(super) fn is_said_at_sending(name: &HeaderName) -> bool {
    *name == X_CUTOVER_POOL || *name == X_CUTOVER_RELEASE || Told::NAMES.contains(name)
}

/// Adds a field to the text of a head.
pub(super) fn add_line(text: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
        text.extend_from_slice(part);
    }
}

/// Removes what belongs to the target's connection from an answer's head.
pub(super) fn strip_response(headers: &mut HeaderMap, found: Found) {
    if found.connection {
        remove_named(headers);
        headers.remove(CONNECTION);
    }
    if found.hop_by_hop {
        for name in HOP_BY_HOP {
            headers.remove(name);
        }
    }
    if found.transfer_encoding {
        headers.remove(TRANSFER_ENCODING);
    }
    if found.te {
        headers.remove(TE);
    }
}

/// Names the trailers of a gRPC answer in its head, for a visitor by HTTP/1.1. hyper sends such a visitor (one who takes
/// trailers at all) only those that the head names, and by HTTP/2 nobody names them. What else an answer will end with can't
/// be told when its head goes out: it has to name that itself.
#[cold]
pub(super) fn name_trailers_of_call(headers: &mut HeaderMap) {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    // gRPC-Web has its trailers in the body.
    let call = matches!(kind, Some([] | [b'+' | b';', ..]));
    if call && !headers.contains_key(TRAILER) && !headers.contains_key(GRPC_STATUS) {
        headers.insert(TRAILER, OF_CALL);
    }
}

/// Removes the headers that `Connection` names, but those that the message can't do without.
fn remove_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(tokens)
        .filter_map(|token| token.parse().ok())
        .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, TE].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// The items of a list header.
pub(super) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether the head's only transfer coding is `chunked`.
pub(super) fn is_only_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().flat_map(tokens);
    codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) && codings.next().is_none()
}

/// Whether what is expected can be met: RFC 9110 §10.1.1 knows one expectation.
pub(super) fn can_be_met(headers: &HeaderMap) -> bool {
    headers.get_all(EXPECT).iter().all(|expected| expected.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether a visitor's `X-Request-Id` is kept: short, and nothing in it that a log or a page must fear.
pub(super) fn is_request_id(value: &HeaderValue) -> bool {
    (1..=128).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stripped(pairs: &[(&'static str, &'static str)], strip: fn(&mut HeaderMap, Found)) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let found = Found::in_head(&headers);
        strip(&mut headers, found);
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        left.sort();
        left
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_stays_on_it() {
        let head = [
            ("connection", "keep-alive, X-Mine"),
            ("connection", "x-other"),
            ("x-mine", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic eA=="),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("http2-settings", "AAMAAABkAAQAAP__"),
            ("accept", "*/*"),
            ("trailer", "x-sum"),
            ("x-kept", "1"),
        ];
        let kept = pairs(&[("accept", "*/*"), ("trailer", "x-sum"), ("x-kept", "1")]);
        assert_eq!(stripped(&head, strip_request), kept);
        assert_eq!(stripped(&head, strip_response), kept);
    }

    #[test]
    fn connection_can_t_name_what_the_message_needs() {
        let head = [("connection", "host, content-length, transfer-encoding"), ("content-length", "3"), ("host", "a")];
        assert_eq!(stripped(&head, strip_request), pairs(&[("content-length", "3"), ("host", "a")]));
    }

    #[test]
    fn only_the_answer_to_a_call_gets_its_trailers_named() {
        let trailer = |pairs: &[(&'static str, &'static str)]| {
            let mut headers: HeaderMap =
                pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect();
            name_trailers_of_call(&mut headers);
            headers.get(TRAILER).map(|names| names.to_str().unwrap().to_owned())
        };
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;a=b"] {
            assert!(trailer(&[("content-type", kind)]).unwrap().contains("grpc-status"), "{kind}");
        }
        for pairs in [
            &[][..],
            &[("content-type", "text/html")],
            &[("content-type", "application/grpc-web+proto")],
            &[("content-type", "application/grpc"), ("grpc-status", "0")],
        ] {
            assert_eq!(trailer(pairs), None, "{pairs:?}");
        }
        let own = [("content-type", "application/grpc"), ("trailer", "x-sum")];
        assert_eq!(trailer(&own).unwrap(), "x-sum");
    }

    #[test]
    fn te_passes_only_trailers() {
        let named = pairs(&[("connection", "te"), ("te", "trailers")]);
        assert_eq!(stripped(&[("te", "gzip, Trailers;q=1"), ("connection", "te")], strip_request), pairs(&[]));
        assert_eq!(stripped(&[("te", "gzip, Trailers"), ("connection", "te")], strip_request), named);
        assert_eq!(stripped(&[("te", "trailers")], strip_request), named);
        assert_eq!(stripped(&[("te", "deflate")], strip_request), pairs(&[]));
    }

    #[test]
    fn a_chunked_request_stays_chunked_and_an_answer_is_framed_anew() {
        let head = [("transfer-encoding", "Chunked")];
        assert_eq!(stripped(&head, strip_request), pairs(&[("transfer-encoding", "chunked")]));
        assert_eq!(stripped(&head, strip_response), pairs(&[]));
    }

    #[test]
    fn names_that_look_like_the_routers_to_a_cgi_are_removed() {
        let names = [
            "x_forwarded_for",
            "content_length",
            "transfer_encoding",
            "transfer.encoding",
            "host_",
            "connection_",
            "proxy_",
            "proxy",
            "x-forwarded_port",
            "x_forwarded_anything",
            "x.forwarded.host",
            "x-cutover_pool",
            "x_cutover_pool",
            "x_cutover-release",
            "x~cutover~release",
            "x-cutover-pool",
            "x-cutover-mode",
            "x-cutover-anything",
            "x_real-ip",
            "x-request_id",
        ];
        for name in names {
            assert_eq!(stripped(&[(name, "1"), ("my_own", "1")], strip_request), pairs(&[("my_own", "1")]), "{name}");
        }
        for name in [
            "x-forwarded-for",
            "x-forwarded-port",
            "x-real-ip",
            "x-request-id",
            "x",
            "x-",
            "xcutover_pool",
            "x-cut_over",
        ] {
            assert_eq!(stripped(&[(name, "1")], strip_request), pairs(&[(name, "1")]), "{name}");
        }
    }

    #[test]
    fn what_the_router_does_not_know_of_a_visitors_way_is_removed() {
        let head = [("x-forwarded-port", "1"), ("x-forwarded-prefix", "/x"), ("x-forwarded-for", "1"), ("x-mine", "1")];
        let left = stripped(&head, |headers, found| {
            assert!(found.forwarded);
            strip_forwarded(headers);
        });
        assert_eq!(left, pairs(&[("x-forwarded-for", "1"), ("x-mine", "1")]));
    }

    #[test]
    fn only_chunked_is_understood() {
        for (lines, only) in [
            (&["chunked"][..], true),
            (&["Chunked"], true),
            (&["gzip, chunked"], false),
            (&["gzip", "chunked"], false),
            (&["chunked, chunked"], false),
            (&["identity"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(is_only_chunked(&headers), only, "{lines:?}");
        }
    }

    #[test]
    fn a_request_id_is_short_and_visible() {
        for (id, kept) in [("a", true), ("", false), ("a b", false), ("ab-1_2/3", true)] {
            assert_eq!(is_request_id(&HeaderValue::from_static(id)), kept, "{id}");
        }
        assert!(is_request_id(&"x".repeat(128).parse().unwrap()));
        assert!(!is_request_id(&"x".repeat(129).parse().unwrap()));
    }

    /// A name as a CGI program is told it.
    fn in_cgi(name: &str) -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    }

    odd_input! {
        fn a_request_loses_what_is_of_its_connection_and_keeps_the_rest(
            fields in prop::collection::vec(
                (
                    "connection|te|keep-alive|expect|upgrade|proxy-[a-z]{1,3}|x[-_.](cutover|forwarded|real|request)[-_~](ip|id|pool|for)|host|accept|my_own|x-[ab]",
                    "((keep-alive|x-[ab]|host|te|trailers|Close|accept| )[, \t]{1,2}){0,3}",
                ),
                0..12,
            ),
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in &fields {
                headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            let before = headers.clone();
            let found = Found::in_head(&headers);
            strip_request(&mut headers, found);
            let all_of = |headers: &HeaderMap, name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            let named: Vec<String> =
                before.get_all(CONNECTION).iter().flat_map(tokens).map(str::to_ascii_lowercase).collect();
            let asked: Vec<String> = before.get_all(TE).iter().flat_map(tokens).map(str::to_ascii_lowercase).collect();
            for name in before.keys().map(HeaderName::as_str) {
                let is_named = named.iter().any(|it| it == name) && !matches!(name, "host" | "te");
                let read = in_cgi(name);
                let is_one_of = |names: &[&str]| names.contains(&read.as_str());
                let claims = read.starts_with("X_CUTOVER_")
                    || (read.starts_with("X_FORWARDED_") || is_one_of(&["X_REAL_IP", "X_REQUEST_ID"])) && !is_plain(name);
                let goes = is_named || claims || HOP_BY_HOP.iter().any(|hop| hop.as_str() == name);
                match name {
                    "te" | "connection" => {
                        let keeps = asked.iter().any(|token| token == "trailers");
                        prop_assert_eq!(headers.get(name).is_some(), keeps, "{}", name);
                    }
                    _ if goes => prop_assert!(!headers.contains_key(name), "{name} of {before:?}"),
                    _ => prop_assert_eq!(all_of(&headers, name), all_of(&before, name), "{}", name),
                }
            }
        }

        fn a_list_has_the_same_items_in_one_line_or_in_several(
            items in prop::collection::vec("[!-+.-~]{1,6}( [!-+.-~]{1,3})?", 0..6), space in "[ \t]{0,2},[ \t,]{0,3}",
        ) {
            let one = HeaderValue::from_str(&items.join(&space)).unwrap();
            prop_assert_eq!(tokens(&one).collect::<Vec<_>>(), items);
        }
    }
}
