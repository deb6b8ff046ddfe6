//! Where a request goes, by one table: past the modes of its service, by a link, by a preview, by the draw, and away from
//! pools that can't serve.

use super::exempt::is_exempt;
use super::link::Link;
use super::maintenance::MaintenanceAnswer;
use super::restriction::Passage;
use super::split::{Draw, LastVisitor, Secret};
use super::table::Route;
use crate::model::Timestamp;
use http::{HeaderMap, Method};
use std::net::IpAddr;
use std::sync::Arc;

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
    /// The last visitor on its connection.
    pub last_visitor: &'r LastVisitor,
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
    /// To the router itself: it is for [`Table::asset`](super::Table::asset).
    Router,
    /// Nowhere: no service is configured for it.
    NoService,
}

impl Route {
    /// Where a request of this service goes; `service` is its index in the table.
    pub(super) fn destination<'t>(
        self: &'t Arc<Self>,
        service: usize,
        asked: &Asked<'_>,
        secret: &Secret,
    ) -> Destination<'t> {
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
        let draw = self.split.as_ref().map(|split| (split, split.draw(&self.sticky, asked, secret)));
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
