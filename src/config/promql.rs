//! `kind = "promql"`: one number against bounds, one number of each pool, or a pair of counts of each pool.

use super::checks::{check_name, difference, part};
use super::reader::{Node, Table};
use crate::model::{ErrorRatioCheck, Period, PromQlCheck, PromQlQuestion, Worse};

const EVERY: Period = Period::from_secs(15);
/// A query more often than that says nothing new: no server scrapes faster.
const LEAST_EVERY: Period = Period::from_secs(1);
const FAILURES: u32 = 3;
const WINDOW: Period = Period::from_secs(60);
const LEAST_WINDOW: Period = Period::from_secs(1);
/// By which part of live's value the candidate may be worse, where the file says nothing.
const PART: f64 = 0.1;
/// What a query may leave to be filled in.
const PLACEHOLDERS: [&str; 4] = ["release", "pool", "service", "window"];
const WINDOW_PLACEHOLDER: &str = "{{window}}";
const QUERY_ADVICE: &str =
    "the query is missing; write one that gives a single number, or a pair: bad = … and total = …";

pub(super) fn promql(node: &Node, table: &Table) -> Option<PromQlCheck> {
    let name = table.required("name", "the name is missing; write what people call this check", check_name);
    let every = table.read("every", |node| node.period_of_at_least(LEAST_EVERY)).unwrap_or(EVERY);
    let window = table.read("window", |node| node.period_of_at_least(LEAST_WINDOW)).unwrap_or(WINDOW);
    let failures = table.read("failures", Node::count).unwrap_or(FAILURES);
    let has = |key: &str| table.get(key).is_some();
    let ask = if has("bad") || has("total") {
        pair(table)
    } else if has("compare") {
        compare(table)
    } else {
        bounds(node, table)
    };
    if let (Some(window), Some(query)) = (table.get("window"), table.read("query", Node::text_if_any))
        && !query.contains(WINDOW_PLACEHOLDER)
    {
        window.warn("the query does not mention {{window}}, so this changes nothing");
    }
    Some(PromQlCheck { name: name?, ask: ask?, every, window, failures })
}

fn bounds(node: &Node, table: &Table) -> Option<PromQlQuestion> {
    let query = table.required("query", QUERY_ADVICE, query);
    let (max, min) = (table.read("max", Node::number), table.read("min", Node::number));
    if table.get("max").is_none() && table.get("min").is_none() {
        table.missing("max", "no limit; write max = … or min = … or both, or compare = \"live\"");
    }
    if max.zip(min).is_some_and(|(max, min)| min > max) {
        node.fault("min is above max, so every value would be bad; swap them");
    }
    refuse(table, &["tolerate", "worse"], "compares with live; add compare = \"live\", or take it out");
    Some(PromQlQuestion::Bounds { query: query?, max, min })
}

fn compare(table: &Table) -> Option<PromQlQuestion> {
    let compare = table.read("compare", |node| node.choice(&[("live", ())], &[]));
    let query = table.required("query", QUERY_ADVICE, |node| of_each_pool(node, query(node)?));
    let tolerate = table.read("tolerate", part).unwrap_or(PART);
    let ways = [("higher", Worse::Higher), ("lower", Worse::Lower)];
    let worse = table.read("worse", |node| node.choice(&ways, &[])).unwrap_or_default();
    refuse(table, &["max", "min"], "is a fixed bound; take it out, or take `compare` out, or make two checks of it");
    compare?;
    Some(PromQlQuestion::Compare { query: query?, tolerate, worse })
}

fn pair(table: &Table) -> Option<PromQlQuestion> {
    let count = |node: &Node| since_a_moment(node, of_each_pool(node, query(node)?)?);
    let advice = |what: &str, key: &str| {
        format!("the other half of the pair is missing; write what counts {what}, with {{{{window}}}}: {key} = …")
    };
    let bad = table.required("bad", &advice("what went wrong", "bad"), count);
    let total = table.required("total", &advice("all there was", "total"), count);
    let tolerate = table.read("tolerate", difference).unwrap_or(ErrorRatioCheck::default().tolerate);
    refuse(table, &["query", "max", "min", "compare", "worse"], "is for a single query; take it out of the pair");
    refuse(table, &["window"], "is for a single query: that of a pair reaches back to before the rollout; take it out");
    refuse(table, &["failures"], "is for a single query: a pair is judged by its counts; take it out");
    Some(PromQlQuestion::Pair { bad: bad?, total: total?, tolerate })
}

fn refuse(table: &Table, keys: &[&str], why: &str) {
    for key in keys {
        if let Some(node) = table.get(key) {
            node.fault(format!("`{key}` {why}"));
        }
    }
}

fn of_each_pool(node: &Node, query: String) -> Option<String> {
    if query.contains("{{pool}}") || query.contains("{{release}}") {
        return Some(query);
    }
    node.fault("both pools would have the same value; tell them apart by {{pool}} or {{release}}");
    None
}

/// What a pair counts is taken off from answer to answer, so all answers count since the same moment.
fn since_a_moment(node: &Node, query: String) -> Option<String> {
    if query.contains(WINDOW_PLACEHOLDER) {
        return Some(query);
    }
    node.fault(
        "nothing says since when it counts; write {{window}}, which reaches back to before the rollout, as in \
         sum(increase(errors_total{pool=\"{{pool}}\"}[{{window}}]))",
    );
    None
}

fn query(node: &Node) -> Option<String> {
    let query = node.text()?;
    if query.trim().is_empty() {
        node.fault("the query is empty; write one that gives a single number");
        return None;
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
