//! The cells of the comparison, and what each rule makes of one.

use super::rules::{Counts, Rule, peeked, z_test};
use cutover::app::simulate::{
    Course, End, Ground, LATENCY_SPREAD, Pace, Release, Scenario, Share, Spread, Visitors, Weather, World, parallel,
    seed, walk,
};
use cutover::model::{
    BasisPoints, Check, ErrorRatioCheck, Indicator, LatencyCheck, OnInconclusive, Period, Plan, Step,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use statrs::distribution::{Continuous, ContinuousCDF, Normal};
use std::time::Duration;

/// How long a rule has to notice.
pub const HORIZON: Duration = Duration::from_secs(3600);
/// For so long after the begin or the fault the product's own ticks are looked at; afterwards five as one.
const CLOSE: Duration = Duration::from_secs(120);
const AFTERWARDS: Duration = Duration::from_millis(500);
/// When late faults begin.
const LATE: Duration = Duration::from_secs(600);
/// Requests of a sticky visitor in an hour, on average.
const REQUESTS_EACH: f64 = 30.0;
/// Most visitors that are told apart: where there are more requests, each visitor is busier.
const MOST_VISITORS: f64 = 20_000.0;

/// What kind of world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Sticky,
    Diurnal,
    Bursts,
    Late,
}

impl Kind {
    pub const ALL: [Self; 5] = [Self::Plain, Self::Sticky, Self::Diurnal, Self::Bursts, Self::Late];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "independent requests",
            Self::Sticky => "sticky visitors, uneven",
            Self::Diurnal => "diurnal swing",
            Self::Bursts => "bursts in both pools",
            Self::Late => "fault after 10 min",
        }
    }
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    pub kind: Kind,
    /// Live's error ratio.
    pub base: f64,
    /// The candidate's, in multiples of it.
    pub ratio: f64,
    /// The candidate's share in percent.
    pub share: f64,
    /// Requests per second.
    pub rate: f64,
    /// What the product's error-ratio check tolerates.
    pub tolerate: f64,
}

impl Cell {
    pub fn name(&self) -> String {
        format!("{}, {}% × {}, share {}%, {}/s", self.kind.name(), self.base * 100.0, self.ratio, self.share, self.rate)
    }

    /// Whether the candidate is worse than the product's check tolerates.
    pub fn is_regression(&self) -> bool {
        self.base * (self.ratio - 1.0) > self.tolerate * 1.000_001
    }

    fn pace(&self) -> Pace {
        let fault = if self.ratio > 1.0 { self.begins() } else { Duration::ZERO };
        Pace { longest: HORIZON, close_until: fault + CLOSE, afterwards: AFTERWARDS }
    }

    fn begins(&self) -> Duration {
        if self.kind == Kind::Late { LATE } else { Duration::ZERO }
    }

    fn scenario(&self) -> Scenario {
        // So fast that no answer is slow: errors alone are compared here.
        let release = |error_ratio| Release { error_ratio, latency_median: 0.000_1 };
        let visitors = (self.rate * HORIZON.as_secs_f64() / REQUESTS_EACH).clamp(50.0, MOST_VISITORS);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
        let visitors = Visitors { number: visitors as usize, activity_spread: 1.5, unlucky: 0.01, unlucky_ratio: 0.2 };
        Scenario {
            requests_per_second: self.rate,
            live: release(self.base),
            candidate: release(self.base * self.ratio),
            fault_after: self.begins(),
            visitors: (self.kind == Kind::Sticky).then_some(visitors),
            weather: match self.kind {
                Kind::Plain | Kind::Sticky | Kind::Late => Weather::Steady,
                Kind::Diurnal => Weather::Diurnal,
                Kind::Bursts => Weather::Bursts,
            },
        }
    }

    /// One step that is not left within the horizon: what is looked at is the rollback.
    pub fn plan(&self) -> Plan {
        Plan {
            steps: vec![Step::new(self.weight(), Period::from(HORIZON * 2))],
            on_inconclusive: OnInconclusive::Hold,
            checks: vec![Check::ErrorRatio(ErrorRatioCheck { tolerate: self.tolerate })],
            ..Plan::default()
        }
    }

    /// Its world, but with a fault that begins after so many seconds.
    pub fn ground_after(&self, seconds: u64, from: u64) -> Ground {
        let scenario = Scenario { fault_after: Duration::from_secs(seconds), ..self.scenario() };
        Ground::new(&scenario, &self.plan(), from)
    }

    fn weight(&self) -> BasisPoints {
        BasisPoints::from_percent(self.share).unwrap_or(BasisPoints::ZERO)
    }
}

/// What a rule made of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Runs that it rolled back, with the simulation's own error.
    pub rolled_back: Share,
    /// How many that are, and of how many.
    pub back: usize,
    pub runs: usize,
    /// Seconds from the fault to the rollback, over all runs: infinite for those that never were.
    pub seconds: Spread,
    /// Requests that failed for the fault until then, on average.
    pub failed: f64,
}

/// When a run was rolled back, in seconds since the begin.
pub type Run = Option<f64>;

fn outcome(cell: &Cell, runs: &[Run]) -> Option<Outcome> {
    let begins = cell.begins().as_secs_f64();
    // Whoever rolls back before the fault has not noticed it; but it is rolled back when it begins.
    let since = |at: f64| (at - begins).max(0.0);
    let back = runs.iter().flatten().count();
    // As many as are to be expected of so much time, which is the same for all rules.
    let failures_per_second = cell.rate * cell.share / 100.0 * cell.base * (cell.ratio - 1.0);
    let exposed: f64 = runs.iter().map(|run| since(run.unwrap_or(HORIZON.as_secs_f64()))).sum();
    #[expect(clippy::cast_precision_loss, reason = "few runs")]
    let failed = failures_per_second * exposed / runs.len().max(1) as f64;
    let seconds = Spread::of(runs.iter().map(|run| run.map_or(f64::INFINITY, since)))?;
    Some(Outcome { rolled_back: Share::of(back, runs.len()), back, runs: runs.len(), seconds, failed })
}

/// The product in a cell.
pub fn product(cell: &Cell, runs: usize, from: u64) -> Option<Outcome> {
    let plan = cell.plan();
    let ground = Ground::new(&cell.scenario(), &plan, from);
    outcome(cell, &walks(&ground, &plan, cell.pace(), runs, from))
}

/// Runs of the product.
pub fn walks(ground: &Ground, plan: &Plan, pace: Pace, runs: usize, from: u64) -> Vec<Run> {
    let courses = parallel(runs, |run| walk(&mut World::new(ground, seed(from, 1, run as u64)), plan, pace));
    let back = |course: Course| (course.end == End::RolledBack).then_some(course.after.as_secs_f64());
    courses.into_iter().flatten().map(back).collect()
}

#[expect(clippy::cast_precision_loss, reason = "an hour")]
fn after(interval: usize, at: Option<usize>) -> Run {
    at.map(|at| (at * interval) as f64)
}

/// The other rules in a cell, each on the same runs, in the order of [`Rule::ALL`], and last the z-test at each second.
pub fn others(cell: &Cell, runs: usize, from: u64) -> Vec<Option<Outcome>> {
    let ground = Ground::new(&cell.scenario(), &cell.plan(), from);
    let runs: Vec<Vec<Run>> = parallel(runs, |run| {
        let seconds = seconds(&ground, cell, seed(from, 2, run as u64));
        let minutes: Vec<Counts> = seconds.chunks(60).map(summed).collect();
        let by_minute = Rule::ALL.iter().map(|rule| after(60, rule.rolls_back(&minutes)));
        by_minute.chain([after(1, peeked(&seconds, z_test))]).collect()
    });
    (0..=Rule::ALL.len()).map(|rule| outcome(cell, &runs.iter().map(|run| run[rule]).collect::<Vec<_>>())).collect()
}

/// What a slower candidate comes to: the product, Flagger and Kayenta.
pub struct LatencyRow {
    pub share: f64,
    pub shift: f64,
    pub outcomes: Vec<Option<Outcome>>,
}

/// By which part the candidate's answers are slower.
const SHIFTS: [f64; 6] = [0.0, 0.05, 0.1, 0.2, 0.5, 1.0];
/// Live's median.
const MEDIAN: f64 = 0.05;
/// Flagger's documented `request-duration`: a 99% quantile of at most 500 ms.
const FLAGGER_P99: f64 = 0.5;

/// By which part the candidate may be slower, as the product's check does by default.
pub const TOLERATED_SHIFT: f64 = 0.1;

/// Slower answers at 1,000 requests/s, with as many errors on both sides.
pub fn latency(shares: &[f64], runs: impl Fn(f64) -> usize, from: u64) -> Vec<LatencyRow> {
    let row = |share: f64, shift: f64| {
        let runs = runs(shift);
        let cell = Cell { kind: Kind::Plain, base: 0.001, ratio: 1.0, share, rate: 1000.0, tolerate: 0.001 };
        let mut scenario = cell.scenario();
        scenario.live.latency_median = MEDIAN;
        scenario.candidate.latency_median = MEDIAN * (1.0 + shift);
        let mut plan = cell.plan();
        plan.checks.push(Check::Latency(LatencyCheck::default()));
        let ground = Ground::new(&scenario, &plan, from);
        let own = walks(&ground, &plan, cell.pace(), runs, from);
        let others = parallel(runs, |run| {
            let mut random = StdRng::seed_from_u64(seed(from, 3, run as u64));
            let requests = cell.rate * 60.0;
            let (candidate, live) = (requests * cell.share / 100.0, requests * (1.0 - cell.share / 100.0));
            let minutes: Vec<(f64, f64, f64)> = (0..HORIZON.as_secs() / 60)
                .map(|_| {
                    let slow = MEDIAN * (1.0 + shift);
                    let p99 = quantile(0.99, slow, candidate, &mut random);
                    let medians = [(slow, candidate), (MEDIAN, live)];
                    let [of_candidate, of_live] = medians.map(|(median, n)| quantile(0.5, median, n, &mut random));
                    (p99, of_candidate, of_live)
                })
                .collect();
            let counts: Vec<Counts> = minutes
                .iter()
                .map(|(p99, of_candidate, of_live)| Counts {
                    candidate: 1,
                    // Whether the minute's check fails.
                    candidate_failed: u64::from(*p99 > FLAGGER_P99),
                    candidate_time: Some(*of_candidate),
                    live_time: Some(*of_live),
                    ..Counts::default()
                })
                .collect();
            [Rule::Flagger, Rule::Kayenta5].map(|rule| after(60, rule.rolls_back(&counts)))
        });
        let of = |place: usize| outcome(&cell, &others.iter().map(|run| run[place]).collect::<Vec<_>>());
        LatencyRow { share, shift, outcomes: vec![outcome(&cell, &own), of(0), of(1)] }
    };
    shares.iter().flat_map(|share| SHIFTS.map(|shift| row(*share, shift))).collect()
}

/// A quantile of `number` log-normal times: of so many the logarithm of it is normal, with the variance
/// q(1 − q)/(n φ²) of a sample quantile.
fn quantile(of: f64, median: f64, number: f64, random: &mut StdRng) -> f64 {
    let normal = Normal::standard();
    let z = normal.inverse_cdf(of);
    let spread = (of * (1.0 - of) / number).sqrt() / normal.pdf(z);
    let error: f64 = random.sample(StandardNormal);
    median * (LATENCY_SPREAD * (z + spread * error)).exp()
}

fn summed(counts: &[Counts]) -> Counts {
    counts.iter().fold(Counts::default(), |mut sum, counts| {
        sum.add(counts);
        sum
    })
}

/// A whole hour, second by second.
fn seconds(ground: &Ground, cell: &Cell, seed: u64) -> Vec<Counts> {
    let mut world = World::new(ground, seed);
    world.begin_step(cell.weight());
    world.look_every(Duration::from_secs(1));
    (0..HORIZON.as_secs())
        .map(|_| {
            let tick = world.tick();
            let failed = Indicator::Failed.index();
            Counts {
                candidate: tick.candidate.requests,
                candidate_failed: tick.candidate.bad[failed].all,
                live: tick.live.requests,
                live_failed: tick.live.bad[failed].all,
                ..Counts::default()
            }
        })
        .collect()
}
