//! Many runs of a scenario, and what they say together.

use super::course::{Course, End, Pace, longest, walk};
use super::figures::{Quantile, Share, as_f64};
use super::scenario::Scenario;
use super::world::{Ground, World};
use crate::model::Plan;
use crate::rollout::Refusal;
use serde::Serialize;
use std::time::Duration;

/// What is to be simulated.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// The world.
    pub scenario: Scenario,
    /// The plan; see [`simulated_plan`](super::simulated_plan).
    pub plan: Plan,
    /// Runs of each of the two releases: one as good as live, and the candidate.
    pub runs: usize,
    /// The same seed gives the same report.
    pub seed: u64,
}

/// What the runs say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Runs of each release.
    pub runs: usize,
    /// Where chance began.
    pub seed: u64,
    /// The longest that a run may take, in seconds of virtual time.
    pub longest_seconds: f64,
    /// Of a candidate as good as live.
    pub faultless: Summary,
    /// Of the candidate as given.
    pub candidate: Summary,
}

/// What the runs of one release say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Runs that ended with its promotion.
    pub promoted: Share,
    /// Runs that ended with its rollback.
    pub rolled_back: Share,
    /// Runs that waited for an operator in the end.
    pub held: Share,
    /// Runs that were still going on at the longest time.
    pub going: Share,
    /// From the begin to the rollback, over the runs that had one.
    pub seconds_to_rollback: Option<Spread>,
    /// From the begin to the promotion, over the runs that had one.
    pub seconds_to_promotion: Option<Spread>,
    /// Requests that failed and would not have on live, until the end of the run.
    pub failed_requests: Option<Spread>,
    /// The steps of the plan.
    pub steps: Vec<StepSummary>,
    /// The shares over time.
    pub timeline: Vec<Moment>,
}

/// Median and 90% quantile.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the runs are at or below it.
    pub median: Quantile,
    /// Nine of ten runs are.
    pub ninety: Quantile,
}

/// One step of the plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSummary {
    /// The candidate's share in percent.
    pub weight: f64,
    /// Runs that passed it.
    pub passed: Share,
    /// How long it took them.
    pub seconds: Option<Spread>,
}

/// The shares at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Moment {
    /// Since the begin.
    pub seconds: f64,
    /// The share of runs promoted by then.
    pub promoted: f64,
    /// The share of runs rolled back by then.
    pub rolled_back: f64,
}

/// Moments of a timeline.
const MOMENTS: usize = 120;

/// Runs the simulation on all cores.
///
/// # Errors
/// When the plan can't be started.
pub fn simulate(simulation: &Simulation) -> Result<Report, Refusal> {
    let longest = longest(&simulation.plan);
    // Two worlds with different runs: the one's luck is not the other's.
    let faultless = courses(simulation, &simulation.scenario.faultless(), longest, 0)?;
    let candidate = courses(simulation, &simulation.scenario, longest, 1)?;
    // Both are shown over the same time: until the last run has ended.
    let shown = faultless.iter().chain(&candidate).map(|course| course.after).max().unwrap_or(longest);
    Ok(Report {
        runs: simulation.runs,
        seed: simulation.seed,
        longest_seconds: longest.as_secs_f64(),
        faultless: Summary::of(&faultless, &simulation.plan, simulation.scenario.live.error_ratio, shown),
        candidate: Summary::of(&candidate, &simulation.plan, simulation.scenario.live.error_ratio, shown),
    })
}

fn courses(
    simulation: &Simulation,
    scenario: &Scenario,
    longest: Duration,
    world: u64,
) -> Result<Vec<Course>, Refusal> {
    let ground = Ground::new(scenario, &simulation.plan, simulation.seed);
    parallel(simulation.runs, |run| {
        let mut world = World::new(&ground, seed(simulation.seed, world, run as u64));
        walk(&mut world, &simulation.plan, Pace::close(longest))
    })
    .into_iter()
    .collect()
}

/// A seed of its own for each run, so that it does not matter which thread takes which.
#[must_use]
pub fn seed(seed: u64, world: u64, run: u64) -> u64 {
    // Multiplied by odd numbers, no two runs below 2^32 of one world meet.
    seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ world.wrapping_mul(0xD1B5_4A32_D192_ED03) ^ (run + 1)
}

/// Does `work` for each number below `runs`, on all cores, and gives what came of it in order.
pub fn parallel<T: Send>(runs: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(runs.max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let take = || {
            let mut mine = Vec::new();
            loop {
                let run = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if run >= runs {
                    return mine;
                }
                mine.push((run, work(run)));
            }
        };
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(take)).collect();
        let mut done = take();
        for other in others {
            match other.join() {
                Ok(theirs) => done.extend(theirs),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_by_key(|(run, _)| *run);
    done.into_iter().map(|(_, result)| result).collect()
}

impl Summary {
    fn of(courses: &[Course], plan: &Plan, live_ratio: f64, shown: Duration) -> Self {
        let share = |end: End| Share::of(courses.iter().filter(|course| course.end == end).count(), courses.len());
        let seconds = |end: End| {
            Spread::of(courses.iter().filter(|course| course.end == end).map(|course| course.after.as_secs_f64()))
        };
        let steps = plan.steps.iter().enumerate().map(|(place, step)| {
            let passed: Vec<f64> =
                courses.iter().filter_map(|course| course.steps.get(place).map(Duration::as_secs_f64)).collect();
            StepSummary {
                weight: step.weight.percent(),
                passed: Share::of(passed.len(), courses.len()),
                seconds: Spread::of(passed),
            }
        });
        Self {
            promoted: share(End::Promoted),
            rolled_back: share(End::RolledBack),
            held: share(End::Held),
            going: share(End::Going),
            seconds_to_rollback: seconds(End::RolledBack),
            seconds_to_promotion: seconds(End::Promoted),
            failed_requests: Spread::of(courses.iter().map(|course| course.excess(live_ratio))),
            steps: steps.collect(),
            timeline: timeline(courses, shown.as_secs_f64()),
        }
    }
}

fn timeline(courses: &[Course], shown: f64) -> Vec<Moment> {
    let by = |end: End, seconds: f64| {
        let over = courses.iter().filter(|course| course.end == end && course.after.as_secs_f64() <= seconds);
        as_f64(over.count()) / as_f64(courses.len().max(1))
    };
    (0..=MOMENTS)
        .map(|moment| {
            let seconds = shown * as_f64(moment) / as_f64(MOMENTS);
            Moment { seconds, promoted: by(End::Promoted, seconds), rolled_back: by(End::RolledBack, seconds) }
        })
        .collect()
}

impl Course {
    /// Requests that failed and would not have on live.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // counts of one rollout
    pub fn excess(&self, live_ratio: f64) -> f64 {
        (self.candidate_failed as f64 - live_ratio * self.candidate_requests as f64).max(0.0)
    }
}

impl Spread {
    /// None where there are no values.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self { median: Quantile::of(&sorted, 0.5)?, ninety: Quantile::of(&sorted, 0.9)? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Release, Weather};
    use super::*;

    fn simulation() -> Simulation {
        let release = |error_ratio| Release { error_ratio, latency_median: 0.05 };
        let scenario = Scenario {
            requests_per_second: 200.0,
            live: release(0.001),
            candidate: release(0.1),
            fault_after: Duration::ZERO,
            visitors: None,
            weather: Weather::Steady,
        };
        Simulation { scenario, plan: Plan::default(), runs: 20, seed: 7 }
    }

    #[test]
    fn the_report_tells_a_good_release_from_a_bad_one_and_is_the_same_for_the_same_seed() {
        let report = simulate(&simulation()).unwrap();
        assert!(report.faultless.promoted.share > 0.8, "{:?}", report.faultless.promoted);
        assert!((report.candidate.rolled_back.share - 1.0).abs() < 1e-12);
        let decided = report.candidate.seconds_to_rollback.unwrap();
        assert!(decided.median.value < 60.0 && decided.median.low <= decided.ninety.high, "{decided:?}");
        let last = report.candidate.timeline.last().unwrap();
        assert!((last.rolled_back - 1.0).abs() < 1e-12 && last.promoted < 1e-12);
        assert_eq!(report, simulate(&simulation()).unwrap());
    }

    #[test]
    fn work_is_given_back_in_its_order() {
        assert_eq!(parallel(50, |run| run * 2), (0..50).map(|run| run * 2).collect::<Vec<_>>());
        assert!(parallel(0, |run| run).is_empty());
    }
}
