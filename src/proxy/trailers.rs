//! Which fields may come behind a body.

use super::headers::{is_claim, reads_as};
use crate::routing::is_override_header;
use http::HeaderMap;

/// What frames a message, routes it, proves who sends it, says how to read its content or whether to keep it has to stand
/// before it (RFC 9110 §6.5.1): a program that merges trailers into the head would read a second one.
const NEVER: [&str; 39] = [
    "accept-encoding",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "clear-site-data",
    "connection",
    "cookie",
    "date",
    "early-data",
    "expect",
    "expires",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "last-modified",
    "location",
    "max-forwards",
    "origin",
    "pragma",
    "range",
    "referer",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-http-method-override",
    "x-real-ip",
    "x-request-id",
];

/// Nor what begins so.
const NEVER_BEGINS: [&str; 7] = ["x-forwarded-", "x-cutover-", "content-", "proxy-", "if-", "sec-", "access-control-"];

/// Removes the fields that have no place in trailers, whoever sends them.
pub(super) fn strip(trailers: &mut HeaderMap) {
    let barred: Vec<_> = trailers.keys().filter(|name| !may_be(name.as_str())).cloned().collect();
    for name in barred {
        trailers.remove(name);
    }
}

fn may_be(name: &str) -> bool {
    let begins = NEVER_BEGINS.iter().any(|beginning| reads_as(name, beginning));
    let steers = is_claim(name) || is_override_header(name);
    !begins && !steers && !NEVER.iter().any(|never| name.len() == never.len() && reads_as(name, never))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn trailers_can_t_say_what_belongs_into_a_head() {
        for name in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "cookie",
            "set-cookie",
            "content-type",
            "cache-control",
            "x-forwarded-for",
            "x_forwarded_for",
            "content_length",
            "x-cutover-pool",
            "if-match",
            "te",
            "host_",
            "proxy",
            "x-http-method-override",
            "x-http-method",
            "x_method_override",
        ] {
            assert!(!may_be(name), "{name}");
        }
        for name in ["grpc-status", "grpc-message", "x-checksum", "digest", "etag", "server-timing", "terse"] {
            assert!(may_be(name), "{name}");
        }
    }

    #[test]
    fn the_others_stay() {
        let mut trailers = HeaderMap::new();
        for name in ["grpc-status", "content-length", "x-sum", "host"] {
            trailers.append(name, "1".parse().unwrap());
        }
        strip(&mut trailers);
        let left: Vec<_> = trailers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(left, ["grpc-status", "x-sum"]);
    }

    odd_input! {
        fn no_spelling_of_a_barred_name_may_be_a_trailer(
            name in prop::sample::select(NEVER.to_vec()), beginning in prop::sample::select(NEVER_BEGINS.to_vec()),
            rest in "[a-z]{0,6}", dashes in prop::collection::vec("[-_.~!]", 8),
        ) {
            for name in [name.to_owned(), format!("{beginning}{rest}")] {
                let mut dashes = dashes.iter();
                let spelled: String = name.split_inclusive('-').fold(String::new(), |text, part| match part.strip_suffix('-') {
                    Some(word) => text + word + dashes.next().map_or("-", String::as_str),
                    None => text + part,
                });
                prop_assert!(!may_be(&spelled), "{spelled}");
            }
        }

        fn what_is_no_barred_name_stays(name in "(x-sum|grpc-[a-z]{1,8}|server-timing|e?tag|y[a-z-]{0,8})") {
            prop_assert!(may_be(&name), "{name}");
        }
    }
}
