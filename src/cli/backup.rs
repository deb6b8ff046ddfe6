//! `cutover backup`: a consistent copy of the state, while serving.

use super::CliError;
use super::output::plain;
use super::session::Session;
use reqwest::Method;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A large history takes a while to copy.
const PATIENCE: Duration = Duration::from_secs(300);

pub(super) async fn run(session: &Session, file: PathBuf) -> Result<ExitCode, CliError> {
    let unusable = |reason: &str| CliError::Path { file: file.clone(), reason: reason.to_owned() };
    // The router has another working folder than the one who asks.
    let absolute = std::path::absolute(&file).map_err(|error| unusable(&error.to_string()))?;
    let path = absolute.to_str().ok_or_else(|| unusable("it is not UTF-8 text"))?;
    let answer = session.client.send(Method::POST, "/backup", &json!({ "file": path }), PATIENCE).await?;
    session.show(&answer, |_| Ok(format!("the state is copied to {}", plain(path))))
}
