//! Why a command cannot be done, and what can be done instead.

use crate::model::{Deploy, PoolName, ReleaseId};

/// A command that does not fit the state. Each says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Start or switch to the pool that is live.
    #[error("pool {0} is live already; name another pool")]
    AlreadyLive(PoolName),
    /// Start during a rollout.
    #[error(
        "a rollout of {release} to {pool} is under way; `cutover rollout promote` or `cutover rollout rollback` ends it"
    )]
    UnderWay {
        /// Its candidate.
        pool: PoolName,
        /// Its release.
        release: ReleaseId,
    },
    /// Start to a pool that cannot answer.
    #[error("pool {0} has no healthy target; `cutover status` says why: start again when it is up")]
    Unhealthy(PoolName),
    /// Start of a release that was rolled back.
    #[error("release {release} was rolled back before, in pool {pool}; start it with --force, or another release")]
    Rejected {
        /// Where it ran.
        pool: PoolName,
        /// The release.
        release: ReleaseId,
    },
    /// Start with a plan that leads nowhere.
    #[error("the steps of a rollout must have rising weights above 0, and there must be one at least")]
    BadSteps,
    /// Start of a blue-green rollout with steps.
    #[error("a blue-green rollout moves all traffic at once and has no steps; leave them out, or make it a canary")]
    NoStepsWanted,
    /// Start without a release, where none can be made up.
    #[error("pool {0} needs a release: name it with --release")]
    ReleaseNeeded(PoolName),
    /// A command for a rollout that is not there.
    #[error("no rollout is under way; `cutover rollout start POOL` begins one")]
    NoRollout,
    /// Approval when nothing waits for it.
    #[error("nothing waits for an approval; `cutover rollout status` says what the rollout waits for")]
    NothingToApprove,
    /// Resume of what waits for an approval.
    #[error("the rollout waits for an approval; `cutover rollout approve` gives it")]
    ApprovalNeeded,
    /// Rollback when there is nothing to go back to.
    #[error("no rollout is under way that could be rolled back; `cutover switch POOL` moves all traffic to a pool")]
    NothingToRollBack,
    /// A deploy while another one is under way, or by a script whose place another one has taken.
    #[error(
        "a deploy of {} to {} by {} is under way since {}; let it end, run it again to its end, or take its place with \
         --take-over", .0.release, .0.pool, .0.by, .0.started.strftime("%Y-%m-%d %H:%M:%SZ")
    )]
    OtherDeploy(Box<Deploy>),
    /// A step of a deploy that is not there.
    #[error("the deploy of {release} to {pool} is not under way any more; `cutover history` says what came in between")]
    DeployOver {
        /// The pool.
        pool: PoolName,
        /// The release.
        release: ReleaseId,
    },
    /// Rollback of what was rolled back.
    #[error("the rollout of {0} was rolled back already; `cutover switch POOL` moves all traffic to a pool")]
    RolledBackAlready(ReleaseId),
    /// Rollback after the watch.
    #[error(
        "the promotion of {release} could be rolled back while it was watched, and that is over; \
         `cutover switch {previous}` moves all traffic to the old pool"
    )]
    WatchOver {
        /// The release that was promoted.
        release: ReleaseId,
        /// The pool that was live before.
        previous: PoolName,
    },
}
