//! `[[notify]]`: who is told what was decided.

use super::gates::{secret_file, web_address};
use super::keys;
use super::model::{Notify, NotifyKind};
use super::reader::{Node, Table};
use crate::model::ServiceName;

/// The decisions that can be told, by the words of the history; and the failure of a gate, whatever came of it.
const EVENTS: [&str; 14] = [
    "start",
    "step",
    "hold",
    "resume",
    "weight",
    "promote",
    "rollback",
    "switch",
    "mode",
    "watch-over",
    "approve",
    "gate",
    "deploy",
    Notify::GATE_FAILURE,
];
/// What people want to know when they say nothing. A hold is told with what it waits for, such as an approval.
const DEFAULT_EVENTS: [&str; 5] = ["start", "hold", "promote", "rollback", Notify::GATE_FAILURE];
const SERVICE: &str = "{{service}}";

pub(super) fn notices(root: &Table, services: &[&ServiceName]) -> Vec<Notify> {
    let Some(node) = root.get("notify") else { return Vec::new() };
    let items = node.list("those who are told, each headed [[notify]],").unwrap_or_default();
    items.iter().filter_map(|item| notice(item, services)).collect()
}

fn notice(node: &Node, services: &[&ServiceName]) -> Option<Notify> {
    let table = node.table(keys::NOTIFY)?;
    let advice = "the address is missing; write one, such as url = \"https://hooks.example.com/…\"";
    let url = table.required("url", advice, web_address);
    let kinds = [("webhook", NotifyKind::Webhook), ("slack", NotifyKind::Slack)];
    let kind = table.read("kind", |node| node.choice(&kinds, &[])).unwrap_or_default();
    if let (NotifyKind::Slack, Some(secret)) = (kind, table.get("secret_file")) {
        secret.fault("Slack has no use for a signature; take it out");
    }
    let events = table.read("events", events);
    Some(Notify {
        url: url?,
        kind,
        secret_file: table.read("secret_file", secret_file),
        events: events.unwrap_or_else(|| DEFAULT_EVENTS.map(str::to_owned).to_vec()),
        services: table.read("services", |node| of_services(node, services)),
        link: table.read("link", link),
    })
}

fn events(node: &Node) -> Option<Vec<String>> {
    let items = node.list("a list of events such as \"rollback\"")?;
    if items.is_empty() {
        node.fault("no event, so nothing would be told; write at least one, or leave the key out");
    }
    let known = EVENTS.map(|event| (event, event));
    Some(items.iter().filter_map(|item| item.choice(&known, &[])).map(str::to_owned).collect())
}

fn of_services(node: &Node, services: &[&ServiceName]) -> Option<Vec<ServiceName>> {
    let items = node.list("a list of services such as \"shop\"")?;
    if items.is_empty() {
        node.fault("no service, so nothing would be told; write at least one, or leave the key out for all");
    }
    let known: Vec<(&str, ServiceName)> = services.iter().map(|name| (name.as_str(), (*name).clone())).collect();
    Some(items.iter().filter_map(|item| item.choice(&known, &[])).collect())
}

fn link(node: &Node) -> Option<String> {
    let link = node.text()?;
    let filled = link.replace(SERVICE, "service");
    let is_web = filled.starts_with("https://") || filled.starts_with("http://");
    if !is_web || filled.parse::<http::Uri>().is_err() {
        node.fault(format!("this is not a link; write one such as \"https://status.example.com/{SERVICE}\""));
    }
    Some(link.to_owned())
}
