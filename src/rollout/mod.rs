//! What to do next, purely: (state, event, now) to the next state and what has to follow from it.
//!
//! ```text
//! ServiceState ─┐
//! Event ────────┼─► decide ─► Transition { state, decision, protective, evidence }  or  Refusal
//! now ──────────┘
//! ```
//!
//! What the machine does by itself begins in `tick`; `walk` says where it goes next and who is asked first, `gates` what
//! they answer; `command` is what operators do, and `deploy` what their scripts tell of themselves. The phases walk `idle → preview → canary → promoted | rolled_back`. No clock, no socket, no randomness: the same
//! inputs decide the same, so that a history can be replayed.

mod change;
mod command;
mod decide;
mod deploy;
mod event;
mod gates;
mod refusal;
mod state;
mod tick;
mod time;
mod transition;
mod walk;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use decide::decide;
pub use deploy::{DeployAct, DeployNews};
pub use event::{Event, GatesAnswer, SetMode, Start};
pub use gates::GATES;
pub use refusal::Refusal;
pub use state::{Asking, PinnedRelease, Rejected, Rollout, ServiceState};
pub use transition::{Decision, DecisionName, EvidenceChange, OPERATOR, Transition};
