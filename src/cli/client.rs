//! The client of the admin API.

use super::CliError;
use super::arguments::Global;
use super::output::plain;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, IF_MATCH};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// For an answer that needs no waiting.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// The environment's variable that holds the token.
const TOKEN: &str = "CUTOVER_TOKEN";

/// A client of one router.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    admin: String,
}

/// What the API answered, as it is.
pub(super) struct Answer {
    /// JSON, or nothing.
    pub(super) json: String,
    admin: String,
}

impl Answer {
    /// The answer as a type of the model.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, CliError> {
        serde_json::from_str(&self.json)
            .map_err(|error| CliError::NotUnderstood { admin: self.admin.clone(), reason: error.to_string() })
    }
}

/// The parts of an RFC 9457 problem document that are for people.
#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

impl Client {
    pub(super) fn new(global: &Global) -> Result<Self, CliError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token(global.token_file.as_deref())? {
            headers.insert(AUTHORIZATION, token);
        }
        let mut builder = reqwest::Client::builder()
            // The admin API is where it is said to be: never through a proxy of the environment.
            .no_proxy()
            // It has no TLS, so a machine without authorities will do.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .default_headers(headers)
            .connect_timeout(CONNECT_PATIENCE);
        let invalid = || CliError::AdminAddress(global.admin.clone());
        let base = if let Some(path) = global.admin.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(invalid());
            }
            builder = builder.unix_socket(Path::new(path));
            "http://localhost".to_owned()
        } else {
            http_base(&global.admin).ok_or_else(invalid)?
        };
        let http = builder.build().map_err(|error| CliError::Start(chain(&error)))?;
        Ok(Self { http, base, admin: global.admin.clone() })
    }

    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, CliError> {
        let request = self.http.get(self.url(path)).query(query).timeout(PATIENCE);
        self.answer(request).await
    }

    /// Sends a change; `wait` is how long the router itself may take over it.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Answer, CliError> {
        self.answer(self.change(method, path, body, wait)).await
    }

    /// Sends a change that is for this revision only: [`CliError::Moved`] if the service has another one by now.
    pub(super) async fn send_for(
        &self,
        revision: u64,
        method: Method,
        path: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Answer, CliError> {
        let request = self.change(method, path, body, wait);
        self.answer(request.header(IF_MATCH, format!("\"{revision}\""))).await
    }

    /// Where the router is, as it was named.
    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.base)
    }

    fn change(&self, method: Method, path: &str, body: &Value, wait: Duration) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).json(body).timeout(PATIENCE + wait)
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, CliError> {
        let unreachable =
            |error: reqwest::Error| CliError::Unreachable { admin: self.admin.clone(), reason: reason(&error) };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(refusal(&self.admin, status, &text));
        }
        let is_json = text.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        if !is_json {
            return Err(CliError::NotUnderstood { admin: self.admin.clone(), reason: "no JSON".to_owned() });
        }
        Ok(Answer { json: text, admin: self.admin.clone() })
    }
}

fn http_base(admin: &str) -> Option<String> {
    let url = if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    let url: reqwest::Url = url.parse().ok()?;
    let is_plain = url.scheme() == "http" && url.has_host() && url.query().is_none() && url.fragment().is_none();
    is_plain.then(|| url.as_str().trim_end_matches('/').to_owned())
}

fn token(file: Option<&Path>) -> Result<Option<HeaderValue>, CliError> {
    let token = match file {
        Some(file) => Some(
            std::fs::read_to_string(file)
                .map_err(|error| CliError::TokenFile { file: file.to_owned(), reason: error.to_string() })?,
        ),
        None => std::env::var(TOKEN).ok().filter(|token| !token.is_empty()),
    };
    let Some(token) = token else { return Ok(None) };
    if token.trim().is_empty() {
        return Err(CliError::Token);
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| CliError::Token)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// What an answer that is no success means.
fn refusal(admin: &str, status: StatusCode, text: &str) -> CliError {
    let problem = serde_json::from_str::<Problem>(text).ok();
    let sentence = problem.and_then(|problem| problem.detail.or(problem.title));
    let number = || format!("status {}", status.as_u16());
    let admin = admin.to_owned();
    match (status, sentence) {
        (StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT, sentence) => {
            CliError::Busy { admin, reason: plain(&sentence.unwrap_or_else(number)) }
        }
        (_, None) => CliError::NotUnderstood { admin, reason: number() },
        (StatusCode::UNAUTHORIZED, Some(sentence)) => {
            CliError::Refused(format!("{sentence} (name the token's file with --token-file, or set {TOKEN})"))
        }
        (StatusCode::PRECONDITION_FAILED, Some(sentence)) => CliError::Moved(sentence),
        (_, Some(sentence)) => CliError::Refused(sentence),
    }
}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() { "no answer in time".to_owned() } else { chain(error) }
}

/// The innermost cause: what the system said. The outer ones only say that a request failed.
fn chain(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::super::output::steers;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_admin_address_is_a_url_or_a_host_with_a_port() {
        assert_eq!(http_base("http://127.0.0.1:9900/").unwrap(), "http://127.0.0.1:9900");
        assert_eq!(http_base("127.0.0.1:9900").unwrap(), "http://127.0.0.1:9900");
        for bad in ["https://h:1", "", "http://", "ftp://h", "http://h:1/?a", "a b"] {
            assert_eq!(http_base(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_problem_document_becomes_its_sentence() {
        let error = |status: u16, text: &str| refusal("http://a", StatusCode::from_u16(status).unwrap(), text);
        let problem = r#"{"type": "about:blank", "title": "Conflict", "status": 409, "detail": "no rollout\u001b[2J"}"#;
        assert_eq!(error(409, problem).to_string(), r"no rollout\u{1b}[2J");
        assert_eq!(error(404, r#"{"title": "Not Found"}"#).to_string(), "Not Found");
        assert!(error(401, problem).to_string().contains("--token-file"));
        assert!(error(503, problem).may_pass() && error(502, "<html>").may_pass());
        let foreign = error(404, "<html>").to_string();
        assert!(foreign.contains("http://a answers in a way that is not understood (status 404)"), "{foreign}");
    }

    fn global(admin: String) -> Global {
        Global { admin, token_file: None, service: None, json: false }
    }

    /// A server that tells how it was asked.
    fn mirror() -> axum::Router {
        axum::Router::new().fallback(async |request: axum::extract::Request| {
            let header =
                |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
            axum::Json(serde_json::json!({
                "method": request.method().as_str(),
                "uri": request.uri().to_string(),
                "host": header("host"),
                "type": header("content-type"),
                "token": header("authorization"),
            }))
        })
    }

    #[tokio::test]
    async fn requests_reach_a_tcp_address_with_their_query() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, mirror()).into_future());
        let client = Client::new(&global(format!("http://{address}"))).unwrap();
        let query = [("host", "h".to_owned()), ("header", "A: b&c".to_owned()), ("header", "D: e".to_owned())];
        let seen: Value = client.get("/services", &query).await.unwrap().read().unwrap();
        assert_eq!(seen["uri"], "/api/v1/services?host=h&header=A%3A+b%26c&header=D%3A+e");
        assert_eq!(seen["host"], address.to_string());
        server.abort();
    }

    #[tokio::test]
    async fn changes_reach_a_unix_socket_as_json_with_the_token() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, file) = (folder.path().join("admin.sock"), folder.path().join("token"));
        std::fs::write(&file, "secret\n").unwrap();
        let server = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(axum::serve(server, mirror()).into_future());
        let global = Global { token_file: Some(file), ..global(format!("unix:{}", socket.display())) };
        let client = Client::new(&global).unwrap();
        let seen: Value = client.send(Method::POST, "/x", &Value::Null, Duration::ZERO).await.unwrap().read().unwrap();
        assert_eq!((&seen["method"], &seen["uri"]), (&"POST".into(), &"/api/v1/x".into()));
        assert_eq!((&seen["type"], &seen["token"]), (&"application/json".into(), &"Bearer secret".into()));
        assert_eq!(seen["host"], "localhost");
        server.abort();
    }

    #[tokio::test]
    async fn nobody_there_is_said_with_what_to_do() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = Client::new(&global(admin.clone())).unwrap().get("/services", &[]).await.err().unwrap();
        let text = error.to_string();
        assert!(text.starts_with(&format!("no router answers at {admin} (Connection refused")), "{text}");
        assert!(text.contains("start it with `cutover run`") && error.may_pass());
    }

    odd_input! {
        fn an_admin_address_is_where_it_says(
            text in prop_oneof!["(http://)?[a-z0-9.-]{1,9}(:[0-9]{0,5})?(/[a-z]{0,3}){0,2}", "[a-z:/?#@.\\[\\]0-9]{0,14}", ".{0,8}"],
        ) {
            if let Some(base) = http_base(&text) {
                let url: reqwest::Url = format!("{base}/api/v1/services").parse().unwrap();
                prop_assert!(url.scheme() == "http" && url.path().ends_with("/api/v1/services"), "{text} is {base}");
                prop_assert!(url.query().is_none() && url.fragment().is_none() && !base.ends_with('/'), "{text} is {base}");
            }
        }

        fn no_refusal_steers_a_terminal(
            status in 300..600_u16, detail in ".{0,20}|[\u{0}-\u{1f}\u{7f}-\u{9f}\u{202a}-\u{202e}a]{1,9}", is_problem in any::<bool>(),
        ) {
            let text = if is_problem { serde_json::json!({ "detail": detail }).to_string() } else { detail };
            let told = refusal("http://a", StatusCode::from_u16(status).unwrap(), &text).to_string();
            prop_assert!(!told.contains(steers), "{told:?}");
        }
    }
}
