//! A command on its way: the client, and the service that is meant.

use super::CliError;
use super::arguments::Global;
use super::client::{Answer, Client};
use super::output::{for_people, plain_json, say};
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
        say(&if self.json { plain_json(&answer.json) } else { for_people(text(answer)?) })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::canary;
    use super::*;

    async fn path_with(names: &'static [&'static str], service: Option<&str>) -> Result<String, CliError> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let services = axum::routing::get(async move || {
            let service = |name: &&str| ServiceView { name: name.parse().unwrap(), ..canary() };
            axum::Json(ServicesView { services: names.iter().map(service).collect() })
        });
        let router = axum::Router::new().route("/api/v1/services", services);
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        let service = service.map(|name| name.parse().unwrap());
        let session = Session::open(&Global { admin, token_file: None, service, json: false }).unwrap();
        let path = session.service_path().await;
        server.abort();
        path
    }

    #[tokio::test]
    async fn the_only_service_needs_no_name_and_several_do() {
        assert_eq!(path_with(&["shop"], None).await.unwrap(), "/services/shop");
        assert_eq!(path_with(&["shop", "api"], Some("api")).await.unwrap(), "/services/api");
        let error = path_with(&["shop", "api"], None).await.unwrap_err().to_string();
        assert_eq!(error, "there are several services; name one with --service: shop, api");
        assert!(matches!(path_with(&[], None).await, Err(CliError::NoService)));
    }
}
