//! What of a plan can be simulated, and what can't.

use crate::model::{Check, Plan, Strategy};

/// A plan that can't be simulated at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a blue-green rollout moves all traffic at once, so there is nothing to compare: only a canary can be simulated"
)]
pub struct BlueGreen;

/// The plan without what only the real world can answer, and a sentence on each thing that was left out.
///
/// # Errors
/// When nothing is left of it.
pub fn simulated_plan(plan: &Plan) -> Result<(Plan, Vec<String>), BlueGreen> {
    if plan.strategy == Strategy::BlueGreen {
        return Err(BlueGreen);
    }
    let mut left_out = Vec::new();
    let mut reduced = plan.clone();
    for check in &plan.checks {
        if let Check::PromQl(promql) = check {
            left_out.push(format!("the check {:?}, which asks Prometheus", promql.name));
        }
    }
    reduced.checks.retain(|check| !matches!(check, Check::PromQl(_)));
    for gate in &plan.gates {
        left_out.push(format!("the gate {:?}", gate.name));
    }
    reduced.gates.clear();
    if plan.approve || plan.steps.iter().any(|step| step.approve) {
        left_out.push("approvals, which are taken as given at once".to_owned());
    }
    reduced.approve = false;
    for step in &mut reduced.steps {
        step.approve = false;
        if let Some(names) = &mut step.checks {
            names.retain(|name| reduced.checks.iter().any(|check| check.name() == name));
        }
    }
    Ok((reduced, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Gate, GateAsk, GatePoint, OnGateFailure, Period, PromQlCheck, PromQlQuestion};

    #[test]
    fn prometheus_gates_and_approvals_are_left_out_and_said() {
        let mut plan = Plan::default();
        plan.checks.push(Check::PromQl(PromQlCheck {
            name: "failed jobs".to_owned(),
            ask: PromQlQuestion::Bounds { query: "up".to_owned(), max: Some(1.0), min: None },
            every: Period::from_secs(15),
            window: Period::from_secs(60),
            failures: 3,
        }));
        plan.gates.push(Gate {
            name: "smoke".to_owned(),
            at: vec![GatePoint::BeforeRollout],
            ask: GateAsk::Command { command: vec!["true".to_owned()], env: std::collections::BTreeMap::new() },
            timeout: Period::from_secs(1),
            retries: 0,
            on_failure: OnGateFailure::Hold,
        });
        plan.steps[0].approve = true;
        plan.steps[1].checks = Some(vec!["error-ratio".to_owned(), "failed jobs".to_owned()]);
        let (reduced, left_out) = simulated_plan(&plan).unwrap();
        assert_eq!(left_out.len(), 3, "{left_out:?}");
        assert_eq!((reduced.checks.len(), reduced.gates.len(), reduced.steps[0].approve), (1, 0, false));
        assert_eq!(reduced.steps[1].checks.as_deref(), Some(["error-ratio".to_owned()].as_slice()));
        assert_eq!(simulated_plan(&Plan { strategy: Strategy::BlueGreen, ..plan }), Err(BlueGreen));
    }
}
