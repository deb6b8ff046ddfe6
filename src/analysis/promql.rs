//! What a PromQL check says.

use crate::model::{PromQlCheck, Timestamp};
use serde::{Deserialize, Serialize};

/// The evidence of one PromQL check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromQlEvidence {}

impl PromQlEvidence {
    /// Nothing yet.
    #[must_use]
    pub fn new(_check: PromQlCheck) -> Self {
        unimplemented!()
    }
    /// The check, as pinned.
    #[must_use]
    pub fn check(&self) -> &PromQlCheck {
        unimplemented!()
    }
    /// Takes in the answer of one query: one number, or why there was none.
    pub fn observe(&mut self, _answer: Result<f64, String>, _at: Timestamp) {
        unimplemented!()
    }
    /// A step begins.
    pub fn begin_step(&mut self) {
        unimplemented!()
    }
}
