//! The arguments of `cutover deploy`, as typed.

use crate::model::{Mode, Period, PoolName, ReleaseId};
use clap::{ArgGroup, Args};

/// What a script that reads the exit code needs to know.
const AFTER: &str = "\
Exit codes: 0 the release is live; 1 it failed, and standard error says in which state the site is; 2 the command line is
faulty; 3 the release was rolled back, now or before; 4 its rollout is held and waits for a person.

Run again after a break, with the same pool and release, it goes on where it was. The migration is not run twice for a
release once it is recorded; between its end and the record there is a moment, so it should be repeatable.

Commands are run by `sh -c`, with CUTOVER_SERVICE, CUTOVER_POOL, CUTOVER_RELEASE, CUTOVER_TARGETS (addresses with spaces
between them), CUTOVER_LIVE (the pool that is live) and CUTOVER_ADMIN. Progress, and what commands print, goes to standard
error; the report to standard output.";

/// `cutover deploy`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
#[command(
    after_help = AFTER,
    group = ArgGroup::new("way").args(["canary", "switch", "blue_green"]),
    group = ArgGroup::new("guard").args(["hold", "maintenance", "read_only"]),
)]
pub(in crate::cli) struct DeployArguments {
    /// The pool that is to become live; `spare` for the one that is not live, of two
    pub(super) pool: PoolName,
    /// What runs in it
    #[arg(long, value_name = "ID")]
    pub(super) release: ReleaseId,
    /// By a rollout, step by step; where no way is named, by a rollout as it is configured
    #[arg(long)]
    pub(super) canary: bool,
    /// By a rollout that moves all traffic at once, after a preview
    #[arg(long)]
    pub(super) blue_green: bool,
    /// By a switch: all traffic at once, without a rollout
    #[arg(long)]
    pub(super) switch: bool,
    /// First run this command, which brings the release to the pool and starts it; not while its rollout is under way
    #[arg(long, value_name = "COMMAND")]
    pub(super) prepare: Option<String>,
    /// Wait so long for every target to be up, and to say the release where it is asked
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    pub(super) timeout: Period,
    /// Go on only if this command exits with 0, such as a smoke test of the pool
    #[arg(long, value_name = "COMMAND")]
    pub(super) gate_command: Option<String>,
    /// Run this command once for the release, before any traffic moves
    #[arg(long, value_name = "COMMAND")]
    pub(super) migrate: Option<String>,
    /// Run the migration although it is recorded that it has run for this release
    #[arg(long, requires = "migrate")]
    pub(super) migrate_again: bool,
    /// Let requests wait during the migration, and the switch
    #[arg(long)]
    pub(super) hold: bool,
    /// Put the service into maintenance during the migration, and the switch
    #[arg(long)]
    pub(super) maintenance: bool,
    /// Let nothing write during the migration, and the switch
    #[arg(long)]
    pub(super) read_only: bool,
    /// A sentence for the page of that time
    #[arg(long, value_name = "TEXT", requires = "guard")]
    pub(super) message: Option<String>,
    /// What Retry-After says in that time
    #[arg(long, value_name = "DURATION", requires = "guard", default_value = "30s")]
    pub(super) retry_after: Period,
    /// That mode ends by itself so long after this command has died
    #[arg(long, value_name = "DURATION", requires = "guard", default_value = "5m", value_parser = lease)]
    pub(super) lease: Period,
    /// Wait so long for requests under way to end, in that mode and after a switch; what is left is cut. 30s where it is
    /// left out, and 10s with --hold, as requests wait for it
    #[arg(long, value_name = "DURATION")]
    drain: Option<Period>,
    /// End a command that runs for longer
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(super) command_timeout: Period,
    /// Deploy a release again that was rolled back
    #[arg(long)]
    pub(super) force: bool,
    /// Take the place of another deploy that is under way
    #[arg(long)]
    pub(super) take_over: bool,
    /// Say what it would do, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Who deploys, for the history; user@host where it is left out
    #[arg(long, value_name = "NAME", env = "CUTOVER_BY", value_parser = name)]
    pub(super) by: Option<String>,
}

impl DeployArguments {
    /// How long requests under way have to end.
    pub(super) fn drain(&self) -> Period {
        self.drain.unwrap_or(if self.hold { Period::from_secs(10) } else { Period::from_secs(30) })
    }

    /// The mode around the migration and the switch.
    pub(super) fn guard(&self) -> Option<Mode> {
        [(self.hold, Mode::Hold), (self.maintenance, Mode::Maintenance), (self.read_only, Mode::ReadOnly)]
            .into_iter()
            .find_map(|(wanted, mode)| wanted.then_some(mode))
    }
}

/// Shorter, a router that is slow for a moment would end it.
const SHORTEST_LEASE: Period = Period::from_secs(3);

fn lease(text: &str) -> Result<Period, String> {
    let lease: Period = text.parse().map_err(|error: crate::model::InvalidPeriod| error.to_string())?;
    if lease < SHORTEST_LEASE { Err(format!("write at least {SHORTEST_LEASE}")) } else { Ok(lease) }
}

fn name(text: &str) -> Result<String, String> {
    let is_usable = !text.trim().is_empty() && text.chars().count() <= 120 && !text.contains(char::is_control);
    if is_usable {
        Ok(text.trim().to_owned())
    } else {
        Err("write a name of 1 to 120 characters on one line".to_owned())
    }
}

/// The arguments of these words, the first of which is the command.
#[cfg(test)]
pub(super) fn parsed<'w>(words: impl IntoIterator<Item = &'w str>) -> DeployArguments {
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        asked: DeployArguments,
    }
    <Line as clap::Parser>::try_parse_from(words).unwrap().asked
}
