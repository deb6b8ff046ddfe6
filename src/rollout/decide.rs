//! The decision: which event means what in which phase.

use super::{Event, Refusal, ServiceState, Transition, command, deploy, gates, tick};
use crate::model::{Phase, Timestamp};

/// What follows from `event` at `now`: the transition, or None where nothing changes.
///
/// # Errors
/// When a command does not fit the state; the refusal says what does.
// An arm for each kind of event and phase: merged where they happen to do the same, they would not read as a table.
#[allow(clippy::match_same_arms)]
pub fn decide(state: &ServiceState, event: &Event, now: Timestamp) -> Result<Option<Transition>, Refusal> {
    use Phase::{Canary, Idle, Preview, Promoted, RolledBack};
    match (state.phase, event) {
        (Idle | Promoted | RolledBack, Event::Start(start)) => command::start(state, start, now).map(Some),
        (Preview | Canary, Event::Start(_)) => Err(command::under_way(state)),

        (Preview | Canary, Event::Pause) => Ok(command::pause(state, now)),
        (Preview | Canary, Event::Resume) => command::resume(state, now),
        (Preview | Canary, Event::SetWeight(weight)) => command::set_weight(state, *weight, now),
        (Preview | Canary, Event::Promote) => command::promote(state, now).map(Some),
        (Preview | Canary, Event::Approve) => command::approve(state, now).map(Some),
        (
            Idle | Promoted | RolledBack,
            Event::Pause | Event::Resume | Event::SetWeight(_) | Event::Promote | Event::Approve,
        ) => Err(Refusal::NoRollout),

        (Preview | Canary, Event::Rollback) => command::rollback(state).map(Some),
        (Promoted, Event::Rollback) => command::rollback_promotion(state, now).map(Some),
        (RolledBack, Event::Rollback) => Err(command::rolled_back_already(state)),
        (Idle, Event::Rollback) => Err(Refusal::NothingToRollBack),

        (Idle | Preview | Canary | Promoted | RolledBack, Event::Switch { pool, drain }) => {
            command::switch(state, pool, *drain).map(Some)
        }
        (Idle | Preview | Canary | Promoted | RolledBack, Event::SetMode(mode)) => Ok(command::set_mode(state, mode)),
        (Idle | Preview | Canary | Promoted | RolledBack, Event::PoolCanServe(meanwhile)) => {
            Ok(tick::mode_over(state, meanwhile.as_ref(), now))
        }

        (Idle | Preview | Canary | Promoted | RolledBack, Event::Deploy(news)) => deploy::told(state, news, now),

        (Preview, Event::Tick(judgement)) => tick::in_preview(state, judgement.as_ref(), now),
        (Canary, Event::Tick(judgement)) => tick::in_canary(state, judgement.as_ref(), now),
        (Promoted, Event::Tick(judgement)) => tick::in_watch(state, judgement.as_ref(), now),
        (Idle | RolledBack, Event::Tick(_)) => Ok(None),

        (Preview | Canary, Event::CandidateDown(reason)) => tick::candidate_down(state, reason).map(Some),
        (Preview | Canary, Event::CandidateUnreachable) => tick::candidate_unreachable(state).map(Some),
        (Preview | Canary | Promoted | RolledBack, Event::Gates { asking, answer, way_back }) => {
            gates::answered(state, *asking, answer, *way_back, now)
        }
        (Idle, Event::Gates { .. }) => Ok(None),

        // There is no candidate; that a pool which is live is down is a matter of failover.
        (Idle | Promoted | RolledBack, Event::CandidateDown(_) | Event::CandidateUnreachable) => Ok(None),
    }
}
