//! Requests that change nothing.

use super::metrics;
use super::problem::{Kind, Problem};
use super::request::{Named, Parameters};
use super::routes::Api;
use crate::control::ExplainRequest;
use crate::control::ports::HistoryQuestion;
use crate::model::view::{EvidenceView, ExplainView, HistoriesView, ServicesView};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

/// A value as JSON with a revision as its tag.
pub(super) fn tagged(revision: u64, value: &impl Serialize) -> Response {
    let mut response = Json(value).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

pub(super) async fn services(State(api): State<Api>) -> Json<ServicesView> {
    Json(ServicesView { services: api.handle.services() })
}

pub(super) async fn service(State(api): State<Api>, Named(name): Named) -> Result<Response, Problem> {
    let service = api.handle.service(&name)?;
    Ok(tagged(service.revision, &service))
}

pub(super) async fn evidence(State(api): State<Api>, Named(name): Named) -> Result<Json<EvidenceView>, Problem> {
    Ok(Json(api.handle.evidence(&name)?))
}

/// Entries where the question names no number: what fits a screen or two.
const USUAL_HISTORY: usize = 100;
/// As many as are kept.
const LONGEST_HISTORY: usize = 10_000;

pub(super) async fn history(
    State(api): State<Api>,
    Named(name): Named,
    Parameters(parameters): Parameters,
) -> Result<Json<HistoriesView>, Problem> {
    let history = api.handle.history(&name, entries(&parameters)?).await?;
    Ok(Json(HistoriesView { history }))
}

/// `limit=…&id=…&record=true`
fn entries(parameters: &[(String, String)]) -> Result<HistoryQuestion, Problem> {
    let mut question = HistoryQuestion::newest(USUAL_HISTORY);
    for (name, value) in parameters {
        match name.as_str() {
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=LONGEST_HISTORY).contains(number));
                question.limit = number
                    .ok_or_else(|| Problem::invalid(format!("`limit` is a number from 1 to {LONGEST_HISTORY}")))?;
            }
            "id" => {
                let id = value.parse().map_err(|_| Problem::invalid("`id` is the number of an entry"))?;
                question.id = Some(id);
            }
            "record" => {
                let wanted = value.parse().map_err(|_| Problem::invalid("`record` is true or false"))?;
                question.record = wanted;
            }
            other => {
                let known = "`limit`, `id` and `record`";
                return Err(Problem::invalid(format!("there is no parameter {other:?}; there are {known}")));
            }
        }
    }
    Ok(question)
}

pub(super) async fn explain(
    State(api): State<Api>,
    Named(name): Named,
    Parameters(parameters): Parameters,
) -> Result<Json<ExplainView>, Problem> {
    Ok(Json(api.handle.explain(&name, &asked(&parameters)?)?))
}

/// `host=…&path=…&method=…&header=NAME: VALUE&header=…&client=…`
fn asked(parameters: &[(String, String)]) -> Result<ExplainRequest, Problem> {
    let mut host = None;
    let mut asked = ExplainRequest {
        host: String::new(),
        path: "/".to_owned(),
        method: Method::GET,
        headers: HeaderMap::new(),
        client: None,
    };
    for (name, value) in parameters {
        match name.as_str() {
            "host" => host = Some(value.clone()),
            "path" if value.starts_with('/') => asked.path.clone_from(value),
            "path" => return Err(Problem::invalid("`path` begins with a slash")),
            "method" => {
                asked.method = value.parse().map_err(|_| Problem::invalid(format!("{value:?} is not a method")))?;
            }
            "header" => {
                let (name, value) = header(value)?;
                asked.headers.append(name, value);
            }
            "client" => {
                let client = value.parse().map_err(|_| Problem::invalid(format!("{value:?} is not an IP address")))?;
                asked.client = Some(client);
            }
            other => {
                let known = "`host`, `path`, `method`, `header` and `client`";
                return Err(Problem::invalid(format!("there is no parameter {other:?}; there are {known}")));
            }
        }
    }
    asked.host = host.ok_or_else(|| Problem::invalid("`host` is missing: the host that the request would ask for"))?;
    Ok(asked)
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let pair = text
        .split_once(':')
        .and_then(|(name, value)| Some((name.trim().parse().ok()?, HeaderValue::from_str(value.trim()).ok()?)));
    pair.ok_or_else(|| Problem::invalid(format!("{text:?} is not a header; write it as \"Name: value\"")))
}

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let text = metrics::text(&api.handle).map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The description of this API.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

pub(super) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// Whether the process lives.
pub(super) async fn livez() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "live": true }))
}

/// Whether requests can be routed, and what an operator should know.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let readiness = api.handle.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": readiness.ready, "warnings": readiness.warnings });
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_history_is_asked_for_in_bounds() {
        let of = |given: &[(&str, &str)]| entries(&pairs(given)).ok();
        assert_eq!(of(&[]), Some(HistoryQuestion::newest(USUAL_HISTORY)));
        assert_eq!(of(&[("limit", "7")]), Some(HistoryQuestion::newest(7)));
        let one = HistoryQuestion { id: Some(12), limit: 1, record: true };
        assert_eq!(of(&[("id", "12"), ("record", "true"), ("limit", "1")]), Some(one));
        for bad in [
            &[("limit", "0")][..],
            &[("limit", "10001")],
            &[("limit", "x")],
            &[("limt", "1")],
            &[("id", "-1")],
            &[("record", "yes")],
        ] {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_request_to_explain_is_read_from_the_query() {
        let given = pairs(&[
            ("host", "shop.example.com"),
            ("path", "/cart?x=1"),
            ("method", "POST"),
            ("header", "Cookie: cutover=abc"),
            ("header", "X-A:b:c"),
            ("client", "10.0.0.1"),
        ]);
        let asked = asked(&given).unwrap();
        assert_eq!((asked.host.as_str(), asked.path.as_str()), ("shop.example.com", "/cart?x=1"));
        assert_eq!(asked.method, Method::POST);
        assert_eq!(
            (&asked.headers["cookie"], &asked.headers["x-a"]),
            (&"cutover=abc".parse().unwrap(), &"b:c".parse().unwrap())
        );
        assert_eq!(asked.client, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_request_that_can_not_be_explained_says_why() {
        for (given, sentence) in [
            (&[][..], "`host` is missing"),
            (&[("host", "a"), ("path", "x")], "begins with a slash"),
            (&[("host", "a"), ("method", "G T")], "not a method"),
            (&[("host", "a"), ("header", "no colon")], "not a header"),
            (&[("host", "a"), ("client", "here")], "not an IP address"),
            (&[("host", "a"), ("hots", "b")], "there is no parameter \"hots\""),
        ] {
            let told = asked(&pairs(given)).err().unwrap().detail;
            assert!(told.contains(sentence), "{told}");
        }
    }

    odd_input! {
        fn a_request_to_explain_is_what_was_asked(
            host in "[a-z.:]{0,9}", path in "/[!-~]{0,9}", method in "[A-Z]{1,7}", client in any::<std::net::IpAddr>(),
            headers in prop::collection::vec(("[a-zA-Z-]{1,6}", "[!-~]?[ -~]{0,6}"), 0..4),
        ) {
            let mut given = vec![("host".to_owned(), host.clone()), ("path".to_owned(), path.clone())];
            given.extend([("method".to_owned(), method.clone()), ("client".to_owned(), client.to_string())]);
            given.extend(headers.iter().map(|(name, value)| ("header".to_owned(), format!("{name} :{value}"))));
            let asked = asked(&given).map_err(|problem| problem.detail).unwrap();
            prop_assert_eq!((asked.host, asked.path, asked.client), (host, path, Some(client)));
            prop_assert_eq!(asked.method.as_str(), &method);
            let mut expected = HeaderMap::new();
            for (name, value) in headers {
                expected.append(name.parse::<HeaderName>().unwrap(), value.trim().parse().unwrap());
            }
            prop_assert_eq!(asked.headers, expected);
        }

        fn no_question_is_too_odd(
            given in prop::collection::vec(("(limit|id|record|host|path|method|header|client|.{0,4})", "[0-9]{0,6}|true|/.{0,4}|.{0,8}"), 0..4),
        ) {
            if let Ok(question) = entries(&given) {
                prop_assert!((1..=LONGEST_HISTORY).contains(&question.limit));
            }
            if let Ok(asked) = asked(&given) {
                prop_assert!(asked.path.starts_with('/'));
            }
        }
    }
}
