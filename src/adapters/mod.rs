//! The outside world behind ports: the embedded store and the Prometheus server.

mod prometheus;
mod sqlite;

pub use prometheus::{InvalidSource, PrometheusSource};
pub use sqlite::{OpenError, SqliteStore};
