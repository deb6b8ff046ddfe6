//! What can happen to a service: every command of an operator, and what the machine notices.

use super::{Asking, DeployNews};
use crate::model::{BasisPoints, Judgement, Meanwhile, ModeSetting, OnGateFailure, Plan, PoolName, ReleaseId};
use serde::{Deserialize, Serialize};

/// Something that may change the state of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// `rollout start`.
    Start(Start),
    /// `rollout pause`: hold until an operator resumes.
    Pause,
    /// `rollout resume`.
    Resume,
    /// `rollout promote`: the candidate becomes live now, whatever the evidence says.
    Promote,
    /// `rollout rollback`.
    Rollback,
    /// `rollout approve`: what waits for an operator may go on.
    Approve,
    /// The gates that were asked have answered.
    Gates {
        /// What was asked: an answer to anything else is no news.
        asking: Asking,
        /// The answer of all of them.
        answer: GatesAnswer,
        /// Whether the pool that was live before has a healthy target, so that there is a way back from a promotion.
        way_back: bool,
    },
    /// `rollout weight`: this share for the candidate, and hold.
    SetWeight(BasisPoints),
    /// `switch`: all traffic to this pool, now.
    Switch {
        /// The pool; the caller has made sure that it exists.
        pool: PoolName,
        /// Whether the pools that lose their traffic are left alone until they are used again.
        drain: bool,
    },
    /// `mode`.
    SetMode(SetMode),
    /// `deploy`: how far its script is.
    Deploy(DeployNews),
    /// A pool can serve; with what it has cost up to now not to. A mode whose time is over ends then.
    PoolCanServe(Option<Meanwhile>),
    /// Time has passed; with what the evidence says at this moment, where a rollout is under way or watched. The
    /// caller says nothing of a promotion while there is no way back from it, because the old pool is down.
    Tick(Option<Judgement>),
    /// The candidate has no healthy target; with the sentence that says why.
    CandidateDown(String),
    /// The candidate's first requests in a row could not be sent at all.
    CandidateUnreachable,
}

/// `mode`, with what is left by it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetMode {
    /// The mode that is to be.
    #[serde(flatten)]
    pub setting: ModeSetting,
    /// What the mode has cost that was in force up to now, if it was another than serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meanwhile: Option<Meanwhile>,
}

impl From<ModeSetting> for SetMode {
    fn from(setting: ModeSetting) -> Self {
        Self { setting, meanwhile: None }
    }
}

/// What the gates of one moment say together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatesAnswer {
    /// All have passed, or may be ignored; with a sentence for people.
    Passed(String),
    /// One has not.
    Failed {
        /// Its name.
        gate: String,
        /// Why, in a sentence.
        reason: String,
        /// What the plan wants done then; never [`OnGateFailure::Ignore`].
        on_failure: OnGateFailure,
    },
}

/// `rollout start`, with what was found out about the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The pool that is to become live; the caller has made sure that it exists.
    pub pool: PoolName,
    /// What the command says runs in it; what is configured where it says nothing, and made up from the pool's name and
    /// the time where nobody does.
    pub release: Option<ReleaseId>,
    /// What the configuration says runs in it.
    pub configured: Option<ReleaseId>,
    /// The plan, pinned from now on.
    pub plan: Plan,
    /// Start it although this release has been rolled back before.
    pub force: bool,
    /// Whether the pool has a healthy target now.
    pub candidate_healthy: bool,
}
