//! Evidence to verdict, purely.
//!
//! ```text
//! Tick ───────► ErrorRatioEvidence ─┐
//!                                   ├─ Evidence ─► assess ─► Assessment { judgement, checks }
//! PromQL value ─► PromQlEvidence ───┘
//! ```

mod assess;
mod error_ratio;
mod evidence;
mod expect;
mod promql;

pub use assess::{Assessment, assess};
pub use error_ratio::{ErrorRatioEvidence, Tick};
pub use evidence::Evidence;
pub use expect::expected_time;
pub use promql::PromQlEvidence;
