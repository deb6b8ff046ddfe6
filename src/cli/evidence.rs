//! The evidence in words: each check, and how far it is from deciding.

use super::output::{grouped, plain};
use crate::model::view::{CheckView, CountsView, EvidenceView};
use std::fmt::Write as _;

const BAR: usize = 20;

pub(super) fn lines(evidence: &EvidenceView) -> String {
    evidence.checks.iter().map(check).collect()
}

fn check(check: &CheckView) -> String {
    let kind = if check.guaranteed { "" } else { " (a heuristic)" };
    let mut text = format!("  {}{kind}: {}\n", plain(&check.name), check.verdict);
    text.push_str(&against_threshold("against it", check.ln_rollback, check.ln_rollback_threshold, "rolls back"));
    text.push_str(&against_threshold("for it", check.ln_promote, check.ln_promote_threshold, "passes the step"));
    for (name, counts) in [("rollout", check.rollout), ("this step", check.step)] {
        if let Some(counts) = counts {
            let _ = writeln!(text, "    {name:10}  {}", counted(counts));
        }
    }
    for query in &check.queries {
        if let Some(value) = query.value {
            let _ = writeln!(text, "    {:10}  {value}", plain(&query.what));
        }
        let _ = writeln!(text, "    {:10}  {}", "query", plain(&query.query));
    }
    if !check.detail.is_empty() {
        let _ = writeln!(text, "    {}", plain(&check.detail));
    }
    text
}

fn against_threshold(name: &str, ln: Option<f64>, threshold: Option<f64>, then: &str) -> String {
    let Some((ln, threshold)) = ln.zip(threshold) else { return String::new() };
    format!("    {name:10}  [{}] ln E {ln:.2}; {threshold:.2} {then}\n", bar(ln / threshold))
}

/// A share of the way as a bar; less than nothing is shown as nothing.
pub(super) fn bar(share: f64) -> String {
    let is_reached = |cell: usize| {
        // Far below 2^52: the casts are exact.
        #[allow(clippy::cast_precision_loss)]
        let edge = (cell + 1) as f64 / BAR as f64;
        share >= edge
    };
    (0..BAR).map(|cell| if is_reached(cell) { '#' } else { '-' }).collect()
}

fn counted(counts: CountsView) -> String {
    let side = |failures: u64, requests: u64| {
        format!("{} of {} failed{}", grouped(failures), grouped(requests), ratio(failures, requests))
    };
    let candidate = side(counts.candidate_failures, counts.candidate_requests);
    format!("candidate {candidate}; live {}", side(counts.live_failures, counts.live_requests))
}

fn ratio(failures: u64, requests: u64) -> String {
    if requests == 0 {
        return String::new();
    }
    // For people: a count beyond 2^52 would only be rounded.
    #[allow(clippy::cast_precision_loss)]
    let percent = 100.0 * failures as f64 / requests as f64;
    format!(" ({percent:.2}%)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_as_the_threshold_comes_near() {
        assert_eq!(bar(-3.0), "-".repeat(20));
        assert_eq!(bar(f64::NAN), "-".repeat(20));
        assert_eq!(bar(0.5), format!("{}{}", "#".repeat(10), "-".repeat(10)));
        assert_eq!(bar(7.0), "#".repeat(20));
    }
}
