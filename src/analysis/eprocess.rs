//! The mixture e-process: a test that may be looked at after every tick without its false-alarm rate growing.
//!
//! For a tick with `n_c` requests and `k_c` failures of the candidate, and `n_s` and `k_s` of live, let
//! `s = n_c / (n_c + n_s)` and `D(x) = s·x + 1 − s`. Against the null "candidate's ratio ≤ r0 · live's + δ", one bet
//! `r` earns
//!
//! ```text
//! A = (r / r0) · D(r0) / D(r)        B = D(r0) / D(r)
//! ln e(r) = k_c·ln A + k_s·ln B − δ·n_c·(A − 1)
//! ```
//!
//! whose exponential has an expectation of at most 1 under the null, given the past, whatever the base rate and the
//! share do. For bets below `r0` the same formula tests "candidate's ratio ≥ r0 · live's + δ". A mixture of bets is
//! again such a process, and by Ville's inequality it ever reaches `1/α` with a chance of at most α
//! (Lindon & Malek 2022; Howard & Ramdas 2022; Waudby-Smith & Ramdas 2023). All sums are kept as logarithms.

use super::Pair;
use super::words::number_text;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::LazyLock;

/// Bets in a mixture.
const BETS: usize = 24;
/// The smallest and the largest ratio, against `r0`, that a bet for "worse" is placed on: from hardly worse to nearly
/// everything failing.
const SMALLEST_BET: f64 = 1.2;
const LARGEST_BET: f64 = 64.0;
/// What the late start takes of what is left at a first tick, and at any other.
const FIRST_SHARE: f64 = 0.5;
const LATER_SHARE: f64 = 1.0 / 3000.0;

/// The ratios that are bet on, relative to `r0`.
pub(super) type Bets = [f64; BETS];

/// Bets that the candidate is worse: 1.2 to 64, log-spaced.
pub(super) static WORSE: LazyLock<Bets> =
    LazyLock::new(|| std::array::from_fn(|place| log_spaced(SMALLEST_BET, LARGEST_BET, place, BETS)));

/// Bets that the candidate is no worse: 0, and 1/64 to 1/1.2, log-spaced.
pub(super) static NO_WORSE: LazyLock<Bets> = LazyLock::new(|| {
    std::array::from_fn(|place| match place {
        0 => 0.0,
        _ => log_spaced(LARGEST_BET.recip(), SMALLEST_BET.recip(), place - 1, BETS - 1),
    })
});

fn log_spaced(first: f64, last: f64, place: usize, places: usize) -> f64 {
    let way = as_f64(place as u64) / (as_f64(places as u64) - 1.0);
    first * (last / first).powf(way)
}

/// What is tested against: "candidate's ratio ≤ (or ≥) `ratio` · live's + `tolerate`".
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Null {
    pub(super) ratio: f64,
    pub(super) tolerate: f64,
}

/// A tick as the bets see it. None where there were no requests.
struct Shares {
    candidate: f64,
    live: f64,
    candidate_requests: f64,
    candidate_failures: f64,
    live_failures: f64,
}

impl Shares {
    fn of(tick: Pair) -> Option<Self> {
        let (candidate, live) = (as_f64(tick.candidate_requests), as_f64(tick.live_requests));
        let all = candidate + live;
        (all > 0.0).then(|| Self {
            candidate: candidate / all,
            live: live / all,
            candidate_requests: candidate,
            // A count that cannot be is taken as the nearest that can, so that no sum ever becomes undefined.
            candidate_failures: as_f64(tick.candidate_failures.min(tick.candidate_requests)),
            live_failures: as_f64(tick.live_failures.min(tick.live_requests)),
        })
    }

    fn of_clean_run(share: f64, candidate_requests: f64) -> Self {
        Self { candidate: share, live: 1.0 - share, candidate_requests, candidate_failures: 0.0, live_failures: 0.0 }
    }

    /// D(x).
    fn mix(&self, ratio: f64) -> f64 {
        self.candidate * ratio + self.live
    }

    /// `ln e` of one bet: finite, or −∞ when the bet is that the candidate never fails, and it did.
    fn ln_e(&self, bet: f64, null: Null) -> f64 {
        let null_mix = self.mix(null.ratio);
        let bet_mix = self.mix(bet * null.ratio);
        // A bet on 0 has A = 0 even in a tick without requests of live, where its D(r) is 0 too.
        let gain = if bet > 0.0 { bet * null_mix / bet_mix } else { 0.0 };
        // No failures earn 0, even where the logarithm is infinite.
        let of_candidate = if self.candidate_failures > 0.0 { self.candidate_failures * gain.ln() } else { 0.0 };
        let of_live = if self.live_failures > 0.0 { self.live_failures * (null_mix / bet_mix).ln() } else { 0.0 };
        of_candidate + of_live - null.tolerate * self.candidate_requests * (gain - 1.0)
    }
}

/// One sum per bet, as a logarithm: −∞ is a bet that is lost, or not placed yet.
#[derive(Debug, Clone, Copy, PartialEq)]
struct LnSums([f64; BETS]);

/// As text, since JSON has no infinity, and so that every bit comes back.
impl Serialize for LnSums {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(f64::to_string))
    }
}

impl<'de> Deserialize<'de> for LnSums {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = <[String; BETS]>::deserialize(deserializer)?;
        let mut sums = [0.0; BETS];
        for (sum, text) in sums.iter_mut().zip(&texts) {
            *sum = number_text::parse(text).map_err(D::Error::custom)?;
        }
        Ok(Self(sums))
    }
}

/// A mixture with all of its stake placed at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Plain {
    sums: LnSums,
}

impl Plain {
    pub(super) fn new() -> Self {
        Self { sums: LnSums([0.0; BETS]) }
    }

    pub(super) fn observe(&mut self, tick: Pair, bets: &Bets, null: Null) {
        let Some(shares) = Shares::of(tick) else { return };
        for (sum, bet) in self.sums.0.iter_mut().zip(bets) {
            *sum += shares.ln_e(*bet, null);
        }
    }

    pub(super) fn ln_e(&self) -> f64 {
        ln_mean(&self.sums.0)
    }

    /// ln E after so many candidate requests more, and as many of live as the share says, if none of them fails.
    pub(super) fn ln_after_clean_run(&self, bets: &Bets, null: Null, share: f64, candidate_requests: f64) -> f64 {
        let run = Shares::of_clean_run(share, candidate_requests);
        let mut sums = self.sums.0;
        for (sum, bet) in sums.iter_mut().zip(bets) {
            *sum += run.ln_e(*bet, null);
        }
        ln_mean(&sums)
    }
}

/// A mixture that keeps some of its stake back for a fault that begins late, which would otherwise be buried under a
/// long clean run: `S_t = (S_{t−1} + w_t)·e_t`, `E_t = mean of S_t + left_t`. The stake never exceeds 1, so the
/// guarantee stays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LateStart {
    sums: LnSums,
    #[serde(with = "number_text")]
    ln_left: f64,
    first_tick: bool,
}

impl LateStart {
    pub(super) fn new() -> Self {
        Self { sums: LnSums([f64::NEG_INFINITY; BETS]), ln_left: 0.0, first_tick: true }
    }

    /// The next tick is the first one at another weight.
    pub(super) fn weight_changed(&mut self) {
        self.first_tick = true;
    }

    pub(super) fn observe(&mut self, tick: Pair, bets: &Bets, null: Null) {
        let Some(shares) = Shares::of(tick) else { return };
        self.observe_bets(bets, |bet| shares.ln_e(bet, null));
    }

    /// Takes in what each bet has earned.
    pub(super) fn observe_bets(&mut self, bets: &Bets, ln_e: impl Fn(f64) -> f64) {
        let share = if self.first_tick { FIRST_SHARE } else { LATER_SHARE };
        self.first_tick = false;
        let ln_placed = self.ln_left + share.ln();
        self.ln_left += (-share).ln_1p();
        for (sum, bet) in self.sums.0.iter_mut().zip(bets) {
            *sum = ln_add(*sum, ln_placed) + ln_e(*bet);
        }
    }

    pub(super) fn ln_e(&self) -> f64 {
        ln_add(ln_mean(&self.sums.0), self.ln_left)
    }
}

/// ln(eᵃ + eᵇ).
fn ln_add(a: f64, b: f64) -> f64 {
    let (larger, smaller) = if a >= b { (a, b) } else { (b, a) };
    // Both −∞: their difference would be undefined.
    if smaller == f64::NEG_INFINITY { larger } else { larger + (smaller - larger).exp().ln_1p() }
}

/// The logarithm of the sum of the exponentials.
pub(super) fn ln_sum(lns: impl Iterator<Item = f64>) -> f64 {
    lns.fold(f64::NEG_INFINITY, ln_add)
}

/// The logarithm of the mean of the exponentials.
fn ln_mean(lns: &[f64; BETS]) -> f64 {
    let largest = lns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let sum: f64 = lns.iter().map(|ln| (ln - largest).exp()).sum();
    largest + (sum / as_f64(BETS as u64)).ln()
}

/// Beyond 2^53 a count loses its last digits, which no ratio notices.
#[allow(clippy::cast_precision_loss)]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: [(u64, u64, u64, u64); 4] = [(50, 2, 950, 1), (60, 1, 900, 2), (100, 0, 900, 1), (500, 6, 500, 1)];
    const NO_WORSE_AT_ALL: Null = Null { ratio: 1.0, tolerate: 0.0 };

    fn tick((candidate_requests, candidate_failures, live_requests, live_failures): (u64, u64, u64, u64)) -> Pair {
        Pair { candidate_requests, candidate_failures, live_requests, live_failures, ..Pair::default() }
    }

    fn assert_near(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
        }
    }

    fn plain(ticks: &[(u64, u64, u64, u64)], bets: &Bets, null: Null) -> Vec<f64> {
        let mut process = Plain::new();
        ticks
            .iter()
            .map(|counts| {
                process.observe(tick(*counts), bets, null);
                process.ln_e()
            })
            .collect()
    }

    #[test]
    fn rollback_without_late_start_meets_the_reference_values() {
        assert_near(&plain(&[(5, 1, 95, 0); 3], &WORSE, NO_WORSE_AT_ALL), &[1.968_340, 4.285_919, 6.757_663]);
        assert_near(&plain(&T, &WORSE, NO_WORSE_AT_ALL), &[3.440_346, 3.935_408, 3.081_870, 4.798_516]);
        assert_near(
            &plain(&T, &WORSE, Null { ratio: 1.1, tolerate: 0.001 }),
            &[2.877_327, 2.985_048, 1.923_502, 3.145_512],
        );
    }

    #[test]
    fn rollback_with_late_start_meets_the_reference_values() {
        let run = |change_before: Option<usize>| {
            let mut process = LateStart::new();
            let lns: Vec<f64> = T
                .iter()
                .enumerate()
                .map(|(place, counts)| {
                    if change_before == Some(place) {
                        process.weight_changed();
                    }
                    process.observe(tick(*counts), &WORSE, NO_WORSE_AT_ALL);
                    process.ln_e()
                })
                .collect();
            lns
        };
        assert_near(&run(None), &[2.778_750, 3.261_616, 2.433_570, 4.113_605]);
        assert_near(&run(Some(2)), &[2.778_750, 3.261_616, 2.423_908, 4.120_568]);
    }

    #[test]
    fn promotion_meets_the_reference_values() {
        let null = Null { ratio: 1.0, tolerate: 0.001 };
        let clean = plain(&[(500, 0, 500, 0); 10], &NO_WORSE, null);
        assert_near(&clean[..3], &[0.362_560, 0.740_944, 1.132_984]);
        assert_near(&clean[8..], &[3.674_699, 4.118_382]);
        let mixed = plain(&[(500, 0, 500, 2), (500, 1, 500, 0), (500, 0, 500, 1)], &NO_WORSE, null);
        assert_near(&mixed, &[1.492_907, 0.150_462, 0.972_137]);
    }

    #[test]
    fn ticks_without_requests_change_nothing() {
        let mut late = LateStart::new();
        let mut plain = Plain::new();
        late.observe(tick((0, 0, 0, 0)), &WORSE, NO_WORSE_AT_ALL);
        plain.observe(tick((0, 3, 0, 3)), &NO_WORSE, NO_WORSE_AT_ALL);
        assert_eq!((late, plain), (LateStart::new(), Plain::new()));
    }

    #[test]
    fn a_lost_bet_and_one_not_placed_yet_come_back_from_json() {
        let mut lost = Plain::new();
        lost.observe(tick((10, 1, 90, 0)), &NO_WORSE, NO_WORSE_AT_ALL);
        assert_eq!(lost.sums.0[0].to_bits(), f64::NEG_INFINITY.to_bits());
        let text = serde_json::to_string(&(&lost, LateStart::new())).unwrap();
        let (lost_again, late_again): (Plain, LateStart) = serde_json::from_str(&text).unwrap();
        assert_eq!((lost_again, late_again), (lost, LateStart::new()));
        for bad in ["NaN", "", "one"] {
            assert!(number_text::parse(bad).is_err(), "{bad}");
        }
    }

    fn any_count() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 0..5u64, 0..10_000u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn no_ticks_make_a_sum_undefined(
            ticks in prop::collection::vec(((any_count(), any_count(), any_count(), any_count()), any::<bool>()), 0..40),
            ratio in prop_oneof![Just(1.0), 0.5..2.0f64],
            tolerate in prop_oneof![Just(0.0), 0.0..1.0f64],
        ) {
            let null = Null { ratio, tolerate };
            let (mut late, mut worse, mut no_worse) = (LateStart::new(), Plain::new(), Plain::new());
            for (counts, changed) in ticks {
                if changed {
                    late.weight_changed();
                }
                late.observe(tick(counts), &WORSE, null);
                worse.observe(tick(counts), &WORSE, null);
                no_worse.observe(tick(counts), &NO_WORSE, null);
                // All but the bet on no failure at all stay finite, and so do all mixtures.
                prop_assert!(worse.sums.0.iter().chain(&late.sums.0).chain(&no_worse.sums.0[1..]).all(|ln| !ln.is_nan()));
                prop_assert!(!no_worse.sums.0[0].is_nan());
                prop_assert!(worse.ln_e().is_finite() && late.ln_e().is_finite() && no_worse.ln_e().is_finite());
            }
            let text = serde_json::to_string(&(&late, &no_worse)).unwrap();
            let again: (LateStart, Plain) = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(again, (late, no_worse));
        }
    }
}
