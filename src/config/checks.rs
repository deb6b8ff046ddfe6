//! `[[service.rollout.check]]`: what is asked of the evidence.

use super::keys;
use super::promql::promql;
use super::reader::{Node, Table};
use crate::model::{Check, ErrorRatioCheck, LatencyCheck, StatusRatioCheck, Until};

/// Names under which the built-in checks are shown.
const RESERVED: [&str; 7] =
    [Check::ERROR_RATIO, "latency", "latency-end", Check::STATUS_RATIO, "no-head", "cut-off", "grpc-trailers"];
/// Those of them that are asked whatever the file says.
pub(super) const ALWAYS_ON: [&str; 3] = ["no-head", "cut-off", "grpc-trailers"];
const LONGEST_NAME: usize = 100;
/// Relative differences above 1 are written in percent, so that a forgotten sign is noticed; more than this is a slip.
const LARGEST_PERCENT: f64 = 1000.0;

pub(super) fn checks(node: &Node, has_prometheus: bool) -> Option<Vec<Check>> {
    let items = node.list("a list of checks, each headed [[service.rollout.check]],")?;
    if items.is_empty() {
        return None;
    }
    let mut known: Vec<(String, usize)> = Vec::new();
    let mut checks = Vec::new();
    for item in items {
        let Some((at, check)) = check(&item, has_prometheus) else { continue };
        match known.iter().find(|(name, _)| name == check.name()) {
            Some((_, line)) => at.fault(taken(&check, *line)),
            None => known.push((check.name().to_owned(), at.line())),
        }
        checks.push(check);
    }
    Some(checks)
}

fn taken(check: &Check, line: usize) -> String {
    let what = match check {
        Check::PromQl(_) => return format!("the check on line {line} has this name too; choose another"),
        Check::ErrorRatio(_) => "an error-ratio check",
        Check::StatusRatio(_) => "a status-ratio check",
        Check::Latency(LatencyCheck { until: Until::Head, .. }) => "a latency check until the head",
        Check::Latency(LatencyCheck { until: Until::End, .. }) => "a latency check until the end",
    };
    format!("the service has {what} already, on line {line}; one is all it can have, so take one out")
}

/// A check, and the place that a second one of its name is told at.
fn check<'t>(node: &Node<'t>, has_prometheus: bool) -> Option<(Node<'t>, Check)> {
    #[derive(Clone, Copy)]
    enum Kind {
        ErrorRatio,
        Latency,
        StatusRatio,
        PromQl,
        Webhook,
    }
    let kinds = [
        (Check::ERROR_RATIO, Kind::ErrorRatio),
        ("latency", Kind::Latency),
        (Check::STATUS_RATIO, Kind::StatusRatio),
        ("promql", Kind::PromQl),
        ("webhook", Kind::Webhook),
    ];
    let advice = "the kind is missing; write kind = \"error-ratio\", \"latency\", \"status-ratio\" or \"promql\"";
    let names = node.table_of_names()?;
    match names.required("kind", advice, |node| node.choice(&kinds, &[]))? {
        Kind::ErrorRatio => Some((node.clone(), Check::ErrorRatio(error_ratio(&node.table(keys::ERROR_RATIO)?)))),
        Kind::Latency => Some((node.clone(), Check::Latency(latency(&node.table(keys::LATENCY)?)))),
        Kind::StatusRatio => Some((node.clone(), Check::StatusRatio(status_ratio(&node.table(keys::STATUS_RATIO)?)))),
        Kind::PromQl => {
            if !has_prometheus {
                node.fault("a promql check needs a server to ask; add [prometheus] with its url");
            }
            let table = node.table(keys::PROMQL)?;
            let check = promql(node, &table)?;
            Some((table.get("name")?, Check::PromQl(check)))
        }
        Kind::Webhook => {
            names.get("kind")?.fault(
                "a webhook is asked at points of the rollout, by a gate; write it as [[service.rollout.gate]] with its \
                 url",
            );
            None
        }
    }
}

fn error_ratio(table: &Table) -> ErrorRatioCheck {
    ErrorRatioCheck { tolerate: table.read("tolerate", difference).unwrap_or(ErrorRatioCheck::default().tolerate) }
}

fn latency(table: &Table) -> LatencyCheck {
    let default = LatencyCheck::default();
    let until = [("head", Until::Head), ("end", Until::End)];
    let one = table.read("quantile", quantile).map(|quantile| vec![quantile]);
    let several = table.read("quantiles", quantiles);
    if let (Some(node), Some(_)) = (table.get("quantile"), table.get("quantiles")) {
        node.fault("`quantiles` is there too; write one of the two");
    }
    LatencyCheck {
        until: table.read("until", |node| node.choice(&until, &[])).unwrap_or(default.until),
        quantiles: several.or(one).unwrap_or(default.quantiles),
        tolerate: table.read("tolerate", part).unwrap_or(default.tolerate),
    }
}

fn quantile(node: &Node) -> Option<f64> {
    node.number_that("above 0 and below 1, such as 0.99", |quantile| quantile > 0.0 && quantile < 1.0)
}

fn quantiles(node: &Node) -> Option<Vec<f64>> {
    let items = node.list("a list of quantiles such as [0.5, 0.9, 0.99]")?;
    let most = LatencyCheck::QUANTILES;
    if items.is_empty() || items.len() > most {
        node.fault(format!("write 1 to {most} quantiles, or leave the key out for p50, p90 and p99"));
        return None;
    }
    let quantiles: Vec<f64> = items.iter().filter_map(quantile).collect();
    if !quantiles.is_sorted_by(|a, b| a < b) {
        node.fault("write the quantiles in rising order, each once");
    }
    (quantiles.len() == items.len()).then_some(quantiles)
}

fn status_ratio(table: &Table) -> StatusRatioCheck {
    let default = StatusRatioCheck::default();
    StatusRatioCheck {
        statuses: table.read("statuses", statuses).unwrap_or(default.statuses),
        tolerate: table.read("tolerate", difference).unwrap_or(default.tolerate),
    }
}

fn statuses(node: &Node) -> Option<Vec<u16>> {
    let items = node.list("a list of statuses such as [401, 403, 404]")?;
    if items.is_empty() {
        node.fault("no status; write at least one, or leave the key out for 401, 403 and 404");
    }
    let mut statuses = Vec::new();
    for item in items {
        let Some(status) = item.integer(400..=499).and_then(|status| u16::try_from(status).ok()) else { continue };
        if statuses.contains(&status) {
            item.fault(format!("{status} is listed twice; take one out"));
        } else {
            statuses.push(status);
        }
    }
    Some(statuses)
}

/// The absolute difference of two ratios that is still fine.
pub(super) fn difference(node: &Node) -> Option<f64> {
    let tolerate = node.number_that("from 0 to 1, such as 0.001 for a tenth of a percent", |tolerate| {
        (0.0..=1.0).contains(&tolerate)
    })?;
    if tolerate == 0.0 {
        node.warn("with no difference tolerated, nothing could be promoted by evidence; 0.001 is a good start");
    }
    Some(tolerate)
}

/// By which part of live's value the candidate may be worse.
pub(super) fn part(node: &Node) -> Option<f64> {
    let rule = "such as \"10%\" or 0.1";
    let Some(text) = node.text_if_any() else {
        return node.number_that(&format!("from 0 to 1, {rule}"), |part| (0.0..=1.0).contains(&part));
    };
    let percent = text.strip_suffix('%').and_then(|percent| percent.trim().parse::<f64>().ok());
    let part = percent.filter(|percent| (0.0..=LARGEST_PERCENT).contains(percent)).map(|percent| percent / 100.0);
    if part.is_none() {
        node.fault(format!("{text:?} is no part of live's value; write 0% to {LARGEST_PERCENT}%, {rule}"));
    }
    part
}

pub(super) fn check_name(node: &Node) -> Option<String> {
    let name = node.text()?;
    if name.is_empty() || name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        node.fault(format!("write a name of 1 to {LONGEST_NAME} characters on one line"));
        return None;
    }
    if RESERVED.contains(&name) {
        node.fault("this is the name of a built-in check; choose another");
        return None;
    }
    Some(name.to_owned())
}
