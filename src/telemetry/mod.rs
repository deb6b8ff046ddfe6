//! Metric names and log set-up.

mod logs;
pub mod names;

pub use logs::{InvalidFilter, LOG_VARIABLE, set_up_log};
