//! The virtual world: it tells, tick by tick, what a router would have counted.
//!
//! Requests come as a Poisson process, and so do, independently, those that fail and those that don't; each tick is a
//! few draws, however many requests it has.

use super::latency::{ByQuantile, SlowChances, Timed, moment};
use super::population::{Crowd, Failure, People};
use super::scenario::{BURST, Scenario, Sky, Weather};
use crate::analysis::{Bad, SideTick, Tick};
use crate::model::{BasisPoints, Indicator, LatencyCheck, Plan, Until};
use crate::routing::TICK;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Binomial, Distribution, Poisson};
use std::sync::Arc;
use std::time::Duration;

/// After so many seconds the router times sticky visitors once more.
const TIMED_EVERY: f64 = 300.0;
/// So many seconds after it has seen enough, it has put a limit in force: it looks each second, and tells limits half a
/// second ahead.
const LIMIT_TAKES: f64 = 1.0;

/// What is the same in all runs of a scenario.
#[derive(Debug, Clone)]
pub struct Ground {
    scenario: Scenario,
    people: Option<Arc<People>>,
    timed: Timed,
    answers_needed: ByQuantile<f64>,
}

impl Ground {
    /// Of a scenario, as far as this plan looks at it.
    #[must_use]
    pub fn new(scenario: &Scenario, plan: &Plan, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let people = scenario.visitors.and_then(|visitors| People::new(visitors, &mut random)).map(Arc::new);
        let timed = Timed::of(plan);
        let answers_needed = timed.answers_needed(scenario.live);
        Self { scenario: scenario.clone(), people, timed, answers_needed }
    }

    /// The scenario.
    #[must_use]
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }
}

/// One run of a virtual world.
#[derive(Debug)]
pub struct World<'a> {
    ground: &'a Ground,
    random: StdRng,
    crowd: Option<Crowd>,
    weight: BasisPoints,
    seconds: f64,
    /// Length of a tick in seconds.
    tick: f64,
    burst_until: f64,
    timed_again_at: f64,
    /// Answers of live, of which limits are taken, and from when on each is in force.
    answered: f64,
    limited_from: ByQuantile<f64>,
    next_change: f64,
    rates: Rates,
}

/// What holds until the weather, the fault or the weight changes.
#[derive(Debug, Default)]
struct Rates {
    candidate: SideRates,
    live: SideRates,
    /// Failures drawn visitor by visitor: of releases, where a failing visitor's side decides whether it is one.
    release_failures: Source,
    candidate_kept: f64,
    live_kept: f64,
    luck_failures: Source,
    /// Requests in a tick, for both pools together.
    requests: f64,
}

#[derive(Debug, Default)]
struct SideRates {
    good: Source,
    bad: Source,
    slow: SlowChances,
}

/// A Poisson number in each tick; never any where the mean is 0.
#[derive(Debug, Default)]
struct Source(Option<Poisson<f64>>);

impl Source {
    fn new(mean: f64) -> Self {
        Self(Poisson::new(mean).ok())
    }

    fn draw(&self, random: &mut StdRng) -> u64 {
        // Whole, and far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        self.0.map_or(0, |source| source.sample(random) as u64)
    }
}

impl<'a> World<'a> {
    /// A run with this seed: the same seed gives the same world.
    #[must_use]
    pub fn new(ground: &'a Ground, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let crowd = ground.people.clone().map(|people| Crowd::new(people, &mut random));
        Self {
            ground,
            random,
            crowd,
            weight: BasisPoints::ZERO,
            seconds: 0.0,
            tick: TICK.as_secs_f64(),
            burst_until: 0.0,
            timed_again_at: TIMED_EVERY,
            answered: 0.0,
            limited_from: [[f64::INFINITY; LatencyCheck::QUANTILES]; 2],
            next_change: 0.0,
            rates: Rates::default(),
        }
    }

    /// Ticks of another length than the router's from now on, as those see the world who look at it less often.
    pub fn look_every(&mut self, tick: Duration) {
        self.tick = tick.as_secs_f64();
        self.next_change = self.seconds;
    }

    /// A step begins at this weight: sticky visitors may fail once more.
    pub fn begin_step(&mut self, weight: BasisPoints) {
        self.weight = weight;
        self.next_change = self.seconds;
        self.timed_again_at = self.seconds + TIMED_EVERY;
        if let Some(crowd) = &mut self.crowd {
            crowd.begin_step(weight, &mut self.random);
        }
    }

    /// Which quantiles of a moment have a limit that is in force.
    #[must_use]
    pub fn limited(&self, until: Until) -> [bool; LatencyCheck::QUANTILES] {
        self.limited_from[moment(until)].map(|from| from <= self.seconds)
    }

    /// What the router would have counted in the next tick.
    pub fn tick(&mut self) -> Tick {
        if self.seconds >= self.next_change {
            self.change();
        }
        let mut tick = Tick {
            known_at: Until::Head,
            candidate: SideTick::default(),
            live: SideTick::default(),
            new_draws: 0,
            limited: self.limited(Until::Head),
        };
        self.seconds += self.tick;
        match &mut self.crowd {
            None => alone(&self.rates, &mut self.random, &mut tick),
            Some(crowd) => {
                // Where nobody's answers are slow, who is timed makes no difference.
                let slow = !self.rates.candidate.slow.never() || !self.rates.live.slow.never();
                if slow && self.seconds >= self.timed_again_at {
                    crowd.time_again(&mut self.random);
                    self.timed_again_at = self.seconds + TIMED_EVERY;
                }
                sticky(&self.rates, crowd, &mut self.random, &mut tick);
            }
        }
        slow(&self.rates.candidate.slow, &mut self.random, &mut tick.candidate);
        slow(&self.rates.live.slow, &mut self.random, &mut tick.live);
        self.learn_limits(&tick);
        tick
    }

    /// The router takes limits from live's past as soon as there is enough of it.
    #[allow(clippy::cast_precision_loss)] // counts of a tick
    fn learn_limits(&mut self, tick: &Tick) {
        self.answered += tick.live.requests as f64;
        let from = self.seconds + LIMIT_TAKES;
        let was_limited = self.limited_from.iter().flatten().any(|from| from.is_finite());
        let mut learnt = false;
        for (limited_from, needed) in
            self.limited_from.iter_mut().flatten().zip(self.ground.answers_needed.iter().flatten())
        {
            if limited_from.is_infinite() && self.answered >= *needed {
                *limited_from = from;
                learnt = true;
            }
        }
        if learnt && !was_limited {
            // Who was timed before there was a limit is not compared yet.
            self.timed_again_at = from;
        }
    }

    /// The weather is taken second by second.
    fn change(&mut self) {
        let scenario = &self.ground.scenario;
        if self.seconds >= self.burst_until && self.random.random_bool(Sky::burst_chance(scenario.weather)) {
            self.burst_until = self.seconds + BURST;
        }
        let sky = Sky::at(scenario.weather, self.seconds, self.seconds < self.burst_until);
        let release = scenario.candidate_at(self.seconds);
        let (of_live, of_candidate) = (sky.ratio(scenario.live), sky.ratio(release));
        let requests = scenario.requests_per_second * sky.traffic * self.tick;
        let (slow_live, slow_candidate) = self.ground.timed.chances(scenario.live, release);
        // A failure that comes after the lag is no failure to the router.
        let (live_in_time, candidate_in_time) = (1.0 - slow_live.late(), 1.0 - slow_candidate.late());
        let (of_live, of_candidate) = (of_live * live_in_time, of_candidate * candidate_in_time);
        self.rates = match &self.crowd {
            None => {
                let share = self.weight.ratio();
                let side = |requests: f64, ratio: f64, slow| SideRates {
                    good: Source::new(requests * (1.0 - ratio)),
                    bad: Source::new(requests * ratio),
                    slow,
                };
                Rates {
                    candidate: side(requests * share, of_candidate, slow_candidate),
                    live: side(requests * (1.0 - share), of_live, slow_live),
                    requests,
                    ..Rates::default()
                }
            }
            Some(crowd) => {
                let luck = crowd.unlucky_ratio();
                let worst = of_candidate.max(of_live);
                // Of the unlucky, what the release has not failed already.
                let unlucky = |shares: super::population::Shares, ratio: f64| shares.unlucky * (1.0 - ratio);
                let good = |shares: super::population::Shares, ratio: f64| {
                    Source::new(requests * (shares.all * (1.0 - ratio) - luck * unlucky(shares, ratio)))
                };
                let unlucky = unlucky(crowd.candidate, of_candidate) + unlucky(crowd.live, of_live);
                Rates {
                    candidate: SideRates {
                        good: good(crowd.candidate, of_candidate),
                        bad: Source::default(),
                        slow: slow_candidate,
                    },
                    live: SideRates { good: good(crowd.live, of_live), bad: Source::default(), slow: slow_live },
                    release_failures: Source::new(requests * worst),
                    candidate_kept: of_candidate / worst.max(f64::MIN_POSITIVE),
                    live_kept: of_live / worst.max(f64::MIN_POSITIVE),
                    luck_failures: Source::new(requests * luck * unlucky),
                    requests,
                }
            }
        };
        self.next_change = match scenario.weather {
            // Nothing changes by itself, but once.
            Weather::Steady if self.seconds < scenario.fault_after.as_secs_f64() => scenario.fault_after.as_secs_f64(),
            Weather::Steady => f64::INFINITY,
            Weather::Diurnal | Weather::Bursts => self.seconds.floor() + 1.0,
        };
    }
}

/// Requests that are each drawn for themselves.
fn alone(rates: &Rates, random: &mut StdRng, tick: &mut Tick) {
    let failed = Indicator::Failed.index();
    let candidate = rates.candidate.bad.draw(random);
    tick.candidate.requests = candidate + rates.candidate.good.draw(random);
    tick.candidate.bad[failed] = Bad { counted: candidate, all: candidate, new_draws: candidate };
    tick.new_draws = tick.candidate.requests;
    let live = rates.live.bad.draw(random);
    tick.live.requests = live + rates.live.good.draw(random);
    tick.live.bad[failed] = Bad { counted: live, all: live, new_draws: 0 };
    // Each is timed.
    tick.candidate.timed = tick.candidate.requests;
    tick.live.timed = tick.live.requests;
}

/// Requests of sticky visitors.
fn sticky(rates: &Rates, crowd: &mut Crowd, random: &mut StdRng, tick: &mut Tick) {
    tick.candidate.requests = rates.candidate.good.draw(random);
    tick.live.requests = rates.live.good.draw(random);
    let first = crowd.pass(rates.requests);
    tick.new_draws = first.new;
    // Only the first request of each in a step is timed.
    tick.candidate.timed = first.candidate.min(tick.candidate.requests);
    tick.live.timed = first.live.min(tick.live.requests);
    for _ in 0..rates.release_failures.draw(random) {
        let kept = |candidate| if candidate { rates.candidate_kept } else { rates.live_kept };
        note(crowd.fail(random, kept), tick);
    }
    for _ in 0..rates.luck_failures.draw(random) {
        note(crowd.fail_unlucky(random), tick);
    }
}

fn note(failed: Option<(Failure, u64)>, tick: &mut Tick) {
    let Some((failure, new_draws)) = failed else { return };
    tick.new_draws += new_draws;
    let side = if failure.candidate { &mut tick.candidate } else { &mut tick.live };
    side.requests += 1;
    let bad = &mut side.bad[Indicator::Failed.index()];
    bad.all += 1;
    bad.counted += u64::from(failure.counted);
    bad.new_draws += u64::from(failure.first);
}

/// How slow the answers are: of those that are slow in one way, some are so in a rarer way as well.
fn slow(chances: &SlowChances, random: &mut StdRng, side: &mut SideTick) {
    let (mut of, mut chance_of) = (side.timed, 1.0);
    for (indicator, chance) in chances.each() {
        let slow = part_of(of, chance / chance_of, random);
        side.bad[indicator.index()] = Bad { counted: slow, all: slow, new_draws: slow };
        (of, chance_of) = (slow, chance);
    }
    let no_head = &mut side.bad[Indicator::NoHead.index()];
    no_head.all += part_of(side.requests.saturating_sub(side.timed), chances.late(), random);
    side.undecided = no_head.all;
}

/// How many of `number`, each with that chance.
fn part_of(number: u64, chance: f64, random: &mut StdRng) -> u64 {
    if number == 0 || chance <= 0.0 {
        return 0;
    }
    Binomial::new(number, chance.min(1.0)).map_or(0, |part| part.sample(random))
}

#[cfg(test)]
mod tests {
    use super::super::{Release, Visitors};
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

    const VISITORS: Visitors = Visitors { number: 2000, activity_spread: 1.0, unlucky: 0.01, unlucky_ratio: 0.2 };

    fn ticks(scenario: &Scenario, seed: u64, seconds: u32) -> Vec<Tick> {
        let ground = Ground::new(scenario, &Plan::default(), 1);
        let mut world = World::new(&ground, seed);
        world.begin_step(BasisPoints::try_from(2000).unwrap());
        (0..seconds * 10).map(|_| world.tick()).collect()
    }

    /// Requests of the candidate, all failures and counted ones of it; the same of live; and new draws.
    fn sums(ticks: &[Tick]) -> [f64; 7] {
        let mut sums = [0; 7];
        for tick in ticks {
            for (place, side) in [(0, tick.candidate), (3, tick.live)] {
                let failed = side.bad[Indicator::Failed.index()];
                assert!(failed.counted <= failed.all && failed.all <= side.requests);
                sums[place] += side.requests;
                sums[place + 1] += failed.all;
                sums[place + 2] += failed.counted;
            }
            sums[6] += tick.new_draws;
        }
        sums.map(|sum| f64::from(u32::try_from(sum).unwrap()))
    }

    fn assert_about(got: f64, expected: f64) {
        assert!((got - expected).abs() < 5.0 * expected.sqrt() + 0.02 * expected, "{got}, to be about {expected}");
    }

    #[test]
    fn ratios_and_shares_come_out_as_asked() {
        let [requests, failed, counted, of_live, live_failed, _, draws] = sums(&ticks(&scenario(0.01, 0.03), 1, 100));
        assert_about(requests, 20_000.0);
        assert_about(failed, 600.0);
        assert_about(of_live, 80_000.0);
        assert_about(live_failed, 800.0);
        assert!((counted, draws) == (failed, requests), "each request is a draw of its own");
    }

    #[test]
    fn visitors_fail_as_asked_and_each_counts_once_in_a_step() {
        let sticky = Scenario { visitors: Some(VISITORS), ..scenario(0.01, 0.03) };
        let mut parts = [0.0; 7];
        for seed in 0..20 {
            let sums = sums(&ticks(&sticky, seed, 50));
            assert!(sums[2] < sums[1] && sums[5] < sums[4], "some fail more than once");
            assert!(sums[6] <= 500.0, "of the candidate are some 400 visitors: {}", sums[6]);
            for (part, sum) in parts.iter_mut().zip(sums) {
                *part += sum / 20.0;
            }
        }
        let [requests, failed, _, of_live, live_failed, _, _] = parts;
        assert_about(requests + of_live, 50_000.0);
        // The unlucky ones' failures come on top; how busy they are is chance.
        let (ratio, live_ratio) = (failed / requests, live_failed / of_live);
        assert!((0.03..0.036).contains(&ratio) && (0.01..0.016).contains(&live_ratio), "{ratio}, {live_ratio}");
    }

    #[test]
    fn the_same_seed_gives_the_same_world() {
        let sticky = Scenario { visitors: Some(VISITORS), weather: Weather::Bursts, ..scenario(0.01, 0.03) };
        assert_eq!(ticks(&sticky, 5, 20), ticks(&sticky, 5, 20));
        assert_ne!(ticks(&sticky, 5, 20), ticks(&sticky, 6, 20));
    }

    #[test]
    fn a_fault_begins_when_it_should() {
        let late = Scenario { fault_after: Duration::from_secs(50), ..scenario(0.0, 1.0) };
        let ticks = ticks(&late, 7, 100);
        let failed = |ticks: &[Tick]| sums(ticks)[1];
        assert!(failed(&ticks[..500]) < 1.0 && failed(&ticks[500..501]) > 0.0);
    }

    #[test]
    fn bursts_and_days_come_to_both_pools() {
        let bursts = sums(&ticks(&Scenario { weather: Weather::Bursts, ..scenario(0.0, 0.0) }, 8, 3000));
        let (candidate, live) = (bursts[1] / bursts[0], bursts[4] / bursts[3]);
        assert!(candidate > 0.001 && (candidate / live - 1.0).abs() < 0.1, "{candidate}, {live}");
        let day = ticks(&Scenario { weather: Weather::Diurnal, ..scenario(0.01, 0.01) }, 9, 3600);
        let hour = |at: usize| sums(&day[at..at + 3000]);
        assert!(hour(0)[0] > 3.0 * hour(16_500)[0], "traffic swings");
        assert!(hour(7500)[4] / hour(7500)[3] > 5.0 * hour(25_500)[4] / hour(25_500)[3], "errors swing");
    }
}
