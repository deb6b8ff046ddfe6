//! The outside world behind ports: the embedded store, the Prometheus server, gates, and those who are told.

mod gates;
mod notices;
mod program;
mod prometheus;
mod sqlite;
mod webhook;

pub use gates::Gates;
pub use notices::Notices;
pub use prometheus::{InvalidSource, PrometheusSource};
pub use sqlite::{OpenError, SqliteStore};
pub use webhook::NoClient;
