//! Which target of a pool: the power of two choices on the requests that this worker has under way.
//!
//! M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 2001.

use super::counters::WorkerId;
use super::table::Pool;
use std::cell::Cell;

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
}

impl Pool {
    /// Chooses a healthy target, and not the one at index `but`; `None` when there is none.
    #[must_use]
    pub fn choose(&self, worker: WorkerId, dice: &Dice, but: Option<usize>) -> Option<usize> {
        let healthy = &self.healthy;
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
