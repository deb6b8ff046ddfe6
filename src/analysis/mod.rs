//! Evidence to verdict, purely.
//!
//! ```text
//! Tick ───────► ErrorRatioEvidence ─┐
//!                                   ├─ Evidence ─► assess ─► Assessment { judgement, checks }
//! PromQL value ─► PromQlEvidence ───┘
//! ```

mod assess;
mod eprocess;
mod error_ratio;
mod evidence;
mod expect;
mod promql;
mod words;

#[cfg(test)]
mod simulation;

pub use assess::{Assessment, ERROR_RATIO, assess};
pub use error_ratio::{ErrorRatioEvidence, Tick};
pub use evidence::Evidence;
pub use expect::{expected_time, requests_to_promote};
pub use promql::PromQlEvidence;
