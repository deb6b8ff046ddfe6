//! The outside world, as the control plane needs it. Adapters implement these.

use crate::model::view::{HistoryView, ServiceView};
use crate::model::{Gate, GatePoint, PoolName, ReleaseId, ServiceName, Timestamp};
use crate::rollout::ServiceState;
use serde::Serialize;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

/// Why the store could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process wrote the state in between.
    #[error("the state of {0} was changed by another process: revision {1} is not there any more")]
    Moved(ServiceName, u64),
    /// The store can't be read or written now.
    #[error("{0}")]
    Unavailable(String),
    /// What is stored can't be understood.
    #[error("{0}")]
    Corrupt(String),
}

/// A service as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredService {
    /// Its name.
    pub name: ServiceName,
    /// Its state.
    pub state: ServiceState,
    /// The evidence of its rollout, as the control plane wrote it.
    pub evidence: Option<String>,
}

/// One write, all of it or nothing.
#[derive(Debug, Clone)]
pub struct Record {
    /// The service.
    pub service: ServiceName,
    /// The revision that must be stored at the moment, 0 for none at all; `None` overwrites whatever is there.
    pub expected: Option<u64>,
    /// The new state.
    pub state: ServiceState,
    /// The new evidence.
    pub evidence: Option<String>,
    /// What is added to the history.
    pub history: Vec<HistoryView>,
}

/// Where state is kept. Calls may block; they come from a thread of their own, one at a time.
pub trait Store: Send {
    /// Everything that is stored.
    ///
    /// # Errors
    /// When the store can't be read.
    fn load(&mut self) -> Result<Vec<StoredService>, StoreError>;

    /// Writes a record. When this returns, it survives a loss of power.
    ///
    /// # Errors
    /// When the revision has moved, or the store can't be written.
    fn commit(&mut self, record: &Record) -> Result<(), StoreError>;

    /// The newest entries of a service's history, the newest last. Ids of the given entries are not looked at.
    ///
    /// # Errors
    /// When the store can't be read.
    fn history(&mut self, service: &ServiceName, limit: usize) -> Result<Vec<HistoryView>, StoreError>;

    /// Writes a consistent copy of everything into a new file.
    ///
    /// # Errors
    /// When the file is there already, or can't be written.
    fn backup(&mut self, file: &Path) -> Result<(), StoreError>;
}

/// Why a query gave no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetricsFault {
    /// The query is at fault, and will never give one.
    #[error("{0}")]
    Query(String),
    /// There was none this time.
    #[error("{0}")]
    Unanswered(String),
}

/// Answers one query with one number.
pub trait MetricsSource: std::fmt::Debug + Send + Sync {
    /// The finite value of the query at this moment; the fault is a sentence for people, without secrets.
    fn query<'q>(
        &'q self,
        query: &'q str,
        at: Timestamp,
    ) -> Pin<Box<dyn Future<Output = Result<f64, MetricsFault>> + Send + 'q>>;
}

/// What a gate is told of the rollout that it may stop; a webhook gets it as JSON, a program in its environment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateQuestion {
    /// The name of the gate.
    pub gate: String,
    /// The point of the rollout.
    pub at: GatePoint,
    /// The service.
    pub service: ServiceName,
    /// The candidate, or the pool that was the candidate.
    pub pool: PoolName,
    /// Its release.
    pub release: ReleaseId,
    /// The pool that serves everyone else, or everyone.
    pub live: PoolName,
    /// The candidate's share in percent: of the step that is about to begin, or at this moment.
    pub weight: f64,
    /// The step that is about to begin, from 1; null at other points.
    pub step: Option<usize>,
    /// Number of steps.
    pub steps: usize,
    /// Why, in a sentence.
    pub reason: String,
    /// The same for every try of one question, and for no other: so that who is asked can tell a repetition.
    pub id: String,
    /// When it was asked first.
    pub asked_at: Timestamp,
}

/// Why a gate does not let a rollout pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateFault {
    /// It said no.
    #[error("{0}")]
    No(String),
    /// It could not be asked, or did not answer; worth another try.
    #[error("{0}")]
    Unanswered(String),
}

/// Asks gates.
pub trait GateKeeper: Send + Sync {
    /// Asks once, within the gate's time-out; the sentence says what was answered.
    fn ask<'g>(
        &'g self,
        gate: &'g Gate,
        question: &'g GateQuestion,
    ) -> Pin<Box<dyn Future<Output = Result<String, GateFault>> + Send + 'g>>;
}

/// Tells people what was decided.
pub trait Notifier: Send + Sync {
    /// Tells of a decision; `service` is as it is after it. Never waits: what can't be told in time is given up, loudly.
    fn tell(&self, decision: &HistoryView, service: &ServiceView);
}
