//! `[service.rollout]` and its steps.

use super::checks::{ALWAYS_ON, checks};
use super::gates::gates;
use super::keys;
use super::model::{OnInconclusive, RolloutConfig, StepConfig};
use super::reader::Node;
use crate::model::{Advance, BasisPoints, Check, Period, Strategy};

pub(super) fn rollout(node: &Node, has_prometheus: bool) -> Option<RolloutConfig> {
    let table = node.table(keys::ROLLOUT)?;
    let default = RolloutConfig::default();
    let chance = |node: &Node| node.number_that("between 0 and 1", |chance| chance > 0.0 && chance < 1.0);
    let on_inconclusive =
        [("hold", OnInconclusive::Hold), ("promote", OnInconclusive::Promote), ("rollback", OnInconclusive::Rollback)];
    let strategies = [("canary", Strategy::Canary), ("blue-green", Strategy::BlueGreen)];
    let advances = [("after-hold", Advance::AfterHold), ("early", Advance::Early)];
    let strategy = table.read("strategy", |node| node.choice(&strategies, &[])).unwrap_or_default();
    let checks = table.read("check", |node| checks(node, has_prometheus)).unwrap_or(default.checks);
    let steps = match strategy {
        Strategy::Canary => table.read("steps", |node| steps(node, &checks)).unwrap_or(default.steps),
        Strategy::BlueGreen => {
            if let Some(node) = table.get("steps") {
                node.fault("a blue-green rollout moves all traffic at once and has no steps; take them out");
            }
            Vec::new()
        }
    };
    Some(RolloutConfig {
        false_alarm: table.read("false_alarm", chance).unwrap_or(default.false_alarm),
        miss: table.read("miss", chance).unwrap_or(default.miss),
        min_requests: table.read("min_requests", min_requests).unwrap_or(default.min_requests),
        max_hold: table.read("max_hold", |node| max_hold(node, &steps)),
        on_inconclusive: table
            .read("on_inconclusive", |node| node.choice(&on_inconclusive, &[]))
            .unwrap_or(default.on_inconclusive),
        watch: table.read("watch", Node::period).unwrap_or(default.watch),
        objective: table.read("objective", chance).unwrap_or(default.objective),
        preview: table.read("preview", Node::period).unwrap_or(default.preview),
        approve: table.read("approve", Node::yes_or_no).unwrap_or(default.approve),
        advance: table.read("advance", |node| node.choice(&advances, &[])).unwrap_or(default.advance),
        gates: table.read("gate", |node| gates(node, strategy == Strategy::Canary)).unwrap_or(default.gates),
        strategy,
        checks,
        steps,
    })
}

fn min_requests(node: &Node) -> Option<u64> {
    node.integer(1..=1_000_000_000)
}

fn steps(node: &Node, checks: &[Check]) -> Option<Vec<StepConfig>> {
    let items = node.list("a list of steps such as { weight = 10, hold = \"5m\" }")?;
    if items.is_empty() {
        node.fault("no steps; write at least one, or leave the key out for 1%, 10% and 50%");
    }
    let mut highest = BasisPoints::ZERO;
    let mut steps = Vec::new();
    for item in items {
        let Some(table) = item.table(keys::STEP) else { continue };
        let advice = "the weight is missing; write the candidate's share in percent, such as weight = 10";
        let weight = table.required("weight", advice, |node| weight(node, &mut highest));
        let advice = "the hold is missing; write the shortest time in the step, such as hold = \"5m\"";
        let hold = table.required("hold", advice, Node::positive_period);
        let min_requests = table.read("min_requests", min_requests);
        let checks = table.read("checks", |node| names(node, checks));
        let approve = table.read("approve", Node::yes_or_no).unwrap_or_default();
        steps.extend(weight.zip(hold).map(|(weight, hold)| StepConfig { weight, hold, min_requests, checks, approve }));
    }
    Some(steps)
}

/// The checks that a step asks.
fn names(node: &Node, checks: &[Check]) -> Option<Vec<String>> {
    let items = node.list("a list of names of checks such as \"latency\"")?;
    if items.is_empty() {
        node.fault("no check; write at least one, or leave the key out for all of them");
    }
    let known: Vec<(&str, &str)> = checks.iter().map(|check| (check.name(), check.name())).collect();
    let mut names: Vec<String> = Vec::new();
    for item in items {
        if item.text_if_any().is_some_and(|name| ALWAYS_ON.contains(&name)) {
            item.fault("this check is asked always; take it out");
            continue;
        }
        let Some(name) = item.choice(&known, &[]) else { continue };
        if names.iter().any(|known| known == name) {
            item.fault(format!("{name} is listed twice; take one out"));
        }
        names.push(name.to_owned());
    }
    Some(names)
}

fn weight(node: &Node, highest: &mut BasisPoints) -> Option<BasisPoints> {
    let percent = node.number()?;
    let weight = BasisPoints::from_percent(percent).map_err(|error| node.fault(error.to_string())).ok()?;
    if weight == BasisPoints::ZERO || weight == BasisPoints::ALL {
        node.fault("a step's weight is above 0 and below 100; all traffic is what comes after the last step");
        return None;
    }
    if weight <= *highest {
        node.fault(format!("{weight} comes after {highest}; write the weights in rising order"));
    }
    *highest = weight.max(*highest);
    Some(weight)
}

fn max_hold(node: &Node, steps: &[StepConfig]) -> Option<Period> {
    let max_hold = node.positive_period()?;
    if let Some(longer) = steps.iter().find(|step| step.hold > max_hold) {
        node.fault(format!(
            "{max_hold} is shorter than the hold of {} at {}, which could never be passed; write at least that",
            longer.hold, longer.weight
        ));
    }
    Some(max_hold)
}
