//! Targets that fail visitors one after the other are left alone for a time, whatever their health checks say; and
//! those that have come back get their share bit by bit.
//!
//! What makes a pool healthy is its checks alone: where nothing else is left, requests go to targets that were ejected.

use super::conductor::Conductor;
use super::service::{PoolControl, ServiceControl, TargetControl};
use crate::model::{Phase, Timestamp};
use crate::routing::counters::TargetLoad;
use crate::routing::{Opening, Suspected, Suspicion, Warming};
use std::sync::Arc;
use std::time::Instant;

/// A target that is left alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ejected {
    /// Until when.
    until: Instant,
    /// The same, for whoever looks.
    pub(super) shown: Timestamp,
}

/// How the live pool came to be it.
#[derive(Debug, Clone, Copy)]
pub(super) struct BecameLive {
    since: Instant,
    carried: u64,
}

impl Conductor {
    /// A worker is concerned about a target.
    pub(super) fn suspected(&mut self, suspicion: &Suspicion) {
        match suspicion.1 {
            Suspected::Unreachable => self.checks.suspect(suspicion),
            Suspected::Failing => self.eject(&suspicion.0),
        }
    }

    fn eject(&mut self, load: &Arc<TargetLoad>) {
        let Some(at) = self.services.iter().position(|service| service.has(load)) else { return };
        if self.services[at].eject(load, Instant::now()) {
            self.publish(at);
        }
    }

    /// Takes back the targets whose time is over, and gives those their whole share that have warmed up.
    pub(super) fn follow_targets(&mut self, at: usize, now: Instant) {
        if self.services[at].follow_targets(now) {
            self.publish(at);
        }
    }
}

impl ServiceControl {
    fn has(&self, load: &Arc<TargetLoad>) -> bool {
        self.pools.iter().flat_map(|pool| &pool.targets).any(|target| Arc::ptr_eq(&target.load, load))
    }

    /// Ejects a target, if that may be. True if it was.
    fn eject(&mut self, load: &Arc<TargetLoad>, now: Instant) -> bool {
        self.unsettled = true;
        let (service, ejection) = (&self.config.name, self.config.ejection);
        let Some(errors) = ejection.errors else { return false };
        for pool in &mut self.pools {
            let Some(index) = pool.targets.iter().position(|target| Arc::ptr_eq(&target.load, load)) else { continue };
            if !pool.can_spare(index) {
                return false;
            }
            let time = ejection.time.get();
            let (pool, target) = (&pool.name, &mut pool.targets[index]);
            let ejected = Ejected { until: now + time, shown: Timestamp::now() + time };
            tracing::warn!(%service, %pool, target = %target.address(), errors, until = %ejected.shown, "target ejected: it fails one request after the other");
            target.ejected = Some(ejected);
            target.load.ejections.add(1);
            return true;
        }
        false
    }

    fn follow_targets(&mut self, now: Instant) -> bool {
        if !self.unsettled {
            return false;
        }
        let (service, slow_start) = (&self.config.name, self.config.slow_start.get());
        let mut news = false;
        self.unsettled = false;
        for pool in &mut self.pools {
            for target in &mut pool.targets {
                match target.ejected {
                    Some(ejected) if now >= ejected.until => {
                        tracing::info!(%service, pool = %pool.name, target = %target.address(), "target taken back after its ejection");
                        target.ejected = None;
                        target.recovered = Some(now);
                        target.load.forgiven();
                        news = true;
                    }
                    Some(_) => {}
                    // What was told of it and led to nothing may be told again.
                    None => target.load.forgiven(),
                }
                if target.recovered.is_some_and(|since| now.saturating_duration_since(since) >= slow_start) {
                    target.recovered = None;
                    news = true;
                }
                self.unsettled |= target.ejected.is_some() || target.recovered.is_some();
            }
        }
        news
    }

    /// How the live pool fills up, by how it became live. A pool that was it from the start is full, and so is the one that
    /// a rollback makes live again: what protects does not take its time.
    pub(super) fn opening(&mut self, now: Instant) -> Option<Opening> {
        if self.last_live.as_ref() != Some(&self.state.live) {
            let carried = self.pool(&self.state.live).map_or(0, |pool| pool.load.sum(|load| load.in_flight.get()));
            let slowly = self.last_live.is_some() && self.state.phase != Phase::RolledBack;
            self.became_live = slowly.then_some(BecameLive { since: now, carried });
            self.last_live = Some(self.state.live.clone());
        }
        let time = self.config.slow_start.get();
        let became = self.became_live.filter(|_| !time.is_zero())?;
        Some(Opening { since: became.since, time, carried: became.carried })
    }

    /// Takes back all targets where none is ejected any more.
    pub(super) fn follow_ejection(&mut self) {
        if self.config.ejection.errors.is_none() {
            for target in self.pools.iter_mut().flat_map(|pool| &mut pool.targets) {
                target.ejected = None;
            }
        }
    }
}

impl PoolControl {
    /// Whether the pool can do without one more target: at most half of them are ejected, and another one is left.
    fn can_spare(&self, index: usize) -> bool {
        let ejected = self.targets.iter().filter(|target| target.ejected.is_some()).count();
        let is_left = |(at, target): (usize, &TargetControl)| at != index && target.gets_requests();
        self.targets[index].gets_requests()
            && ejected < self.targets.len() / 2
            && self.targets.iter().enumerate().any(is_left)
    }

    /// The indices of the targets that requests go to.
    pub(super) fn usable(&self) -> Box<[usize]> {
        let those = |which: fn(&TargetControl) -> bool| -> Box<[usize]> {
            (0..self.targets.len()).filter(|at| which(&self.targets[*at])).collect()
        };
        let usable = those(TargetControl::gets_requests);
        if usable.is_empty() { those(|target| target.fault.is_none()) } else { usable }
    }

    /// Those of them that have just come back.
    pub(super) fn warming(&self, time: std::time::Duration) -> Box<[Warming]> {
        let since = |(index, target): (usize, &TargetControl)| {
            let since = target.recovered.filter(|_| target.fault.is_none() && !time.is_zero())?;
            Some(Warming { target: index, since, time })
        };
        self.targets.iter().enumerate().filter_map(since).collect()
    }
}

impl TargetControl {
    fn gets_requests(&self) -> bool {
        self.fault.is_none() && self.ejected.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::control::names::Ways;
    use crate::rollout::ServiceState;
    use std::path::Path;
    use std::time::Duration;

    fn service(targets: usize, more: &str) -> ServiceControl {
        let targets: Vec<_> = (1..=targets).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
        let text = format!(
            "[[service]]\nname = \"shop\"\n{more}\n[service.pool.server0]\ntargets = [{}]\n[service.pool.server1]\ntargets = [\"127.0.0.1:99\"]\n",
            targets.join(", ")
        );
        let config = Config::parse(&text, Path::new("/")).unwrap().config.services.remove(0);
        let state = ServiceState::new(config.live.clone());
        ServiceControl::new(config, state, 1, &Ways::default())
    }

    fn eject(service: &mut ServiceControl, target: usize, now: Instant) -> bool {
        let load = Arc::clone(&service.pools[0].targets[target].load);
        service.eject(&load, now)
    }

    #[test]
    fn at_most_half_of_a_pool_is_ejected_and_never_its_only_target() {
        let now = Instant::now();
        for (targets, most) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let mut service = service(targets, "");
            let ejected = (0..targets).filter(|target| eject(&mut service, *target, now)).count();
            assert_eq!(ejected, most, "of {targets}");
            assert_eq!(service.pools[0].usable().len(), targets - most);
            assert!(service.pools[0].healthy());
        }
    }

    #[test]
    fn the_last_healthy_target_is_not_ejected_and_an_ejected_one_is_used_when_all_others_are_down() {
        let now = Instant::now();
        let mut service = service(3, "");
        for down in [1, 2] {
            service.pools[0].targets[down].fault = Some("down".into());
        }
        assert!(!eject(&mut service, 0, now), "it is the last one");
        service.pools[0].targets[1].fault = None;
        assert!(eject(&mut service, 0, now));
        assert_eq!(*service.pools[0].usable(), [1]);
        service.pools[0].targets[1].fault = Some("down".into());
        assert_eq!(*service.pools[0].usable(), [0]);
    }

    #[test]
    fn an_ejected_target_comes_back_after_its_time_and_warms_up() {
        let start = Instant::now();
        let mut service = service(2, "slow_start = \"4s\"");
        assert!(eject(&mut service, 0, start));
        assert!(!service.follow_targets(start + Duration::from_secs(29)));
        let back = start + Duration::from_secs(30);
        assert!(service.follow_targets(back));
        assert_eq!(*service.pools[0].usable(), [0, 1]);
        let time = service.config.slow_start.get();
        assert_eq!(service.pools[0].warming(time)[0].target, 0);
        assert!(!service.follow_targets(back + Duration::from_secs(3)));
        assert!(service.follow_targets(back + Duration::from_secs(4)));
        assert!(service.pools[0].warming(time).is_empty());
    }

    #[test]
    fn a_target_that_was_taken_back_without_slow_start_is_ejected_again() {
        let mut now = Instant::now();
        let mut service = service(2, "slow_start = \"0s\"");
        for _ in 0..2 {
            assert!(service.pools[0].targets[0].load.fails());
            assert!(eject(&mut service, 0, now));
            now += Duration::from_secs(30);
            assert!(service.follow_targets(now));
        }
    }

    #[test]
    fn what_is_told_of_a_target_and_leads_to_nothing_may_be_told_again() {
        let now = Instant::now();
        let mut service = service(1, "");
        for _ in 0..2 {
            let load = Arc::clone(&service.pools[0].targets[0].load);
            assert!(load.fails() && !load.fails());
            assert!(!service.eject(&load, now), "it is the only one");
            assert!(!service.follow_targets(now));
        }
    }

    #[test]
    fn none_is_ejected_where_that_is_off_and_none_stays_so_when_it_is_put_off() {
        let now = Instant::now();
        let off = "ejection = { errors = 0 }";
        let mut never = service(2, off);
        assert!(!eject(&mut never, 0, now));
        let mut service = service(2, "");
        assert!(eject(&mut service, 0, now));
        service.reconfigure(never.config, 1, &Ways::default());
        assert_eq!(*service.pools[0].usable(), [0, 1]);
    }

    #[test]
    fn only_a_pool_that_becomes_live_opens_slowly() {
        let now = Instant::now();
        let mut service = service(1, "");
        assert!(service.opening(now).is_none());
        service.state.live = "server1".parse().unwrap();
        service.pools[1].load.of(crate::routing::WorkerId(0)).in_flight.enter();
        let opening = service.opening(now).unwrap();
        assert_eq!((opening.since, opening.carried), (now, 1));
        let later = service.opening(now + Duration::from_secs(5)).unwrap();
        assert_eq!((later.since, later.carried), (now, 1));
        service.state.live = "server0".parse().unwrap();
        service.state.phase = Phase::RolledBack;
        assert!(service.opening(now).is_none(), "a rollback takes all traffic back at once");
    }
}
