//! `[[service.rollout.gate]]`: who else is asked whether a rollout may go on.

use super::keys;
use super::reader::{Node, Table};
use crate::model::{Gate, GateAsk, GatePoint, OnGateFailure, Period};
use std::collections::BTreeMap;
use std::path::PathBuf;

const TIMEOUT: Period = Period::from_secs(30);
/// A migration may take long; what takes longer than a day has died.
const LONGEST_TIMEOUT: Period = Period::from_secs(24 * 3600);
const RETRIES: u32 = 3;
const MOST_RETRIES: u64 = 100;
const LONGEST_NAME: usize = 100;
/// By which decisions of all gates together are told.
const RESERVED: &str = "gates";
/// What the router itself tells a program.
const OWN_VARIABLES: &str = "CUTOVER_";

/// `steps`: whether the rollout has any, so that something comes before them.
pub(super) fn gates(node: &Node, steps: bool) -> Option<Vec<Gate>> {
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut gates = Vec::new();
    for item in node.list("a list of gates, each headed [[service.rollout.gate]],")? {
        let Some(table) = item.table(keys::GATE) else { continue };
        let name = table.required("name", "the name is missing; write what people call this gate", |node| {
            let name = name(node)?;
            match names.iter().find(|(other, _)| *other == name) {
                Some((_, line)) => {
                    node.fault(format!("the gate on line {line} has this name too; choose another"));
                }
                None => names.push((name.clone(), node.line())),
            }
            Some(name)
        });
        gates.extend(gate(&table, &item, name, steps));
    }
    Some(gates)
}

fn gate(table: &Table, item: &Node, name: Option<String>, steps: bool) -> Option<Gate> {
    let advice = "when it is asked is missing; write at = [\"before-promotion\"], or other points of the rollout";
    let at = table.required("at", advice, |node| points(node, steps));
    let ask = ask(table, item);
    let timeout = table.read("timeout", timeout).unwrap_or(TIMEOUT);
    let retries = table.read("retries", |node| node.integer(0..=MOST_RETRIES));
    let failures =
        [("hold", OnGateFailure::Hold), ("rollback", OnGateFailure::Rollback), ("ignore", OnGateFailure::Ignore)];
    let on_failure = table.read("on_failure", |node| node.choice(&failures, &[])).unwrap_or_default();
    Some(Gate {
        name: name?,
        at: at?,
        ask: ask?,
        timeout,
        retries: retries.and_then(|retries| u32::try_from(retries).ok()).unwrap_or(RETRIES),
        on_failure,
    })
}

fn name(node: &Node) -> Option<String> {
    let name = node.text()?;
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        node.fault(format!("write a name of 1 to {LONGEST_NAME} characters on one line"));
        return None;
    }
    if name == RESERVED {
        node.fault("this is what all gates together are called; choose another");
        return None;
    }
    Some(name.to_owned())
}

fn points(node: &Node, steps: bool) -> Option<Vec<GatePoint>> {
    let items = node.list("a list of points such as \"before-promotion\"")?;
    if items.is_empty() {
        node.fault("no point, so it would never be asked; write at least one, or take the gate out");
    }
    let known = GatePoint::ALL.map(|point| (point.as_str(), point));
    let mut points = Vec::new();
    for item in items {
        let Some(point) = item.choice(&known, &[]) else { continue };
        if points.contains(&point) {
            item.fault(format!("{point} is listed twice; take one out"));
        } else if point == GatePoint::BeforeStep && !steps {
            item.fault("a blue-green rollout has no steps; write \"before-rollout\" or \"before-promotion\"");
        } else {
            points.push(point);
        }
    }
    Some(points)
}

fn timeout(node: &Node) -> Option<Period> {
    let timeout = node.positive_period()?;
    if timeout > LONGEST_TIMEOUT {
        node.fault(format!("{timeout} is too long; write at most {LONGEST_TIMEOUT}"));
        return None;
    }
    Some(timeout)
}

fn ask(table: &Table, item: &Node) -> Option<GateAsk> {
    match (table.get("url"), table.get("command")) {
        (Some(_), Some(command)) => {
            command.fault("`url` is there too; write one of the two, or make two gates of it");
            None
        }
        (None, None) => {
            item.fault("nobody is asked; write url = \"https://…\" or command = [\"PROGRAM\", \"ARGUMENT\"]");
            None
        }
        (Some(url), None) => {
            if let Some(env) = table.get("env") {
                env.fault("only a command has an environment; take it out");
            }
            let secret_file = table.read("secret_file", secret_file);
            Some(GateAsk::Webhook { url: web_address(&url)?, secret_file })
        }
        (None, Some(program)) => {
            if let Some(secret) = table.get("secret_file") {
                secret.fault("only the body of a webhook is signed; take it out");
            }
            let env = table.read("env", environment).unwrap_or_default();
            Some(GateAsk::Command { command: command(&program)?, env })
        }
    }
}

/// The address of a webhook.
pub(super) fn web_address(node: &Node) -> Option<String> {
    let text = node.text()?;
    let uri = text.parse::<http::Uri>().ok();
    let is_usable = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !is_usable {
        // What it is may be a secret: such an address often is one.
        node.fault("this is not a web address; write one such as \"https://deploy.example.com/hook\"");
        return None;
    }
    Some(text.to_owned())
}

/// The file with the key that a body is signed with.
pub(super) fn secret_file(node: &Node) -> Option<PathBuf> {
    let path = node.path()?;
    if !path.is_file() {
        node.warn(format!("{} is not there; make it before the first use", path.display()));
    }
    Some(path)
}

fn command(node: &Node) -> Option<Vec<String>> {
    let items = node.list("a program and its arguments such as \"./smoke-test\"")?;
    let words: Vec<String> = items.iter().filter_map(no_zero).collect();
    if words.len() < items.len() {
        return None;
    }
    let mut words = words.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        node.fault("no program; write it first, then its arguments, each in quotes");
        return None;
    };
    // A bare name is looked up in PATH, any other begins at the folder of the file.
    let program = if program.contains('/') { node.beside(&program).display().to_string() } else { program };
    Some(std::iter::once(program).chain(words).collect())
}

fn environment(node: &Node) -> Option<BTreeMap<String, String>> {
    let variable = |(name, node): (&str, Node)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            node.fault("this can't be the name of a variable");
        } else if name.starts_with(OWN_VARIABLES) {
            node.fault(format!("the names that begin with {OWN_VARIABLES} are the router's own; choose another"));
        }
        Some((name.to_owned(), no_zero(&node)?))
    };
    Some(node.table_of_names()?.entries().into_iter().filter_map(variable).collect())
}

/// A text that may be handed to a program.
fn no_zero(node: &Node) -> Option<String> {
    let text = node.text()?;
    if text.contains('\0') {
        node.fault("a program can't be given the character U+0000; take it out");
        return None;
    }
    Some(text.to_owned())
}
