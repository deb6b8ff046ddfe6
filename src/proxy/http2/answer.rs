//! The head of an answer, as HTTP/2 has it.

use crate::proxy::body::AnswerBody;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body;

/// What belongs to a connection by HTTP/1.1 only (RFC 9113 §8.2.2).
const OF_HTTP1: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The head, and the body if there is one to send.
pub(super) fn into_http2(
    answer: Response<AnswerBody>,
    is_head: bool,
    date: HeaderValue,
) -> (Response<()>, Option<AnswerBody>) {
    let (mut head, body) = answer.into_parts();
    for name in OF_HTTP1 {
        head.headers.remove(name);
    }
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110 §8.6: it has none, and clients take an answer that gives one for malformed.
        head.headers.remove(CONTENT_LENGTH);
    }
    let never_has_one = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let length = body.size_hint().exact().filter(|length| !(never_has_one || is_head && *length == 0));
    if let Some(length) = length {
        head.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
    head.headers.entry(DATE).or_insert(date);
    let ends = is_head || never_has_one || body.is_end_stream();
    (Response::from_parts(head, ()), (!ends).then_some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_never_has_a_body_has_its_length_only_where_it_may() {
        for (status, length) in [(204, None), (304, Some("5"))] {
            let answer = Response::builder().status(status).header(CONTENT_LENGTH, "5").header(CONNECTION, "close");
            let answer = answer.body(AnswerBody::Tunnel).unwrap();
            let (head, body) = into_http2(answer, false, HeaderValue::from_static("now"));
            let told = head.headers().get(CONTENT_LENGTH).map(|length| length.to_str().unwrap());
            assert!(told == length && body.is_none(), "{status}: {head:?}");
            assert!(!head.headers().contains_key(CONNECTION));
        }
    }
}
