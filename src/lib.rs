//! `cutover`: a release router. It stands in front of two copies of a web application and decides who gets which.
//!
//! Seven floors; a module imports only from lower floors (`tests/e2e/architecture.rs` enforces it):
//!
//! ```text
//! 7  cli, app                 ways in, wiring
//! 6  admin                    the API for operators
//! 5  adapters                 prometheus, sqlite: the outside world behind ports
//! 4  proxy  |  control        two planes that never import each other
//! 3  routing                  the table, the split, the balance: all that the two planes share
//! 3  transport                streams to targets and from visitors, without any HTTP
//! 2  config, analysis, rollout    pure: text to model; evidence to verdict; (state, event, now) to (state, effects)
//! 1  model, telemetry         words
//! ```

#[cfg(test)]
#[macro_use]
mod odd_input;

pub mod adapters;
pub mod admin;
pub mod analysis;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod model;
pub mod proxy;
pub mod rollout;
pub mod routing;
pub mod telemetry;
pub mod transport;
