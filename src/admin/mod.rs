//! The API for operators: HTTP on an address of its own, for the command line, for scripts and for Prometheus.
//!
//! ```text
//! listener ─► server ─► access ─► routes ─► commands, questions, events, metrics ─► control::Handle
//!                          └──────────┴──────────► problem
//! ```
//!
//! [`Access`] decides who may ask at all, `request` reads what is asked, and whatever fails is told as a
//! `problem` document. `openapi.json` describes all of it; a test keeps it and the routes together.

mod access;
mod commands;
mod deploys;
mod events;
mod listener;
mod metrics;
mod problem;
mod questions;
mod request;
mod routes;
#[cfg(test)]
mod samples;
mod server;

pub use access::{Access, InvalidAccess};
pub use listener::{AdminListener, bind};

use crate::control::Handle;
use tokio_util::sync::CancellationToken;

/// Serves until `shutdown`; then it takes no more connections, and gives the requests under way a few seconds.
pub async fn serve(listener: AdminListener, handle: Handle, access: Access, shutdown: CancellationToken) {
    let router = routes::router(handle, access, shutdown.clone());
    server::run(listener, router, shutdown).await;
}
