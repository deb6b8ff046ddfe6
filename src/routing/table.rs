//! The table: the immutable snapshot that a request is routed by.

use super::assets::{Assets, is_reserved};
use super::balance::Warming;
use super::bounds::Bounds;
use super::counters::{PerWorker, PoolLoad, PoolTally, ServiceTally, TargetLoad};
use super::exempt::is_exempt;
use super::link::Link;
use super::maintenance::MaintenanceAnswer;
use super::restriction::{Passage, Restriction};
use super::split::{Draw, Secret, Split};
use super::waiting::Waiting;
use crate::config::{Caching, Protocol, StickyBy};
use crate::model::{HostPattern, PathPrefix, PoolName, ReleaseId, ServiceName, Timestamp};
use crate::transport::Reach;
use http::{HeaderMap, HeaderValue, Method};
use ipnet::IpNet;
use std::collections::HashMap;
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
    /// The paths that neither maintenance nor hold keeps from the application; see [`is_exempt`].
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

/// Finds the service of a host and a path.
#[derive(Debug, Default)]
pub struct HostIndex {
    exact: HashMap<Box<str>, Mounts>,
    below: HashMap<Box<str>, Mounts>,
    any: Mounts,
}

/// The services of one host, by path prefix.
#[derive(Debug, Default)]
struct Mounts {
    root: Option<usize>,
    deeper: HashMap<Box<str>, usize>,
    /// The most segments that a prefix has.
    depth: usize,
}

impl Mounts {
    fn add(&mut self, prefix: &PathPrefix, service: usize) {
        match prefix.as_str() {
            "/" => self.root = Some(service),
            prefix => {
                self.depth = self.depth.max(prefix.matches('/').count());
                self.deeper.insert(prefix.into(), service);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = usize> + use<> {
        let mut deeper: Vec<usize> = self.deeper.values().copied().collect();
        deeper.sort_unstable();
        self.root.into_iter().chain(deeper)
    }

    fn find(&self, path: &str) -> Option<usize> {
        if self.depth > 0 {
            // The ends of the first `depth` segments, the longest first.
            let mut end = path
                .match_indices('/')
                .map(|(at, _)| at)
                .skip(1)
                .chain([path.len()])
                .take(self.depth)
                .last()
                .unwrap_or(path.len());
            while end > 0 {
                if let Some(service) = self.deeper.get(&path[..end]) {
                    return Some(*service);
                }
                end = path[..end].rfind('/').unwrap_or(0);
            }
        }
        self.root
    }
}

impl HostIndex {
    /// Of services by index, with their hosts and the path they are mounted on.
    #[must_use]
    pub fn new<'s>(services: impl Iterator<Item = (&'s [HostPattern], &'s PathPrefix)>) -> Self {
        let mut index = Self::default();
        for (service, (hosts, prefix)) in services.enumerate() {
            for host in hosts {
                let mounts = match host {
                    HostPattern::Any => &mut index.any,
                    HostPattern::Exact(host) => index.exact.entry(host.clone()).or_default(),
                    HostPattern::Below(domain) => index.below.entry(domain.clone()).or_default(),
                };
                mounts.add(prefix, service);
            }
        }
        index
    }

    /// The service of a host, as a request names it, and a raw path: an exact host before the longest wildcard
    /// before any, and the longest prefix.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.any.find(path);
        }
        let mut host = without_port(host);
        // A host name has at most 253 characters; a longer one can be configured nowhere.
        let mut buffer;
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            buffer = [0; 253];
            let Some(lower) = buffer.get_mut(..host.len()) else { return self.any.find(path) };
            lower.copy_from_slice(host.as_bytes());
            lower.make_ascii_lowercase();
            host = std::str::from_utf8(lower).unwrap_or_default();
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let exact = self.exact.get(host).and_then(|mounts| mounts.find(path));
        exact.or_else(|| self.find_below(host, path)).or_else(|| self.any.find(path))
    }

    /// All services that a host has, whatever the path: those of the exact host, of the longest wildcard and so on, and
    /// those of any host; of each, the one at `/` and then the others in their order.
    #[must_use]
    pub fn all_of(&self, host: &str) -> Vec<usize> {
        let host = without_port(host).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let below = host.match_indices('.').filter_map(|(at, _)| self.below.get(&host[at + 1..]));
        self.exact.get(host).into_iter().chain(below).chain([&self.any]).flat_map(Mounts::all).collect()
    }

    fn find_below(&self, host: &str, path: &str) -> Option<usize> {
        if self.below.is_empty() {
            return None;
        }
        host.match_indices('.').find_map(|(at, _)| self.below.get(&host[at + 1..])?.find(path))
    }
}

/// The host of an authority. An IPv6 address keeps its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if authority[at..].bytes().skip(1).all(|b| b.is_ascii_digit()) && !authority.ends_with("::") => {
            // `[::1]` ends with its bracket, so a colon with digits behind it is outside.
            &authority[..at]
        }
        _ => authority,
    }
}

/// What a request is routed by.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    /// The host that it asks for, with or without a port.
    pub host: &'r str,
    /// Its method.
    pub method: &'r Method,
    /// The raw path.
    pub path: &'r str,
    /// The raw query, if there is one.
    pub query: Option<&'r str>,
    /// Its headers.
    pub headers: &'r HeaderMap,
    /// The visitor's address.
    pub client: IpAddr,
    /// What a link's expiry is held against, where the cookies mention a preview; they are searched only then.
    pub preview_at: Option<Timestamp>,
}

/// Why a request goes to a pool undrawn, while it is not for everyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previewed {
    /// Its cookie is that of a preview link: it is shown that pool, or none.
    ByLink,
    /// Its network sees the preview of a blue-green rollout, or passes maintenance.
    ByNetwork,
}

/// Where a request goes.
#[derive(Debug)]
pub enum Destination<'t> {
    /// To a pool of a service.
    Pool {
        /// The service.
        route: &'t Arc<Route>,
        /// The service's index in the table.
        service: usize,
        /// The index of the pool; it has a healthy target.
        pool: usize,
        /// The draw, while a split is on.
        draw: Option<Draw>,
        /// Whether another pool was meant, which has no healthy target.
        failed_over: bool,
        /// Whether it is a preview.
        previewed: Option<Previewed>,
        /// How it passes, while the service is restricted.
        passage: Option<Passage<'t>>,
    },
    /// Nowhere: the visitor gets this response.
    Maintenance {
        /// The service.
        route: &'t Arc<Route>,
        /// The response.
        answer: &'t Arc<MaintenanceAnswer>,
    },
    /// Nowhere yet: it waits, and is routed anew when it is let go.
    Hold {
        /// The service.
        route: &'t Arc<Route>,
    },
    /// To the router itself: it is for [`Table::asset`].
    Router,
    /// Nowhere: no service is configured for it.
    NoService,
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

impl Route {
    fn destination<'t>(self: &'t Arc<Self>, service: usize, asked: &Asked<'_>, secret: &Secret) -> Destination<'t> {
        // Past maintenance and hold, and nothing else.
        let exempt = (self.hold || self.planned.is_some()) && is_exempt(&self.exempt, asked.path);
        let linked = self.linked(asked, secret);
        if let Some(answer) = &self.planned
            && !exempt
            && linked.is_none()
            && !answer.bypass.iter().any(|network| network.contains(&asked.client.to_canonical()))
        {
            return Destination::Maintenance { route: self, answer };
        }
        // Who may pass by maintenance waits here like all others: it is the data that a hold protects.
        if self.hold && !exempt {
            return Destination::Hold { route: self };
        }
        let passage = match self.restriction.as_ref().map(|restriction| restriction.passage(asked)).transpose() {
            Ok(passage) => passage,
            Err(answer) => return Destination::Maintenance { route: self, answer },
        };
        if let Some(pool) = linked {
            return self.to_linked(service, pool, passage);
        }
        let previewed = self.previewed(asked);
        let passes_by = self.planned.is_some() && !exempt;
        if exempt || passes_by || previewed.is_some() {
            // Who passes by, or sees a preview, is no visitor, and takes no part in the draw.
            let by = (passes_by || previewed.is_some()).then_some(Previewed::ByNetwork);
            return self.to_pool(service, previewed.unwrap_or(self.live), None, by, passage);
        }
        let draw =
            self.split.as_ref().map(|split| (split, split.draw(&self.sticky, asked.headers, asked.client, secret)));
        let meant = draw.filter(|(_, draw)| draw.candidate).map_or(self.live, |(split, _)| split.candidate);
        self.to_pool(service, meant, draw.map(|(_, draw)| draw), None, passage)
    }

    /// The pool that the request's cookie shows, if a preview link of this service has set it and is not over.
    #[must_use]
    pub fn linked(&self, asked: &Asked<'_>, secret: &Secret) -> Option<usize> {
        let now = asked.preview_at?;
        Link::in_cookies(asked.headers).filter(|link| !link.is_over(now)).find_map(|link| self.shown_by(&link, secret))
    }

    /// The pool that a link shows, expired or not.
    #[must_use]
    pub fn shown_by(&self, link: &Link, secret: &Secret) -> Option<usize> {
        link.pool(&self.service, self.pools.iter().map(|pool| &pool.name), secret)
    }

    /// Who was promised one pool is not shown another.
    fn to_linked<'t>(
        self: &'t Arc<Self>,
        service: usize,
        pool: usize,
        passage: Option<Passage<'t>>,
    ) -> Destination<'t> {
        if self.is_usable(pool) {
            let previewed = Some(Previewed::ByLink);
            return Destination::Pool {
                route: self,
                service,
                pool,
                draw: None,
                failed_over: false,
                previewed,
                passage,
            };
        }
        Destination::Maintenance { route: self, answer: &self.unplanned }
    }

    /// The candidate, where the client sees its preview.
    fn previewed(&self, asked: &Asked<'_>) -> Option<usize> {
        self.preview.as_ref().filter(|preview| preview.is_for(asked.client)).map(|preview| preview.pool)
    }

    fn to_pool<'t>(
        self: &'t Arc<Self>,
        service: usize,
        meant: usize,
        draw: Option<Draw>,
        previewed: Option<Previewed>,
        passage: Option<Passage<'t>>,
    ) -> Destination<'t> {
        match self.serving(meant, None) {
            Some(pool) => {
                let failed_over = pool != meant;
                Destination::Pool { route: self, service, pool, draw, failed_over, previewed, passage }
            }
            None => Destination::Maintenance { route: self, answer: &self.unplanned },
        }
    }

    /// The pool that serves in place of `meant`: itself while it can, else live, else the first other one that has
    /// a healthy target and was not drained. Never the pool at index `but`.
    #[must_use]
    pub fn serving(&self, meant: usize, but: Option<usize>) -> Option<usize> {
        let usable = |index: &usize| Some(*index) != but && self.is_usable(*index);
        [meant, self.live].into_iter().chain(0..self.pools.len()).find(usable)
    }

    fn is_usable(&self, pool: usize) -> bool {
        self.pools.get(pool).is_some_and(|pool| !pool.drained && !pool.healthy.is_empty())
    }

    /// The pool that may have an asset which the pool at `index` does not have.
    #[must_use]
    pub fn beside(&self, index: usize) -> Option<usize> {
        let other = self.skew?;
        let beside = match index {
            _ if index == self.live => other,
            _ if index == other => self.live,
            _ => return None,
        };
        self.is_usable(beside).then_some(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(services: &[(&[&str], &str)]) -> HostIndex {
        let parsed: Vec<(Vec<HostPattern>, PathPrefix)> = services
            .iter()
            .map(|(hosts, prefix)| (hosts.iter().map(|host| host.parse().unwrap()).collect(), prefix.parse().unwrap()))
            .collect();
        HostIndex::new(parsed.iter().map(|(hosts, prefix)| (hosts.as_slice(), prefix)))
    }

    #[test]
    fn an_exact_host_comes_before_a_wildcard_before_any() {
        let index = index(&[
            (&["*"], "/"),
            (&["*.example.com"], "/"),
            (&["shop.example.com"], "/"),
            (&["*.eu.example.com"], "/"),
        ]);
        for (host, service) in [
            ("shop.example.com", 2),
            ("SHOP.example.com:8443", 2),
            ("shop.example.com.", 2),
            ("other.example.com", 1),
            ("a.b.example.com", 1),
            ("shop.eu.example.com", 3),
            ("example.com", 0),
            ("", 0),
            ("[::1]:80", 0),
        ] {
            assert_eq!(index.find(host, "/"), Some(service), "{host}");
        }
        assert_eq!(index.find(&"x".repeat(300), "/"), Some(0));
    }

    #[test]
    fn the_longest_prefix_wins_on_segment_boundaries() {
        let index = index(&[(&["*"], "/"), (&["*"], "/api"), (&["*"], "/api/v2"), (&["a"], "/only")]);
        for (host, path, service) in [
            ("a", "/only/x", Some(3)),
            ("a", "/onlyx", Some(0)),
            ("b", "/api", Some(1)),
            ("b", "/api/", Some(1)),
            ("b", "/apis", Some(0)),
            ("b", "/api/v2", Some(2)),
            ("b", "/api/v2/deep/er", Some(2)),
            ("b", "/api/v22", Some(1)),
            ("b", "/", Some(0)),
            ("b", "//api", Some(0)),
            ("b", "*", Some(0)),
            ("b", "", Some(0)),
        ] {
            assert_eq!(index.find(host, path), service, "{host} {path}");
        }
    }

    #[test]
    fn a_path_that_no_service_has_is_found_nowhere() {
        let index = index(&[(&["a"], "/x")]);
        assert_eq!(index.find("a", "/"), None);
        assert_eq!(index.find("b", "/x"), None);
    }

    #[test]
    fn all_services_of_a_host_are_found_whatever_the_path() {
        let index = index(&[
            (&["*"], "/"),
            (&["*.example.com"], "/z"),
            (&["shop.example.com"], "/b"),
            (&["shop.example.com"], "/a"),
            (&["shop.example.com", "other"], "/"),
        ]);
        assert_eq!(index.all_of("SHOP.example.com.:80"), [4, 2, 3, 1, 0]);
        assert_eq!((index.all_of("x.example.com"), index.all_of("")), (vec![1, 0], vec![0]));
    }

    #[test]
    fn a_port_is_taken_off_and_an_address_keeps_its_brackets() {
        for (authority, host) in
            [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:b", "a:b"), ("a:", "a")]
        {
            assert_eq!(without_port(authority), host);
        }
    }
}
