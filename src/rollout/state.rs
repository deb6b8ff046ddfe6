//! The state of a service: all that a restart has to bring back, but the evidence.

use crate::model::{
    BasisPoints, Deploy, GateMoment, GatePoint, Held, ModeSetting, Period, Phase, Plan, PoolName, ReleaseId, Step,
    Strategy, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The state of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// Rises by one with each transition.
    pub revision: u64,
    /// The pool that serves everyone outside the cohort.
    pub live: PoolName,
    /// The pool that a rollout is moving traffic to: in preview and canary only.
    pub candidate: Option<PoolName>,
    /// The candidate's share; 0 outside of canary.
    pub weight: BasisPoints,
    /// Where the rollout stands.
    pub phase: Phase,
    /// Why it does not move on by itself.
    pub held: Option<Held>,
    /// Until when a promotion can be rolled back.
    pub watch_until: Option<Timestamp>,
    /// The rollout under way, or the last one while it is promoted or rolled back.
    pub rollout: Option<Rollout>,
    /// The releases that commands have pinned to pools; they go before the file's.
    pub releases: BTreeMap<PoolName, PinnedRelease>,
    /// Releases that were rolled back, the newest last; bounded.
    pub rejected: Vec<Rejected>,
    /// Pools that were drained: nothing goes there until they are used again.
    pub drained: BTreeSet<PoolName>,
    /// The mode that was asked for.
    pub mode: ModeSetting,
    /// The deploy under way, or the last one.
    #[serde(default)]
    pub deploy: Option<Deploy>,
    /// Releases whose migration has run in a deploy, the newest last; bounded.
    #[serde(default)]
    pub migrated: Vec<ReleaseId>,
}

/// A rollout, with its plan as it was at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The candidate's release.
    pub release: ReleaseId,
    /// The pool that the rollout moves traffic to.
    pub pool: PoolName,
    /// The pool that was live when it started.
    pub previous_live: PoolName,
    /// What it goes by.
    pub plan: Plan,
    /// The step it is at, from 0.
    pub step: usize,
    /// When the step began.
    pub step_since: Timestamp,
    /// From when on the longest hold counts: the step's begin, moved on by the time it was held.
    pub waiting_since: Timestamp,
    /// When the rollout started.
    pub started: Timestamp,
    /// Whether the weight is an operator's and not the step's.
    pub weight_by_command: bool,
    /// The gates that are being asked.
    #[serde(default)]
    pub asking: Option<Asking>,
    /// The last moment whose gates have all passed, or that a command went over.
    #[serde(default)]
    pub cleared: Option<GateMoment>,
    /// Whether an operator has approved that this step is left.
    #[serde(default)]
    pub approved: bool,
}

/// Gates that are being asked. Whoever asks them answers with [`Event::Gates`](super::Event::Gates); after a restart
/// they are asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// When.
    pub moment: GateMoment,
    /// The revision that asks them, so that an answer can't be taken for another's, not even of another rollout.
    pub number: u64,
}

/// A release that a command has pinned to a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinnedRelease {
    /// The release.
    pub release: ReleaseId,
    /// What the file said at that time: once it says something else, that is the newer word.
    pub configured: Option<ReleaseId>,
}

/// A release that was rolled back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Where it ran.
    pub pool: PoolName,
    /// The release.
    pub release: ReleaseId,
}

/// The revision of a service that nobody ever changed.
const FIRST: u64 = 1;

impl ServiceState {
    /// Whether nobody ever changed it.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.revision == FIRST
    }

    /// Of a service that has no state yet.
    #[must_use]
    pub fn new(live: PoolName) -> Self {
        Self {
            revision: FIRST,
            live,
            candidate: None,
            weight: BasisPoints::ZERO,
            phase: Phase::Idle,
            held: None,
            watch_until: None,
            rollout: None,
            releases: BTreeMap::new(),
            rejected: Vec::new(),
            drained: BTreeSet::new(),
            mode: ModeSetting::default(),
            deploy: None,
            migrated: Vec::new(),
        }
    }

    /// Whether those who may bypass maintenance get the candidate, undrawn: in the preview of a blue-green rollout, once
    /// its gates have let it begin.
    #[must_use]
    pub fn previews(&self) -> bool {
        let begun = |rollout: &Rollout| {
            rollout.plan.strategy == Strategy::BlueGreen && rollout.is_cleared(GateMoment::at(GatePoint::BeforeRollout))
        };
        self.phase == Phase::Preview && self.rollout.as_ref().is_some_and(begun)
    }
}

/// Ten times its hold is the longest time in a step, where the plan says nothing.
const DEFAULT_MAX_HOLD_FACTOR: u32 = 10;
/// A hold below this counts as this, so that a step without a hold is not inconclusive the moment it begins.
const SHORTEST_HOLD: Period = Period::from_secs(1);

impl Rollout {
    /// The step it is at; a blue-green rollout has none.
    #[must_use]
    pub fn current_step(&self) -> Option<&Step> {
        self.plan.steps.get(self.step).or_else(|| self.plan.steps.last())
    }

    /// The shortest time in the step it is at. Where a command gave a blue-green candidate a share, it is the preview's.
    #[must_use]
    pub fn hold(&self) -> Period {
        self.current_step().map_or(self.plan.preview, |step| step.hold)
    }

    /// Whether the candidate may become live next, as far as steps go.
    #[must_use]
    pub fn at_last_step(&self) -> bool {
        self.step + 1 >= self.plan.steps.len()
    }

    /// Whether no gate has to be asked at this moment any more, or none is there.
    #[must_use]
    pub fn is_cleared(&self, moment: GateMoment) -> bool {
        let passed = match moment.point {
            // Whatever was cleared came after it, or is it.
            GatePoint::BeforeRollout => self.cleared.is_some(),
            GatePoint::BeforeStep | GatePoint::BeforePromotion | GatePoint::AfterPromotion | GatePoint::OnRollback => {
                self.cleared == Some(moment)
            }
        };
        passed || self.plan.gates_at(moment.point).next().is_none()
    }

    /// The longest time in the step it is at, before `on_inconclusive` applies; never shorter than its hold.
    #[must_use]
    pub fn max_hold(&self) -> Period {
        let hold = self.hold();
        match self.plan.max_hold {
            Some(longest) => longest.max(hold),
            None => hold.max(SHORTEST_HOLD).get().saturating_mul(DEFAULT_MAX_HOLD_FACTOR).into(),
        }
    }
}
