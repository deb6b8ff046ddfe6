//! The head of an answer by HTTP/1.1 (RFC 9112 §4).

use super::content::Content;
use bytes::{Buf, Bytes};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use std::mem::MaybeUninit;

/// The longest head of an answer.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// What is read again whatever comes: it is told early that something is no HTTP.
const SHORT: usize = 256;

/// The most fields in it.
const MAX_FIELDS: usize = 100;

/// An answer whose head has come.
pub(super) struct Answer {
    pub(super) response: Response<()>,
    pub(super) content: Content,
    /// Whether another request may follow on the connection.
    pub(super) keeps: bool,
}

/// What was sent is no head of an answer, or too long for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Reads a head from the beginning of these bytes, and takes it off them; interim answers before it are passed over
/// (RFC 9110 §15.2), but not a 101. `None` when it has not come whole. Its fields are put into `fields`, which is empty;
/// so its memory is used again.
pub(super) fn read(input: &mut Bytes, method: &Method, fields: &mut HeaderMap) -> Result<Option<Answer>, Malformed> {
    while !input.is_empty() {
        let Some((length, answer)) = read_one(input, method, fields)? else {
            return if input.len() > MAX_HEAD { Err(Malformed) } else { Ok(None) };
        };
        if length > MAX_HEAD {
            return Err(Malformed);
        }
        input.advance(length);
        let status = answer.response.status();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(answer));
        }
        *fields = answer.response.into_parts().0.headers;
        fields.clear();
    }
    Ok(None)
}

/// Whether a head that was not whole before can be so now: a line has ended. A long one that comes byte by byte is not read
/// once for each.
pub(super) fn is_worth_reading(input: &[u8], known: usize) -> bool {
    let new = input.get(known..).unwrap_or_default();
    known < SHORT || input.len() > MAX_HEAD || memchr::memchr(b'\n', new).is_some()
}

fn read_one(input: &Bytes, method: &Method, fields: &mut HeaderMap) -> Result<Option<(usize, Answer)>, Malformed> {
    let mut space = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut head, input, &mut space);
    let Status::Complete(length) = parsed.map_err(|_| Malformed)? else { return Ok(None) };
    let mut response = Response::new(());
    *response.status_mut() = head.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    *response.version_mut() = if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    if let Some(reason) = head.reason.filter(|reason| Some(*reason) != response.status().canonical_reason()) {
        let reason = ReasonPhrase::try_from(input.slice_ref(reason.as_bytes())).map_err(|_| Malformed)?;
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    std::mem::swap(headers, fields);
    headers.reserve(head.headers.len());
    for field in &*head.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        let value = HeaderValue::from_maybe_shared(input.slice_ref(field.value)).map_err(|_| Malformed)?;
        headers.append(name, value);
    }
    let content = content(method, &response)?;
    let keeps = content != Content::UntilClose && keeps(&response);
    Ok(Some((length, Answer { response, content, keeps })))
}

/// How the body of an answer is framed (RFC 9112 §6.3).
fn content(method: &Method, response: &Response<()>) -> Result<Content, Malformed> {
    let (status, headers) = (response.status(), response.headers());
    let never = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if never || *method == Method::HEAD {
        return Ok(Content::NONE);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        // Both together, another coding than one `chunked`, or one in HTTP/1.0, leave in doubt where the answer ends.
        (Some(coding), None)
            if codings.next().is_none()
                && coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
                && response.version() == Version::HTTP_11 =>
        {
            Ok(Content::chunked())
        }
        (None, Some(length)) if lengths.next().is_none() => one_length(length).map(Content::Length).ok_or(Malformed),
        (Some(_), _) | (None, Some(_)) => Err(Malformed),
        (None, None) => Ok(Content::UntilClose),
    }
}

/// A length that is a number (RFC 9110 §8.6).
fn one_length(length: &HeaderValue) -> Option<u64> {
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    // No body is that long.
    digits.parse().ok().filter(|length| *length <= u64::MAX / 2)
}

/// Whether the target keeps the connection open (RFC 9112 §9.3). Who asks to close it once means it.
fn keeps(response: &Response<()>) -> bool {
    let said = |option: &str| {
        let mut lines = response.headers().get_all(CONNECTION).iter();
        lines.any(|line| crate::proxy::headers::tokens(line).any(|token| token.eq_ignore_ascii_case(option)))
    };
    if !response.headers().contains_key(CONNECTION) {
        return response.version() == Version::HTTP_11;
    }
    !said("close") && (response.version() == Version::HTTP_11 || said("keep-alive"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_all(text: &[u8], method: &Method) -> Result<Option<(Answer, Bytes)>, Malformed> {
        let mut input = Bytes::copy_from_slice(text);
        Ok(read(&mut input, method, &mut HeaderMap::new())?.map(|answer| (answer, input)))
    }

    fn head(line: &str, fields: &str) -> String {
        format!("HTTP/1.{line}\r\n{fields}\r\n")
    }

    #[test]
    fn a_head_says_where_its_answer_ends() {
        let length = Content::Length;
        for (method, line, fields, content) in [
            (Method::GET, "1 200 OK", "content-length: 5\r\n", length(5)),
            (Method::GET, "0 200 OK", "content-length: 0\r\n", length(0)),
            (Method::GET, "1 200 OK", "transfer-encoding: Chunked\r\n", Content::chunked()),
            (Method::GET, "1 200 OK", "", Content::UntilClose),
            (Method::HEAD, "1 200 OK", "content-length: 5\r\n", Content::NONE),
            (Method::HEAD, "1 200 OK", "transfer-encoding: chunked\r\n", Content::NONE),
            (Method::GET, "1 204 No Content", "", Content::NONE),
            (Method::GET, "1 304 Not Modified", "content-length: 5\r\n", Content::NONE),
            (Method::GET, "1 101 Switching Protocols", "upgrade: x\r\n", Content::NONE),
        ] {
            let (answer, left) = read_all((head(line, fields) + "left").as_bytes(), &method).unwrap().unwrap();
            assert_eq!((answer.content, &*left), (content, &b"left"[..]), "{method} {line} {fields}");
        }
    }

    #[test]
    fn where_an_answer_ends_is_never_guessed() {
        for (line, fields) in [
            ("1 200 OK", "content-length: 5\r\ncontent-length: 5\r\n"),
            ("1 200 OK", "content-length: 5, 5\r\n"),
            ("1 200 OK", "content-length: +5\r\n"),
            ("1 200 OK", "content-length: \r\n"),
            ("1 200 OK", "content-length: 18446744073709551615\r\n"),
            ("1 200 OK", "content-length: 99999999999999999999999\r\n"),
            ("1 200 OK", "content-length: 5\r\ntransfer-encoding: chunked\r\n"),
            ("1 200 OK", "transfer-encoding: gzip, chunked\r\n"),
            ("1 200 OK", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
            ("1 200 OK", "transfer-encoding: identity\r\n"),
            ("0 200 OK", "transfer-encoding: chunked\r\n"),
            ("1 200 OK", "a b: c\r\n"),
            ("1 200 OK", "a: b\r\n c: d\r\n"),
            ("1 20 OK", ""),
            ("2 200 OK", ""),
        ] {
            assert!(read_all(head(line, fields).as_bytes(), &Method::GET).is_err(), "{line} {fields}");
        }
    }

    #[test]
    fn what_was_said_before_the_answer_is_passed_over() {
        let text =
            head("1 100 Continue", "") + &head("1 103 Early Hints", "link: a\r\n") + &head("1 200 OK", "x: y\r\n");
        let (answer, _) = read_all(text.as_bytes(), &Method::GET).unwrap().unwrap();
        assert_eq!((answer.response.status(), answer.response.headers().len()), (StatusCode::OK, 1));
        assert!(read_all(head("1 100 Continue", "").as_bytes(), &Method::GET).unwrap().is_none());
    }

    #[test]
    fn a_connection_is_kept_by_what_its_answer_says() {
        let length = "content-length: 0\r\n";
        for (line, fields, keeps) in [
            ("1 200 OK", "", true),
            ("1 200 OK", "connection: close\r\n", false),
            ("1 200 OK", "connection: keep-alive\r\nconnection: x, Close\r\n", false),
            ("1 200 OK", "connection: x\r\n", true),
            ("0 200 OK", "", false),
            ("0 200 OK", "connection: Keep-Alive\r\n", true),
            ("0 200 OK", "connection: close, keep-alive\r\n", false),
        ] {
            let text = head(line, &(length.to_owned() + fields));
            assert_eq!(read_all(text.as_bytes(), &Method::GET).unwrap().unwrap().0.keeps, keeps, "{line} {fields}");
        }
        let endless = read_all(head("1 200 OK", "").as_bytes(), &Method::GET).unwrap().unwrap().0;
        assert!(!endless.keeps);
    }

    #[test]
    fn a_head_has_its_bounds() {
        let many = |count| head("1 200 OK", &"a: b\r\n".repeat(count));
        assert!(read_all(many(MAX_FIELDS).as_bytes(), &Method::GET).unwrap().is_some());
        assert!(read_all(many(MAX_FIELDS + 1).as_bytes(), &Method::GET).is_err());
        let long = |length| head("1 200 OK", &format!("a: {}\r\n", "x".repeat(length)));
        let room = MAX_HEAD - long(0).len();
        assert!(read_all(long(room).as_bytes(), &Method::GET).unwrap().is_some());
        assert!(read_all(long(room + 1).as_bytes(), &Method::GET).is_err());
        assert!(read_all(&long(2 * MAX_HEAD).as_bytes()[..=MAX_HEAD], &Method::GET).is_err());
    }

    odd_input! {
        fn a_head_is_the_same_however_much_of_it_comes_at_once(
            noise in prop::collection::vec(any::<u8>(), 0..40),
            cut in 0_usize..200,
            status in 100_u16..=999,
        ) {
            let mut text = format!("HTTP/1.1 {status} odd\r\ncontent-length: 3\r\nx: ").into_bytes();
            text.extend_from_slice(&noise);
            text.extend_from_slice(b"\r\n\r\nabc");
            let (mut whole, mut fields) = (Bytes::copy_from_slice(&text), HeaderMap::new());
            let at_once = read(&mut whole, &Method::GET, &mut fields);
            let mut part = Bytes::copy_from_slice(&text[..cut.min(text.len())]);
            let mut fields = HeaderMap::new();
            if let Ok(None) = read(&mut part, &Method::GET, &mut fields) {
                let left = text.len() - (cut.min(text.len()) - part.len());
                let mut again = Bytes::copy_from_slice(&text[text.len() - left.min(text.len())..]);
                let in_parts = read(&mut again, &Method::GET, &mut fields);
                let of = |answer: Result<Option<Answer>, Malformed>| answer.map(|answer| answer.map(|answer| {
                    (answer.response.status(), answer.response.headers().clone(), answer.content)
                }));
                prop_assert_eq!(of(at_once), of(in_parts));
                prop_assert_eq!(whole, again);
            }
        }
    }
}
