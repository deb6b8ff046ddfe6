//! The ways to targets: made ready before a configuration comes into force, and their names looked up again and again
//! while it is.

use crate::config::{Config, Pool, Service};
use crate::model::{PoolName, ServiceName, TargetAddress};
use crate::transport::{Learned, Means, MeansFault, Reach, look_up};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// How long the first look-up of all names may take before a configuration comes into force without. A name server may
/// hang.
const FIRST_LOOKUP: Duration = Duration::from_secs(3);

/// After this time without an answer a look-up counts as failed. It goes on, and its answer counts when it comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two look-ups of a name that has no address yet, at most.
const SOON: Duration = Duration::from_secs(1);

/// A name with a port.
type Name = (Arc<str>, u16);

/// What a look-up found, or why it failed.
type Found = Result<Vec<SocketAddr>, String>;

/// The ways to the targets of a configuration, made ready.
#[derive(Debug, Default)]
pub(super) struct Ways {
    means: HashMap<(ServiceName, PoolName), Means>,
    found: HashMap<Name, Found>,
}

impl Ways {
    /// Reads what the configuration's pools verify their targets by, and looks up the names.
    ///
    /// # Errors
    /// All that can't be used of it.
    pub(super) async fn of(config: &Config) -> Result<Self, Vec<String>> {
        let services = config.services.clone();
        let reading = tokio::task::spawn_blocking(move || read(&services));
        let means = reading.await.map_err(|error| vec![format!("the ways to the targets: {error}")])??;
        let targets = config.services.iter().flat_map(|service| &service.pools).flat_map(|pool| &pool.targets);
        let names: HashSet<Name> = targets
            .filter_map(|target| {
                Reach::new(target.clone(), &Means::default()).name().map(|(host, port)| (Arc::clone(host), port))
            })
            .collect();
        Ok(Self { means, found: look_up_all(names).await })
    }

    /// By what means a pool's targets are spoken to.
    pub(super) fn means(&self, service: &ServiceName, pool: &PoolName) -> Means {
        self.means.get(&(service.clone(), pool.clone())).cloned().unwrap_or_default()
    }

    /// The way to a target.
    pub(super) fn reach(&self, address: &TargetAddress, means: &Means) -> Arc<Reach> {
        let reach = Reach::new(address.clone(), means);
        let found = reach.name().and_then(|(host, port)| self.found.get(&(Arc::clone(host), port)));
        if let Some(found) = found {
            tell(&reach, reach.learn(found.clone()));
        }
        Arc::new(reach)
    }
}

fn read(services: &[Service]) -> Result<HashMap<(ServiceName, PoolName), Means>, Vec<String>> {
    let mut means = HashMap::new();
    let mut faults = Vec::new();
    let pools = services.iter().flat_map(|service| service.pools.iter().map(move |pool: &Pool| (service, pool)));
    for (service, pool) in pools {
        let (service, name) = (service.name.clone(), pool.name.clone());
        match Means::of(pool) {
            Ok(found) => drop(means.insert((service, name), found)),
            Err(reason) => faults.push(MeansFault { service, pool: name, reason }.to_string()),
        }
    }
    if faults.is_empty() { Ok(means) } else { Err(faults) }
}

/// What was found within the time; the others are still looked for when it is over, and found later.
async fn look_up_all(names: HashSet<Name>) -> HashMap<Name, Found> {
    let mut lookups: JoinSet<(Name, Found)> = JoinSet::new();
    for (host, port) in names {
        lookups.spawn(async move {
            let found = look_up(Arc::clone(&host), port).await.map_err(|error| error.to_string());
            ((host, port), found)
        });
    }
    let mut all = HashMap::new();
    let gather = async {
        while let Some(found) = lookups.join_next().await {
            all.extend(found.ok());
        }
    };
    if timeout(FIRST_LOOKUP, gather).await.is_err() {
        tracing::warn!("not every target's name could be looked up within {FIRST_LOOKUP:?}; going on without");
    }
    all
}

/// The look-ups that go on, by the identity of the way.
#[derive(Debug)]
pub(super) struct Lookups {
    every: Duration,
    running: HashMap<usize, AbortHandle>,
}

impl Lookups {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, running: HashMap::new() }
    }

    /// Looks up the names of these targets from now on, and no others.
    pub(super) fn follow<'r>(&mut self, ways: impl Iterator<Item = &'r Arc<Reach>>) {
        let mut before = std::mem::take(&mut self.running);
        for reach in ways.filter(|reach| reach.name().is_some()) {
            let key = Arc::as_ptr(reach).addr();
            let task = before.remove(&key);
            let task = task.unwrap_or_else(|| tokio::spawn(keep_looking(Arc::clone(reach), self.every)).abort_handle());
            self.running.insert(key, task);
        }
        for stale in before.into_values() {
            stale.abort();
        }
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        for task in self.running.values() {
            task.abort();
        }
    }
}

async fn keep_looking(reach: Arc<Reach>, every: Duration) {
    let Some((host, port)) = reach.name() else { return };
    loop {
        let pause = if reach.lookup().addresses.is_empty() { every.min(SOON) } else { every };
        tokio::time::sleep(pause).await;
        let mut lookup = Box::pin(look_up(Arc::clone(host), port));
        let found = if let Ok(found) = timeout(PATIENCE, &mut lookup).await {
            found
        } else {
            let fault = format!("the name server does not answer within {PATIENCE:?}");
            tell(&reach, reach.learn(Err(fault)));
            // Not another one beside it: each takes a thread.
            lookup.await
        };
        tell(&reach, reach.learn(found.map_err(|error| error.to_string())));
    }
}

fn tell(reach: &Reach, learned: Learned) {
    let target = reach.address();
    match learned {
        Learned::Nothing => {}
        Learned::Addresses(addresses) => {
            tracing::info!(%target, ?addresses, "the target's name has these addresses from now on");
        }
        Learned::Fault(fault) if reach.lookup().addresses.is_empty() => {
            tracing::warn!(%target, fault, "the target's name can't be looked up");
        }
        Learned::Fault(fault) => {
            tracing::warn!(%target, fault, "the target's name can't be looked up; the last known addresses stay");
        }
        Learned::Mended => tracing::info!(%target, "the target's name can be looked up again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(target: &str, rest: &str) -> Config {
        let text = format!(
            "[[service]]\nname = 's'\nlive = 'a'\n[service.pool.a]\ntargets = ['{target}']\n{rest}\n\
             [service.pool.b]\ntargets = ['127.0.0.1:9']\n"
        );
        Config::parse(&text, Path::new("/nowhere")).unwrap().config
    }

    #[tokio::test]
    async fn names_are_looked_up_before_anyone_asks_for_a_connection() {
        let ways = Ways::of(&config("localhost:80", "")).await.unwrap();
        let reach = ways.reach(&"localhost:80".parse().unwrap(), &Means::default());
        assert!(!reach.lookup().addresses.is_empty());
        let other = ways.reach(&"elsewhere.internal:80".parse().unwrap(), &Means::default());
        assert!(other.lookup().addresses.is_empty());
    }

    #[tokio::test]
    async fn what_can_t_be_verified_by_is_told_with_its_pool() {
        let faults = Ways::of(&config("https://a", "tls.ca_file = 'ca.pem'")).await.unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with("service s: pool a: tls.ca_file /nowhere/ca.pem can't be read"), "{faults:?}");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_until_it_is_followed_no_more() {
        let reach = Arc::new(Reach::new("localhost:80".parse().unwrap(), &Means::default()));
        let mut lookups = Lookups::new(Duration::from_millis(10));
        lookups.follow([&reach].into_iter());
        while reach.lookup().addresses.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        lookups.follow(std::iter::empty());
        assert!(lookups.running.is_empty());
    }
}
