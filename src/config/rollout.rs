//! `[service.rollout]`, its steps and its checks.

use super::keys;
use super::model::{Check, ErrorRatioCheck, OnInconclusive, PromQlCheck, RolloutConfig, StepConfig};
use super::reader::{Node, Table};
use crate::model::{BasisPoints, Period, PromQlQuestion};

const EVERY: Period = Period::from_secs(15);
/// A query more often than that says nothing new: no server scrapes faster.
const LEAST_EVERY: Period = Period::from_secs(1);
const FAILURES: u32 = 3;
const WINDOW: Period = Period::from_secs(60);
const LONGEST_NAME: usize = 100;
/// What a query may leave to be filled in.
const PLACEHOLDERS: [&str; 3] = ["release", "pool", "service"];
/// The name under which the built-in check is shown.
const ERROR_RATIO: &str = "error-ratio";

pub(super) fn rollout(node: &Node, has_prometheus: bool) -> Option<RolloutConfig> {
    let table = node.table(keys::ROLLOUT)?;
    let default = RolloutConfig::default();
    let chance = |node: &Node| node.number_that("between 0 and 1", |chance| chance > 0.0 && chance < 1.0);
    let on_inconclusive =
        [("hold", OnInconclusive::Hold), ("promote", OnInconclusive::Promote), ("rollback", OnInconclusive::Rollback)];
    let steps = table.read("steps", steps).unwrap_or(default.steps);
    Some(RolloutConfig {
        false_alarm: table.read("false_alarm", chance).unwrap_or(default.false_alarm),
        miss: table.read("miss", chance).unwrap_or(default.miss),
        min_requests: table
            .read("min_requests", |node| node.integer(1..=1_000_000_000))
            .unwrap_or(default.min_requests),
        max_hold: table.read("max_hold", |node| max_hold(node, &steps)),
        on_inconclusive: table
            .read("on_inconclusive", |node| node.choice(&on_inconclusive, &[]))
            .unwrap_or(default.on_inconclusive),
        watch: table.read("watch", Node::period).unwrap_or(default.watch),
        checks: table.read("check", |node| checks(node, has_prometheus)).unwrap_or(default.checks),
        steps,
        ..default
    })
}

fn steps(node: &Node) -> Option<Vec<StepConfig>> {
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
        steps.extend(weight.zip(hold).map(|(weight, hold)| StepConfig::new(weight, hold)));
    }
    Some(steps)
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

fn checks(node: &Node, has_prometheus: bool) -> Option<Vec<Check>> {
    let items = node.list("a list of checks, each headed [[service.rollout.check]],")?;
    if items.is_empty() {
        return None;
    }
    let mut names: Vec<(String, usize)> = Vec::new();
    let mut checks = Vec::new();
    for item in items {
        let Some((name, at, check)) = check(&item, has_prometheus) else { continue };
        match names.iter().find(|(other, _)| *other == name) {
            Some(_) if name == ERROR_RATIO => {
                item.fault("the service has an error-ratio check already; one is all it can have, so take one out");
            }
            Some((_, line)) => at.fault(format!("the check on line {line} has this name too; choose another")),
            None => names.push((name, at.line())),
        }
        checks.push(check);
    }
    Some(checks)
}

/// A check with its name and the place of the name.
fn check<'t>(node: &Node<'t>, has_prometheus: bool) -> Option<(String, Node<'t>, Check)> {
    #[derive(Clone, Copy)]
    enum Kind {
        ErrorRatio,
        PromQl,
    }
    let kinds = [(ERROR_RATIO, Kind::ErrorRatio), ("promql", Kind::PromQl)];
    let advice = "the kind is missing; write kind = \"error-ratio\" or kind = \"promql\"";
    let kind = node.table_of_names()?.required("kind", advice, |node| node.choice(&kinds, &["latency", "webhook"]))?;
    match kind {
        Kind::ErrorRatio => {
            let table = node.table(keys::ERROR_RATIO)?;
            let tolerate = table.read("tolerate", tolerate).unwrap_or(ErrorRatioCheck::default().tolerate);
            Some((ERROR_RATIO.to_owned(), node.clone(), Check::ErrorRatio(ErrorRatioCheck { tolerate })))
        }
        Kind::PromQl => {
            if !has_prometheus {
                node.fault("a promql check needs a server to ask; add [prometheus] with its url");
            }
            let table = node.table(keys::PROMQL)?;
            let check = promql(node, &table)?;
            Some((check.name.clone(), table.get("name")?, Check::PromQl(check)))
        }
    }
}

fn tolerate(node: &Node) -> Option<f64> {
    let tolerate = node.number_that("from 0 to 1, such as 0.001 for a tenth of a percent", |tolerate| {
        (0.0..=1.0).contains(&tolerate)
    })?;
    if tolerate == 0.0 {
        node.warn("with no difference tolerated, nothing could be promoted by evidence; 0.001 is a good start");
    }
    Some(tolerate)
}

fn promql(node: &Node, table: &Table) -> Option<PromQlCheck> {
    let name = table.required("name", "the name is missing; write what people call this check", check_name);
    let advice = "the query is missing; write one that gives a single number";
    let query = table.required("query", advice, query);
    let (max, min) = (table.read("max", Node::number), table.read("min", Node::number));
    if table.get("max").is_none() && table.get("min").is_none() && table.get("compare").is_none() {
        table.missing("max", "no limit; write max = … or min = …, or both");
    }
    if max.zip(min).is_some_and(|(max, min)| min > max) {
        node.fault("min is above max, so every value would be bad; swap them");
    }
    let every = table.read("every", |node| node.period_of_at_least(LEAST_EVERY)).unwrap_or(EVERY);
    let failures = table.read("failures", Node::count).unwrap_or(FAILURES);
    let ask = PromQlQuestion::Bounds { query: query?, max, min };
    Some(PromQlCheck { name: name?, ask, every, window: WINDOW, failures })
}

fn check_name(node: &Node) -> Option<String> {
    let name = node.text()?;
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        node.fault(format!("write a name of 1 to {LONGEST_NAME} characters on one line"));
        return None;
    }
    if name == ERROR_RATIO {
        node.fault("this is the name of the built-in check; choose another");
        return None;
    }
    Some(name.to_owned())
}

fn query(node: &Node) -> Option<String> {
    let query = node.text()?;
    if query.trim().is_empty() {
        node.fault("the query is empty; write one that gives a single number");
    }
    for rest in query.split("{{").skip(1) {
        let Some((placeholder, _)) = rest.split_once("}}") else {
            node.fault("a `{{` is not closed; write `}}` after the placeholder");
            continue;
        };
        if !PLACEHOLDERS.contains(&placeholder) {
            let known = PLACEHOLDERS.join("}}, {{");
            node.fault(format!("nothing is known to fill in for {{{{{placeholder}}}}}; use {{{{{known}}}}}"));
        }
    }
    Some(query.to_owned())
}
