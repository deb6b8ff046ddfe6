//! How long a step needs: people must see why a canary does not move.

use super::eprocess::{NO_WORSE, Null, as_f64, ln_of_clean_run};
use crate::model::{Check, Plan, Step};
use std::time::Duration;

/// More candidate requests than any step will see.
const FAR_TOO_MANY: u64 = 1 << 50;

/// Candidate requests after which a step at this share (0 to 1) is passed by evidence, if none fails on either side:
/// None where no number suffices, as when nothing is tolerated.
#[must_use]
pub fn requests_to_promote(tolerate: f64, miss: f64, share: f64) -> Option<u64> {
    let null = Null { ratio: 1.0, tolerate };
    let suffices = |requests| ln_of_clean_run(&NO_WORSE, null, share, as_f64(requests)) >= -miss.ln();
    // More clean requests are always worth more, so halving finds the first number that suffices.
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

/// About how long `step` takes while `drawn_per_second` requests are drawn, for both pools together, and none fails:
/// None where it would never be passed, since too little comes in.
#[must_use]
pub fn expected_time(plan: &Plan, step: &Step, drawn_per_second: f64) -> Option<Duration> {
    let share = step.weight.ratio();
    let by_evidence = plan.checks.iter().find_map(|check| match check {
        Check::ErrorRatio(check) => requests_to_promote(check.tolerate, plan.miss, share),
        Check::Latency(_) | Check::StatusRatio(_) | Check::PromQl(_) => None,
    });
    let requests = by_evidence.map_or(plan.min_requests, |requests| requests.min(plan.min_requests));
    let needed = if requests == 0 { 0.0 } else { as_f64(requests) / (drawn_per_second * share) };
    // Not a number, infinite and beyond all bounds are all "never".
    let needed = Duration::try_from_secs_f64(needed).ok()?;
    Some(needed.max(step.hold.get()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BasisPoints, ErrorRatioCheck, Period};

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
        plan.checks = vec![Check::ErrorRatio(ErrorRatioCheck { tolerate: 0.5 })];
        let by_evidence = expected_time(&plan, &step(1.0, 60), 1.0).unwrap();
        assert!(by_evidence < Duration::from_secs(2000), "{by_evidence:?}");
        plan.checks = Vec::new();
        assert_eq!(expected_time(&plan, &step(10.0, 60), 10.0), Some(Duration::from_secs(300)), "no such check");
    }

    #[test]
    fn without_traffic_a_step_takes_for_ever() {
        for rate in [0.0, -1.0, f64::NAN, 1e-300] {
            assert_eq!(expected_time(&Plan::default(), &step(5.0, 60), rate), None, "{rate}");
        }
    }
}
