//! The evidence in words: each check, and how far it is from deciding.

use super::output::{columns, grouped, indented, percent, plain};
use crate::model::view::{
    BurnView, CheckView, CountsView, EvidenceView, GuardView, QuantileView, QueryView, RatioView,
};
use std::fmt::Write as _;

const BAR: usize = 20;

/// A line for each check.
pub(super) fn short(evidence: &EvidenceView) -> String {
    let heading = ["", "says", "ln E rolls back", "ln E passes", "needs"].map(str::to_owned);
    let together = evidence.ln_rollback_threshold.map(|threshold| {
        let of = of_threshold(evidence.ln_rollback, Some(threshold));
        ["all together".to_owned(), String::new(), of, String::new(), String::new()]
    });
    let row = |check: &CheckView| {
        [
            name(check),
            check.verdict.to_string(),
            of_threshold(check.ln_rollback, check.ln_rollback_threshold),
            of_threshold(check.ln_promote, check.ln_promote_threshold),
            needed(check).unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = [heading].into_iter().chain(evidence.checks.iter().map(row)).chain(together).collect();
    let table = if evidence.checks.is_empty() { String::new() } else { columns(&rows) };
    let guard = evidence.guard.as_ref().map(|guard| format!("guard: {}\n", guard_says(guard)));
    indented(&(table + &guard.unwrap_or_default()), 2)
}

/// All that is known of each check.
pub(super) fn full(evidence: &EvidenceView) -> String {
    let mut text = String::new();
    let together = against_threshold("", evidence.ln_rollback, evidence.ln_rollback_threshold, "rolls back");
    if !together.is_empty() {
        let _ = write!(text, "  all checks together\n{together}");
    }
    text.extend(evidence.checks.iter().map(check));
    text.extend(evidence.guard.as_ref().map(guard));
    text
}

fn check(check: &CheckView) -> String {
    let mut text = format!("  {}: {}\n", name(check), check.verdict);
    let alone = match check.share {
        Some(share) if share < 1.0 => format!("rolls back by itself (it has {} of false_alarm)", percent(share)),
        Some(_) | None => "rolls back".to_owned(),
    };
    text.push_str(&against_threshold("against it", check.ln_rollback, check.ln_rollback_threshold, &alone));
    text.push_str(&against_threshold("for it", check.ln_promote, check.ln_promote_threshold, "passes the step"));
    if let Some(needed) = needed(check) {
        let _ = writeln!(text, "    needs       {needed} in this step");
    }
    if !check.asked {
        text.push_str("    this step does not ask it; it may roll back all the same\n");
    }
    text.push_str(&indented(&counted(check), 4));
    text.push_str(&indented(&quantiles(&check.quantiles), 4));
    let queries: Vec<_> = check.queries.iter().map(query).collect();
    text.push_str(&indented(&columns(&queries), 4));
    if !check.detail.is_empty() {
        let _ = writeln!(text, "    {}", plain(&check.detail));
    }
    text
}

/// What was asked of Prometheus, what it gave, and the words it was asked in.
fn query(query: &QueryView) -> [String; 3] {
    let pool = query.pool.as_ref().map(|pool| format!(" of {pool}")).unwrap_or_default();
    let value = query.value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    [format!("{:10}", plain(&query.what) + &pool), value, plain(&query.query)]
}

fn name(check: &CheckView) -> String {
    let kind = if check.guaranteed { "" } else { " (a heuristic)" };
    format!("{}{kind}", plain(&check.name))
}

/// What the step still needs of a check, where it needs anything.
fn needed(check: &CheckView) -> Option<String> {
    let requests = check.requests_needed.filter(|requests| *requests > 0)?;
    let time = check.time_needed.map(|time| format!(", about {time}")).unwrap_or_default();
    Some(format!("{} good requests{time}", grouped(requests)))
}

fn of_threshold(ln: Option<f64>, threshold: Option<f64>) -> String {
    threshold.map_or_else(String::new, |threshold| format!("{:.2} of {threshold:.2}", finite(ln)))
}

/// JSON has no infinity: ln E is null where all bets are lost.
fn finite(ln: Option<f64>) -> f64 {
    ln.unwrap_or(f64::NEG_INFINITY)
}

fn against_threshold(name: &str, ln: Option<f64>, threshold: Option<f64>, then: &str) -> String {
    let Some(threshold) = threshold else { return String::new() };
    let ln = finite(ln);
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

/// The counts of both pools: of the whole rollout with their ratios, and of this step.
fn counted(check: &CheckView) -> String {
    let Some(rollout) = check.rollout else { return String::new() };
    let bad = bad_word(&check.kind);
    let step = check.step;
    let side = |name: &str, of: fn(CountsView) -> (u64, u64), ratio: Option<RatioView>| {
        let (requests, failures) = of(rollout);
        let bounds = ratio.map(|ratio| format!("{} to {}", percent(ratio.low), percent(ratio.high)));
        let in_step =
            step.map(of).map(|(requests, failures)| format!("{} of {}", grouped(failures), grouped(requests)));
        [
            name.to_owned(),
            grouped(requests),
            grouped(failures),
            ratio_of(failures, requests),
            bounds.unwrap_or_default(),
            in_step.unwrap_or_default(),
        ]
    };
    let bounds = if check.ratios.is_some() { "95% sure within" } else { "" };
    columns(&[
        ["", "requests", bad, "ratio", bounds, "in this step"].map(str::to_owned),
        side("candidate ", |c| (c.candidate_requests, c.candidate_failures), check.ratios.map(|both| both.candidate)),
        side("live", |c| (c.live_requests, c.live_failures), check.ratios.map(|both| both.live)),
    ])
}

/// What a request is that counts against its pool.
fn bad_word(kind: &str) -> &'static str {
    match kind {
        "no-head" => "unanswered",
        "cut-off" => "cut off",
        "latency" => "slow",
        "error-ratio" | "grpc-trailers" => "failed",
        _ => "bad",
    }
}

fn ratio_of(failures: u64, requests: u64) -> String {
    if requests == 0 {
        return String::new();
    }
    // For people: a count beyond 2^52 would only be rounded.
    #[allow(clippy::cast_precision_loss)]
    percent(failures as f64 / requests as f64)
}

fn quantiles(quantiles: &[QuantileView]) -> String {
    if quantiles.is_empty() {
        return String::new();
    }
    let row = |quantile: &QuantileView| {
        let slow = |slow: u64, all: u64| format!("{} of {}", grouped(slow), grouped(all));
        let counts = &quantile.slow;
        [
            format!("p{}", percent(quantile.quantile).trim_end_matches('%')),
            milliseconds(quantile.candidate_ms),
            milliseconds(quantile.live_ms),
            milliseconds(quantile.limit_ms),
            slow(counts.candidate_failures, counts.candidate_requests),
            slow(counts.live_failures, counts.live_requests),
            format!("{:.2}", quantile.ln_rollback),
        ]
    };
    let heading = ["", "candidate", "live", "limit", "candidate slow", "live slow", "ln E"].map(str::to_owned);
    columns(&std::iter::once(heading).chain(quantiles.iter().map(row)).collect::<Vec<_>>())
}

fn milliseconds(time: Option<f64>) -> String {
    match time {
        None => "?".to_owned(),
        Some(time) if time >= 1000.0 => format!("{:.2} s", time / 1000.0),
        Some(time) if time >= 100.0 => format!("{time:.0} ms"),
        Some(time) => format!("{time:.1} ms"),
    }
}

fn guard(guard: &GuardView) -> String {
    let rate = |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.2}"));
    let row = |burn: &BurnView| {
        let window = format!("over {}", burn.window);
        [window, rate(burn.candidate), rate(burn.live), format!("{}", burn.threshold)]
    };
    let heading = ["burn rate", "candidate", "live", "fires at"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(guard.windows.iter().map(row)).collect();
    let detail = if guard.detail.is_empty() { String::new() } else { format!("    {}\n", plain(&guard.detail)) };
    format!("  guard (a heuristic): {}\n{}{detail}", guard_says(guard), indented(&columns(&rows), 4))
}

fn guard_says(guard: &GuardView) -> String {
    let state = if guard.firing { "FIRING" } else { "quiet" };
    format!("{state}, at an objective of {} good answers", percent(guard.objective))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_bar_fills_as_the_threshold_comes_near() {
        assert_eq!(bar(-3.0), "-".repeat(20));
        assert_eq!(bar(f64::NAN), "-".repeat(20));
        assert_eq!(bar(f64::NEG_INFINITY), "-".repeat(20));
        assert_eq!(bar(0.5), format!("{}{}", "#".repeat(10), "-".repeat(10)));
        assert_eq!(bar(7.0), "#".repeat(20));
    }

    #[test]
    fn times_are_as_exact_as_they_are_read() {
        for (time, text) in [(None, "?"), (Some(8.25), "8.2 ms"), (Some(120.4), "120 ms"), (Some(2345.0), "2.35 s")] {
            assert_eq!(milliseconds(time), text);
        }
    }

    #[test]
    fn all_is_told_of_each_check() {
        let expected = "\
evidence
  all checks together
                [####----------------] ln E 1.10; 4.61 rolls back
  error-ratio: insufficient
    against it  [######--------------] ln E 2.31; 6.91 rolls back by itself (it has 10% of false_alarm)
    for it      [--------------------] ln E -0.50; 3.00 passes the step
    needs       1,200 good requests, about 4m 10s in this step
                requests  failed  ratio   95% sure within   in this step
    candidate   1,200     3       0.25%   0.051% to 0.73%   1 of 300
    live        22,800    10      0.044%  0.021% to 0.081%  0 of 5,700
    3.1 times the errors of live
  latency: healthy
    against it  [--------------------] ln E -inf; 6.91 rolls back
    this step does not ask it; it may roll back all the same
           candidate  live     limit   candidate slow  live slow      ln E
    p50    12.5 ms    12.1 ms  ?       0 of 0          0 of 0         0.00
    p99.9  2.35 s     120 ms   150 ms  20 of 1,200     100 of 22,800  1.25
  failed jobs (a heuristic): healthy
    value of server1  0.25  sum(x)
    total             none  sum(y)
  guard (a heuristic): FIRING, at an objective of 99.9% good answers
    burn rate  candidate  live   fires at
    over 5m    20.00      15.25  14.4
    over 1h    -          14.50  14.4
    both pools burn
";
        let text = "evidence\n".to_owned() + &full(&samples::evidence_in_full());
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn a_line_is_told_of_each_check() {
        let expected = "\
evidence
                             says          ln E rolls back  ln E passes    needs
  error-ratio                insufficient  2.31 of 6.91     -0.50 of 3.00  1,200 good requests, about 4m 10s
  latency                    healthy       -inf of 6.91
  failed jobs (a heuristic)  healthy
  all together                             1.10 of 4.61
  guard: FIRING, at an objective of 99.9% good answers
";
        let text = "evidence\n".to_owned() + &short(&samples::evidence_in_full());
        assert_eq!(text, expected, "{text}");
        let only_guard = EvidenceView { checks: Vec::new(), ..samples::evidence_in_full() };
        assert_eq!(short(&only_guard), "  guard: FIRING, at an objective of 99.9% good answers\n");
    }
}
