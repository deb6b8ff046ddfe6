//! One rollout in a virtual world, from its start to its end, by the product's own judgement.

use super::world::World;
use crate::analysis::{Evidence, SideTick, Tick, assess};
use crate::model::{HeldBy, Indicator, LatencyCheck, Phase, Plan, Timestamp, Until};
use crate::rollout::{Event, EvidenceChange, Refusal, ServiceState, Start, decide};
use crate::routing::TICK;
use std::time::Duration;

/// How a rollout went.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// How it stood at the end.
    pub end: End,
    /// When that came.
    pub after: Duration,
    /// How long each step took, as far as it was passed.
    pub steps: Vec<Duration>,
    /// Requests that the candidate answered.
    pub candidate_requests: u64,
    /// Those of them that failed.
    pub candidate_failed: u64,
}

/// How a rollout stands when it is looked at for the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The candidate became live.
    Promoted,
    /// The candidate was taken back.
    RolledBack,
    /// It waits for an operator, since the evidence has not come within the longest hold of a step.
    Held,
    /// It is still under way.
    Going,
}

/// While nothing comes near an alarm, evidence is judged once in so many ticks: a step passed a second later is no other
/// result.
const CALM_TICKS: u32 = 10;

/// How closely a walk looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The end of the walk, whatever has come of it.
    pub longest: Duration,
    /// Until then it looks at the router's own ticks.
    pub close_until: Duration,
    /// Afterwards it looks at ticks of this length, so that long walks end soon: it sees up to so much later what the
    /// router sees, and spends less of what is kept back for a fault that begins late.
    pub afterwards: Duration,
}

impl Pace {
    /// Close to the end.
    #[must_use]
    pub fn close(longest: Duration) -> Self {
        Self { longest, close_until: longest, afterwards: TICK }
    }
}

/// Walks a rollout with this plan.
///
/// # Errors
/// When the plan can't be started.
pub fn walk(world: &mut World, plan: &Plan, pace: Pace) -> Result<Course, Refusal> {
    let mut walk = Walk::start(plan)?;
    let (mut after, mut number, mut length) = (Duration::ZERO, 0_u64, TICK);
    while after < pace.longest {
        if length < pace.afterwards && after >= pace.close_until {
            length = pace.afterwards;
            world.look_every(length);
        }
        let ends_limited = world.limited(Until::End);
        let tick = world.tick();
        after += length;
        walk.observe(&tick, ends_limited);
        let calm = number.is_multiple_of(u64::from(CALM_TICKS));
        if calm || speaks_against(&tick.candidate) && walk.evidence.may_alarm(plan.false_alarm) {
            walk.judge(world, after)?;
            if walk.end.is_some() {
                break;
            }
        }
        number += 1;
    }
    Ok(walk.end(pace.longest))
}

/// Whether anything in it can make E larger.
fn speaks_against(side: &SideTick) -> bool {
    side.bad.iter().any(|bad| bad.counted > 0)
}

/// A tick more: in a virtual world an answer ends with its head, and ends are looked at less often.
fn join(sum: &mut Tick, tick: &Tick) {
    for (sum, side) in [(&mut sum.candidate, &tick.candidate), (&mut sum.live, &tick.live)] {
        sum.requests += side.requests;
        sum.undecided += side.undecided;
        sum.timed += side.timed;
        for (sum, bad) in sum.bad.iter_mut().zip(&side.bad) {
            sum.counted += bad.counted;
            sum.all += bad.all;
            sum.new_draws += bad.new_draws;
        }
    }
}

struct Walk {
    state: ServiceState,
    evidence: Evidence,
    began: Timestamp,
    step_began: Duration,
    end: Option<(End, Duration)>,
    steps: Vec<Duration>,
    candidate_requests: u64,
    candidate_failed: u64,
    /// What has ended since the last calm look.
    ends: Option<Tick>,
}

impl Walk {
    fn start(plan: &Plan) -> Result<Self, Refusal> {
        let began = Timestamp::UNIX_EPOCH;
        let names = ("live".parse(), "candidate".parse(), "simulated".parse());
        // All three are names; the compiler does not know.
        let (Ok(live), Ok(pool), Ok(release)) = names else { return Err(Refusal::NoRollout) };
        let start = Start {
            pool,
            release: Some(release),
            configured: None,
            plan: plan.clone(),
            force: false,
            candidate_healthy: true,
        };
        let state = ServiceState::new(live);
        let state = decide(&state, &Event::Start(start), began)?.map_or(state, |transition| transition.state);
        Ok(Self {
            state,
            evidence: Evidence::begin(plan),
            began,
            step_began: Duration::ZERO,
            end: None,
            steps: Vec::new(),
            candidate_requests: 0,
            candidate_failed: 0,
            ends: None,
        })
    }

    /// Takes in a tick of heads, and keeps that of the ends, where those quantiles have a limit.
    fn observe(&mut self, tick: &Tick, ends_limited: [bool; LatencyCheck::QUANTILES]) {
        if self.state.phase != Phase::Canary {
            return;
        }
        let failed = tick.candidate.bad[Indicator::Failed.index()];
        self.candidate_requests += tick.candidate.requests;
        self.candidate_failed += failed.all;
        self.evidence.observe(tick);
        match &mut self.ends {
            Some(ends) => join(ends, tick),
            None => self.ends = Some(Tick { known_at: Until::End, new_draws: 0, limited: ends_limited, ..*tick }),
        }
    }

    fn judge(&mut self, world: &mut World, after: Duration) -> Result<(), Refusal> {
        if let Some(ends) = self.ends.take() {
            self.evidence.observe(&ends);
        }
        let Some(rollout) = &self.state.rollout else { return Ok(()) };
        let now = self.began.checked_add(after).unwrap_or(Timestamp::MAX);
        let judgement = assess(&self.evidence, &rollout.plan, rollout.step, now).judgement;
        let Some(next) = decide(&self.state, &Event::Tick(Some(judgement)), now)? else { return Ok(()) };
        if self.state.phase == Phase::Canary
            && next.evidence != EvidenceChange::Keep
            && next.state.phase != Phase::RolledBack
        {
            self.steps.push(after.saturating_sub(self.step_began));
        }
        match next.evidence {
            EvidenceChange::NewStep => {
                self.step_began = after;
                self.evidence.begin_step(next.state.weight);
                world.begin_step(next.state.weight);
            }
            EvidenceChange::WeightChanged => {
                self.evidence.weight_changed(next.state.weight);
                world.begin_step(next.state.weight);
            }
            EvidenceChange::Keep | EvidenceChange::Begin | EvidenceChange::Watch | EvidenceChange::End => {}
        }
        self.end = match next.state.phase {
            Phase::Promoted => Some((End::Promoted, after)),
            Phase::RolledBack => Some((End::RolledBack, after)),
            Phase::Idle | Phase::Preview | Phase::Canary => None,
        };
        self.state = next.state;
        Ok(())
    }

    fn end(self, longest: Duration) -> Course {
        let held = self.state.held.as_ref().is_some_and(|held| held.by == HeldBy::Evidence);
        let (end, after) = self.end.unwrap_or((if held { End::Held } else { End::Going }, longest));
        Course {
            end,
            after,
            steps: self.steps,
            candidate_requests: self.candidate_requests,
            candidate_failed: self.candidate_failed,
        }
    }
}

/// The longest that a rollout by this plan can take until it ends or waits for an operator.
#[must_use]
pub fn longest(plan: &Plan) -> Duration {
    let state = Walk::start(plan).ok().and_then(|walk| walk.state.rollout);
    let Some(mut rollout) = state else { return Duration::ZERO };
    let mut sum = Duration::ZERO;
    for step in 0..plan.steps.len() {
        rollout.step = step;
        sum = sum.saturating_add(rollout.max_hold().get());
    }
    // Each step begins at a look that comes after it was passed.
    sum.saturating_add(TICK * CALM_TICKS * 10).min(LONGEST)
}

/// Nobody waits longer for a simulation of a longer rollout.
const LONGEST: Duration = Duration::from_secs(48 * 3600);

#[cfg(test)]
mod tests {
    use super::super::{Ground, Release, Scenario, Weather};
    use super::*;

    fn scenario(live: f64, candidate: f64) -> Scenario {
        let release = |error_ratio| Release { error_ratio, latency_median: 0.05 };
        Scenario {
            requests_per_second: 1000.0,
            live: release(live),
            candidate: release(candidate),
            fault_after: Duration::ZERO,
            visitors: None,
            weather: Weather::Steady,
        }
    }

    fn course(scenario: &Scenario, seed: u64) -> Course {
        let plan = Plan::default();
        let ground = Ground::new(scenario, &plan, 1);
        walk(&mut World::new(&ground, seed), &plan, Pace::close(longest(&plan))).unwrap()
    }

    #[test]
    fn a_good_release_walks_the_whole_plan() {
        let course = course(&scenario(0.001, 0.001), 1);
        assert_eq!(course.end, End::Promoted);
        assert_eq!(course.steps.len(), 3);
        let holds = [120.0, 300.0, 300.0];
        for (took, hold) in course.steps.iter().zip(holds) {
            let took = took.as_secs_f64();
            assert!((hold..hold + 2.0).contains(&took), "{took} s for a hold of {hold} s");
        }
    }

    #[test]
    fn a_bad_release_is_taken_back_soon() {
        let course = course(&scenario(0.001, 0.2), 2);
        assert_eq!(course.end, End::RolledBack);
        assert!(course.after < Duration::from_secs(10), "{course:?}");
        assert!(course.steps.is_empty() && course.candidate_failed > 0);
    }

    #[test]
    fn the_same_seed_takes_the_same_course() {
        let scenario = scenario(0.001, 0.003);
        assert_eq!(course(&scenario, 3), course(&scenario, 3));
        assert_ne!(course(&scenario, 3), course(&scenario, 4));
    }

    #[test]
    fn a_rollout_that_nobody_visits_is_held() {
        let nobody = Scenario { requests_per_second: 0.001, ..scenario(0.0, 0.0) };
        assert_eq!(course(&nobody, 5).end, End::Held);
    }
}
