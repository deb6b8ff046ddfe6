//! Visitors without TLS are sent to where it is spoken, if the operator wants that.

use super::answers::{Wanted, refusal};
use super::body::AnswerBody;
use super::client::Client;
use super::record::Record;
use super::visitor::Visitor;
use crate::model::{Happening, host_of};
use bytes::Bytes;
use http::header::LOCATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, StatusCode};

/// The port of `https://` that goes without saying.
const HTTPS_PORT: u16 = 443;

/// Where those who give out certificates look, without TLS, for the proof that a host is its owner's (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The port that this request is sent to, if it is.
#[inline]
pub(super) fn port(visitor: &Visitor, client: Client, head: &Parts) -> Option<u16> {
    // A proxy before the router may have spoken TLS with the visitor already.
    visitor.peer.redirect.filter(|_| !client.secure && !head.uri.path().starts_with(CHALLENGES))
}

/// Says where the same is to be had by TLS. 308: the method and the body stay what they are.
pub(super) fn response(
    mut record: Record,
    wanted: &Wanted,
    head: &Parts,
    host: &HeaderValue,
    port: u16,
) -> Response<AnswerBody> {
    let location = location(host, head.uri.path_and_query(), port).and_then(|text| HeaderValue::from_str(&text).ok());
    let Some(location) = location else { return refusal(record, wanted, Happening::BadRequest(400)) };
    let status = StatusCode::PERMANENT_REDIRECT;
    record.answers(Happening::ByRouter(status.as_u16()), status.as_u16());
    let mut response = Response::new(AnswerBody::whole(Bytes::new(), record));
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}

/// The same place by TLS; none of what names no host.
fn location(host: &HeaderValue, target: Option<&PathAndQuery>, port: u16) -> Option<String> {
    let host = host_of(host.to_str().ok()?)?;
    let port = if port == HTTPS_PORT { String::new() } else { format!(":{port}") };
    // `OPTIONS *` asks about the host as a whole, whose URL has no path (RFC 9112 §3.2.4).
    let target = target.map(PathAndQuery::as_str).filter(|target| target.starts_with('/')).unwrap_or_default();
    Some(format!("https://{host}{port}{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_host_the_path_and_the_query_stay_what_they_are() {
        for (host, target, port, place) in [
            ("shop.example.com", "/", 443, "https://shop.example.com/"),
            ("shop.example.com:80", "/a%2Fb//c?x=%20y&&z", 443, "https://shop.example.com/a%2Fb//c?x=%20y&&z"),
            ("shop.example.com:8080", "/a", 8443, "https://shop.example.com:8443/a"),
            ("192.0.2.1:80", "/a", 443, "https://192.0.2.1/a"),
            ("[2001:db8::1]:80", "/a", 8443, "https://[2001:db8::1]:8443/a"),
            ("[2001:db8::1]", "//evil.example/", 443, "https://[2001:db8::1]//evil.example/"),
            ("shop.example.com", "*", 443, "https://shop.example.com"),
        ] {
            let target = PathAndQuery::try_from(target).unwrap();
            let given = location(&HeaderValue::from_str(host).unwrap(), Some(&target), port);
            assert_eq!(given.as_deref(), Some(place), "{host}");
        }
    }

    #[test]
    fn what_names_no_host_leads_nowhere() {
        for host in [
            "", ":80", "a:b", "a:80:90", "a:123456", "a:70000", "a:+80", "[::1", "[x]", "[::1]x", "[::1]:x", "a/b",
            "a b", "a@b",
        ] {
            let given = location(&HeaderValue::from_str(host).unwrap(), None, 443);
            assert_eq!(given, None, "{host}");
        }
    }

    odd_input! {
        fn a_redirect_never_leaves_the_host(
            host in prop_oneof!["[a-z]{1,4}(\\.[a-z]{1,4}){0,2}(:[0-9]{0,6})?", "\\[[0-9a-f:.]{0,9}\\](:[0-9]{0,3})?", "[!-~]{0,9}"],
            path in "/[/\\\\a-z@:?.%#-]{0,10}", port in 1..=u16::MAX,
        ) {
            let target = PathAndQuery::try_from(path.as_str()).ok();
            if let Some(location) = location(&HeaderValue::from_str(&host).unwrap(), target.as_ref(), port) {
                let rest = location.strip_prefix("https://").unwrap();
                let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
                let parsed: http::uri::Authority = authority.parse().unwrap();
                prop_assert_eq!(parsed.port_u16().unwrap_or(HTTPS_PORT), port);
                prop_assert!(host.starts_with(parsed.host()) && !authority.contains(['@', '\\', '?', '#']), "{location}");
                if host.starts_with(|first: char| first.is_ascii_lowercase()) && host.bytes().all(|byte| !byte.is_ascii_digit()) {
                    // What is no host name to a browser leads nowhere.
                    let opened = location.parse::<reqwest::Url>().ok();
                    let opened = opened.as_ref().and_then(|opened| opened.host_str());
                    prop_assert!(opened.is_none_or(|host| host.eq_ignore_ascii_case(parsed.host())), "{location}");
                }
            }
        }
    }
}
