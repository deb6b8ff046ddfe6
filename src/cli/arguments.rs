//! The arguments as typed.

mod rollout;
mod simulate;
mod values;

pub(super) use rollout::{RolloutCommand, StartArguments};
pub(super) use simulate::SimulateArguments;

use super::deploy::DeployArguments;
use super::moment;
use crate::app::DemoFault;
use crate::model::{Period, PoolName, ServiceName, Timestamp};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use std::net::IpAddr;
use std::path::PathBuf;

/// The configuration that is read where none is named.
pub(super) const DEFAULT_CONFIG: &str = "cutover.toml";

/// Decides who gets which of two copies of a web application, and takes a bad release back by itself.
#[derive(Debug, Parser)]
#[command(name = "cutover", version, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// How to reach a running router, and how to show what it answers.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Where the router's admin API is: http://HOST:PORT or unix:PATH
    #[arg(
        long,
        global = true,
        help_heading = "Admin API",
        value_name = "URL",
        env = "CUTOVER_ADMIN",
        default_value = "http://127.0.0.1:9900"
    )]
    pub(super) admin: String,
    /// A file with the admin API's token; else the variable `CUTOVER_TOKEN`
    #[arg(long, global = true, help_heading = "Admin API", value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// The service; may be left out while there is one
    #[arg(long, global = true, help_heading = "Admin API", value_name = "NAME")]
    pub(super) service: Option<ServiceName>,
    /// Print what the admin API answers
    #[arg(long, global = true, help_heading = "Admin API")]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve
    Run(RunArguments),
    /// Tell every fault of a configuration at once
    Check {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Show the whole story on this machine, with two built-in applications and visitors
    Demo {
        /// What is wrong with the second release
        #[arg(long, value_enum, default_value_t = DemoFault::Errors)]
        fault: DemoFault,
        /// Leave everything up at the end, to look at it
        #[arg(long)]
        keep: bool,
    },
    /// Tell how a plan would have decided, in virtual time, by the same judgement that real releases get
    Simulate(SimulateArguments),
    /// Print the script by which a shell completes commands and options
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    Man {
        /// Write it and those of all commands into this folder instead
        #[arg(long = "out", value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    #[command(flatten)]
    Remote(Remote),
}

/// The commands that a running router carries out or answers.
#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// Show what is live, what a rollout does and why it does not move
    Status {
        /// Draw it again each second until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Send all traffic to a pool, now
    Switch {
        /// The pool that becomes live
        pool: PoolName,
        /// Wait so long for the old pool's requests to end, and say how many were cut
        #[arg(long, value_name = "DURATION")]
        drain: Option<Period>,
        /// Let requests wait until the old pool's have ended, so that none meets the change
        #[arg(long)]
        hold: bool,
    },
    /// Start and steer a rollout
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Deploy a release: the whole walk for a deploy script; run again, it goes on where it was
    Deploy(Box<DeployArguments>),
    /// Serve, or keep visitors from writing, from their sessions, or from the site
    #[command(subcommand)]
    Mode(ModeCommand),
    /// Show what happened, who or what decided, and why
    History(HistoryArguments),
    /// Make a link that shows a pool to whoever opens it
    PreviewLink(PreviewLinkArguments),
    /// Tell where a request would go, and why
    Explain(ExplainArguments),
    /// Copy the state to a file while serving
    Backup {
        /// The copy; must not exist yet
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct PreviewLinkArguments {
    /// The pool that it shows
    pub(super) pool: PoolName,
    /// How long it works, at most 30 days; 1h if it is left out
    #[arg(long, value_name = "DURATION")]
    pub(super) ttl: Option<Period>,
    /// The path that it opens, perhaps with a query
    #[arg(long, value_name = "PATH")]
    pub(super) path: Option<String>,
    /// The host that it opens, perhaps with a port, and with http:// or https:// before it
    #[arg(long, value_name = "HOST")]
    pub(super) host: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct HistoryArguments {
    /// So many of the newest decisions; 100 if it is left out, and of a replay 1000
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) limit: Option<u32>,
    /// Show this one, with its evidence in full
    #[arg(long, value_name = "ID", conflicts_with = "limit")]
    pub(super) id: Option<u64>,
    /// Decide again from the stored evidence, all or this one, and compare: exit 0 if nothing differs, else 1
    #[arg(
        long,
        value_name = "ID",
        num_args = 0..=1,
        default_missing_value = Replay::ALL,
        value_parser = values::replay,
        conflicts_with = "id"
    )]
    pub(super) replay: Option<Replay>,
}

/// Which decisions are made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    All,
    One(u64),
}

impl Replay {
    /// How all are asked for.
    const ALL: &str = "all";
}

#[derive(Debug, Args)]
pub(super) struct RunArguments {
    /// The configuration; cutover.toml if neither it nor pools are given
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Without a configuration: where visitors connect
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "0.0.0.0:8080",
        requires = "pools",
        conflicts_with = "config"
    )]
    pub(super) listen: String,
    /// Without a configuration: a pool, the first is live; give it twice or more
    #[arg(long = "pool", value_name = "NAME=HOST:PORT[,HOST:PORT]", conflicts_with = "config")]
    pub(super) pools: Vec<String>,
    /// Without a configuration: the file of the state, cutover.db if it is left out
    #[arg(long, value_name = "FILE", requires = "pools", conflicts_with = "config")]
    pub(super) state: Option<PathBuf>,
    /// How long requests may go on after a signal to stop; 30s if the configuration does not say
    #[arg(long, value_name = "DURATION")]
    pub(super) grace: Option<Period>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ModeCommand {
    /// Requests go to a pool
    Serve,
    /// Requests that would change something get a 503
    ReadOnly {
        /// Everyone appears logged out besides
        #[arg(long)]
        anonymous: bool,
        #[command(flatten)]
        details: ModeDetails,
    },
    /// Everyone appears logged out
    Anonymous(ModeDetails),
    /// Requests wait, until the mode is left
    Hold(ModeDetails),
    /// Requests get a 503 with a page, but those of the bypass networks and of preview links
    Maintenance(ModeDetails),
}

/// What can be said of a mode other than serve.
#[derive(Debug, Args)]
pub(super) struct ModeDetails {
    /// What Retry-After says; the configured time if it is left out
    #[arg(long, value_name = "DURATION")]
    pub(super) retry_after: Option<Period>,
    /// When it ends by itself, once a pool can serve: "18:30", "2026-11-22 18:30" or with an offset; Retry-After counts
    /// down to it where it is left out
    #[arg(long, value_name = "TIME", value_parser = moment::parse_now)]
    pub(super) until: Option<Timestamp>,
    /// A sentence for the page of an answer that the router gives
    #[arg(long, value_name = "TEXT")]
    pub(super) message: Option<String>,
    /// Wait so long for the requests to end that came before it, and say how many were cut
    #[arg(long, value_name = "DURATION")]
    pub(super) drain: Option<Period>,
}

#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The host that the request names
    #[arg(long)]
    pub(super) host: String,
    /// Its path
    #[arg(long)]
    pub(super) path: String,
    /// Its method
    #[arg(long, default_value = "GET")]
    pub(super) method: String,
    /// A header of it, such as a cookie; any number of them
    #[arg(long = "header", value_name = "K: V", value_parser = values::header)]
    pub(super) headers: Vec<String>,
    /// The visitor's address
    #[arg(long, value_name = "IP")]
    pub(super) client_ip: Option<IpAddr>,
}

#[cfg(test)]
mod tests;
