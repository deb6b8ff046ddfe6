//! What is asked: extractors that answer with a problem document where a request can't be used.

use super::problem::{Kind, Problem};
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// The `{service}` of a path, as it was sent.
#[derive(Debug)]
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::invalid(format!("the path can't be used: {error}")))?;
        Ok(Self(name))
    }
}

/// The parameters of a query, in their order.
#[derive(Debug)]
pub(super) struct Parameters(pub(super) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(pairs) = Query::try_from_uri(&parts.uri)
            .map_err(|error| Problem::invalid(format!("the query can't be used: {error}")))?;
        Ok(Self(pairs))
    }
}

/// The revision that a change is for, as `If-Match: "7"` says it; `*` and nothing at all stand for any.
#[derive(Debug)]
pub(super) struct IfMatch(pub(super) Option<u64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut given = parts.headers.get_all(IF_MATCH).iter();
        match (given.next(), given.next()) {
            (None, _) => Ok(Self(None)),
            (Some(only), None) => revision(only).map(Self),
            (Some(_), Some(_)) => Err(Problem::invalid("If-Match is given more than once")),
        }
    }
}

fn revision(value: &HeaderValue) -> Result<Option<u64>, Problem> {
    let invalid =
        || Problem::invalid("If-Match takes one revision as it is in ETag, such as \"7\" with its quotes, or *");
    match value.to_str().map_err(|_| invalid())?.trim() {
        "*" => Ok(None),
        tag => {
            let digits = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(invalid)?;
            // `parse` would take a sign.
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).map(Some).ok_or_else(invalid)
        }
    }
}

/// The JSON body of a change. Every change takes one, if only to need the content type: see [`super::access`].
#[derive(Debug)]
pub(super) struct Change<T>(pub(super) T);

/// A hundred steps of a rollout have a few kilobytes.
const LARGEST_BODY: usize = 64 * 1024;
/// A body comes right behind its head.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Change<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                Kind::NotJson,
                "send `Content-Type: application/json`, also where there is no body",
            ));
        }
        let body = read(request.into_body()).await?;
        let text = if body.is_empty() { b"{}" } else { body.as_slice() };
        serde_json::from_slice(text)
            .map(Self)
            .map_err(|error| Problem::invalid(format!("the body can't be used: {error}; /openapi.json describes it")))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let only = given.next().filter(|_| given.next().is_none());
    let essence = only.and_then(|value| value.to_str().ok()).and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

async fn read(body: Body) -> Result<Vec<u8>, Problem> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes().into()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(Kind::TooLarge, format!("a body has at most {LARGEST_BODY} bytes")))
        }
        Ok(Err(error)) => Err(Problem::invalid(format!("the body can't be read: {error}"))),
        Err(_) => Err(Problem::new(Kind::TooSlow, format!("a body has {} s to arrive", BODY_TIMEOUT.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        pool: Option<String>,
    }

    async fn sent(content_type: &[&str], body: &str) -> Result<Option<String>, (u16, String)> {
        let mut request = Request::new(axum::body::Body::from(body.to_owned()));
        for value in content_type {
            request.headers_mut().append(CONTENT_TYPE, value.parse().unwrap());
        }
        match Change::<Body>::from_request(request, &()).await {
            Ok(Change(body)) => Ok(body.pool),
            Err(problem) => {
                let detail = problem.detail.clone();
                Err((problem.into_response().status().as_u16(), detail))
            }
        }
    }

    #[tokio::test]
    async fn a_change_is_json_and_says_so() {
        let body = r#"{"pool":"server1"}"#;
        for good in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(sent(&[good], body).await, Ok(Some("server1".to_owned())), "{good}");
        }
        assert_eq!(sent(&["application/json"], "").await, Ok(None));
        for bad in [&[][..], &["text/plain"], &["application/jsonp"], &["application/json", "text/plain"]] {
            assert_eq!(sent(bad, body).await.unwrap_err().0, 415, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_can_not_be_used_says_what_and_where() {
        let json = &["application/json"];
        for (body, status, sentence) in [
            ("{", 400, "line 1 column"),
            (r#"{"pol":"server1"}"#, 400, "unknown field `pol`, expected `pool`"),
            (r#"{"pool":1}"#, 400, "expected a string"),
            (&"x".repeat(LARGEST_BODY + 1), 413, "65536 bytes"),
        ] {
            let told = sent(json, body).await.unwrap_err();
            assert!(told.0 == status && told.1.contains(sentence), "{told:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let silent = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
        let problem = read(axum::body::Body::from_stream(silent)).await.unwrap_err();
        assert_eq!(problem.kind, Kind::TooSlow);
    }

    #[test]
    fn a_revision_is_quoted_as_in_the_tag() {
        let of = |text: &str| revision(&text.parse().unwrap()).map_err(|problem| problem.kind);
        assert_eq!(of("\"7\""), Ok(Some(7)));
        assert_eq!(of("*"), Ok(None));
        for bad in ["7", "W/\"7\"", "\"7\", \"8\"", "\"\"", "\"+7\"", "\"x\"", "\"99999999999999999999\""] {
            assert_eq!(of(bad), Err(Kind::Invalid), "{bad}");
        }
    }

    odd_input! {
        fn every_revision_is_read_as_its_tag_says_it(number in any::<u64>()) {
            let tag = HeaderValue::from_str(&format!("\"{number}\"")).unwrap();
            prop_assert_eq!(revision(&tag).map_err(|problem| problem.kind), Ok(Some(number)));
        }

        fn nothing_but_a_quoted_number_is_a_revision(
            text in prop_oneof!["(W/)?\"?[+0-9]{0,21}\"?", "[\"0-9,* +W/-]{0,8}", "[ -~\u{80}-\u{ff}]{0,6}"],
        ) {
            let read = revision(&HeaderValue::from_bytes(text.as_bytes()).unwrap());
            // A header that holds more than ASCII says nothing here.
            let text = if text.is_ascii() { text.trim() } else { "" };
            let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
            let number = digits.chars().all(|c| c.is_ascii_digit()).then(|| digits.parse::<u128>().ok()).flatten();
            match read {
                Ok(None) => prop_assert_eq!(text, "*"),
                Ok(Some(revision)) => prop_assert_eq!(Some(u128::from(revision)), number),
                Err(_) => prop_assert!(text != "*" && number.is_none_or(|it| it > u128::from(u64::MAX)), "{text}"),
            }
        }

        fn json_is_named_whatever_its_parameters(
            parameters in "( ?; ?[a-z]{1,4}=[a-z0-9-]{0,5}){0,2}", other in "(application/(json[a-z+-]|xml)|text/json|json)",
        ) {
            let of = |text: String| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, text.parse().unwrap())]));
            let (json, another) = (format!("application/JSON{parameters}"), format!("{other}{parameters}"));
            prop_assert!(of(json) && !of(another));
        }
    }
}
