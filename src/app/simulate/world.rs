//! The virtual world: it tells, tick by tick, what a router would have counted.
//!
//! Requests come as a Poisson process, and so do, independently, those that fail and those that don't; each tick is a
//! few draws, however many requests it has.

use super::latency::{SlowChances, chances};
use super::population::{Crowd, Failure, People};
use super::scenario::{BURST, Scenario, Sky};
use crate::analysis::{Bad, SideTick, Tick};
use crate::model::{BasisPoints, Check, Indicator, LatencyCheck, Plan, Until};
use crate::routing::TICK;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Binomial, Distribution, Poisson};
use std::sync::Arc;

/// What is the same in all runs of a scenario.
#[derive(Debug, Clone)]
pub struct Ground {
    scenario: Scenario,
    people: Option<Arc<People>>,
    latency: Option<LatencyCheck>,
}

impl Ground {
    /// Of a scenario, as far as this plan looks at it.
    #[must_use]
    pub fn new(scenario: &Scenario, plan: &Plan, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let people = scenario.visitors.and_then(|visitors| People::new(visitors, &mut random)).map(Arc::new);
        let latency = plan.checks.iter().find_map(|check| match check {
            Check::Latency(latency) => Some(latency.clone()),
            Check::ErrorRatio(_) | Check::StatusRatio(_) | Check::PromQl(_) => None,
        });
        Self { scenario: scenario.clone(), people, latency }
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
            next_change: 0.0,
            rates: Rates::default(),
        }
    }

    /// Ticks of another length than the router's from now on, as those see the world who look at it less often.
    pub fn look_every(&mut self, seconds: f64) {
        self.tick = seconds;
        self.next_change = self.seconds;
    }

    /// A step begins at this weight: sticky visitors may fail once more.
    pub fn begin_step(&mut self, weight: BasisPoints) {
        self.weight = weight;
        self.next_change = self.seconds;
        if let Some(crowd) = &mut self.crowd {
            crowd.begin_step(weight, &mut self.random);
        }
    }

    /// What the router would have counted in the next tick.
    pub fn tick(&mut self) -> Tick {
        if self.seconds >= self.next_change {
            self.change();
        }
        self.seconds += self.tick;
        let mut tick = Tick {
            known_at: Until::Head,
            candidate: SideTick::default(),
            live: SideTick::default(),
            new_draws: 0,
            limited: [self.ground.latency.is_some(); LatencyCheck::QUANTILES],
        };
        match &mut self.crowd {
            None => alone(&self.rates, &mut self.random, &mut tick),
            Some(crowd) => sticky(&self.rates, crowd, &mut self.random, &mut tick),
        }
        let latency = self.ground.latency.as_ref();
        slow(&self.rates.candidate.slow, latency, &mut self.random, &mut tick.candidate);
        slow(&self.rates.live.slow, latency, &mut self.random, &mut tick.live);
        tick
    }

    /// The weather is taken second by second.
    fn change(&mut self) {
        let scenario = &self.ground.scenario;
        let began = scenario.weather;
        if self.seconds >= self.burst_until && self.random.random_bool(Sky::burst_chance(began)) {
            self.burst_until = self.seconds + BURST;
        }
        let sky = Sky::at(began, self.seconds, self.seconds < self.burst_until);
        let release = scenario.candidate_at(self.seconds);
        let (of_live, of_candidate) = (sky.ratio(scenario.live), sky.ratio(release));
        let requests = scenario.requests_per_second * sky.traffic * self.tick;
        let (slow_live, slow_candidate) = chances(self.ground.latency.as_ref(), scenario.live, release);
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
                let good = |shares: super::population::Shares, ratio: f64| {
                    Source::new(requests * (shares.all - luck * shares.unlucky) * (1.0 - ratio))
                };
                let unlucky = crowd.candidate.unlucky * (1.0 - of_candidate) + crowd.live.unlucky * (1.0 - of_live);
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
        self.next_change = self.seconds.floor() + 1.0;
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
    tick.new_draws = crowd.pass(rates.requests);
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

/// How slow the answers are: the slowest are beyond every limit.
fn slow(chances: &SlowChances, latency: Option<&LatencyCheck>, random: &mut StdRng, side: &mut SideTick) {
    side.undecided = part_of(side.requests, chances.late, random);
    let late = side.undecided;
    side.bad[Indicator::NoHead.index()] = Bad { counted: late, all: late, new_draws: late };
    let Some(latency) = latency else { return };
    let (mut of, mut chance_of) = (side.timed, 1.0);
    for (place, chance) in chances.beyond.iter().enumerate().take(latency.quantiles.len()) {
        let slow = part_of(of, chance / chance_of, random);
        side.bad[Indicator::slow(latency.until, place).index()] = Bad { counted: slow, all: slow, new_draws: slow };
        (of, chance_of) = (slow, *chance);
    }
}

/// How many of `number`, each with that chance.
fn part_of(number: u64, chance: f64, random: &mut StdRng) -> u64 {
    if number == 0 || chance <= 0.0 {
        return 0;
    }
    Binomial::new(number, chance.min(1.0)).map_or(0, |part| part.sample(random))
}
