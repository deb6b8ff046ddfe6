//! The assets of the operators' own pages, to one visitor: as a static file server gives them.

use super::answers::{Wanted, refusal};
use super::body::AnswerBody;
use super::record::Record;
use crate::model::Happening;
use crate::routing::{Asked, Asset, Table};
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

/// Answers a request for a path that is the router's own.
pub(super) fn response(mut record: Record, wanted: &Wanted, table: &Table, asked: &Asked) -> Response<AnswerBody> {
    let Some((route, asset)) = table.asset(asked.host, asked.path) else {
        return refusal(record, wanted, Happening::NoService);
    };
    if let Some(line) = record.line() {
        line.service = Some(route.service.clone());
    }
    if !matches!(wanted.method, Method::GET | Method::HEAD) {
        let mut refused = refusal(record, wanted, Happening::BadRequest(405));
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let (status, content) = if is_known(asked.headers, asset) {
        (StatusCode::NOT_MODIFIED, Bytes::new())
    } else {
        (StatusCode::OK, asset.content.clone())
    };
    record.answers(Happening::ByRouter(status.as_u16()), status.as_u16());
    let mut response = Response::new(AnswerBody::whole(content, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::OK {
        headers.insert(CONTENT_TYPE, asset.content_type.clone());
    }
    headers.insert(ETAG, asset.etag.clone());
    // It may be kept, and is asked for again each time: the file may have changed.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Whether the visitor has it already (RFC 9110 §13.1.2).
fn is_known(headers: &HeaderMap, asset: &Asset) -> bool {
    let known = headers.get_all(IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    known
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == asset.etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    odd_input! {
        fn a_visitor_has_what_one_of_its_tags_names(
            lines in prop::collection::vec(prop::collection::vec("(W/)?\"(a1|b2|)\"|\\*|[!-+.-~]{0,4}", 0..4), 0..3), space in "[ \t]{0,2}",
        ) {
            let asset = Asset {
                content: Bytes::new(),
                content_type: HeaderValue::from_static("text/css"),
                etag: HeaderValue::from_static("\"a1\""),
            };
            let mut headers = HeaderMap::new();
            for line in &lines {
                headers.append(IF_NONE_MATCH, line.join(&format!("{space},{space}")).parse().unwrap());
            }
            let names_it = |tag: &String| matches!(tag.as_str(), "\"a1\"" | "W/\"a1\"" | "*");
            prop_assert_eq!(is_known(&headers, &asset), lines.iter().flatten().any(names_it), "{:?}", lines);
        }
    }
}
