//! The head of an answer, as HTTP/2 has it.

use crate::proxy::body::AnswerBody;
use crate::proxy::headers::X_REQUEST_ID;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;

/// What belongs to a connection by HTTP/1.1 only (RFC 9113 §8.2.2).
static OF_HTTP1: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Makes a head what it is by HTTP/2; whether no body comes behind it.
pub(super) fn complete(answer: &mut Response<AnswerBody>, is_head: bool, date: HeaderValue) -> bool {
    let (status, length) = (answer.status(), answer.body().size_hint().exact());
    let ends = answer.body().is_end_stream();
    let headers = answer.headers_mut();
    if let Some(id) = headers.get_mut(X_REQUEST_ID) {
        // No other answer has it: h2 must not remember it for the next ones, and look through all that it remembers.
        id.set_sensitive(true);
    }
    // Hardly any has one: a target's are gone by now.
    if headers.keys().any(|name| OF_HTTP1.contains(name)) {
        for name in &OF_HTTP1 {
            headers.remove(name);
        }
    }
    if status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: it has none, and clients take an answer that gives one for malformed.
        headers.remove(CONTENT_LENGTH);
    }
    let never_has_one = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = length.filter(|length| !(never_has_one || is_head && *length == 0)) {
        headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    headers.entry(DATE).or_insert(date);
    is_head || never_has_one || ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_has_a_body_has_its_length_only_where_it_may() {
        for (status, length) in [(204, None), (304, Some("5"))] {
            let answer = Response::builder().status(status).header(CONTENT_LENGTH, "5").header(CONNECTION, "close");
            let mut answer = answer.body(AnswerBody::Tunnel).unwrap();
            let ends = complete(&mut answer, false, HeaderValue::from_static("now"));
            let told = answer.headers().get(CONTENT_LENGTH).map(|length| length.to_str().unwrap());
            assert!(told == length && ends, "{status}: {:?}", answer.headers());
            assert!(!answer.headers().contains_key(CONNECTION));
        }
    }
}
