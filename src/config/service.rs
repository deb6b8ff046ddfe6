//! `[[service]]` and what belongs to it.

use super::keys;
use super::limits::{ejection, retry, service_limits, service_timeouts, slow_start};
use super::model::{Caching, Health, ReleaseSource, Server, Service, StickyBy};
use super::modes::{anonymous, hold, maintenance, read_only};
use super::pools::{POOLS_ADVICE, pools};
use super::reader::{Node, Table};
use super::rollout::rollout;
use super::routes::Routes;
use crate::model::{HostPattern, PathPrefix, Period, PoolName};
use http::HeaderName;

const NAME_ADVICE: &str = "the name is missing; write one, such as name = \"shop\"";
const SERVICE_ADVICE: &str = "no service is configured; add [[service]] with a name and two pools";
/// More often would be load, not a check.
const LEAST_INTERVAL: Period = Period::from_millis(10);

/// What the router as a whole is like, as far as services must fit it.
pub(super) struct Surroundings<'a> {
    pub(super) server: &'a Server,
    pub(super) has_prometheus: bool,
}

pub(super) fn services(root: &Table, surroundings: &Surroundings) -> Vec<Service> {
    let Some(node) = root.get("service") else {
        root.missing("service", SERVICE_ADVICE);
        return Vec::new();
    };
    if node.is_table() {
        node.fault("there can be several services; write [[service]] in double brackets");
        return Vec::new();
    }
    let items = node.list("services, each headed [[service]],").unwrap_or_default();
    if items.is_empty() {
        node.fault(SERVICE_ADVICE);
    }
    let mut routes = Routes::default();
    items.iter().filter_map(|item| service(item, surroundings, &mut routes)).collect()
}

fn service<'t>(node: &Node<'t>, surroundings: &Surroundings, routes: &mut Routes<'t>) -> Option<Service> {
    let table = node.table(keys::SERVICE)?;
    let name = table.required("name", NAME_ADVICE, |node| {
        let name = node.parsed()?;
        routes.claim_name(&name, node);
        Some(name)
    });
    let path_prefix = table.read("path_prefix", Node::parsed::<PathPrefix>);
    let hosts = hosts(&table, node);
    let is_mounted = path_prefix.is_some() || table.get("path_prefix").is_none();
    let path_prefix = path_prefix.unwrap_or_default();
    if is_mounted {
        for (host, place) in &hosts {
            routes.claim(host, &path_prefix, place);
        }
    }
    let pools = table.required("pool", POOLS_ADVICE, |node| pools(node, surroundings.server));
    let live = table.read("live", |node| live(node, &table));
    let health = table.read("health", health).unwrap_or_default();
    let sticky = table.read("sticky", |node| sticky(node, surroundings.server)).unwrap_or_default();
    let rollout = table.read("rollout", |node| rollout(node, surroundings.has_prometheus)).unwrap_or_default();
    let maintenance = table.read("maintenance", maintenance).unwrap_or_default();
    let read_only = table.read("read_only", read_only).unwrap_or_default();
    let anonymous = table.read("anonymous", anonymous).unwrap_or_default();
    let hold = table.read("hold", hold).unwrap_or_default();
    let skew_guard = table.read("skew_guard", Node::yes_or_no).unwrap_or(true);
    let caching = table.read("caching", |node| caching(node, &sticky)).unwrap_or_default();
    let limits = table.read("limits", service_limits).unwrap_or_default();
    let default = surroundings.server.timeouts.into();
    let timeouts = table.read("timeouts", |node| service_timeouts(node, default)).unwrap_or(default);
    let retry = table.read("retry", retry).unwrap_or_default();
    let ejection = table.read("ejection", ejection).unwrap_or_default();
    let slow_start = table.read("slow_start", slow_start).unwrap_or(Service::SLOW_START);
    let hosts = hosts.into_iter().map(|(host, _)| host).collect();
    let pools = pools?;
    let live = live.or_else(|| pools.first().map(|pool| pool.name.clone()))?;
    Some(Service {
        name: name?,
        hosts,
        path_prefix,
        live,
        pools,
        health,
        sticky,
        rollout,
        maintenance,
        read_only,
        anonymous,
        hold,
        skew_guard,
        caching,
        limits,
        timeouts,
        retry,
        ejection,
        slow_start,
    })
}

/// The hosts, each with its place.
fn hosts<'t>(table: &Table<'t>, service: &Node<'t>) -> Vec<(HostPattern, Node<'t>)> {
    let Some(node) = table.get("hosts") else { return vec![(HostPattern::Any, service.clone())] };
    let items = node.list("a list of hosts such as \"shop.example.com\"").unwrap_or_default();
    if items.is_empty() {
        node.fault("no hosts; write at least one, or leave the key out for every host");
    }
    items.into_iter().filter_map(|item| Some((item.parsed()?, item))).collect()
}

fn live(node: &Node, service: &Table) -> Option<PoolName> {
    let live = node.parsed::<PoolName>()?;
    let names: Vec<_> = service.read("pool", Node::table_of_names)?.entries().iter().map(|(name, _)| *name).collect();
    if !names.contains(&live.as_str()) {
        node.fault(format!(
            "no pool of this service is called {live:?}; write one of {}",
            names.join(", "),
            live = live.as_str()
        ));
        return None;
    }
    Some(live)
}

fn health(node: &Node) -> Option<Health> {
    let table = node.table(keys::HEALTH)?;
    let default = Health::default();
    let path = table.read("path", health_path);
    if let (None, Some(release)) = (&path, table.get("release")) {
        release.fault("only the answer to a request can say which release runs; write a path as well");
    }
    Some(Health {
        path,
        interval: table.read("interval", |node| node.period_of_at_least(LEAST_INTERVAL)).unwrap_or(default.interval),
        timeout: table.read("timeout", Node::positive_period).unwrap_or(default.timeout),
        rise: table.read("rise", Node::count).unwrap_or(default.rise),
        fall: table.read("fall", Node::count).unwrap_or(default.fall),
        release: table.read("release", release_source),
    })
}

fn release_source(node: &Node) -> Option<ReleaseSource> {
    let text = node.text()?;
    let source = match text.split_once(':') {
        Some(("header", name)) => name.trim().parse().ok().map(ReleaseSource::Header),
        Some(("json", field)) if !field.trim().is_empty() => Some(ReleaseSource::Json(field.trim().to_owned())),
        Some(_) | None => None,
    };
    if source.is_none() {
        node.fault(format!("{text:?} is no place in an answer; write \"header:X-Release\" or \"json:version\""));
    }
    source
}

fn caching(node: &Node, sticky: &StickyBy) -> Option<Caching> {
    let choices = [("private", Caching::Private), ("vary", Caching::Vary), ("as-is", Caching::AsIs)];
    let caching = node.choice(&choices, &[])?;
    if caching == Caching::Vary && matches!(sticky, StickyBy::ClientIp | StickyBy::None) {
        node.warn(
            "no header tells a shared cache which pool a visitor gets, so answers are marked as private all the same; \
             write \"private\", or let visitors be drawn by a cookie or a header",
        );
    }
    Some(caching)
}

fn health_path(node: &Node) -> Option<String> {
    let path = node.text()?;
    let is_usable =
        path.starts_with('/') && path.parse::<http::uri::PathAndQuery>().is_ok_and(|uri| uri.as_str() == path);
    if !is_usable {
        node.fault(format!("{path:?} is not a path to ask for; write one that begins with '/', such as \"/up\""));
    }
    is_usable.then(|| path.to_owned())
}

fn sticky(node: &Node, server: &Server) -> Option<StickyBy> {
    let table = node.table(keys::STICKY)?;
    let by = table.read("by", |node| {
        let Some(name) = node.text()?.strip_prefix("header:") else {
            let choices = [("cookie", StickyBy::Cookie), ("client-ip", StickyBy::ClientIp), ("none", StickyBy::None)];
            return node.choice(&choices, &[]);
        };
        let header = name.trim().parse::<HeaderName>().ok();
        if header.is_none() {
            node.fault(format!("{name:?} is not the name of a header; write one, such as \"header:X-User\""));
        }
        header.map(StickyBy::Header)
    });
    if by == Some(StickyBy::ClientIp) && server.trusted_proxies.is_empty() {
        let place = table.get("by").unwrap_or_else(|| node.clone());
        place.warn(
            "behind a proxy or a CDN all visitors would share its address, and so its pool; \
             name its networks in server.trusted_proxies, unless visitors connect directly",
        );
    }
    by
}
