//! What stands between the router and Prometheus, and does what a test wants of it.

use super::LONG;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header::AUTHORIZATION};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// What becomes of a query.
#[derive(Debug, Clone)]
pub enum Manner {
    /// Prometheus answers it.
    Pass,
    /// Prometheus answers it, so much later.
    Slow(Duration),
    /// It gets this answer.
    Answer(u16, String),
    /// Prometheus answers it if it has this bearer token, and nobody does if not.
    Token(String),
}

/// Passes queries to a Prometheus.
pub struct Between {
    address: SocketAddr,
    inner: Arc<Inner>,
    _server: AbortOnDropHandle<()>,
}

struct Inner {
    to: String,
    client: reqwest::Client,
    manner: Mutex<Manner>,
}

impl Between {
    pub async fn start(to: String) -> Self {
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(LONG).build().unwrap();
        let inner = Arc::new(Inner { to, client, manner: Mutex::new(Manner::Pass) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inner, _server: AbortOnDropHandle::new(server) }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn behave(&self, manner: Manner) {
        *self.inner.manner.lock().unwrap() = manner;
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> (StatusCode, String) {
    let manner = inner.manner.lock().unwrap().clone();
    match manner {
        Manner::Pass => {}
        Manner::Slow(by) => tokio::time::sleep(by).await,
        Manner::Answer(status, body) => return (StatusCode::from_u16(status).unwrap(), body),
        Manner::Token(token) => {
            let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            if given != Some(&format!("Bearer {token}")) {
                return (StatusCode::UNAUTHORIZED, "who are you?".to_owned());
            }
        }
    }
    let answer = inner.client.get(format!("{}{}", inner.to, request.uri())).send().await;
    match answer {
        Ok(answer) => (answer.status(), answer.text().await.unwrap_or_default()),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()),
    }
}
