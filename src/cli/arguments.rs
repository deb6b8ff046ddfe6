//! The arguments as typed.

use super::deploy::DeployArguments;
use super::moment;
use crate::app::DemoFault;
use crate::app::simulate::{Visitors, Weather};
use crate::model::{BasisPoints, Period, PoolName, ReleaseId, ServiceName, Strategy, Timestamp};
use clap::{Args, Parser, Subcommand, ValueEnum};
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
        value_parser = replay,
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

#[derive(Debug, Args)]
pub(super) struct SimulateArguments {
    /// The share of live's answers that are errors: 0.001 or 0.1%
    #[arg(long, value_name = "RATIO", default_value = "0.1%", value_parser = ratio)]
    pub(super) live_error: f64,
    /// The share of the candidate's answers that are errors
    #[arg(long, value_name = "RATIO", default_value = "1%", value_parser = ratio)]
    pub(super) candidate_error: f64,
    /// Requests per second, for both pools together
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = rate)]
    pub(super) rps: f64,
    /// A configuration, for the plan of its service; without it the default plan
    #[arg(long, value_name = "FILE")]
    pub(super) plan: Option<PathBuf>,
    /// Sticky visitors; where neither this nor the requests of each are given, each request is drawn for itself
    #[arg(long, value_name = "NUMBER", value_parser = visitors, conflicts_with = "requests_per_visitor")]
    pub(super) visitors: Option<usize>,
    /// Requests of one sticky visitor during the holds of the plan
    #[arg(long, value_name = "NUMBER", value_parser = at_least_one)]
    pub(super) requests_per_visitor: Option<f64>,
    /// How unevenly busy the visitors are: the standard deviation of the logarithm of their requests, 0 to 3
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = activity_spread)]
    pub(super) activity_spread: f64,
    /// The share of visitors that fail a fifth of their requests whichever release answers
    #[arg(long, value_name = "RATIO", default_value = "0%", value_parser = ratio)]
    pub(super) unlucky: f64,
    /// Live's median time to answer
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = some_time)]
    pub(super) live_latency: Period,
    /// The candidate's median time to answer; live's where it is left out
    #[arg(long, value_name = "DURATION", value_parser = some_time)]
    pub(super) candidate_latency: Option<Period>,
    /// Until then the candidate is as good as live
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(super) fault_after: Period,
    /// What both pools go through
    #[arg(long, value_enum, default_value_t = Weather::Steady)]
    pub(super) weather: Weather,
    /// Runs of each release; the more there are, the surer the figures
    #[arg(long, value_name = "NUMBER", default_value = "200", value_parser = runs)]
    pub(super) runs: usize,
    /// Where chance begins: the same seed gives the same answer
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(super) seed: u64,
    /// Write a chart to this file
    #[arg(long, value_name = "FILE")]
    pub(super) svg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum RolloutCommand {
    /// Begin to move traffic to a pool
    Start(StartArguments),
    /// Show the rollout, and why it does not move
    Status,
    /// Hold it; judging and rollback stay on
    Pause,
    /// Go on with the next higher step
    Resume,
    /// Let what waits for an approval go on, once the evidence allows it
    Approve,
    /// Make the candidate live now, without asking gates
    Promote,
    /// Take the candidate back now
    Rollback,
    /// Give the candidate this share, and hold
    Weight {
        /// The share, such as 12.5
        #[arg(value_parser = percent)]
        percent: BasisPoints,
    },
}

#[derive(Debug, Args)]
pub(super) struct StartArguments {
    /// The candidate
    pub(super) pool: PoolName,
    /// What runs in it; goes before the configuration's
    #[arg(long, value_name = "ID")]
    pub(super) release: Option<ReleaseId>,
    /// How traffic moves, instead of the configured way
    #[arg(long, value_enum)]
    pub(super) strategy: Option<StrategyArgument>,
    /// Shares in percent, instead of the configured steps
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', value_parser = percent)]
    pub(super) steps: Vec<BasisPoints>,
    /// The shortest time in each of these steps
    #[arg(long, value_name = "DURATION", requires = "steps", default_value = "60s")]
    pub(super) hold: Period,
    /// Start a release again that was rolled back
    #[arg(long)]
    pub(super) force: bool,
    /// Stay until it ends: exit 0 promoted, 3 rolled back, 4 held
    #[arg(long)]
    pub(super) wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StrategyArgument {
    /// Step by step
    Canary,
    /// All at once, after a preview
    BlueGreen,
}

impl From<StrategyArgument> for Strategy {
    fn from(strategy: StrategyArgument) -> Self {
        match strategy {
            StrategyArgument::Canary => Self::Canary,
            StrategyArgument::BlueGreen => Self::BlueGreen,
        }
    }
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
    #[arg(long = "header", value_name = "K: V", value_parser = header)]
    pub(super) headers: Vec<String>,
    /// The visitor's address
    #[arg(long, value_name = "IP")]
    pub(super) client_ip: Option<IpAddr>,
}

fn percent(text: &str) -> Result<BasisPoints, String> {
    let number = text.trim().trim_end_matches('%');
    let percent: f64 = number.parse().map_err(|_| "write a percentage, such as 12.5".to_owned())?;
    BasisPoints::from_percent(percent).map_err(|error| error.to_string())
}

fn replay(text: &str) -> Result<Replay, String> {
    match text {
        Replay::ALL => Ok(Replay::All),
        id => id.parse().map(Replay::One).map_err(|_| "write the id of a decision, or nothing for all".to_owned()),
    }
}

/// A share as `0.001` or `0.1%`.
fn ratio(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let ratio: Option<f64> = number.trim().parse().ok().map(|number: f64| number * scale);
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or("write a share from 0 to 1, such as 0.001 or 0.1%".to_owned())
}

fn number_in(text: &str, range: std::ops::RangeInclusive<f64>, advice: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number.filter(|number| range.contains(number)).ok_or_else(|| advice.to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    number_in(text, 0.001..=1_000_000.0, "write a number from 0.001 to 1000000")
}

fn at_least_one(text: &str) -> Result<f64, String> {
    number_in(text, 1.0..=1e9, "write a number of at least 1")
}

fn activity_spread(text: &str) -> Result<f64, String> {
    number_in(text, 0.0..=3.0, "write a number from 0 to 3")
}

fn whole_in(text: &str, most: usize) -> Result<usize, String> {
    let number: Option<usize> = text.trim().parse().ok();
    number.filter(|number| (1..=most).contains(number)).ok_or_else(|| format!("write a whole number from 1 to {most}"))
}

fn visitors(text: &str) -> Result<usize, String> {
    whole_in(text, Visitors::MOST)
}

fn runs(text: &str) -> Result<usize, String> {
    whole_in(text, 100_000)
}

fn some_time(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error: crate::model::InvalidPeriod| error.to_string())?;
    if period.get().is_zero() { Err("no answer takes no time: write at least 1ms".to_owned()) } else { Ok(period) }
}

fn header(text: &str) -> Result<String, String> {
    let is_header = text.split_once(':').is_some_and(|(name, _)| name.parse::<http::HeaderName>().is_ok());
    if is_header { Ok(text.to_owned()) } else { Err("write NAME: VALUE, such as 'Cookie: cutover=…'".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("cutover").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_and_after_the_command() {
        for line in ["--admin unix:/a --service s --json status", "status --json --service s --admin unix:/a"] {
            let cli = parse(line).unwrap();
            assert_eq!((cli.global.admin.as_str(), cli.global.json), ("unix:/a", true), "{line}");
            assert_eq!(cli.global.service.unwrap().as_str(), "s");
        }
        assert!(parse("rollout pause --json --service s").unwrap().global.json);
    }

    #[test]
    fn every_command_of_the_design_is_understood() {
        for line in [
            "run",
            "run --config f.toml",
            "run --listen 127.0.0.1:1 --pool a=b:1 --pool c=d:1 --state s.db",
            "check",
            "check --config f.toml",
            "demo --fault errors --keep",
            "demo --fault crash",
            "demo --fault latency",
            "demo --fault none",
            "simulate",
            "simulate --live-error 0.001 --candidate-error 1% --rps 50 --plan f.toml --service s --json --svg c.svg",
            "simulate --requests-per-visitor 20 --activity-spread 1.5 --unlucky 1% --weather bursts --fault-after 5m",
            "simulate --visitors 1000 --live-latency 40ms --candidate-latency 60ms --runs 500 --seed 7",
            "status --watch --json",
            "switch server1 --drain 30s",
            "deploy server1 --release 2026.11.2",
            "deploy spare --release 2 --canary --gate-command true --timeout 5m --prepare true --by me --json",
            "deploy server1 --release 2 --switch --hold --migrate true --drain 10s --lease 1m --message x --dry-run",
            "deploy server1 --release 2 --blue-green --read-only --migrate true --migrate-again --force --take-over",
            "rollout start server1 --release 2026.11.2 --steps 1,5,25,50 --hold 60s --force --wait",
            "rollout status",
            "rollout pause",
            "rollout resume",
            "rollout start server1 --strategy blue-green",
            "rollout approve",
            "rollout promote",
            "rollout rollback",
            "rollout weight 12.5",
            "mode serve",
            "mode maintenance --retry-after 10m --until 2030-01-01T00:00:00Z --message soon",
            "history --json",
            "history -n 5",
            "history --id 7 --json",
            "history --replay",
            "history --replay 7",
            "history --replay --limit 20 --json",
            "explain --host h --path /p --method POST --header A:b --header C:d --client-ip 192.0.2.1",
            "backup copy.db",
            "preview-link server1",
            "preview-link server1 --ttl 1h --path /x?y=z --host shop.example.com --json",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "dance",
            "run --config f.toml --pool a=b:1",
            "run --config f.toml --listen 127.0.0.1:1",
            "run --state s.db",
            "switch",
            "switch a/b",
            "switch server1 --drain 30",
            "deploy server1",
            "deploy server1 --release 2 --canary --switch",
            "deploy server1 --release 2 --hold --read-only --switch",
            "deploy server1 --release 2 --lease 1m",
            "deploy server1 --release 2 --migrate-again",
            "deploy server1 --release 2 --switch --hold --lease 1s",
            "rollout start server1 --hold 60s",
            "rollout start server1 --steps 1,x",
            "rollout weight 101",
            "rollout weight 0.001",
            "mode serve --message x",
            "mode maintenance --until soon",
            "mode hold --anonymous",
            "explain --host h",
            "explain --host h --path / --header novalue",
            "preview-link",
            "preview-link server1 --ttl 1",
            "history --limit 0",
            "history --id x",
            "history --replay x",
            "history --id 7 --replay",
            "demo --fault slowness",
            "status --service a/b",
            "simulate --live-error 2",
            "simulate --candidate-error 101%",
            "simulate --rps 0",
            "simulate --runs 0",
            "simulate --visitors 5 --requests-per-visitor 5",
            "simulate --live-latency 0s",
        ] {
            let error = parse(line).map(|cli| format!("{cli:?}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn steps_are_percentages_with_a_hold_of_a_minute() {
        let Command::Remote(Remote::Rollout(RolloutCommand::Start(start))) =
            parse("rollout start a --steps 1,12.5%").unwrap().command
        else {
            panic!("not a start");
        };
        assert_eq!(start.steps.iter().map(|step| step.get()).collect::<Vec<_>>(), [100, 1250]);
        assert_eq!(start.hold, Period::from_secs(60));
    }
}
