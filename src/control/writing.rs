//! What a service has under way at the store: one write at a time, so that each knows what it is written upon.

use super::message::{Reply, Request};
use crate::rollout::{ServiceState, Transition};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a planned change waits for the store.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// After the store has refused, what need not be written now waits this long.
const PAUSE: Duration = Duration::from_secs(1);
/// Commands of one service that may wait; more are refused.
pub(super) const WAITING: usize = 16;

/// The writes of a service.
#[derive(Debug)]
pub(super) struct Writing {
    /// The revision that the store has; 0 when it has none, `None` when nobody knows.
    pub(super) stored: Option<u64>,
    /// What is being written.
    pub(super) current: Option<Write>,
    /// Commands that wait for it.
    pub(super) waiting: VecDeque<(Instant, Request)>,
    /// Who asked for a protective change that is in force and not yet durable.
    pub(super) unanswered: Vec<(Instant, Reply)>,
    /// Why the store refused the last write, if it did.
    pub(super) fault: Option<String>,
    /// When evidence was last given to the store.
    pub(super) saved: Instant,
    failed: Option<Instant>,
    sequence: u64,
}

/// A write under way.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) sequence: u64,
    pub(super) since: Instant,
    pub(super) of: Written,
}

/// What a write is of.
#[derive(Debug)]
pub(super) enum Written {
    /// A planned change, which comes into force when it is stored; and who asked for it.
    Planned(Box<Transition>, Option<Reply>),
    /// What is in force already: this revision, and so many decisions.
    Flush(u64, usize),
    /// A planned change that was given up meanwhile. It may be stored all the same.
    GivenUp,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            stored: Some(0),
            current: None,
            waiting: VecDeque::new(),
            unanswered: Vec::new(),
            fault: None,
            saved: Instant::now(),
            failed: None,
            sequence: 0,
        }
    }
}

impl Writing {
    /// Notes a write; its number.
    pub(super) fn begin(&mut self, of: Written) -> u64 {
        self.sequence += 1;
        self.current = Some(Write { sequence: self.sequence, since: Instant::now(), of });
        self.sequence
    }

    /// Takes the write of that number, now that the store has answered.
    pub(super) fn end(&mut self, sequence: u64) -> Option<Written> {
        let write = self.current.take_if(|write| write.sequence == sequence)?;
        Some(write.of)
    }

    /// The state that a planned change under way leads to, if there is one.
    pub(super) fn planned(&self) -> Option<&ServiceState> {
        match &self.current.as_ref()?.of {
            Written::Planned(transition, _) => Some(&transition.state),
            Written::Flush(..) | Written::GivenUp => None,
        }
    }

    /// Gives up the planned change under way, if there is one; who waits for it, if anyone does.
    pub(super) fn give_up(&mut self) -> Option<Reply> {
        let write = self.current.as_mut().filter(|write| matches!(write.of, Written::Planned(..)))?;
        match std::mem::replace(&mut write.of, Written::GivenUp) {
            Written::Planned(_, reply) => reply,
            Written::Flush(..) | Written::GivenUp => None,
        }
    }

    /// The store has refused.
    pub(super) fn failed(&mut self, reason: String) {
        self.fault = Some(reason);
        self.failed = Some(Instant::now());
    }

    /// The store has accepted.
    pub(super) fn succeeded(&mut self, revision: u64) {
        self.stored = Some(revision);
        self.fault = None;
        self.failed = None;
    }

    /// Whether something that nobody waits for may be written now.
    pub(super) fn free(&self) -> bool {
        self.current.is_none() && self.failed.is_none_or(|failed| failed.elapsed() >= PAUSE)
    }
}
