//! The head of a request by HTTP/2. h2 has refused by now what is malformed in itself (RFC 9113 §8.2 and §8.3): names in
//! upper case, fields of a connection, pseudo-headers that are unknown, missing, repeated or late.

use crate::proxy::framing::{MAX_FIELDS, MAX_TARGET};
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};

/// Makes a head what it would have been by HTTP/1.1.
pub(super) fn complete(request: &mut Request<RecvStream>) {
    let has_body = !request.body().is_end_stream();
    let headers = request.headers_mut();
    join_cookies(headers);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (lengths.next().cloned(), lengths.next()) {
        // Without a length the body's end must be seen otherwise.
        (None, _) if has_body => drop(headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"))),
        // h2 lets several pass that are the same number.
        (Some(length), Some(_)) => drop(headers.insert(CONTENT_LENGTH, length)),
        (Some(_) | None, _) => {}
    }
}

/// RFC 9113 §8.2.3: a client may split its cookies for better compression, and no other protocol knows that.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if let (Some(first), Some(second)) = (cookies.next(), cookies.next()) {
        let mut joined = first.as_bytes().to_vec();
        for cookie in std::iter::once(second).chain(cookies) {
            joined.extend_from_slice(b"; ");
            joined.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
            headers.insert(COOKIE, joined);
        }
    }
}

/// Checks what h2 does not. Fails with the status for the visitor.
pub(in crate::proxy) fn fit(head: &Parts) -> Result<(), u16> {
    let path = head.uri.path_and_query().map_or("", |path| path.as_str());
    if path.len() > MAX_TARGET {
        return Err(414);
    }
    if head.headers.len() > MAX_FIELDS {
        return Err(431);
    }
    let asterisk = path == "*" && head.method == Method::OPTIONS;
    if !(path.starts_with('/') || asterisk || head.method == Method::CONNECT) {
        return Err(400);
    }
    // h2 takes an empty one for one of a kind that it does not know.
    if head.uri.scheme_str().is_some_and(str::is_empty) {
        return Err(400);
    }
    // h2 takes it for a zero.
    if head.headers.get(CONTENT_LENGTH).is_some_and(HeaderValue::is_empty) {
        return Err(400);
    }
    if let Some(authority) = head.uri.authority() {
        // RFC 9113 §8.3.1: no user information; and `host` must not name another.
        let authority = authority.as_str();
        let mut hosts = head.headers.get_all(HOST).iter();
        let same = hosts.all(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
        if authority.contains('@') || !same {
            return Err(400);
        }
    } else if !head.headers.contains_key(HOST) {
        return Err(400);
    }
    // RFC 9113 §8.2.1: no value begins or ends with white space.
    let padded = |value: &HeaderValue| value.as_bytes().trim_ascii().len() != value.len();
    if head.headers.values().any(padded) { Err(400) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Version;

    fn parts(method: &str, uri: &str, headers: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::builder().version(Version::HTTP_2).method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_head_that_names_two_hosts_or_no_path_is_refused() {
        for (method, uri, headers, expected) in [
            ("GET", "http://a.example/", &[][..], Ok(())),
            ("GET", "/", &[("host", "a.example")], Ok(())),
            ("GET", "/", &[], Err(400)),
            ("GET", "http://a.example/", &[("host", "A.example")], Ok(())),
            ("GET", "http://a.example/", &[("host", "b.example")], Err(400)),
            ("GET", "http://a.example/", &[("host", "a.example"), ("host", "b.example")], Err(400)),
            ("GET", "http://u:p@a.example/", &[], Err(400)),
            ("OPTIONS", "*", &[("host", "a.example")], Ok(())),
            ("GET", "*", &[("host", "a.example")], Err(400)),
            ("GET", "http://a.example/", &[("x-a", " b")], Err(400)),
            ("GET", "http://a.example/", &[("x-a", "b\t")], Err(400)),
            ("GET", "http://a.example/", &[("x-a", "b c")], Ok(())),
            ("POST", "http://a.example/", &[("content-length", "")], Err(400)),
            ("POST", "http://a.example/", &[("content-length", "05")], Ok(())),
            ("CONNECT", "a.example:443", &[], Ok(())),
        ] {
            assert_eq!(fit(&parts(method, uri, headers)), expected, "{method} {uri} {headers:?}");
        }
    }

    #[test]
    fn too_many_fields_and_too_long_targets_are_refused() {
        let mut many = parts("GET", "http://a.example/", &[]);
        for number in 0..=MAX_FIELDS {
            many.headers.append(http::HeaderName::try_from(format!("x-{number}")).unwrap(), HeaderValue::from(1));
        }
        assert_eq!(fit(&many), Err(431));
        assert_eq!(fit(&parts("GET", &format!("http://a/{}", "x".repeat(MAX_TARGET)), &[])), Err(414));
        assert_eq!(fit(&parts("GET", &format!("http://a/{}", "x".repeat(MAX_TARGET - 1)), &[])), Ok(()));
    }

    #[test]
    fn cookies_that_were_split_are_one_again() {
        let mut head = parts("GET", "/", &[("cookie", "a=1"), ("accept", "x"), ("cookie", "b=2"), ("cookie", "c=3")]);
        join_cookies(&mut head.headers);
        let cookies: Vec<_> = head.headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"]);
    }
}
