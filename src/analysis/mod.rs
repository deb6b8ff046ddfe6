//! Evidence to verdict, purely.
//!
//! ```text
//! Pair ───────► ComparisonEvidence ─┐
//!                                   ├─ Evidence ─► assess ─► Assessment { judgement, checks }
//! PromQL value ─► PromQlEvidence ───┘
//! ```

mod assess;
mod comparison;
mod eprocess;
mod evidence;
mod expect;
mod promql;
mod tick;
mod words;

#[cfg(test)]
mod simulation;

pub use assess::{Assessment, ERROR_RATIO, assess};
pub use comparison::{ComparisonEvidence, Pair};
pub use evidence::Evidence;
pub use expect::{expected_time, requests_to_promote};
pub use promql::{BadOfTotal, PromQlAnswer, PromQlEvidence, PromQlReport};
pub use tick::{Bad, SideTick, Tick};
