//! Evidence to verdict, purely.
//!
//! ```text
//! Tick ───────► ComparisonEvidence, LatencyEvidence ─┐
//! PromQL answer ───────────────────► PromQlEvidence ─┼─ Evidence ─┬─► assess ─► Assessment
//! PoolCounts ─► Guard ─► GuardView ──────────────────┤            └─► view ───► EvidenceView, for people
//!            └► Watch, after a promotion ────────────┘
//! ```

mod assess;
mod case;
mod compared;
mod comparison;
mod eprocess;
mod evidence;
mod expect;
mod guard;
mod interval;
mod latency;
mod promql;
mod shares;
mod tick;
mod watch;
mod words;

#[cfg(test)]
mod simulation;

pub use assess::{Assessment, assess, view};
pub use compared::{CUT_OFF, GRPC_TRAILERS, NO_HEAD};
pub use comparison::{ComparisonEvidence, Pair};
pub use evidence::Evidence;
pub use expect::{expected_time, requests_to_promote};
pub use guard::{Guard, PoolCounts};
pub use latency::{LatencyEvidence, QuantileTimes};
pub use promql::{BadOfTotal, PromQlAnswer, PromQlEvidence, PromQlReport};
pub use tick::{Bad, SideTick, Tick};
pub use watch::Watch;
