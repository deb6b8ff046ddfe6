//! The release that a target says it runs, in its answer to a health check. Whatever can't be understood is not said:
//! it fails no check.

use crate::config::ReleaseSource;
use crate::model::ReleaseId;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use serde_json::Value;

/// The most of a body that is read. What says whether a site is up is short.
const LARGEST_BODY: usize = 64 * 1024;

/// The release that an answer names at its place, if it names one.
pub(super) async fn release<B: Body<Data = Bytes>>(answer: Response<B>, source: &ReleaseSource) -> Option<ReleaseId>
where
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match source {
        ReleaseSource::Header(name) => in_headers(answer.headers(), name),
        ReleaseSource::Json(field) => {
            let body = Limited::new(answer.into_body(), LARGEST_BODY).collect().await.ok()?;
            in_json(&body.to_bytes(), field)
        }
    }
}

/// A header that is given twice says two things, and so nothing.
fn in_headers(headers: &HeaderMap, name: &HeaderName) -> Option<ReleaseId> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    only.to_str().ok()?.trim().parse().ok()
}

/// `a.b` is the field `b` of the object `a`, unless there is a field that is called `a.b`.
fn in_json(body: &[u8], field: &str) -> Option<ReleaseId> {
    let document: Value = serde_json::from_slice(body).ok()?;
    let walked = || field.split('.').try_fold(&document, |value, key| value.get(key));
    match document.get(field).or_else(walked)? {
        Value::String(text) => text.trim().parse().ok(),
        // A build number.
        Value::Number(number) => number.to_string().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;
    use proptest::prelude::*;

    async fn said(body: &str, headers: &[(&str, &str)], source: &ReleaseSource) -> Option<String> {
        let mut answer = Response::new(Full::new(Bytes::from(body.to_owned())));
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            answer.headers_mut().append(name, value.parse().unwrap());
        }
        release(answer, source).await.map(|release| release.to_string())
    }

    #[tokio::test]
    async fn a_header_says_it_once() {
        let source = ReleaseSource::Header("x-release".parse().unwrap());
        assert_eq!(said("", &[("x-release", " 2026.11.2 ")], &source).await.as_deref(), Some("2026.11.2"));
        for headers in
            [&[][..], &[("x-release", "")], &[("x-release", "a b")], &[("x-release", "1"), ("x-release", "2")]]
        {
            assert_eq!(said("2026.11.2", headers, &source).await, None, "{headers:?}");
        }
    }

    #[tokio::test]
    async fn a_field_of_json_says_it_however_deep() {
        let field = |field: &str| ReleaseSource::Json(field.to_owned());
        for (body, place, expected) in [
            (r#"{"version": "v2"}"#, "version", Some("v2")),
            (r#"{"build": {"commit": "3f0c9a"}}"#, "build.commit", Some("3f0c9a")),
            (r#"{"build.commit": "1"}"#, "build.commit", Some("1")),
            (r#"{"build": 17}"#, "build", Some("17")),
            (r#"{"build": null}"#, "build", None),
            (r#"{"build": ["a"]}"#, "build", None),
            (r#"{"version": "two words"}"#, "version", None),
            ("v2", "version", None),
            ("", "version", None),
        ] {
            assert_eq!(said(body, &[], &field(place)).await.as_deref(), expected, "{body} {place}");
        }
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_says_nothing() {
        let body = format!(r#"{{"version": "v2", "rest": "{}"}}"#, "x".repeat(LARGEST_BODY));
        assert_eq!(said(&body, &[], &ReleaseSource::Json("version".to_owned())).await, None);
    }

    odd_input! {
        fn a_release_is_found_where_it_is_said_to_be(
            keys in prop::collection::vec("[a-z]{1,3}", 1..4), release in "[A-Za-z0-9._+:@/-]{1,20}", space in "[ \\n]{0,2}",
            beside in "[a-z]{4,6}",
        ) {
            let said = Value::from(format!("{space}{release}{space}"));
            let nested = keys.iter().rev().fold(said.clone(), |inner, key| serde_json::json!({ (key): inner, (&beside): 1 }));
            let field = keys.join(".");
            let found = |document: &Value, field: &str| in_json(document.to_string().as_bytes(), field).map(String::from);
            prop_assert_eq!(found(&nested, &field), Some(release.clone()));
            prop_assert_eq!(found(&serde_json::json!({ (&field): said }), &field), Some(release));
            prop_assert_eq!(found(&nested, &format!("{field}.{beside}")), None);
        }

        fn no_body_is_too_odd(pieces in prop::collection::vec("[{}\\[\\]:,]|\"a\"|\"a\\.b\"|1|-1e9|null|true|.", 0..12), field in "a?\\.?b?") {
            let _ = in_json(pieces.concat().as_bytes(), &field);
        }
    }
}
