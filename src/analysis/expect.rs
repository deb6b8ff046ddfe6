//! How long a step needs: people must see why a canary does not move.

use super::eprocess::{NO_WORSE, Null, Plain, as_f64};
use super::evidence::ALWAYS_ON_TOLERATE;
use crate::model::{Advance, Check, Plan, PromQlQuestion, Step};
use std::time::Duration;

/// More candidate requests than any step will see.
const FAR_TOO_MANY: u64 = 1 << 50;

/// The first number that suffices, where all larger ones suffice too; None where none does.
pub(super) fn first_that_suffices(suffices: impl Fn(u64) -> bool) -> Option<u64> {
    if suffices(0) {
        return Some(0);
    }
    let (mut too_few, mut enough) = (0, FAR_TOO_MANY);
    if !suffices(enough) {
        return None;
    }
    while enough - too_few > 1 {
        let middle = too_few + (enough - too_few) / 2;
        if suffices(middle) { enough = middle } else { too_few = middle }
    }
    Some(enough)
}

/// Candidate requests after which a comparison at this share (0 to 1) says that a step is passed, if none fails on
/// either side: None where no number suffices, as when nothing is tolerated.
#[must_use]
pub fn requests_to_promote(tolerate: f64, miss: f64, share: f64) -> Option<u64> {
    let null = Null { ratio: 1.0, tolerate };
    let nothing = Plain::new();
    // More clean requests are always worth more.
    first_that_suffices(|requests| nothing.ln_after_clean_run(&NO_WORSE, null, share, as_f64(requests)) >= -miss.ln())
}

/// Candidate requests after which evidence alone passes `step`, if none is bad on either side: all checks that it asks
/// have to agree, and those that are always on. None where one of them can't be reckoned, as the latency can't: how many
/// good answers are slow by chance is not known beforehand.
fn requests_by_evidence(plan: &Plan, step: &Step) -> Option<u64> {
    let asked = |check: &&Check| step.checks.as_ref().is_none_or(|names| names.iter().any(|name| name == check.name()));
    let mut most_needed = requests_to_promote(ALWAYS_ON_TOLERATE, plan.miss, step.weight.ratio())?;
    for check in plan.checks.iter().filter(asked) {
        let tolerate = match check {
            Check::ErrorRatio(check) => check.tolerate,
            Check::StatusRatio(check) => check.tolerate,
            Check::Latency(_) => return None,
            Check::PromQl(check) => match check.ask {
                PromQlQuestion::Pair { tolerate, .. } => tolerate,
                // It needs answers of Prometheus, and no requests.
                PromQlQuestion::Bounds { .. } | PromQlQuestion::Compare { .. } => continue,
            },
        };
        most_needed = most_needed.max(requests_to_promote(tolerate, plan.miss, step.weight.ratio())?);
    }
    Some(most_needed)
}

/// About how long `step` takes while `drawn_per_second` requests are drawn, for both pools together, and none is bad:
/// None where it would never be passed, since too little comes in.
#[must_use]
pub fn expected_time(plan: &Plan, step: &Step, drawn_per_second: f64) -> Option<Duration> {
    let hold = step.hold.get();
    let time_of = |requests: u64| {
        let seconds = if requests == 0 { 0.0 } else { as_f64(requests) / (drawn_per_second * step.weight.ratio()) };
        // Not a number, infinite and beyond all bounds are all "never".
        Duration::try_from_secs_f64(seconds).ok()
    };
    let by_exposure = time_of(step.min_requests.unwrap_or(plan.min_requests)).map(|time| time.max(hold));
    let by_evidence = requests_by_evidence(plan, step).and_then(time_of).map(|time| match plan.advance {
        Advance::AfterHold => time.max(hold),
        Advance::Early => time,
    });
    by_exposure.into_iter().chain(by_evidence).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BasisPoints, LatencyCheck, Period};

    fn step(percent: f64, hold: u64) -> Step {
        Step::new(BasisPoints::from_percent(percent).unwrap(), Period::from_secs(hold))
    }

    #[test]
    fn clean_requests_to_promote_meet_the_reference_value() {
        assert_eq!(requests_to_promote(0.001, 0.05, 0.05), Some(3507));
        assert_eq!(requests_to_promote(0.0, 0.05, 0.05), None);
    }

    #[test]
    fn a_step_takes_its_hold_or_the_sooner_of_exposure_and_evidence() {
        let mut plan = Plan::default();
        assert_eq!(expected_time(&plan, &step(5.0, 60), 1000.0), Some(Duration::from_secs(60)), "the hold");
        assert_eq!(expected_time(&plan, &step(1.0, 60), 10.0), Some(Duration::from_secs(3000)), "300 at 0.1/s");
        plan.min_requests = 1_000_000;
        assert_eq!(expected_time(&plan, &step(5.0, 60), 200.0), Some(Duration::from_secs_f64(350.7)), "by evidence");
        assert_eq!(
            expected_time(&plan, &step(5.0, 600), 200.0),
            Some(Duration::from_secs(600)),
            "but not before its hold"
        );
        plan.advance = Advance::Early;
        assert_eq!(expected_time(&plan, &step(5.0, 600), 200.0), Some(Duration::from_secs_f64(350.7)), "unless it may");
        plan.checks.push(Check::Latency(LatencyCheck::default()));
        let of_its_own = Step { min_requests: Some(300), ..step(10.0, 60) };
        assert_eq!(expected_time(&plan, &of_its_own, 10.0), Some(Duration::from_secs(300)), "by exposure alone");
        let without_latency = Step { checks: Some(vec!["error-ratio".to_owned()]), ..step(5.0, 60) };
        assert_eq!(expected_time(&plan, &without_latency, 200.0), Some(Duration::from_secs_f64(350.7)));
        plan = Plan { checks: Vec::new(), ..Plan::default() };
        assert_eq!(expected_time(&plan, &step(10.0, 60), 10.0), Some(Duration::from_secs(300)), "no such check");
    }

    #[test]
    fn without_traffic_a_step_takes_for_ever() {
        for rate in [0.0, -1.0, f64::NAN, 1e-300] {
            assert_eq!(expected_time(&Plan::default(), &step(5.0, 60), rate), None, "{rate}");
        }
    }
}
