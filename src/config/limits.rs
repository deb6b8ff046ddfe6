//! How much and how long: `[server.limits]`, `[server.timeouts]`, and `[service.limits]`, `[service.timeouts]`,
//! `[service.retry]`, `[service.ejection]`.

use super::keys;
use super::model::{Ejection, Retry, ServerLimits, ServiceLimits, ServiceTimeouts, Timeouts};
use super::reader::Node;
use crate::model::Period;

/// More connections or requests than any machine has memory for would be no bound.
const MOST: u64 = 10_000_000;
/// The same of the streams of one connection.
const MOST_STREAMS: u64 = 10_000;
/// 1 PiB of a body: more would be a slip of the finger.
const MOST_BYTES: u64 = 1 << 50;
/// A visitor who waits longer has gone.
const LONGEST_WAIT: Period = Period::from_secs(600);
/// A target that takes longer to warm up needs more than a router.
const LONGEST_SLOW_START: Period = Period::from_secs(3600);

pub(super) fn timeouts(node: &Node) -> Option<Timeouts> {
    let table = node.table(keys::TIMEOUTS)?;
    let default = Timeouts::default();
    let period = |key, default| table.read(key, Node::positive_period).unwrap_or(default);
    Some(Timeouts {
        handshake: period("handshake", default.handshake),
        head: period("head", default.head),
        idle: period("idle", default.idle),
        connect: period("connect", default.connect),
        answer: period("answer", default.answer),
        stall: period("stall", default.stall),
        tunnel: period("tunnel", default.tunnel),
    })
}

pub(super) fn server_limits(node: &Node) -> Option<ServerLimits> {
    let table = node.table(keys::SERVER_LIMITS)?;
    let default = ServerLimits::default();
    let count = |node: &Node, least| usize::try_from(node.integer(least..=MOST)?).ok();
    let per_client = table.read("connections_per_client", |node| count(node, 0));
    let streams = table.read("streams", |node| u32::try_from(node.integer(1..=MOST_STREAMS)?).ok());
    Some(ServerLimits {
        connections: table.read("connections", |node| count(node, 1)).unwrap_or(default.connections),
        connections_per_client: per_client.map_or(default.connections_per_client, |most| (most != 0).then_some(most)),
        streams: streams.unwrap_or(default.streams),
    })
}

pub(super) fn service_timeouts(node: &Node, server: ServiceTimeouts) -> Option<ServiceTimeouts> {
    let table = node.table(keys::SERVICE_TIMEOUTS)?;
    let period = |key, default| table.read(key, Node::positive_period).unwrap_or(default);
    Some(ServiceTimeouts {
        connect: period("connect", server.connect),
        answer: period("answer", server.answer),
        stall: period("stall", server.stall),
    })
}

pub(super) fn service_limits(node: &Node) -> Option<ServiceLimits> {
    let table = node.table(keys::SERVICE_LIMITS)?;
    let default = ServiceLimits::default();
    let bound = |key, most| table.read(key, |node| node.integer(0..=most));
    let max_in_flight = bound("max_in_flight", MOST);
    // A faulty limit is still a limit.
    if max_in_flight == Some(0) || table.get("max_in_flight").is_none() {
        let idle = ["queue", "queue_wait"].into_iter().find_map(|key| table.get(key));
        if let Some(node) = idle {
            node.warn("without a limit nothing waits; write max_in_flight as well, or take this out");
        }
    }
    let but_none = |most: &u64| *most != 0;
    Some(ServiceLimits {
        max_body: bound("max_body", MOST_BYTES).filter(but_none),
        max_in_flight: max_in_flight.filter(but_none),
        queue: table.read("queue", |node| node.integer(0..=MOST)).unwrap_or(default.queue),
        queue_wait: table.read("queue_wait", queue_wait).unwrap_or(default.queue_wait),
    })
}

fn queue_wait(node: &Node) -> Option<Period> {
    let wait = node.positive_period()?;
    if wait > LONGEST_WAIT {
        node.fault(format!("no visitor waits {wait}; write at most {LONGEST_WAIT}"));
    }
    Some(wait)
}

pub(super) fn retry(node: &Node) -> Option<Retry> {
    let table = node.table(keys::RETRY)?;
    let default = Retry::default();
    let rule = "from 0 (none but min_per_second) to 1 (one for each request)";
    let budget = table.read("budget", |node| node.number_that(rule, |budget| (0.0..=1.0).contains(&budget)));
    let min_per_second = table.read("min_per_second", |node| u32::try_from(node.integer(0..=MOST)?).ok());
    Some(Retry {
        budget: budget.unwrap_or(default.budget),
        min_per_second: min_per_second.unwrap_or(default.min_per_second),
    })
}

pub(super) fn ejection(node: &Node) -> Option<Ejection> {
    let table = node.table(keys::EJECTION)?;
    let default = Ejection::default();
    let errors = table.read("errors", |node| u32::try_from(node.integer(0..=MOST)?).ok());
    Some(Ejection {
        errors: errors.map_or(default.errors, |errors| (errors != 0).then_some(errors)),
        time: table.read("time", Node::positive_period).unwrap_or(default.time),
    })
}

pub(super) fn slow_start(node: &Node) -> Option<Period> {
    let time = node.period()?;
    if time > LONGEST_SLOW_START {
        node.fault(format!("{time} is too long for a target to warm up; write at most {LONGEST_SLOW_START}"));
    }
    Some(time)
}
