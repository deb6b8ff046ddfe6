//! Which part of `false_alarm` each guaranteed check has.
//!
//! The e-values of all guaranteed checks are averaged with weights that total 1; that average is an e-value again,
//! however the checks depend on each other, and rolls back when it reaches 1/α (Vovk & Wang 2021, E-values: calibration,
//! combination and applications). So a check that speaks alone needs `ln(1/α) + ln(1/weight)`.
//!
//! What an operator asked for has most of it, in equal parts: with one check of the plan's own its alarm needs 0.1 more
//! than it would alone, which is hardly a failure more. What is always on is for candidates that hang, cut their
//! answers off or fail in trailers, and then E grows so fast that its smaller part costs a few requests.

use super::eprocess::as_f64;
use crate::model::{Check, Plan, PromQlQuestion};

/// The part of the plan's own checks together.
const OWN: f64 = 0.9;
/// Checks that are always on.
pub(super) const ALWAYS_ON: usize = 3;

/// The weights of a plan's guaranteed checks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    /// Of each of the plan's own.
    pub(super) own: f64,
    /// Of each that is always on.
    pub(super) always_on: f64,
}

impl Shares {
    pub(super) fn of(plan: &Plan) -> Self {
        let own = plan.checks.iter().filter(|check| is_guaranteed(check)).count();
        match own as u64 {
            0 => Self { own: 0.0, always_on: 1.0 / as_f64(ALWAYS_ON as u64) },
            own => Self { own: OWN / as_f64(own), always_on: (1.0 - OWN) / as_f64(ALWAYS_ON as u64) },
        }
    }
}

/// Whether a statistical guarantee stands behind a check.
pub(super) fn is_guaranteed(check: &Check) -> bool {
    match check {
        Check::ErrorRatio(_) | Check::Latency(_) | Check::StatusRatio(_) => true,
        Check::PromQl(check) => matches!(check.ask, PromQlQuestion::Pair { .. }),
    }
}
