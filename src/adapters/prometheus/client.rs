//! The HTTP client for Prometheus, and who it says it is. Files are read again, so that what they hold can be renewed
//! while the router runs.

use crate::adapters::webhook::innermost;
use crate::config;
use reqwest::{Certificate, Client, Identity, RequestBuilder};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tokio::io::AsyncReadExt;

/// Tokens and passwords are shorter, and so are certificates with all that are between them and their roots.
const LARGEST_FILE: u64 = 1 << 20;

/// Makes a client whenever the certificates have changed.
#[derive(Debug)]
pub(super) struct Clients {
    server: config::Prometheus,
    /// Never locked while anything is waited for.
    made: Mutex<Option<(Stamps, Client)>>,
}

/// What tells one content of the certificate files from another.
type Stamps = Vec<Option<(SystemTime, u64)>>;

impl Clients {
    pub(super) fn new(server: &config::Prometheus) -> Self {
        Self { server: server.clone(), made: Mutex::new(None) }
    }

    /// A client with the certificates as they are now.
    pub(super) async fn current(&self) -> Result<Client, String> {
        let stamps = self.stamps().await;
        if let Some((of, client)) = &*self.made.lock().unwrap_or_else(PoisonError::into_inner)
            && *of == stamps
        {
            return Ok(client.clone());
        }
        let client = self.make().await?;
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some((stamps, client.clone()));
        Ok(client)
    }

    async fn stamps(&self) -> Stamps {
        let own = self.server.client.iter().flat_map(|own| [&own.certificate, &own.key]);
        let mut stamps = Vec::new();
        for file in self.server.ca_file.iter().chain(own) {
            let metadata = tokio::fs::metadata(file).await.ok();
            stamps.push(metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len()))));
        }
        stamps
    }

    async fn make(&self) -> Result<Client, String> {
        let server = &self.server;
        let mut builder = Client::builder()
            // The operator named this server and no other.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(server.timeout.get())
            .default_headers(server.headers.iter().cloned().collect());
        if let Some(file) = &server.ca_file {
            let content = read("ca_file", file).await?;
            let authorities = Certificate::from_pem_bundle(&content).unwrap_or_default();
            if authorities.is_empty() {
                return Err(unusable("ca_file", file, "holds no certificate in PEM"));
            }
            builder = builder.tls_certs_only(authorities);
        } else if server.url.starts_with("http:") {
            // A machine without authorities of its own can ask a server that needs none.
            builder = builder.tls_certs_only([]);
        }
        if let Some(own) = &server.client {
            let mut content = read("client_certificate", &own.certificate).await?;
            content.push(b'\n');
            content.extend(read("client_key", &own.key).await?);
            let identity = Identity::from_pem(&content)
                .map_err(|_| unusable("client_certificate", &own.certificate, "and its key are no pair in PEM"))?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| format!("the client for Prometheus can't be made: {}", innermost(&error)))
    }
}

/// Says who the router is.
#[derive(Debug)]
pub(super) struct Login(config::PrometheusLogin);

impl Login {
    pub(super) fn new(login: &config::PrometheusLogin) -> Self {
        Self(login.clone())
    }

    /// The request with what the file holds at this moment.
    pub(super) async fn of(&self, request: RequestBuilder) -> Result<RequestBuilder, String> {
        Ok(match &self.0 {
            config::PrometheusLogin::None => request,
            config::PrometheusLogin::Bearer(file) => request.bearer_auth(secret("bearer_token_file", file).await?),
            config::PrometheusLogin::Basic { username, password_file } => {
                request.basic_auth(username, Some(secret("password_file", password_file).await?))
            }
        })
    }
}

/// The one line of a file.
async fn secret(key: &str, file: &Path) -> Result<String, String> {
    let content = read(key, file).await?;
    let secret = content.trim_ascii();
    if secret.is_empty() {
        return Err(unusable(key, file, "is empty"));
    }
    match std::str::from_utf8(secret) {
        Ok(secret) if secret.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => Ok(secret.to_owned()),
        Ok(_) | Err(_) => Err(unusable(key, file, "holds more than visible ASCII characters on one line")),
    }
}

async fn read(key: &str, file: &Path) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let read = async { tokio::fs::File::open(file).await?.take(LARGEST_FILE).read_to_end(&mut content).await };
    match read.await {
        Ok(_) => Ok(content),
        Err(error) => Err(unusable(key, file, &format!("can't be read: {error}"))),
    }
}

fn unusable(key: &str, file: &Path, what: &str) -> String {
    format!("[prometheus] {key}: {} {what}", file.display())
}
