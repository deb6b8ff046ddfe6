//! What can go wrong with a command, in words that say what to do.

use super::output::plain;
use crate::config::Faults;
use crate::model::ServiceName;
use std::path::PathBuf;

/// The exit code of a faulty command line or configuration.
pub(super) const USAGE: u8 = 2;
/// The exit code of what failed.
pub(super) const FAILED: u8 = 1;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration, or the arguments in its place, can't be used.
    #[error("the configuration can't be used:\n{}", plain_lines(.0))]
    Config(#[from] Faults),
    /// Neither a file nor pools say what to serve.
    #[error(
        "there is nothing to serve: no {0} is here; name a file with --config, \
         or write --pool server0=HOST:PORT --pool server1=HOST:PORT"
    )]
    NothingToServe(&'static str),
    /// The router or the demonstration failed.
    #[error("{0:#}")]
    App(#[from] anyhow::Error),
    /// The runtime of the client could not start.
    #[error("the client can't start: {0}")]
    Start(String),
    /// `--admin` makes no sense.
    #[error("--admin {0:?} is not an address: write http://HOST:PORT or unix:PATH (https is not available yet)")]
    AdminAddress(String),
    /// The token's file can't be read.
    #[error("the token can't be read from {}: {reason}", file.display())]
    TokenFile {
        /// The file.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The token can't be sent.
    #[error("the token is empty or has characters that a header can't carry")]
    Token,
    /// Nobody answers.
    #[error("no router answers at {admin} ({reason}); start it with `cutover run`, or name its address with --admin")]
    Unreachable {
        /// Where it was looked for.
        admin: String,
        /// Why, as the system says it.
        reason: String,
    },
    /// The router answers, but says that it can't at this moment.
    #[error("the router at {admin} can't answer now ({reason}); try again")]
    Busy {
        /// Where it is.
        admin: String,
        /// Why.
        reason: String,
    },
    /// The router refused.
    #[error("{}", plain(.0))]
    Refused(String),
    /// The service has changed since it was looked at.
    #[error("{}", plain(.0))]
    Moved(String),
    /// A deploy did not come to its end; with the state that the service is in.
    #[error("{0}")]
    Deploy(String),
    /// Something answers that is no cutover, or another version of it.
    #[error("{admin} answers in a way that is not understood ({reason}); is it the admin address of this version?")]
    NotUnderstood {
        /// Where.
        admin: String,
        /// What was wrong.
        reason: String,
    },
    /// One service has to be named.
    #[error("there are several services; name one with --service: {}", names(.0))]
    SeveralServices(Vec<ServiceName>),
    /// The configuration has no service of that name.
    #[error("there is no service {name}; there is: {}", names(.there))]
    NoSuchService {
        /// As it was named.
        name: ServiceName,
        /// Those that there are.
        there: Vec<ServiceName>,
    },
    /// What was asked for can't be simulated.
    #[error("this can't be simulated: {0}")]
    Simulation(String),
    /// There is nothing to command.
    #[error("the router has no service")]
    NoService,
    /// The path can't be sent as it is.
    #[error("{} can't be used as a path here: {reason}", file.display())]
    Path {
        /// The path.
        file: PathBuf,
        /// Why.
        reason: String,
    },
    /// The rollout under way is another than the one that was waited for.
    #[error("the rollout of {0} is over, and another one has taken its place; see `cutover history`")]
    Replaced(String),
    /// Standard output can't be written.
    #[error("the answer can't be written: {0}")]
    Output(std::io::Error),
}

impl CliError {
    /// The exit code that says it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::NothingToServe(_)
            | Self::AdminAddress(_)
            | Self::NoSuchService { .. }
            | Self::Simulation(_) => USAGE,
            Self::App(_)
            | Self::Start(_)
            | Self::TokenFile { .. }
            | Self::Token
            | Self::Unreachable { .. }
            | Self::Busy { .. }
            | Self::Refused(_)
            | Self::Moved(_)
            | Self::Deploy(_)
            | Self::NotUnderstood { .. }
            | Self::SeveralServices(_)
            | Self::NoService
            | Self::Path { .. }
            | Self::Replaced(_)
            | Self::Output(_) => FAILED,
        }
    }

    /// Whether the same may work in a moment: a router that restarts comes back.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } => true,
            Self::Config(_)
            | Self::NothingToServe(_)
            | Self::App(_)
            | Self::Start(_)
            | Self::AdminAddress(_)
            | Self::TokenFile { .. }
            | Self::Token
            | Self::Refused(_)
            | Self::Moved(_)
            | Self::Deploy(_)
            | Self::NotUnderstood { .. }
            | Self::SeveralServices(_)
            | Self::NoSuchService { .. }
            | Self::Simulation(_)
            | Self::NoService
            | Self::Path { .. }
            | Self::Replaced(_)
            | Self::Output(_) => false,
        }
    }
}

fn plain_lines(faults: &Faults) -> String {
    faults.to_string().lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn names(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}
