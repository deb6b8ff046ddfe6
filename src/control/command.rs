//! What operators ask for, and how it may fail.

use crate::config::StepConfig;
use crate::model::{BasisPoints, ModeSetting, Period, PoolName, ReleaseId, ServiceName, Strategy};
use crate::rollout::DeployAct;
use std::path::PathBuf;

/// A change that an operator asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Start a rollout.
    Start {
        /// The candidate.
        pool: PoolName,
        /// What runs in it, where the file does not say.
        release: Option<ReleaseId>,
        /// Another strategy than the configured one.
        strategy: Option<Strategy>,
        /// Steps other than the configured ones.
        steps: Option<Vec<StepConfig>>,
        /// Start a release that was rolled back before.
        force: bool,
    },
    /// Hold the rollout.
    Pause,
    /// Let it go on.
    Resume,
    /// Let what waits for an approval go on.
    Approve,
    /// Make the candidate live now.
    Promote,
    /// Take the candidate back now.
    Rollback,
    /// Give the candidate this share, and hold.
    Weight(BasisPoints),
    /// Make a pool live now.
    Switch {
        /// The pool.
        pool: PoolName,
        /// Wait for the old pool's requests to end, at most this long, then cut them.
        drain: Option<Period>,
        /// Let requests wait meanwhile, so that none meets the change.
        hold: bool,
    },
    /// Change the mode.
    Mode {
        /// The mode, with what belongs to it.
        setting: ModeSetting,
        /// Wait for the requests under way to end, at most this long, then cut them.
        drain: Option<Period>,
    },
    /// Note how far a deploy is.
    Deploy {
        /// The pool that it deploys to.
        pool: PoolName,
        /// The release that it deploys.
        release: ReleaseId,
        /// Who walks it.
        by: String,
        /// What it does, or has done.
        act: DeployAct,
    },
}

/// Why a command was not carried out. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such service.
    #[error("there is no service {0:?}; `cutover status` lists them")]
    UnknownService(String),
    /// The service has no such pool.
    #[error("service {service} has no pool {pool}; it has {known}")]
    UnknownPool {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        pool: PoolName,
        /// The pools that it has.
        known: String,
    },
    /// The request contradicts itself.
    #[error("{0}")]
    Invalid(String),
    /// The service is not in a state that allows it.
    #[error("{0}")]
    Refused(String),
    /// The service changed since the caller looked.
    #[error("service {service} is at revision {revision} by now; look again and repeat the command if it still fits")]
    Moved {
        /// The service.
        service: ServiceName,
        /// Its revision.
        revision: u64,
    },
    /// The flag file holds the service in maintenance.
    #[error("service {service} is in maintenance because the file {} exists; remove it", file.display())]
    HeldByFile {
        /// The service.
        service: ServiceName,
        /// The file.
        file: PathBuf,
    },
    /// The store did not accept the change, so nothing was changed.
    #[error("the state can't be written, so nothing was changed: {0}")]
    NotStored(String),
    /// The router is stopping.
    #[error("the router is stopping")]
    Stopping,
}
