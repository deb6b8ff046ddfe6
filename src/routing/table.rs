//! The table: the immutable snapshot that a request is routed by.

use super::assets::{Assets, is_reserved};
use super::balance::Warming;
use super::bounds::Bounds;
use super::counters::{PerWorker, PoolLoad, PoolTally, ServiceTally, TargetLoad};
use super::destination::{Asked, Destination};
use super::hosts::HostIndex;
use super::maintenance::MaintenanceAnswer;
use super::restriction::Restriction;
use super::split::{Secret, Split};
use super::waiting::Waiting;
use crate::config::{Caching, Protocol, StickyBy};
use crate::model::{PathPrefix, PoolName, ReleaseId, ServiceName};
use crate::transport::Reach;
use http::HeaderValue;
use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Everything that requests are routed by. A change makes a new one that shares what stayed the same.
#[derive(Debug, Clone)]
pub struct Table {
    /// Rises with each swap.
    pub version: u64,
    /// From host and path to the index in `services`.
    pub hosts: Arc<HostIndex>,
    /// The services.
    pub services: Box<[Arc<Route>]>,
}

/// A service, as requests see it.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub service: ServiceName,
    /// Its pools; at least one.
    pub pools: Box<[Pool]>,
    /// The index of the live pool.
    pub live: usize,
    /// The split, while a rollout is in its canary phase.
    pub split: Option<Split>,
    /// Who sees the candidate before anyone is drawn, in the preview of a blue-green rollout.
    pub preview: Option<Preview>,
    /// What visitors are drawn by.
    pub sticky: StickyBy,
    /// What shared caches are told while the split is on.
    pub caching: Caching,
    /// The pool that is warm beside the live one: what one of the two has no asset for is looked for in the other.
    pub skew: Option<usize>,
    /// The paths that neither maintenance nor hold keeps from the application; see
    /// [`is_exempt`](super::is_exempt).
    pub exempt: Box<[PathPrefix]>,
    /// What the operator's page needs.
    pub assets: Option<Arc<Assets>>,
    /// The response of planned maintenance, while the service is in it.
    pub planned: Option<Arc<MaintenanceAnswer>>,
    /// What is kept from the pools, while the service is read-only or anonymous.
    pub restriction: Option<Arc<Restriction>>,
    /// The response when no pool can serve.
    pub unplanned: Arc<MaintenanceAnswer>,
    /// Whether requests wait.
    pub hold: bool,
    /// How they do, in a hold or while a target restarts.
    pub waiting: Arc<Waiting>,
    /// Since when no pool can serve, while that is so.
    pub outage: Option<Instant>,
    /// How much it may ask of its pools, and for how long.
    pub bounds: Arc<Bounds>,
    /// What is counted of the service.
    pub tally: Arc<PerWorker<ServiceTally>>,
}

/// A candidate that is shown to some, undrawn.
#[derive(Debug)]
pub struct Preview {
    /// The index of its pool.
    pub pool: usize,
    /// Who sees it.
    pub networks: Box<[IpNet]>,
}

impl Preview {
    /// Whether a client sees it.
    #[must_use]
    pub fn is_for(&self, client: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&client.to_canonical()))
    }
}

/// A pool, as requests see it.
#[derive(Debug)]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// What runs in it.
    pub release: Option<ReleaseId>,
    /// The name as the value of `X-Cutover-Pool`.
    pub name_header: HeaderValue,
    /// The release as the value of `X-Cutover-Release`.
    pub release_header: Option<HeaderValue>,
    /// Its targets; at least one.
    pub targets: Box<[Target]>,
    /// The indices of the targets that requests are sent to.
    pub healthy: Box<[usize]>,
    /// What its targets speak.
    pub protocol: Protocol,
    /// Those of them that have just recovered, and get less than their share.
    pub warming: Box<[Warming]>,
    /// Whether the pool was drained: nothing may reach it until it is used again.
    pub drained: bool,
    /// What is counted of the pool whatever runs in it.
    pub load: Arc<PerWorker<PoolLoad>>,
    /// What is counted of the release that runs in it.
    pub tally: Arc<PerWorker<PoolTally>>,
}

/// A target, as requests see it.
#[derive(Debug)]
pub struct Target {
    /// The way to it.
    pub reach: Arc<Reach>,
    /// What is counted of it. Its identity too: connections are kept for as long as a target has the same load.
    pub load: Arc<TargetLoad>,
}

impl Table {
    /// A table without services.
    #[must_use]
    pub fn empty() -> Self {
        Self { version: 0, hosts: Arc::default(), services: Box::default() }
    }

    /// Decides where a request goes.
    #[must_use]
    pub fn route(&self, asked: &Asked<'_>, secret: &Secret) -> Destination<'_> {
        if is_reserved(asked.path) {
            return Destination::Router;
        }
        match self.find(asked.host, asked.path) {
            None => Destination::NoService,
            Some((service, route)) => route.destination(service, asked, secret),
        }
    }

    /// The service of a host and a raw path, with its index.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<(usize, &Arc<Route>)> {
        let service = self.hosts.find(host, path)?;
        Some((service, self.services.get(service)?))
    }
}
