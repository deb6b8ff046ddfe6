//! HTTP/1.1 in raw bytes: what can be read in more than one way is refused or cleaned, on the way in and on the way back.
//!
//! `benches/strictness` runs the same bytes against other proxies.

pub mod answers;
pub mod requests;
pub mod wire;

use crate::harness::{Router, SHORT, Setup, free_address, until};
use requests::Case;
use wire::{Got, Recorder, Seen, exchange};

/// What must come of a request's bytes.
#[derive(Debug, Clone, Copy)]
pub enum Want {
    /// This status, and the connection ends. No request reaches the target.
    Refused(u16),
    /// These requests reach the target, as lines that begin so, and are answered.
    Passed(&'static [&'static str]),
    /// The same, and then a refusal.
    ThenRefused(&'static [&'static str], u16),
}

impl Want {
    pub fn passed(self) -> &'static [&'static str] {
        match self {
            Self::Refused(_) => &[],
            Self::Passed(lines) | Self::ThenRefused(lines, _) => lines,
        }
    }

    pub fn statuses(self) -> Vec<u16> {
        let mut statuses = vec![200; self.passed().len()];
        if let Self::Refused(status) | Self::ThenRefused(_, status) = self {
            statuses.push(status);
        }
        statuses
    }

    pub fn heads(self) -> Vec<bool> {
        self.passed().iter().map(|line| line.starts_with("HEAD ")).collect()
    }
}

/// Why what reached the origin is not safe: it can be read in more than one way, is a request that nobody may take for
/// one, or says what a visitor may not say; or of several good ones not all passed. What is refused is safe, and so is what passes
/// in a form that can be read in one way only.
pub fn unsafe_because(case: &Case, seen: &Seen) -> Option<String> {
    let lines: Vec<&str> = seen.requests.iter().map(|request| request.line.as_str()).collect();
    let passed = case.want.passed();
    // In no order: a proxy may use a connection for each.
    let arrived = |wanted: &&str| lines.iter().any(|line| line.starts_with(*wanted));
    // Who refuses more than is needed is safe too.
    let same = lines.is_empty() || lines.len() == passed.len() && passed.iter().all(arrived);
    if let Some(why) = seen.ambiguous.first() {
        return Some(why.clone());
    }
    if let Some(word) = case.barred.iter().find(|word| seen.text.contains(**word)) {
        return Some(format!("{word:?} got through"));
    }
    match case.want {
        Want::Passed(_) if !same => Some(format!("{lines:?} reached the target")),
        _ if !case.may_go_on() && lines.iter().any(|line| line.contains("/inner")) => {
            Some(format!("{lines:?} reached the target"))
        }
        _ => None,
    }
}

/// What is wrong with how the router deals with a case.
fn fault(case: &Case, got: &Got, seen: &Seen) -> Option<String> {
    let lines: Vec<&str> = seen.requests.iter().map(|request| request.line.as_str()).collect();
    let ends = !matches!(case.want, Want::Passed(_));
    if let Some(why) = unsafe_because(case, seen) {
        return Some(why);
    }
    if lines.len() != case.want.passed().len() {
        return Some(format!("{lines:?} reached the target"));
    }
    if got.statuses != case.want.statuses() || got.ambiguous.is_some() {
        return Some(format!("answered {:?}, {:?}", got.statuses, got.ambiguous));
    }
    let last = got.answers.last().and_then(|answer| answer.field("connection"));
    (ends && last != Some("close")).then(|| "the connection goes on".to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_can_be_read_in_two_ways_reach_no_target() {
    let origin = Recorder::start().await;
    let setup = Setup::with_pools(&[("server0", origin.address, "r0"), ("server1", free_address(), "r1")]).one_worker();
    let router = Router::start(setup.tables("[access_log]\nsample = 1.0")).await;
    let corpus = requests::corpus();
    let mut faults = Vec::new();
    for case in &corpus {
        let statuses = case.want.statuses();
        let got = exchange(router.address(), &case.bytes, statuses.len(), &case.want.heads(), SHORT).await;
        if let Some(why) = fault(case, &got, &origin.look()) {
            faults.push(format!("{}: {}: {:?}: {why}", case.class, case.name, case.want));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), corpus.len(), faults.join("\n"));
    assert!(corpus.len() >= 120, "{}", corpus.len());

    // Each refusal is counted, and owned by who sent it.
    let refused = corpus.iter().filter(|case| !matches!(case.want, Want::Passed(_))).count();
    let counted: f64 = router.metric("cutover_bad_requests_total").await.iter().map(|(_, count)| count).sum();
    assert!((counted - f64::from(u32::try_from(refused).unwrap())).abs() < 0.5, "{counted} of {refused}");
    let logged = || router.output().lines().filter(|line| line.contains("visitor")).count();
    until("each is logged", SHORT, async || logged() >= refused).await;
    let view = router.view().await;
    assert_eq!(view["pools"]["server0"]["failed"].as_u64().unwrap_or(0), 0, "{view:#}");
}
