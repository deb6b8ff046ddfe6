//! Which target of a pool: the power of two choices on the requests that this worker has under way.
//!
//! M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 2001.
//!
//! A target that has just recovered keeps only a part of the requests that fall to it, which rises to all of them while
//! its caches fill; the rest go to the others.

use super::counters::WorkerId;
use super::table::Pool;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// A fast source of numbers to choose targets by. It need not be unpredictable: it decides nothing but balance.
#[derive(Debug)]
pub struct Dice(Cell<u64>);

impl Dice {
    /// With any seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed))
    }

    /// A number below `bound`, which is not 0.
    #[must_use]
    pub fn below(&self, bound: usize) -> usize {
        // SplitMix64: G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // The product's high half is below `bound`.
        #[allow(clippy::cast_possible_truncation)]
        let number = ((u128::from(mixed) * bound as u128) >> 64) as usize;
        number
    }

    /// Some part of a time.
    #[must_use]
    pub fn part_of(&self, time: Duration) -> Duration {
        let part = u32::try_from(self.below(PARTS)).unwrap_or_default();
        time * part / u32::try_from(PARTS).unwrap_or(u32::MAX)
    }
}

/// A target that has just recovered.
#[derive(Debug, Clone, Copy)]
pub struct Warming {
    /// Its index.
    pub target: usize,
    /// When it recovered.
    pub since: Instant,
    /// How long until it gets all of its share.
    pub time: Duration,
}

/// Shares of requests, and moments of a time, are drawn in these parts.
const PARTS: usize = 1000;

/// What a target keeps at first, in parts.
const FIRST: usize = PARTS / 10;

impl Warming {
    /// How many of [`PARTS`] requests it keeps.
    fn keeps(&self, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.since);
        if passed >= self.time {
            return PARTS;
        }
        let risen = (PARTS - FIRST) as u128 * passed.as_micros() / self.time.as_micros().max(1);
        FIRST + usize::try_from(risen).unwrap_or(PARTS)
    }

    /// Whether it gets its whole share by now.
    #[must_use]
    pub fn is_over(&self, now: Instant) -> bool {
        self.keeps(now) == PARTS
    }
}

impl Pool {
    /// Chooses a healthy target, and not the one at index `but`; `None` when there is none.
    #[must_use]
    pub fn choose(&self, worker: WorkerId, dice: &Dice, but: Option<usize>, now: Instant) -> Option<usize> {
        let chosen = self.choose_of(&self.healthy, worker, dice, but)?;
        if self.warming.is_empty() {
            return Some(chosen);
        }
        Some(self.in_its_place(chosen, worker, dice, but, now))
    }

    /// The target in place of one that is warming up and does not keep the request. Where none is warm it does.
    #[cold]
    fn in_its_place(&self, chosen: usize, worker: WorkerId, dice: &Dice, but: Option<usize>, now: Instant) -> usize {
        let warming = |target: usize| self.warming.iter().find(|warming| warming.target == target);
        if warming(chosen).is_none_or(|warming| dice.below(PARTS) < warming.keeps(now)) {
            return chosen;
        }
        let warm: Vec<usize> =
            self.healthy.iter().copied().filter(|target| warming(*target).is_none_or(|it| it.is_over(now))).collect();
        self.choose_of(&warm, worker, dice, but).unwrap_or(chosen)
    }

    fn choose_of(&self, healthy: &[usize], worker: WorkerId, dice: &Dice, but: Option<usize>) -> Option<usize> {
        let load = |target: usize| self.targets[target].load.in_flight.of(worker).get();
        match (healthy.len(), but) {
            (0, _) => None,
            (1, but) => Some(healthy[0]).filter(|only| Some(*only) != but),
            (count, None) => {
                let first = dice.below(count);
                let second = (first + 1 + dice.below(count - 1)) % count;
                let (first, second) = (healthy[first], healthy[second]);
                Some(if load(second) < load(first) { second } else { first })
            }
            // Rare: a second try after a failed connection.
            (_, Some(but)) => {
                healthy.iter().copied().filter(|target| *target != but).min_by_key(|target| load(*target))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;
    use crate::routing::counters::{PerWorker, TargetLoad};
    use crate::routing::table::Target;
    use crate::transport::{Means, Reach};
    use std::sync::Arc;

    const WORKER: WorkerId = WorkerId(0);

    fn pool(targets: usize, warming: &[Warming]) -> Pool {
        let reach = Arc::new(Reach::new("127.0.0.1:1".parse().unwrap(), &Means::default()));
        let target = |_| Target { reach: Arc::clone(&reach), load: Arc::new(TargetLoad::new(1)) };
        Pool {
            name: "server0".parse().unwrap(),
            release: None,
            name_header: http::HeaderValue::from_static("server0"),
            release_header: None,
            targets: (0..targets).map(target).collect(),
            healthy: (0..targets).collect(),
            protocol: Protocol::H1,
            warming: warming.into(),
            drained: false,
            load: Arc::new(PerWorker::new(1)),
            tally: Arc::new(PerWorker::new(1)),
        }
    }

    /// The share of 20,000 requests that the target at index 0 gets.
    fn share(pool: &Pool, now: Instant) -> f64 {
        let dice = Dice::new(1);
        let count = (0..20_000).filter(|_| pool.choose(WORKER, &dice, None, now) == Some(0)).count();
        f64::from(u32::try_from(count).unwrap()) / 20_000.0
    }

    fn is_near(share: f64, expected: f64) {
        assert!((share - expected).abs() < 0.015, "{share} instead of {expected}");
    }

    #[test]
    fn a_target_that_recovered_rises_from_a_tenth_of_its_share_to_all_of_it() {
        let since = Instant::now();
        let pool = pool(3, &[Warming { target: 0, since, time: Duration::from_secs(10) }]);
        for (second, part) in [(0, 0.1), (5, 0.55), (10, 1.0), (60, 1.0)] {
            is_near(share(&pool, since + Duration::from_secs(second)), part / 3.0);
        }
    }

    #[test]
    fn where_all_have_just_recovered_they_share_as_ever() {
        let since = Instant::now();
        let warming = [0, 1].map(|target| Warming { target, since, time: Duration::from_secs(10) });
        is_near(share(&pool(2, &warming), since), 0.5);
        is_near(share(&pool(1, &warming[..1]), since), 1.0);
    }

    #[test]
    fn a_second_try_goes_to_another_target_even_to_one_that_warms_up() {
        let since = Instant::now();
        let pool = pool(2, &[Warming { target: 0, since, time: Duration::from_secs(10) }]);
        let dice = Dice::new(7);
        assert!((0..1000).all(|_| pool.choose(WORKER, &dice, Some(1), since) == Some(0)));
    }
}
