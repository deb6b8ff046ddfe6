//! Which requests would change something: unsafe methods, and those that only look safe and ask to be treated as another
//! method, as frameworks let forms do.
//!
//! Frameworks differ in what they take for such a wish, so whatever some framework might read as one counts.

use http::{HeaderMap, Method};

/// What makes a request one that would change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Its method.
    Method,
    /// A header that asks for another method.
    Header,
    /// A query field that asks for another method.
    Field,
}

/// The methods that change nothing (RFC 9110 §9.2.1).
const SAFE: [&str; 4] = ["GET", "HEAD", "OPTIONS", "TRACE"];

/// Headers that ask for another method.
const HEADERS: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];

/// Why a request would change something, if it would.
#[must_use]
pub fn asks_to_write(method: &Method, headers: &HeaderMap, query: Option<&str>) -> Option<Write> {
    if !method.is_safe() {
        return Some(Write::Method);
    }
    let asks = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        is_override_header(name.as_str()) && value.as_bytes().split(|byte| *byte == b',').any(is_unsafe)
    };
    if headers.iter().any(asks) {
        return Some(Write::Header);
    }
    fields(query?).any(|field| is_method_field(field) && is_unsafe(&decoded(value_of(field)))).then_some(Write::Field)
}

/// Whether a header asks for another method. CGI-like interfaces can't tell `-` from `_`, and some of them from whatever
/// is no letter or digit.
#[must_use]
pub fn is_override_header(name: &str) -> bool {
    let same = |wanted: &str| {
        name.len() == wanted.len()
            && name
                .bytes()
                .zip(wanted.bytes())
                .all(|(byte, wanted)| byte == wanted || (wanted == b'-' && !byte.is_ascii_alphanumeric()))
    };
    HEADERS.iter().any(|wanted| same(wanted))
}

/// A query without the fields that ask for another method; `None` where it has none.
#[must_use]
pub fn without_method_fields(query: &str) -> Option<String> {
    if !fields(query).any(is_method_field) {
        return None;
    }
    let others = query.split_inclusive(SEPARATORS).filter(|field| !is_method_field(field.trim_end_matches(SEPARATORS)));
    let mut left: String = others.collect();
    left.truncate(left.trim_end_matches(SEPARATORS).len());
    Some(left)
}

/// Some frameworks still take `;` for a separator.
const SEPARATORS: [char; 2] = ['&', ';'];

fn fields(query: &str) -> impl Iterator<Item = &str> {
    query.split(SEPARATORS)
}

fn value_of(field: &str) -> &str {
    field.split_once('=').map_or("", |(_, value)| value)
}

/// Whether the value asks for a method that is not safe. An empty one asks for nothing.
fn is_unsafe(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    !value.is_empty() && !SAFE.iter().any(|safe| value.eq_ignore_ascii_case(safe.as_bytes()))
}

/// Whether a field's name is `_method`, however nested or written: `_method`, `_METHOD[]`, `form[_method]`, `%5Fmethod`.
/// `payment_method` and `payment__method` are not.
fn is_method_field(field: &str) -> bool {
    const NAME: &[u8] = b"_method";
    let name = field.split('=').next().unwrap_or_default();
    // All that is no letter, digit or underscore may be a boundary to some framework.
    let plain = |byte: u8| if byte.is_ascii_alphanumeric() || byte == b'_' { byte.to_ascii_lowercase() } else { b'.' };
    let name: Vec<u8> = decoded(name).into_iter().map(plain).collect();
    let ends = |at: usize| name.get(at).is_none_or(|byte| *byte == b'.');
    let begins = |at: usize| at == 0 || name[at - 1] == b'.';
    let named =
        name.windows(NAME.len()).enumerate().any(|(at, window)| window == NAME && begins(at) && ends(at + NAME.len()));
    // PHP reads a leading `.` or `[` as `_`, behind blanks that it leaves out.
    let blanks = name.iter().take_while(|byte| **byte == b'.').count().saturating_sub(1);
    named || (name[blanks..].starts_with(b".method") && ends(blanks + NAME.len()))
}

/// Percent-decodes once, `+` as a space; what is no code stays as it is.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code = digit(at + 1).zip(digit(at + 2)).filter(|_| *byte == b'%');
        if let Some(code) = code.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
            decoded.push(code);
            at += 3;
        } else {
            decoded.push(if *byte == b'+' { b' ' } else { *byte });
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn of_query(query: &str) -> Option<Write> {
        asks_to_write(&Method::GET, &HeaderMap::new(), Some(query))
    }

    #[test]
    fn safe_methods_pass_and_all_others_are_writes() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            assert_eq!(asks_to_write(&method.parse().unwrap(), &HeaderMap::new(), None), None, "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "BREW", "get"] {
            assert_eq!(
                asks_to_write(&method.parse().unwrap(), &HeaderMap::new(), None),
                Some(Write::Method),
                "{method}"
            );
        }
    }

    #[test]
    fn a_header_that_asks_for_an_unsafe_method_is_a_write() {
        for (name, value, expected) in [
            ("x-http-method-override", "DELETE", true),
            ("X-HTTP-Method", "put", true),
            ("x-method-override", " Patch ", true),
            ("x_http_method_override", "DELETE", true),
            ("x-http_method-override", "BREW", true),
            ("x.http.method~override", "DELETE", true),
            ("x-http-method-override", "GET, DELETE", true),
            ("x-http-method-override", "head", false),
            ("x-http-method-override", "", false),
            ("x-http-methods", "DELETE", false),
            ("x-method", "DELETE", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("accept", HeaderValue::from_static("*/*"));
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value));
            let expected = expected.then_some(Write::Header);
            assert_eq!(asks_to_write(&Method::GET, &headers, Some("a=b")), expected, "{name}: {value}");
        }
        let mut twice = HeaderMap::new();
        twice.append("x-http-method", HeaderValue::from_static("GET"));
        twice.append("x-http-method", HeaderValue::from_bytes(b"\xffDELETE").unwrap());
        assert_eq!(asks_to_write(&Method::HEAD, &twice, None), Some(Write::Header), "the second line counts too");
    }

    #[test]
    fn a_query_field_that_asks_for_an_unsafe_method_is_a_write() {
        for query in [
            "_method=DELETE",
            "_method=delete",
            "a=1&_method=PUT&b=2",
            "a=1;_method=PUT",
            "_METHOD=put",
            "%5Fmethod=put",
            "_%6d%65thod=%64elete",
            "_method=GET&_method=DELETE",
            "_method[]=DELETE",
            "_method%5B0%5D=DELETE",
            "form[_method]=DELETE",
            "form._method=DELETE",
            "+_method=DELETE",
            "%00_method=DELETE",
            "_method%00x=DELETE",
            "\u{a0}_method=DELETE",
            ".method=DELETE",
            "[method=DELETE",
            "+.method=DELETE",
            "%20%20[method=DELETE",
            "_method=+DELETE+",
            "_method=BREW",
            "_method=GET=1",
            "?_method=DELETE",
        ] {
            assert_eq!(of_query(query), Some(Write::Field), "{query}");
        }
    }

    #[test]
    fn fields_that_only_look_like_it_pass() {
        for query in [
            "",
            "&&;=",
            "_method",
            "_method=",
            "_method=get",
            "_method=%20HEAD",
            "payment_method=card",
            "payment__method=card",
            "payment__method__exact=card",
            "payment[method]=card",
            "payment.method=card",
            "method=DELETE",
            "_methods=DELETE",
            "__method=DELETE",
            "a=_method%3DDELETE",
            "_method%3DDELETE",
            "%255Fmethod=DELETE",
            "%_method%",
            "%5",
        ] {
            assert_eq!(of_query(query), None, "{query}");
        }
    }

    #[test]
    fn the_field_is_taken_out_and_the_others_stay_as_they_are() {
        for (query, left) in [
            ("_method=DELETE", Some("")),
            ("a=1&_method=DELETE&b=%20+", Some("a=1&b=%20+")),
            ("a=1&_method=DELETE", Some("a=1")),
            ("_method=DELETE;a=1;;b", Some("a=1;;b")),
            ("form[_method]=a&_method&_METHOD=GET&c", Some("c")),
            ("_me&_method=x&thod=DELETE", Some("_me&thod=DELETE")),
            ("a=1&b=2", None),
            ("", None),
        ] {
            assert_eq!(without_method_fields(query).as_deref(), left, "{query}");
        }
    }

    /// `_method`, with any of its characters encoded or in another case.
    fn disguised() -> impl Strategy<Value = String> {
        proptest::collection::vec(0..3_u8, 7).prop_map(|ways| {
            "_method".chars().zip(ways).fold(String::new(), |text, (character, way)| match way {
                0 => format!("{text}{character}"),
                1 => format!("{text}{}", character.to_ascii_uppercase()),
                _ => format!("{text}%{:02x}", u32::from(character)),
            })
        })
    }

    odd_input! {
        fn no_disguise_and_no_company_hides_the_field(
            before in "[a-z=&;%+\\[\\]]{0,12}", name in disguised(), value in "[A-Z]{5,9}", after in "[a-z=&;%+]{0,12}",
        ) {
            prop_assume!(value != "TRACE" && value != "OPTIONS");
            let query = format!("{before}&{name}={value}&{after}");
            prop_assert_eq!(of_query(&query), Some(Write::Field));
            let left = without_method_fields(&query).unwrap();
            prop_assert_eq!(of_query(&left), None);
            prop_assert_eq!(without_method_fields(&left), None);
        }

        fn nothing_a_visitor_sends_is_too_odd(query in ".{0,60}") {
            let left = without_method_fields(&query);
            prop_assert!(left.is_none_or(|left| left.len() <= query.len() && of_query(&left).is_none()));
        }
    }
}
