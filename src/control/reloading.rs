//! The conductor and the configuration: the services as they start, and another configuration put in force, whole.

use super::conductor::Conductor;
use super::files::{self, FirstLook};
use super::gathering::Gathering;
use super::handle::Published;
use super::health::Checked;
use super::names::Ways;
use super::restriction;
use super::service::ServiceControl;
use crate::analysis::Evidence;
use crate::config::{Config, Service as ServiceConfig};
use crate::model::{PoolName, Timestamp};
use crate::rollout::ServiceState;
use crate::routing::HostIndex;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// What gates are told that were being asked when the router ended.
const ASKED_AGAIN: &str = "asked again after a restart";

impl Conductor {
    /// Puts another configuration in force, whole, in one swap.
    pub(super) fn reload(&mut self, config: Config, files: FirstLook, ways: &Ways) -> Result<(), Vec<String>> {
        let faults = self.faults_of(&config);
        if !faults.is_empty() {
            return Err(faults);
        }
        let workers = self.tools.live.workers();
        let mut before = std::mem::take(&mut self.services);
        for service in &config.services {
            let control = match before.iter().position(|control| control.config.name == service.name) {
                Some(at) => {
                    let mut control = before.swap_remove(at);
                    control.reconfigure(service.clone(), workers, ways);
                    control
                }
                None => new_service(service.clone(), self.dormant.remove(&service.name), workers, ways),
            };
            self.services.push(control);
        }
        self.config = config;
        self.adopt_config(files);
        for gone in before {
            self.tools.shared.is_gone(gone.config.name.clone(), &gone.tally);
            self.dormant.insert(gone.config.name, (gone.state, None));
        }
        Ok(())
    }

    /// What stands against a new configuration, given what is in force.
    fn faults_of(&self, config: &Config) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fixed = |same: bool, section: &str| {
            if !same {
                faults.push(format!("[{section}] can't change while the router runs: restart it"));
            }
        };
        fixed(config.server == self.config.server, "server");
        fixed(config.admin == self.config.admin, "admin");
        fixed(config.state == self.config.state, "state");
        fixed(config.prometheus == self.config.prometheus, "prometheus");
        fixed(config.access_log == self.config.access_log, "access_log");
        fixed(config.notify == self.config.notify, "notify");
        for control in &self.services {
            let name = &control.config.name;
            // What the store is about to accept comes into force after this.
            let coming = control.writing.planned();
            match config.services.iter().find(|service| service.name == *name) {
                Some(service) => {
                    let states = || coming.into_iter().chain([&control.state]);
                    // Who was to appear logged out would be logged in again.
                    faults.extend(states().find_map(|state| restriction::fault(service, &state.mode)));
                    let missing = states().flat_map(pools_in_use).find(|pool| service.pool(pool).is_none());
                    if let Some(pool) = missing {
                        faults.push(format!("service {name}: pool {pool} is in use and can't be removed"));
                    }
                }
                None if control.state.candidate.is_some() || control.state.watch_until.is_some() => {
                    faults.push(format!("service {name} has a rollout under way and can't be removed"));
                }
                None if coming.is_some() => {
                    faults.push(format!("service {name} is being changed and can't be removed; try again"));
                }
                None => {}
            }
        }
        for service in &config.services {
            if let Some((state, _)) = self.dormant.get(&service.name) {
                faults.extend(state_faults(service, state));
            }
        }
        faults
    }

    /// Follows the configuration that is now in force: the routes, the checks, the files.
    pub(super) fn adopt_config(&mut self, mut files: FirstLook) {
        let workers = self.tools.live.workers();
        for service in &mut self.services {
            service.files = files.of(&service.config.name, &service.files);
            service.follow_mode(Timestamp::now());
        }
        self.files = AbortOnDropHandle::new(tokio::spawn(files::watch(files, self.tools.sender.clone())));
        let configs = || self.services.iter().map(|service| &service.config);
        self.hosts = Arc::new(HostIndex::new(configs().map(|config| (config.hosts.as_slice(), &config.path_prefix))));
        let secret = &self.tools.secret;
        self.routes = self.services.iter_mut().map(|service| Arc::new(service.route(secret, workers))).collect();
        for at in 0..self.services.len() {
            self.follow_gates(at, ASKED_AGAIN);
        }
        self.swap();
        let targets = self.services.iter().flat_map(|service| &service.pools).flat_map(|pool| &pool.targets);
        self.lookups.follow(targets.map(|target| &target.reach));
        self.checks.follow(self.services.iter().flat_map(checked).collect());
        for service in &self.services {
            self.checks.hurry(service);
        }
        self.tools.shared.publish_all(self.services.iter().map(Published::of).collect());
        // What a query asks for may have another name in the file by now.
        for at in 0..self.services.len() {
            self.poll_checks(at);
        }
    }
}

pub(super) fn new_service(
    config: ServiceConfig,
    stored: Option<(ServiceState, Option<String>)>,
    workers: usize,
    ways: &Ways,
) -> ServiceControl {
    let Some((state, evidence)) = stored else {
        let state = ServiceState::new(config.live.clone());
        return ServiceControl::new(config, state, workers, ways);
    };
    let mut service = ServiceControl::new(config, state, workers, ways);
    if !service.state.is_new() {
        service.writing.stored = Some(service.state.revision);
    }
    let watched = service.state.watch_until.is_some();
    if let Some(rollout) = service.state.rollout.as_ref().filter(|_| watched || service.state.candidate.is_some()) {
        let read = evidence.as_deref().map(serde_json::from_str::<Evidence>).transpose();
        let fault = read.as_ref().err().map(ToString::to_string);
        let restored = read.ok().flatten().filter(|evidence| evidence.watch().is_some() == watched);
        if restored.is_none() {
            tracing::warn!(service = %service.config.name, fault, "the rollout's evidence can't be had again; it begins anew");
        }
        let mut evidence = restored.unwrap_or_else(|| Evidence::begin(&rollout.plan));
        if watched && evidence.watch().is_none() {
            evidence.begin_watch(service.guarding.watch(rollout, Timestamp::now()));
        }
        service.gathering = Some(Gathering::new(evidence, rollout, workers, Timestamp::now()));
    }
    service
}

/// Pools that a state can't do without.
fn pools_in_use(state: &ServiceState) -> impl Iterator<Item = &PoolName> {
    let watched = state.watch_until.and(state.rollout.as_ref()).map(|rollout| &rollout.previous_live);
    [Some(&state.live), state.candidate.as_ref(), watched].into_iter().flatten()
}

/// Why a stored state does not fit a configured service, if it does not.
pub(super) fn state_faults(service: &ServiceConfig, state: &ServiceState) -> Vec<String> {
    pools_in_use(state)
        .filter(|pool| service.pool(pool).is_none())
        .map(|pool| {
            let name = &service.name;
            format!("service {name}: the state says that pool {pool} is in use, but the configuration has no such pool")
        })
        .collect()
}

fn checked(service: &ServiceControl) -> impl Iterator<Item = Checked> {
    service.pools.iter().flat_map(move |pool| {
        pool.targets.iter().map(move |target| Checked {
            service: service.config.name.clone(),
            pool: pool.name.clone(),
            reach: Arc::clone(&target.reach),
            load: Arc::clone(&target.load),
            health: service.config.health.clone(),
        })
    })
}
