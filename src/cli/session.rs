//! A command on its way: the client, and the service that is meant.

use super::CliError;
use super::arguments::Global;
use super::client::{Answer, Client};
use super::output::{plain_json, say};
use crate::model::ServiceName;
use crate::model::view::{ServiceView, ServicesView};
use reqwest::Method;
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// What the commands to a router share.
pub(super) struct Session {
    pub(super) client: Client,
    /// The service that was named.
    pub(super) service: Option<ServiceName>,
    /// Whether to print what the API answers.
    pub(super) json: bool,
}

impl Session {
    pub(super) fn open(global: &Global) -> Result<Self, CliError> {
        Ok(Self { client: Client::new(global)?, service: global.service.clone(), json: global.json })
    }

    /// All services.
    pub(super) async fn services(&self) -> Result<Vec<ServiceView>, CliError> {
        Ok(self.client.get("/services", &[]).await?.read::<ServicesView>()?.services)
    }

    /// The path of the service that is meant: the one that was named, or the only one.
    pub(super) async fn service_path(&self) -> Result<String, CliError> {
        if let Some(name) = &self.service {
            return Ok(format!("/services/{name}"));
        }
        let mut names: Vec<_> = self.services().await?.into_iter().map(|service| service.name).collect();
        match (names.pop(), names.is_empty()) {
            (Some(name), true) => Ok(format!("/services/{name}")),
            (None, _) => Err(CliError::NoService),
            (Some(last), false) => {
                names.push(last);
                Err(CliError::SeveralServices(names))
            }
        }
    }

    /// Sends a change of the service that is meant.
    pub(super) async fn change(
        &self,
        method: Method,
        what: &str,
        body: &Value,
        wait: Duration,
    ) -> Result<Answer, CliError> {
        let path = format!("{}{what}", self.service_path().await?);
        self.client.send(method, &path, body, wait).await
    }

    /// Shows an answer: as it is, or as `text` puts it.
    pub(super) fn show(
        &self,
        answer: &Answer,
        text: impl FnOnce(&Answer) -> Result<String, CliError>,
    ) -> Result<ExitCode, CliError> {
        say(&if self.json { plain_json(&answer.json) } else { text(answer)? })?;
        Ok(ExitCode::SUCCESS)
    }
}
