//! What the conductor is told.

use super::command::{Command, CommandError};
use super::files::FirstLook;
use super::holding::HoldReply;
use super::names::Ways;
use super::ports::StoreError;
use crate::analysis::PromQlReport;
use crate::config::Config;
use crate::model::view::{GateView, ServiceView};
use crate::model::{PoolName, ReleaseId, ServiceName};
use crate::rollout::{Asking, GatesAnswer};
use crate::routing::counters::{PoolLoad, TargetLoad};
use crate::routing::{Assets, PerWorker};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Everything that reaches the conductor.
#[derive(Debug)]
pub(super) enum Message {
    /// An operator asks for a change.
    Request(Request),
    /// A switch asks that requests wait until it is made.
    Hold { service: ServiceName, command: Command, if_match: Option<u64>, reply: HoldReply },
    /// It is made, or will not be.
    LetGo { service: ServiceName, number: u64, reply: Option<oneshot::Sender<()>> },
    /// Something was noticed.
    Notice(Notice),
    /// The store has answered.
    Written { service: ServiceName, sequence: u64, result: Result<(), StoreError> },
    /// The configuration file has changed.
    Reload { config: Box<Config>, files: FirstLook, ways: Box<Ways>, reply: oneshot::Sender<Result<(), Vec<String>>> },
}

/// A command on its way.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) service: ServiceName,
    pub(super) command: Command,
    pub(super) if_match: Option<u64>,
    /// The hold that it is made under.
    pub(super) held: Option<u64>,
    pub(super) reply: Reply,
}

/// Where the answer to a command goes.
pub(super) type Reply = oneshot::Sender<Result<Done, CommandError>>;

/// A command that was carried out.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) service: ServiceView,
    /// The version of the table that has it.
    pub(super) table: u64,
    /// The pools that are being drained since.
    pub(super) draining: Vec<Arc<PerWorker<PoolLoad>>>,
    /// All pools.
    pub(super) pools: Vec<Arc<PerWorker<PoolLoad>>>,
}

/// Something that a watcher noticed.
#[derive(Debug)]
pub(super) enum Notice {
    /// A target changed sides, says another release than before, or was checked for the first time.
    Health {
        service: ServiceName,
        pool: PoolName,
        load: Arc<TargetLoad>,
        fault: Option<String>,
        release: Option<ReleaseId>,
    },
    /// The flag file or the page has changed.
    Files { service: ServiceName, files: Files },
    /// A gate is asked, or has answered.
    Gate { service: ServiceName, asking: Asking, view: GateView },
    /// All gates that were asked have answered.
    Gates { service: ServiceName, asking: Asking, answer: GatesAnswer },
    /// A PromQL check has its answer.
    Answer { service: ServiceName, rollout: u64, check: String, report: PromQlReport },
}

/// What the files of a service's maintenance say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files {
    /// Whether the flag file exists.
    pub(super) flag: bool,
    /// The page: the flag file's content if it is one, else the operator's.
    pub(super) page: Option<Bytes>,
    /// What the operator's page needs.
    pub(super) assets: Option<Arc<Assets>>,
}
