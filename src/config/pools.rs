//! `[service.pool.NAME]`: the targets of a service, and how they are spoken to.

use super::keys;
use super::listeners::overlap;
use super::model::{Pool, PoolTls, Protocol, Server};
use super::reader::Node;
use crate::model::{Endpoint, PoolName, TargetAddress, is_host_name};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const POOLS_ADVICE: &str = "a service needs two pools to choose from; add [service.pool.server0] and \
                                       [service.pool.server1], each with targets = [\"HOST:PORT\"]";

pub(super) fn pools(node: &Node, server: &Server) -> Option<Vec<Pool>> {
    let entries = node.table_of_names()?.entries();
    if entries.len() < 2 {
        node.fault(POOLS_ADVICE);
    }
    let mut seen = Vec::new();
    Some(entries.iter().filter_map(|(name, node)| pool(name, node, server, &mut seen)).collect())
}

/// The targets of a service so far, with their lines.
type Seen = Vec<(TargetAddress, usize)>;

fn pool(name: &str, node: &Node, server: &Server, seen: &mut Seen) -> Option<Pool> {
    let name = name.parse::<PoolName>().map_err(|error| node.fault(error.to_string())).ok();
    let table = node.table(keys::POOL)?;
    let advice = "a pool needs at least one target; write targets = [\"HOST:PORT\"]";
    let targets: Option<Vec<TargetAddress>> = table.required("targets", advice, |node| {
        let items = node.list("a list of targets such as \"127.0.0.1:9000\"")?;
        if items.is_empty() {
            node.fault(advice);
        }
        Some(items.iter().filter_map(|item| target(item, server, seen)).collect())
    });
    let release = table.read("release", Node::parsed);
    let protocols = [("h1", Protocol::H1), ("h2", Protocol::H2)];
    let protocol = table.read("protocol", |node| node.choice(&protocols, &[])).unwrap_or_default();
    let tls = table.read("tls", tls).unwrap_or_default();
    let targets = targets?;
    if let Some(node) = table.get("tls")
        && !targets.iter().any(|target| target.secure)
    {
        node.warn(
            "no target of this pool speaks TLS, so this verifies nothing; write https://HOST:PORT, or take it out",
        );
    }
    Some(Pool { name: name?, targets, release, protocol, tls })
}

fn target(node: &Node, server: &Server, seen: &mut Seen) -> Option<TargetAddress> {
    let target = node.parsed::<TargetAddress>()?;
    if let Some((_, line)) = seen.iter().find(|(other, _)| *other == target) {
        node.fault(format!("{target} is a target of this service on line {line} already; take one out"));
    }
    if let Endpoint::Socket(address) = target.endpoint {
        let mut own = server.listeners().map(|listener| listener.address);
        if own.any(|listen| address == listen || address.ip().is_loopback() && overlap(listen, address)) {
            node.fault(format!(
                "{address} is this router itself, so requests would go in circles; write the application's address"
            ));
        }
    }
    seen.push((target.clone(), node.line()));
    Some(target)
}

fn tls(node: &Node) -> Option<PoolTls> {
    let table = node.table(keys::POOL_TLS)?;
    Some(PoolTls { ca_file: table.read("ca_file", Node::file), server_name: table.read("server_name", server_name) })
}

fn server_name(node: &Node) -> Option<Arc<str>> {
    let name = node.text()?;
    if is_host_name(name) || name.parse::<IpAddr>().is_ok() {
        return Some(name.into());
    }
    node.fault(format!(
        "{name:?} is no name that a certificate can be for; write a host name or an IP address, without scheme or port"
    ));
    None
}
