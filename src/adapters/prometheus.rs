//! One number from a Prometheus server, by its HTTP API.
//!
//! Whatever is not exactly one finite number is an error with a sentence for people; the caller makes of it
//! `source-down`, which neither passes nor fails a candidate.

mod answer;

use crate::config;
use crate::control::ports::MetricsSource;
use crate::model::Timestamp;
use reqwest::{Client, Response, Url};
use std::future::Future;
use std::pin::Pin;

/// The configured server can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum InvalidSource {
    /// The URL is none, or of a kind that this version can't ask.
    #[error("[prometheus] url: {0:?} is not an http:// URL of a Prometheus server, such as \"http://127.0.0.1:9090\"")]
    Url(String),
    /// The HTTP client could not be made.
    #[error("the client for Prometheus can't be made: {0}")]
    Client(String),
}

/// A Prometheus server.
#[derive(Debug)]
pub struct PrometheusSource {
    client: Client,
    query: Url,
}

/// An answer with one number has a few hundred bytes; the rest is room for labels and warnings.
const LARGEST_ANSWER: usize = 1 << 20;

impl PrometheusSource {
    /// Makes a client; the server is not asked yet.
    ///
    /// # Errors
    /// When the URL is not `http://…`.
    pub fn new(server: &config::Prometheus) -> Result<Self, InvalidSource> {
        let invalid = || InvalidSource::Url(server.url.clone());
        let mut query = Url::parse(&server.url).map_err(|_| invalid())?;
        if query.scheme() != "http" || query.query().is_some() || query.fragment().is_some() {
            return Err(invalid());
        }
        let path = format!("{}/api/v1/query", query.path().trim_end_matches('/'));
        query.set_path(&path);
        let client = Client::builder()
            // The operator named this server and no other.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(server.timeout.get())
            .build()
            .map_err(|error| InvalidSource::Client(error.to_string()))?;
        Ok(Self { client, query })
    }

    async fn ask(&self, query: &str, now: Timestamp) -> Result<f64, String> {
        let at = now.as_millisecond();
        let time = format!("{}.{:03}", at.div_euclid(1000), at.rem_euclid(1000));
        let request = self.client.get(self.query.clone()).query(&[("query", query), ("time", &time)]);
        let response = request.send().await.map_err(|error| failure(&error))?;
        let status = response.status();
        let body = read(response).await?;
        answer::number(status, &body)
    }
}

impl MetricsSource for PrometheusSource {
    fn query<'q>(
        &'q self,
        query: &'q str,
        now: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<f64, String>> + Send + 'q>> {
        Box::pin(self.ask(query, now))
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
    // The innermost cause names what happened; those around it only say that a request failed.
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
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
        PrometheusSource::new(&config::Prometheus { url, timeout }).unwrap()
    }

    fn noon() -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_250).unwrap()
    }

    /// A server that gives one answer; what it was asked.
    async fn asked(answer: String) -> (Result<f64, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = source(format!("http://{}/prom/", listener.local_addr().unwrap()), 5000);
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

    async fn answered(status: &str, body: &str) -> Result<f64, String> {
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
        assert!(told.contains("parse error: unexpected end"), "{told}");
    }

    #[tokio::test]
    async fn other_answers_are_sentences() {
        for (status, body, sentence) in [
            ("302 Found", "", "HTTP 302"),
            ("503 Service Unavailable", "busy", "HTTP 503"),
            ("200 OK", "<html>", "not that of a Prometheus server"),
        ] {
            let told = answered(status, body).await.unwrap_err();
            assert!(told.contains(sentence), "{told}");
        }
    }

    #[tokio::test]
    async fn too_large_an_answer_is_given_up() {
        let body = "x".repeat(LARGEST_ANSWER + 1);
        assert!(answered("200 OK", &body).await.unwrap_err().contains("1 MiB"));
    }

    #[tokio::test]
    async fn a_cut_off_answer_is_told() {
        let (value, _) = asked("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned()).await;
        assert!(value.unwrap_err().contains("can't be read"));
    }

    #[tokio::test]
    async fn a_server_that_is_silent_or_not_there_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let silent = source(url.clone(), 50).query("up", noon()).await.unwrap_err();
        assert_eq!(silent, "Prometheus did not answer in time");
        drop(listener);
        let gone = source(url, 5000).query("up", noon()).await.unwrap_err();
        assert!(gone.starts_with("Prometheus can't be reached: "), "{gone}");
    }

    #[test]
    fn only_an_http_url_is_a_source() {
        let timeout = crate::model::Period::from_secs(1);
        for url in ["https://prom", "prom:9090", "", "http://", "http://prom/?x=1"] {
            assert!(PrometheusSource::new(&config::Prometheus { url: url.to_owned(), timeout }).is_err(), "{url}");
        }
    }
}
