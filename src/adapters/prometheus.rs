//! One number from a Prometheus server, by its HTTP API.
//!
//! Whatever is not exactly one finite number is a fault with a sentence for people; the caller makes of it
//! `source-down`, which neither passes nor fails a candidate. No sentence holds a secret.

mod answer;
mod client;

use self::client::{Clients, Login};
use super::webhook::innermost;
use crate::config;
use crate::control::ports::{MetricsFault, MetricsSource};
use crate::model::Timestamp;
use reqwest::{Response, Url};
use std::future::Future;
use std::pin::Pin;

/// The configured server can't be asked.
#[derive(Debug, thiserror::Error)]
#[error("[prometheus] url: {0:?} is no URL of a Prometheus server, such as \"http://127.0.0.1:9090\"")]
pub struct InvalidSource(String);

/// A Prometheus server.
#[derive(Debug)]
pub struct PrometheusSource {
    clients: Clients,
    login: Login,
    query: Url,
}

/// An answer with one number has a few hundred bytes; the rest is room for labels and warnings.
const LARGEST_ANSWER: usize = 1 << 20;

impl PrometheusSource {
    /// Makes a source; neither the server nor the files are asked for yet.
    ///
    /// # Errors
    /// When the URL is not `http://…` or `https://…`.
    pub fn new(server: &config::Prometheus) -> Result<Self, InvalidSource> {
        let invalid = || InvalidSource(server.url.clone());
        let mut query = Url::parse(&server.url).map_err(|_| invalid())?;
        if !matches!(query.scheme(), "http" | "https") || query.query().is_some() || query.fragment().is_some() {
            return Err(invalid());
        }
        let path = format!("{}/api/v1/query", query.path().trim_end_matches('/'));
        query.set_path(&path);
        Ok(Self { clients: Clients::new(server), login: Login::new(&server.login), query })
    }

    async fn ask(&self, query: &str, at: Timestamp) -> Result<f64, MetricsFault> {
        let (status, body) = self.exchange(query, at).await.map_err(MetricsFault::Unanswered)?;
        answer::number(status, &body)
    }

    async fn exchange(&self, query: &str, at: Timestamp) -> Result<(http::StatusCode, Vec<u8>), String> {
        let at = at.as_millisecond();
        let time = format!("{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000));
        let client = self.clients.current().await?;
        let request = client.get(self.query.clone()).query(&[("query", query), ("time", &time)]);
        let response = self.login.of(request).await?.send().await.map_err(|error| failure(&error))?;
        Ok((response.status(), read(response).await?))
    }
}

impl MetricsSource for PrometheusSource {
    fn query<'q>(
        &'q self,
        query: &'q str,
        at: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<f64, MetricsFault>> + Send + 'q>> {
        Box::pin(self.ask(query, at))
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err("Prometheus answered more than 1 MiB; the query must give one number".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The sentence of a failed exchange. The URL stays out of it: it may hold a password.
fn failure(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "Prometheus did not answer in time".to_owned();
    }
    let cause = innermost(error);
    if error.is_connect() {
        format!("Prometheus can't be reached: {cause}")
    } else {
        format!("the answer of Prometheus can't be read: {cause}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn source(url: String, timeout: u64) -> PrometheusSource {
        let timeout = crate::model::Period::from_millis(timeout);
        PrometheusSource::new(&config::Prometheus::at(url, timeout)).unwrap()
    }

    fn noon() -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_250).unwrap()
    }

    /// A server that gives one answer; what it was asked.
    async fn asked(answer: String) -> (Result<f64, MetricsFault>, String) {
        asked_as(config::PrometheusLogin::None, answer).await
    }

    async fn asked_as(login: config::PrometheusLogin, answer: String) -> (Result<f64, MetricsFault>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/prom/", listener.local_addr().unwrap());
        let timeout = crate::model::Period::from_secs(5);
        let headers = vec![("x-scope-orgid".parse().unwrap(), "shop".parse().unwrap())];
        let server = config::Prometheus { login, headers, ..config::Prometheus::at(url, timeout) };
        let source = PrometheusSource::new(&server).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            // The client may have had enough before the end.
            let _ = stream.write_all(answer.as_bytes()).await;
            String::from_utf8(head[..read].to_vec()).unwrap()
        });
        let value = source.query("sum(up) > 0", noon()).await;
        (value, server.await.unwrap())
    }

    async fn answered(status: &str, body: &str) -> Result<f64, MetricsFault> {
        asked(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await.0
    }

    #[tokio::test]
    async fn the_query_is_asked_at_the_given_moment_and_its_number_returned() {
        let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0.25"]}}"#;
        let (value, head) = asked(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        assert_eq!(value, Ok(0.25));
        let first = head.lines().next().unwrap();
        assert_eq!(first, "GET /prom/api/v1/query?query=sum%28up%29+%3E+0&time=1700000000.250 HTTP/1.1");
    }

    #[tokio::test]
    async fn a_fault_of_the_query_is_told_in_the_words_of_prometheus() {
        let body = r#"{"status":"error","errorType":"bad_data","error":"1:3: parse error: unexpected end"}"#;
        let told = answered("400 Bad Request", body).await.unwrap_err();
        assert!(matches!(told, MetricsFault::Query(_)), "{told:?}");
        let told = told.to_string();
        assert!(told.contains("parse error: unexpected end"), "{told}");
    }

    #[tokio::test]
    async fn other_answers_are_sentences() {
        for (status, body, sentence) in [
            ("302 Found", "", "HTTP 302"),
            ("503 Service Unavailable", "busy", "HTTP 503"),
            ("200 OK", "<html>", "not that of a Prometheus server"),
        ] {
            let told = answered(status, body).await.unwrap_err().to_string();
            assert!(told.contains(sentence), "{told}");
        }
    }

    #[tokio::test]
    async fn too_large_an_answer_is_given_up() {
        let body = "x".repeat(LARGEST_ANSWER + 1);
        assert!(answered("200 OK", &body).await.unwrap_err().to_string().contains("1 MiB"));
    }

    #[tokio::test]
    async fn a_cut_off_answer_is_told() {
        let (value, _) = asked("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned()).await;
        assert!(value.unwrap_err().to_string().contains("can't be read"));
    }

    #[tokio::test]
    async fn a_server_that_is_silent_or_not_there_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let silent = source(url.clone(), 50).query("up", noon()).await.unwrap_err().to_string();
        assert_eq!(silent, "Prometheus did not answer in time");
        drop(listener);
        let gone = source(url, 5000).query("up", noon()).await.unwrap_err().to_string();
        assert!(gone.starts_with("Prometheus can't be reached: "), "{gone}");
    }

    #[tokio::test]
    async fn the_router_says_who_it_is_with_what_the_files_hold_at_that_moment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let (bearer, basic) = (config::PrometheusLogin::Bearer(file.clone()), |username: &str| {
            config::PrometheusLogin::Basic { username: username.to_owned(), password_file: file.clone() }
        });
        let head = async |login| {
            let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned();
            let (told, head) = asked_as(login, answer).await;
            let told = told.unwrap_err().to_string();
            assert!(told.contains("HTTP 401") && !told.contains("s3cret"), "{told}");
            head.to_ascii_lowercase()
        };
        std::fs::write(&file, "s3cret\n").unwrap();
        let asked = head(bearer.clone()).await;
        assert!(
            asked.contains("authorization: bearer s3cret\r\n") && asked.contains("x-scope-orgid: shop\r\n"),
            "{asked}"
        );
        std::fs::write(&file, "renewed").unwrap();
        assert!(head(bearer).await.contains("authorization: bearer renewed\r\n"));
        // `me:renewed`
        assert!(head(basic("me")).await.contains("authorization: basic bwu6cmvuzxdlza==\r\n"));
    }

    #[tokio::test]
    async fn a_secret_that_can_not_be_used_is_told_by_its_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let login = config::PrometheusLogin::Bearer(file.clone());
        let timeout = crate::model::Period::from_secs(5);
        let server = config::Prometheus { login, ..config::Prometheus::at("http://127.0.0.1:1".to_owned(), timeout) };
        let source = PrometheusSource::new(&server).unwrap();
        for (content, sentence) in
            [(None, "can't be read"), (Some(" \n"), "is empty"), (Some("s3\ncret"), "more than visible")]
        {
            if let Some(content) = content {
                std::fs::write(&file, content).unwrap();
            }
            let told = source.query("up", noon()).await.unwrap_err().to_string();
            assert!(told.contains(sentence) && told.contains("token") && !told.contains("cret"), "{told}");
        }
    }

    #[tokio::test]
    async fn certificates_that_are_none_are_told_and_read_again_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let timeout = crate::model::Period::from_secs(5);
        let at = config::Prometheus::at("https://127.0.0.1:1".to_owned(), timeout);
        let source = PrometheusSource::new(&config::Prometheus { ca_file: Some(file.clone()), ..at }).unwrap();
        let missing = source.query("up", noon()).await.unwrap_err().to_string();
        assert!(missing.contains("ca.pem can't be read"), "{missing}");
        std::fs::write(&file, "no certificate").unwrap();
        let junk = source.query("up", noon()).await.unwrap_err().to_string();
        assert!(junk.contains("ca.pem holds no certificate"), "{junk}");
    }

    #[test]
    fn only_an_http_url_is_a_source() {
        let timeout = crate::model::Period::from_secs(1);
        for url in ["ftp://prom", "prom:9090", "", "http://", "http://prom/?x=1"] {
            assert!(PrometheusSource::new(&config::Prometheus::at(url.to_owned(), timeout)).is_err(), "{url}");
        }
    }
}
