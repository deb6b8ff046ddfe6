//! The record of a deploy: what a script has done of its walk, so that the next run of it goes on there.

use super::change::{Because, Kind, transition};
use super::command::under_way;
use super::transition::{DecisionName, EvidenceChange, OPERATOR, Transition};
use super::{PinnedRelease, Refusal, ServiceState};
use crate::model::{Deploy, DeployEnd, DeployGuard, DeployStep, Mode, ModeSetting, PoolName, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};

/// Releases whose migration is remembered: more than anyone goes back to.
const MIGRATED_KEPT: usize = 32;

/// What a deploy script tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployNews {
    /// The pool that it deploys to; the caller has made sure that it exists.
    pub pool: PoolName,
    /// The release that it deploys.
    pub release: ReleaseId,
    /// What the configuration says runs in the pool.
    pub configured: Option<ReleaseId>,
    /// Who it is: a name for people that no other run of a script has.
    pub by: String,
    /// What it does, or has done.
    pub act: DeployAct,
}

/// What a deploy script does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeployAct {
    /// It begins, or goes on after a break.
    Begin {
        /// Deploy it although this release has been rolled back before.
        force: bool,
        /// Take the place of another deploy that is under way.
        take_over: bool,
    },
    /// It is at work still.
    Alive,
    /// A step is done.
    Done(DeployStep),
    /// It is about to put the service into this mode.
    Guard(Mode),
    /// It has left that mode, or leaves it with this. Where all traffic is switched already, that was the last of it.
    Unguard,
    /// It fails, or is stopped.
    Stop,
}

pub(super) fn told(state: &ServiceState, news: &DeployNews, now: Timestamp) -> Result<Option<Transition>, Refusal> {
    let before = state.deploy.as_ref();
    let (next, what) = match news.act {
        DeployAct::Begin { force, take_over } => (begun(state, news, force, take_over, now)?, "begins".to_owned()),
        DeployAct::Alive => return own(state, news).map(|_| None),
        DeployAct::Done(step) => {
            let (next, what) = done(state, own(state, news)?.clone(), step, news);
            (next, what.to_owned())
        }
        DeployAct::Guard(mode) => {
            let own = own(state, news)?.clone();
            let before = own.guard.as_ref().map_or_else(|| state.mode.clone(), |guard| guard.before.clone());
            let deploy = Deploy { guard: Some(DeployGuard { mode, before }), ..own };
            (with(state, deploy), format!("goes on in mode {mode}"))
        }
        DeployAct::Unguard => {
            let own = own(state, news)?.clone();
            let what = own.guard.as_ref().map_or_else(String::new, |guard| format!("has left mode {}", guard.mode));
            let ended = (state.live == own.pool).then_some(DeployEnd::Switched);
            let mut next = with(state, Deploy { guard: None, ended, ..own });
            if state.is_in_mode_of_deploy() {
                // While the flag file is there, no command leaves a mode.
                next.mode = state.mode_after(now);
            }
            (next, what)
        }
        DeployAct::Stop => {
            let own = own(state, news)?.clone();
            (with(state, Deploy { ended: Some(DeployEnd::Stopped), ..own }), "is stopped".to_owned())
        }
    };
    if next == *state {
        return Ok(None);
    }
    let goes_on = before.is_some_and(|deploy| deploy.is_under_way() && deploy.is_of(&news.pool, &news.release));
    let what = if goes_on && matches!(news.act, DeployAct::Begin { .. }) { "goes on".to_owned() } else { what };
    let reason = format!("the deploy of {} to {} by {} {what}", news.release, news.pool, news.by);
    let because = Because::new(OPERATOR, reason);
    Ok(Some(transition(next, DecisionName::Deploy, because, Kind::Planned, EvidenceChange::Keep)))
}

fn with(state: &ServiceState, deploy: Deploy) -> ServiceState {
    ServiceState { deploy: Some(deploy), ..state.clone() }
}

/// The record, if it is that of the script that speaks. One that another run has taken up is no longer its own.
fn own<'s>(state: &'s ServiceState, news: &DeployNews) -> Result<&'s Deploy, Refusal> {
    let own = state.deploy.as_ref().filter(|deploy| deploy.is_under_way() && deploy.is_of(&news.pool, &news.release));
    let gone = || Refusal::DeployOver { pool: news.pool.clone(), release: news.release.clone() };
    let own = own.ok_or_else(gone)?;
    if own.by == news.by { Ok(own) } else { Err(Refusal::OtherDeploy(Box::new(own.clone()))) }
}

fn begun(
    state: &ServiceState,
    news: &DeployNews,
    force: bool,
    take_over: bool,
    now: Timestamp,
) -> Result<ServiceState, Refusal> {
    let DeployNews { pool, release, by, .. } = news;
    let before = state.deploy.as_ref().filter(|deploy| deploy.is_under_way());
    if let Some(same) = before.filter(|deploy| deploy.is_of(pool, release)) {
        return Ok(with(state, Deploy { by: by.clone(), ..same.clone() }));
    }
    if let (Some(other), false) = (before, take_over) {
        return Err(Refusal::OtherDeploy(Box::new(other.clone())));
    }
    if state.live == *pool {
        return Err(Refusal::AlreadyLive(pool.clone()));
    }
    let rejected = state.rejected.iter().find(|rejected| rejected.release == *release);
    let is_own = |rollout: &super::Rollout| rollout.pool == *pool && rollout.release == *release;
    if state.candidate.is_some() && !state.rollout.as_ref().is_some_and(is_own) {
        return Err(under_way(state));
    }
    if let (Some(rejected), false) = (rejected, force) {
        return Err(Refusal::Rejected { pool: rejected.pool.clone(), release: release.clone() });
    }
    let deploy = Deploy {
        pool: pool.clone(),
        release: release.clone(),
        by: by.clone(),
        started: now,
        done: Vec::new(),
        // The mode of the one whose place it takes is left by this one.
        guard: before.and_then(|deploy| deploy.guard.clone()),
        ended: None,
    };
    Ok(with(state, deploy))
}

fn done(state: &ServiceState, mut deploy: Deploy, step: DeployStep, news: &DeployNews) -> (ServiceState, &'static str) {
    if !deploy.done.contains(&step) {
        deploy.done.push(step);
    }
    let mut next = with(state, deploy);
    let what = match step {
        DeployStep::Ready => {
            // It was looked at: from now on the pool is known for this release.
            let pinned = PinnedRelease { release: news.release.clone(), configured: news.configured.clone() };
            next.releases.insert(news.pool.clone(), pinned);
            "finds the pool ready"
        }
        DeployStep::Gate => "has passed its gate command",
        DeployStep::Migrated => {
            next.migrated.retain(|release| *release != news.release);
            next.migrated.push(news.release.clone());
            let too_many = next.migrated.len().saturating_sub(MIGRATED_KEPT);
            next.migrated.drain(..too_many);
            "has run its migration"
        }
    };
    (next, what)
}

impl ServiceState {
    /// What was asked for before the mode that a deploy has put the service into.
    fn before_deploy(&self) -> Option<&ModeSetting> {
        self.deploy.as_ref()?.before(self.mode.mode)
    }

    fn is_in_mode_of_deploy(&self) -> bool {
        self.before_deploy().is_some()
    }

    /// What comes after the mode that is in force: serve, or what somebody had asked for before a deploy.
    pub(super) fn mode_after(&self, now: Timestamp) -> ModeSetting {
        let before = self.before_deploy().filter(|before| before.until.is_none_or(|until| until > now));
        before.cloned().unwrap_or_default()
    }

    /// A mode that is no deploy's is what is asked for from now on, also after the deploy.
    pub(super) fn note_mode_beside_deploy(&mut self) {
        let guard = self.deploy.as_mut().and_then(|deploy| deploy.guard.as_mut());
        if let Some(guard) = guard.filter(|guard| guard.mode != self.mode.mode) {
            guard.before = self.mode.clone();
        }
    }

    /// Where a deploy is of this release and pool, it ends with its rollout; also after the script has gone.
    pub(super) fn end_deploy(&mut self, pool: &PoolName, release: &ReleaseId, end: DeployEnd) {
        if let Some(deploy) = self.deploy.as_mut().filter(|deploy| deploy.is_of(pool, release)) {
            deploy.ended = Some(end);
        }
    }

    /// A switch ends a deploy, unless its mode has to be left first: that is then up to the script, or the next run of it.
    pub(super) fn end_deploy_by_switch(&mut self, pool: &PoolName) {
        if let Some(deploy) = self.deploy.as_mut().filter(|deploy| deploy.is_under_way() && deploy.guard.is_none()) {
            deploy.ended = Some(if deploy.pool == *pool { DeployEnd::Switched } else { DeployEnd::Stopped });
        }
    }
}
