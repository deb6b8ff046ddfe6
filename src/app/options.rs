//! What the command line asks of the wiring.

use crate::config::Config;
use crate::model::Period;
use clap::ValueEnum;
use std::path::PathBuf;

/// What `cutover run` is to serve.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The configuration.
    pub config: Config,
    /// The file that it came from, to be read again when it changes; nothing where the arguments said it all.
    pub file: Option<PathBuf>,
    /// How long requests may go on when it stops, where the configuration is overruled.
    pub grace: Option<Period>,
}

/// What `cutover demo` is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DemoOptions {
    /// What is wrong with the second release.
    pub fault: DemoFault,
    /// Whether everything stays up at the end, to look at it.
    pub keep: bool,
}

/// What is wrong with the second release of the demonstration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DemoFault {
    /// Some of its answers are errors.
    Errors,
    /// It answers four times slower.
    Latency,
    /// It stops answering altogether.
    Crash,
    /// Nothing.
    None,
}
