//! One service as the control plane holds it, and the route that requests see of it.

use super::deploying::Heard;
use super::ejecting::{BecameLive, Ejected};
use super::gates::Gating;
use super::gathering::Gathering;
use super::guarding::Guarding;
use super::holding::{Holding, waiting};
use super::maintenance;
use super::meanwhile::Counted;
use super::message::Files;
use super::names::Ways;
use super::restriction;
use super::writing::Writing;
use crate::config::{Maintenance, Pool as PoolConfig, Service as ServiceConfig};
use crate::model::view::HistoryView;
use crate::model::{Check, Mode, ModeSource, Phase, PoolName, PromQlCheck, ReleaseId, TargetAddress, Timestamp};
use crate::rollout::ServiceState;
use crate::routing::counters::{PoolLoad, PoolTally, ServiceTally, TargetLoad};
use crate::routing::{Bounds, Bucketer, PerWorker, Pool, Preview, Reason, Route, Secret, Split, Target};
use crate::transport::{Means, Reach};
use http::HeaderValue;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// A service.
#[derive(Debug)]
pub(super) struct ServiceControl {
    pub(super) config: ServiceConfig,
    /// The PromQL checks that it names.
    pub(super) promql: Arc<[PromQlCheck]>,
    pub(super) state: ServiceState,
    pub(super) pools: Vec<PoolControl>,
    pub(super) files: Files,
    /// The evidence of the rollout that is under way, or watched.
    pub(super) gathering: Option<Gathering>,
    pub(super) guarding: Guarding,
    /// Whether a target is ejected, or warms up, or was said to fail.
    pub(super) unsettled: bool,
    /// The tasks that ask the PromQL checks of the rollout.
    pub(super) pollers: Vec<AbortOnDropHandle<()>>,
    pub(super) gating: Gating,
    pub(super) writing: Writing,
    /// Decisions that the store does not have yet, the oldest first.
    pub(super) unwritten: Vec<HistoryView>,
    /// A switch under way that lets requests wait meanwhile.
    pub(super) holding: Option<Holding>,
    /// The script of a deploy that was heard of last.
    pub(super) heard: Option<Heard>,
    /// Since when no pool can serve, while that is so.
    outage: Option<Instant>,
    /// The pool that the last route had as the live one.
    pub(super) last_live: Option<PoolName>,
    /// How it came to be that, unless it was from the start.
    pub(super) became_live: Option<BecameLive>,
    /// What the router answers itself while the service does not serve, or has the last time.
    pub(super) meanwhile: Option<Counted>,
    /// Whether the table has been told that the time of the mode is over.
    pub(super) overdue: bool,
    pub(super) tally: Arc<PerWorker<ServiceTally>>,
}

/// A pool.
#[derive(Debug)]
pub(super) struct PoolControl {
    pub(super) name: PoolName,
    /// By what its targets are spoken to.
    means: Means,
    pub(super) targets: Vec<TargetControl>,
    pub(super) load: Arc<PerWorker<PoolLoad>>,
    pub(super) tally: Arc<PerWorker<PoolTally>>,
    tallied: Option<ReleaseId>,
}

/// A target.
#[derive(Debug)]
pub(super) struct TargetControl {
    pub(super) reach: Arc<Reach>,
    pub(super) load: Arc<TargetLoad>,
    /// Whether it was checked at all.
    pub(super) checked: bool,
    /// Why it is down, while it is.
    pub(super) fault: Option<String>,
    /// That it is left alone, while it is.
    pub(super) ejected: Option<Ejected>,
    /// Since when it can be used again, until it has warmed up.
    pub(super) recovered: Option<Instant>,
    /// The release that it says it runs, where it is asked and says so.
    pub(super) release: Option<ReleaseId>,
}

impl PoolControl {
    fn new(config: &PoolConfig, workers: usize, means: Means, ways: &Ways) -> Self {
        let target = |address| TargetControl::new(ways.reach(address, &means), workers);
        Self {
            name: config.name.clone(),
            targets: config.targets.iter().map(target).collect(),
            means,
            load: Arc::new(PerWorker::new(workers)),
            tally: Arc::new(PerWorker::new(workers)),
            tallied: None,
        }
    }

    /// Whether a request could be sent to it.
    pub(super) fn healthy(&self) -> bool {
        self.targets.iter().any(|target| target.fault.is_none())
    }

    /// Why it is down, in a sentence.
    pub(super) fn fault(&self) -> String {
        let faults: Vec<String> = self
            .targets
            .iter()
            .filter_map(|target| Some(format!("{}: {}", target.address(), target.fault.as_deref()?)))
            .collect();
        format!("pool {} has no healthy target ({})", self.name, faults.join("; "))
    }
}

impl TargetControl {
    fn new(reach: Arc<Reach>, workers: usize) -> Self {
        let load = Arc::new(TargetLoad::new(workers));
        Self { reach, load, checked: false, fault: None, ejected: None, recovered: None, release: None }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> &TargetAddress {
        self.reach.address()
    }
}

impl ServiceControl {
    pub(super) fn new(config: ServiceConfig, state: ServiceState, workers: usize, ways: &Ways) -> Self {
        let pool = |pool: &PoolConfig| PoolControl::new(pool, workers, ways.means(&config.name, &pool.name), ways);
        Self {
            pools: config.pools.iter().map(pool).collect(),
            promql: promql(&config),
            config,
            state,
            files: Files::default(),
            gathering: None,
            guarding: Guarding::default(),
            unsettled: false,
            pollers: Vec::new(),
            gating: Gating::default(),
            writing: Writing::default(),
            unwritten: Vec::new(),
            holding: None,
            heard: None,
            outage: None,
            last_live: None,
            became_live: None,
            meanwhile: None,
            overdue: false,
            tally: Arc::new(PerWorker::new(workers)),
        }
    }

    /// Takes over a new configuration. Pools and targets that stay keep their counts, connections and health.
    pub(super) fn reconfigure(&mut self, config: ServiceConfig, workers: usize, ways: &Ways) {
        let mut before = std::mem::take(&mut self.pools);
        for pool in &config.pools {
            let means = ways.means(&config.name, &pool.name);
            let Some(at) = before.iter().position(|old| old.name == pool.name) else {
                self.pools.push(PoolControl::new(pool, workers, means, ways));
                continue;
            };
            let mut kept = before.swap_remove(at);
            let mut targets = std::mem::take(&mut kept.targets);
            if kept.means != means {
                // Spoken to in another way, a target is another one: no connection of before may be used again.
                targets.clear();
                kept.means = means;
            }
            for address in &pool.targets {
                let old = targets.iter().position(|target| target.address() == address);
                let new = || TargetControl::new(ways.reach(address, &kept.means), workers);
                kept.targets.push(old.map_or_else(new, |at| targets.swap_remove(at)));
            }
            self.pools.push(kept);
        }
        self.promql = promql(&config);
        self.config = config;
        self.follow_ejection();
    }

    pub(super) fn pool(&self, name: &PoolName) -> Option<&PoolControl> {
        self.pools.iter().find(|pool| pool.name == *name)
    }

    /// What runs in a pool: as a command pinned it, unless the file has been changed since; else as the file says.
    pub(super) fn release(&self, pool: &PoolName) -> Option<&ReleaseId> {
        let configured = self.config.pool(pool).and_then(|pool| pool.release.as_ref());
        let tried_out = self.state.candidate.as_ref() == Some(pool);
        let pinned = self.state.releases.get(pool);
        pinned
            .filter(|pinned| tried_out || pinned.configured.as_ref() == configured)
            .map_or(configured, |pinned| Some(&pinned.release))
    }

    /// Whether some pool can serve.
    pub(super) fn can_serve(&self) -> bool {
        self.pools.iter().any(|pool| pool.healthy() && !self.state.drained.contains(&pool.name))
    }

    /// Whether some pool has been found to be able to serve. Targets that no check has reached yet count as up, which is
    /// enough to send requests there, and not enough to leave a mode by itself.
    pub(super) fn is_known_to_serve(&self) -> bool {
        let known = |pool: &PoolControl| pool.targets.iter().any(|target| target.checked && target.fault.is_none());
        self.pools.iter().any(|pool| known(pool) && !self.state.drained.contains(&pool.name))
    }

    /// Whether the store has all that is in force. A service that nobody ever changed needs no store.
    pub(super) fn durable(&self) -> bool {
        let untouched = self.writing.stored == Some(0) && self.state.is_new();
        self.unwritten.is_empty() && (untouched || self.writing.stored == Some(self.state.revision))
    }

    /// Whether time changes anything for it.
    pub(super) fn needs_time(&self) -> bool {
        self.gathering.is_some()
            || self.state.watch_until.is_some()
            || self.gating.answer.is_some()
            || self.writing.current.is_some()
            || !self.writing.unanswered.is_empty()
            || self.holding.is_some()
            || self.state.mode.until.is_some()
            || !self.durable()
    }

    /// The effective mode, and what put the service there.
    pub(super) fn mode(&self) -> (Mode, ModeSource) {
        if self.files.flag {
            return (Mode::Maintenance, ModeSource::File);
        }
        match self.state.mode.mode {
            // Neither sends anything to a pool.
            mode @ (Mode::Maintenance | Mode::Hold) => (mode, ModeSource::Command),
            mode @ (Mode::Serve | Mode::Anonymous | Mode::ReadOnly) if self.can_serve() => (mode, ModeSource::Command),
            Mode::Serve | Mode::Anonymous | Mode::ReadOnly => (Mode::Maintenance, ModeSource::NoHealthyPool),
        }
    }

    /// The service as requests are to see it from now on.
    pub(super) fn route(&mut self, secret: &Secret, workers: usize) -> Route {
        let opening = self.opening(Instant::now());
        let index = |name: &PoolName| self.pools.iter().position(|pool| pool.name == *name);
        let live = index(&self.state.live).unwrap_or_default();
        let split = self.state.candidate.as_ref().and_then(|candidate| {
            let gathering = self.gathering.as_ref()?;
            let rollout = self.state.rollout.as_ref()?;
            Some(Split {
                candidate: index(candidate)?,
                weight: self.state.weight,
                bucketer: Bucketer::new(secret, &self.config.name, &rollout.release),
                draws: Arc::clone(&gathering.draws),
                seen: Arc::clone(&gathering.seen),
            })
        });
        let preview = self.state.candidate.as_ref().filter(|_| self.state.previews()).and_then(index);
        let preview = preview
            .map(|pool| Preview { pool, networks: self.config.maintenance.bypass.clone().into() })
            .filter(|preview| !preview.networks.is_empty());
        // Who finds no room to wait may come back when those who wait now have gone on.
        let brief = Maintenance { retry_after: self.config.hold.max_wait, ..self.config.maintenance.clone() };
        let answer = |reason| {
            let page = self.files.page.as_ref();
            let maintenance = if reason == Reason::Hold { &brief } else { &self.config.maintenance };
            Arc::new(maintenance::answer(reason, maintenance, &self.state.mode, page, Timestamp::now()))
        };
        self.outage = if self.can_serve() { None } else { self.outage.or_else(|| Some(Instant::now())) };
        let config = &self.config;
        let bounds =
            Bounds::new(&config.limits, config.timeouts, config.retry, config.ejection.errors, opening, workers);
        let (mode, _) = self.mode();
        let planned = matches!(self.mode(), (Mode::Maintenance, ModeSource::Command | ModeSource::File));
        Route {
            service: self.config.name.clone(),
            live,
            // In preview nobody is drawn, and nobody gets a cookie.
            split: split.filter(|_| self.state.phase == Phase::Canary),
            preview,
            sticky: self.config.sticky.clone(),
            assets: self.files.assets.clone(),
            caching: self.config.caching,
            skew: self.warm_beside_live().and_then(index),
            exempt: self.config.maintenance.exempt.clone().into(),
            planned: planned.then(|| answer(Reason::Planned)),
            restriction: restriction::of(&self.config, &self.state.mode).map(Arc::new),
            unplanned: answer(Reason::Unplanned),
            hold: mode == Mode::Hold || self.holding.is_some(),
            waiting: Arc::new(waiting(&self.config.hold, answer(Reason::Hold), workers)),
            outage: self.outage,
            bounds: Arc::new(bounds),
            tally: Arc::clone(&self.tally),
            pools: self.pool_routes(workers),
        }
    }

    /// The pool that is warm beside the live one: the candidate of a canary, or the pool that was live before while a
    /// promotion is watched. Not a pool that was taken back.
    fn warm_beside_live(&self) -> Option<&PoolName> {
        let state = &self.state;
        match state.phase {
            _ if !self.config.skew_guard => None,
            Phase::Canary => state.candidate.as_ref(),
            Phase::Promoted => {
                let rollout = state.rollout.as_ref().filter(|_| state.watch_until.is_some())?;
                Some(&rollout.previous_live).filter(|previous| **previous != state.live)
            }
            Phase::Idle | Phase::Preview | Phase::RolledBack => None,
        }
    }

    fn pool_routes(&mut self, workers: usize) -> Box<[Pool]> {
        let releases: Vec<Option<ReleaseId>> =
            self.pools.iter().map(|pool| self.release(&pool.name).cloned()).collect();
        let drained = &self.state.drained;
        let slow_start = self.config.slow_start.get();
        self.pools
            .iter_mut()
            .zip(releases)
            .map(|(pool, release)| {
                if pool.tallied != release {
                    // Another release is another series.
                    pool.tally = Arc::new(PerWorker::new(workers));
                    pool.tallied.clone_from(&release);
                }
                Pool {
                    name: pool.name.clone(),
                    // Names and releases have no characters that a header could not carry.
                    name_header: HeaderValue::from_str(pool.name.as_str())
                        .unwrap_or_else(|_| HeaderValue::from_static("")),
                    release_header: release.as_ref().and_then(|release| HeaderValue::from_str(release.as_str()).ok()),
                    release,
                    targets: pool
                        .targets
                        .iter()
                        .map(|target| Target { reach: Arc::clone(&target.reach), load: Arc::clone(&target.load) })
                        .collect(),
                    healthy: pool.usable(),
                    warming: pool.warming(slow_start),
                    protocol: pool.means.protocol(),
                    drained: drained.contains(&pool.name),
                    load: Arc::clone(&pool.load),
                    tally: Arc::clone(&pool.tally),
                }
            })
            .collect()
    }
}

fn promql(config: &ServiceConfig) -> Arc<[PromQlCheck]> {
    config.rollout.checks.iter().filter_map(Check::as_promql).cloned().collect()
}
