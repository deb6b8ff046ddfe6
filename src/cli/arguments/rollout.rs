//! What `rollout` is told.

use super::values;
use crate::model::{BasisPoints, Period, PoolName, ReleaseId, Strategy};
use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum RolloutCommand {
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
        #[arg(value_parser = values::percent)]
        percent: BasisPoints,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StartArguments {
    /// The candidate
    pub(in crate::cli) pool: PoolName,
    /// What runs in it; goes before the configuration's
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) release: Option<ReleaseId>,
    /// How traffic moves, instead of the configured way
    #[arg(long, value_enum)]
    pub(in crate::cli) strategy: Option<StrategyArgument>,
    /// Shares in percent, instead of the configured steps
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', value_parser = values::percent)]
    pub(in crate::cli) steps: Vec<BasisPoints>,
    /// The shortest time in each of these steps
    #[arg(long, value_name = "DURATION", requires = "steps", default_value = "60s")]
    pub(in crate::cli) hold: Period,
    /// Start a release again that was rolled back
    #[arg(long)]
    pub(in crate::cli) force: bool,
    /// Stay until it ends: exit 0 promoted, 3 rolled back, 4 held
    #[arg(long)]
    pub(in crate::cli) wait: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum StrategyArgument {
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
