//! The control plane: gathers evidence, judges, decides, stores, swaps the table.
//!
//! ```text
//! gathering ─► analysis ─┐
//! health, files, polling ┼─► conductor ─► deciding (rollout::decide) ─► store ─► routing::Live ─► history, events, notices
//! gates (asked by tasks) ┤
//! Handle (commands) ─────┘
//! ```

mod assets;
mod command;
mod conductor;
mod deciding;
mod deploying;
mod draining;
mod ejecting;
mod events;
mod explain;
mod files;
mod gates;
mod gathering;
mod guarding;
mod handle;
mod health;
mod holding;
mod linking;
mod maintenance;
mod meanwhile;
mod message;
mod names;
mod polling;
pub mod ports;
mod probe;
mod question;
mod reloading;
mod reported;
mod restriction;
mod service;
mod store;
mod storing;
mod telling;
mod timing;
mod trial;
mod view;
mod writing;

#[cfg(test)]
mod tests;

pub use command::{Command, CommandError};
pub use deciding::{Replayed, replay};
pub use handle::{DecisionCount, ExplainRequest, Handle, Readiness};
pub use linking::LinkRequest;
pub use store::StoreThread;

use crate::config::Config;
use crate::rollout::ServiceState;
use crate::routing::{Live, Secret, Suspicion};
use crate::transport::Certificates;
use conductor::{Conductor, Tools};
use files::FirstLook;
use names::Ways;
use ports::{GateKeeper, MetricsSource, Notifier, StoredService};
use reloading::state_faults;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What the control plane starts with.
pub struct Setup {
    /// What exists.
    pub config: Config,
    /// Where tables are put in force.
    pub live: Arc<Live>,
    /// Where workers tell of targets that they can't reach.
    pub suspicions: mpsc::Receiver<Suspicion>,
    /// What cohorts are salted with.
    pub secret: Arc<Secret>,
    /// Where state is kept.
    pub store: StoreThread,
    /// What is kept there.
    pub stored: Vec<StoredService>,
    /// Who answers PromQL checks.
    pub metrics: Option<Arc<dyn MetricsSource>>,
    /// What visitors are shown by TLS.
    pub certificates: Option<Arc<Certificates>>,
    /// Who asks gates.
    pub gates: Arc<dyn GateKeeper>,
    /// Who tells people what was decided.
    pub notifier: Option<Arc<dyn Notifier>>,
}

/// Why the control plane does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The state and the configuration contradict each other.
    #[error("{}; name these pools in the configuration again, or start with another state file", .0.join("; "))]
    StateMismatch(Vec<String>),
    /// Targets can't be spoken to as the configuration has it.
    #[error("{}", .0.join("; "))]
    Targets(Vec<String>),
}

/// Messages that may wait for the conductor; who sends more waits.
const INBOX: usize = 4096;

/// Starts the control plane on the current runtime. When this returns, the first table is in force; targets count as
/// up until they are checked. It ends when the token is cancelled.
///
/// # Errors
/// When the stored state says that a pool is in use which the configuration does not have, or what targets are to be
/// verified by can't be used.
pub async fn start(setup: Setup, shutdown: CancellationToken) -> Result<(Handle, JoinHandle<()>), StartError> {
    let Setup { config, live, suspicions, secret, store, stored, metrics, certificates, gates, notifier } = setup;
    let stored: HashMap<_, (ServiceState, Option<String>)> =
        stored.into_iter().map(|service| (service.name, (service.state, service.evidence))).collect();
    let states = config.services.iter().filter_map(|service| Some((service, &stored.get(&service.name)?.0)));
    let faults: Vec<String> = states.flat_map(|(service, state)| state_faults(service, state)).collect();
    if !faults.is_empty() {
        return Err(StartError::StateMismatch(faults));
    }
    let ways = Ways::of(&config).await.map_err(StartError::Targets)?;
    let (sender, inbox) = mpsc::channel(INBOX);
    let shared = Arc::new(handle::Shared::new());
    let handle = Handle {
        inbox: sender.clone(),
        shared: Arc::clone(&shared),
        live: Arc::clone(&live),
        secret: Arc::clone(&secret),
        store: store.clone(),
        metrics: metrics.clone(),
        certificates,
    };
    let tools = Tools { live, secret, store, metrics, gates, notifier, shared, sender };
    let files = FirstLook::at(&config).await;
    let conductor = Conductor::new(tools, config, (files, &ways), stored);
    let task = tokio::spawn(conductor.run(inbox, suspicions, shutdown));
    Ok((handle, task))
}
