//! Posts signed JSON to a URL, and reads a bounded answer.
//!
//! `X-Cutover-Signature` is `sha256=` and the HMAC-SHA-256, in hexadecimal, of the timestamp of
//! `X-Cutover-Timestamp`, a dot and the body, with the content of the secret file as its key: so that who is asked can
//! tell the router from anyone else, and a recent request from one that was recorded.

use crate::model::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, StatusCode};
use sha2::Sha256;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// An answer says yes or no, and why.
const LARGEST_ANSWER: usize = 64 * 1024;
/// A key is a line.
const LARGEST_SECRET: u64 = 4096;

/// The HTTP client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the client for webhooks can't be made: {0}")]
pub struct NoClient(String);

/// Where something is posted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address<'a> {
    pub(super) url: &'a str,
    /// The file with the key; without one nothing is signed.
    pub(super) secret_file: Option<&'a Path>,
}

/// What is posted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Letter<'a> {
    /// What it is about: the point of a rollout, or a decision.
    pub(super) event: &'a str,
    /// The same for every try, so that a repetition can be told.
    pub(super) delivery: &'a str,
    pub(super) body: &'a str,
}

/// Posts to webhooks.
#[derive(Debug, Clone)]
pub(super) struct Webhooks {
    plain: Client,
    /// For `https`; or why there is none. A machine without authorities of its own can do all the rest.
    secure: Result<Client, String>,
}

impl Webhooks {
    pub(super) fn new() -> Result<Self, NoClient> {
        let client = || {
            Client::builder()
                // The operator named this address and no other.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("cutover/", env!("CARGO_PKG_VERSION")))
        };
        let plain = client().tls_certs_only([]).build().map_err(|error| NoClient(error.to_string()))?;
        let secure = client().build().map_err(|error| format!("https can't be used: {}", innermost(&error)));
        Ok(Self { plain, secure })
    }

    fn client(&self, url: &str) -> Result<&Client, String> {
        let is_secure = url.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        if is_secure { self.secure.as_ref().map_err(Clone::clone) } else { Ok(&self.plain) }
    }

    /// The status and the body of the answer; or a sentence that says why there is none.
    pub(super) async fn post(
        &self,
        to: Address<'_>,
        letter: Letter<'_>,
        patience: Duration,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let posted = tokio::time::timeout(patience, self.post_and_read(to, letter)).await;
        posted.unwrap_or_else(|_| Err(format!("no answer within {}", crate::model::Period::from(patience))))
    }

    async fn post_and_read(&self, to: Address<'_>, letter: Letter<'_>) -> Result<(StatusCode, Vec<u8>), String> {
        let timestamp = Timestamp::now().as_second().to_string();
        let mut request = self
            .client(to.url)?
            .post(to.url)
            .header("Content-Type", "application/json")
            .header("X-Cutover-Event", letter.event)
            .header("X-Cutover-Delivery", letter.delivery)
            .header("X-Cutover-Timestamp", &timestamp)
            .body(letter.body.to_owned());
        if let Some(file) = to.secret_file {
            let key = secret(file).await?;
            request = request.header("X-Cutover-Signature", signature(&key, &timestamp, letter.body)?);
        }
        let mut response = request.send().await.map_err(|error| failure(&error))?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(format!("HTTP {}, with an answer of more than 64 KiB", response.status().as_u16()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response.status(), body))
    }
}

/// Read at each use, so that a new key needs no restart.
async fn secret(file: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("the secret in {} can't be read: {error}", file.display());
    let mut key = Vec::new();
    let opened = tokio::fs::File::open(file).await.map_err(unreadable)?;
    opened.take(LARGEST_SECRET).read_to_end(&mut key).await.map_err(unreadable)?;
    let end = key.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |last| last + 1);
    key.truncate(end);
    if key.is_empty() {
        return Err(format!("{} is empty: write the secret into it", file.display()));
    }
    Ok(key)
}

fn signature(key: &[u8], timestamp: &str, body: &str) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| format!("the secret can't be used: {error}"))?;
    for part in [timestamp, ".", body] {
        mac.update(part.as_bytes());
    }
    let mut text = "sha256=".to_owned();
    for byte in mac.finalize().into_bytes() {
        // Writing into a text can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// The sentence of a failed exchange. The URL stays out of it: it may be a secret.
fn failure(error: &reqwest::Error) -> String {
    let cause = innermost(error);
    if error.is_connect() { format!("it can't be reached: {cause}") } else { format!("the exchange failed: {cause}") }
}

/// The innermost cause of an error names what happened; those around it only say that something failed.
pub(super) fn innermost(error: &reqwest::Error) -> &dyn Error {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

/// Text of someone else's, fit for a sentence: on one line, and not too long.
pub(super) fn on_one_line(text: &str) -> String {
    const LONGEST: usize = 300;
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    if line.chars().count() <= LONGEST { line } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_signature_is_that_of_the_timestamp_and_the_body() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 'a key'
        let expected = "sha256=85a348998c6c8644706e36f7b616e18dbf737188e3718bcaa5f2f776217e805f";
        let signed = signature(b"a key", "1700000000", r#"{"a":1}"#).unwrap();
        assert_eq!(signed, expected);
    }

    #[tokio::test]
    async fn a_secret_is_a_line_and_an_empty_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        assert!(secret(&file).await.unwrap_err().contains("can't be read"));
        std::fs::write(&file, "\n").unwrap();
        assert!(secret(&file).await.unwrap_err().contains("is empty"));
        std::fs::write(&file, "a key\n").unwrap();
        assert_eq!(secret(&file).await.unwrap(), b"a key");
    }

    #[test]
    fn foreign_text_becomes_one_short_line() {
        assert_eq!(on_one_line(" a\r\n\u{1b}[31m  b\0c "), "a [31m b c");
        assert_eq!(on_one_line(&"x".repeat(1000)).chars().count(), 301);
    }

    odd_input! {
        fn foreign_text_keeps_its_words_on_one_bounded_line(text in prop_oneof![".{0,40}", "([a-z]{0,9}[ \\t\\r\\n\u{0}\u{1b}]{0,3}){0,60}"]) {
            let line = on_one_line(&text);
            prop_assert!(line.chars().count() <= 301 && !line.contains(char::is_control));
            let words = |text: &str| text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|it| !it.is_empty()).map(str::to_owned).collect::<Vec<_>>();
            match line.strip_suffix('…') {
                Some(cut) if line.chars().count() == 301 => prop_assert!(words(&text).join(" ").starts_with(cut)),
                Some(_) | None => prop_assert_eq!(words(&line), words(&text)),
            }
        }
    }
}
