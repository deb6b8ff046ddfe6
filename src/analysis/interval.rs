//! Between which bounds a ratio is: a confidence sequence, which holds at every moment at once, so that it may be looked
//! at as often as anyone likes.
//!
//! For `k` of `n` with a chance of `p` each, the mixture of all likelihood ratios over a Beta(½, ½) prior,
//!
//! ```text
//! M(p) = B(½ + k, ½ + n − k) / B(½, ½) / (p^k · (1 − p)^(n − k))
//! ```
//!
//! is a martingale that starts at 1, and by Ville's inequality ever reaches 20 with a chance of at most 5%. So the `p`
//! with M(p) < 20 hold the true one, at all times at once, with a confidence of 95% (Robbins 1970, Statistical methods
//! related to the law of the iterated logarithm; Howard et al. 2021, Time-uniform, nonparametric, nonasymptotic
//! confidence sequences). Where the chance moves meanwhile, they are bounds of no single ratio, and only tell how much
//! the counts can say.

use super::eprocess::as_f64;
use crate::model::view::{CountsView, RatioView, RatiosView};

/// One minus the confidence.
const MISS: f64 = 0.05;
/// Both parameters of the prior: Jeffreys' choice, which does well for small ratios.
const PRIOR: f64 = 0.5;
/// Halvings of the interval that a bound is looked for in: far below what is shown.
const HALVINGS: u32 = 50;

/// The ratios of both pools; None before both have a request.
pub(super) fn ratios(counts: CountsView) -> Option<RatiosView> {
    Some(RatiosView {
        candidate: ratio(counts.candidate_failures, counts.candidate_requests)?,
        live: ratio(counts.live_failures, counts.live_requests)?,
    })
}

/// A ratio of counts, and its bounds; None of nothing.
pub(super) fn ratio(bad: u64, all: u64) -> Option<RatioView> {
    if all == 0 {
        return None;
    }
    let (bad, all) = (as_f64(bad.min(all)), as_f64(all));
    let seen = bad / all;
    let ln_beta = |a: f64, b: f64| libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let ln_mixture = ln_beta(PRIOR + bad, PRIOR + all - bad) - ln_beta(PRIOR, PRIOR);
    let is_out = |chance: f64| ln_mixture - ln_likelihood(bad, all - bad, chance) >= -MISS.ln();
    // M grows with the distance from what was seen, so halving finds where it reaches the limit.
    let bound = |outermost: f64| {
        if !is_out(outermost) {
            return outermost;
        }
        let (mut within, mut out) = (seen, outermost);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(within, out);
            if is_out(middle) { out = middle } else { within = middle }
        }
        out
    };
    Some(RatioView { ratio: seen, low: bound(0.0), high: bound(1.0) })
}

fn ln_likelihood(bad: f64, good: f64, chance: f64) -> f64 {
    // Nothing of a kind costs nothing, even where the chance of that kind is 0.
    let of_bad = if bad > 0.0 { bad * chance.ln() } else { 0.0 };
    let of_good = if good > 0.0 { good * (-chance).ln_1p() } else { 0.0 };
    of_bad + of_good
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn bounds_hold_what_was_seen_and_narrow_with_the_counts() {
        assert_eq!(ratio(0, 0), None);
        let few = ratio(1, 100).unwrap();
        let many = ratio(100, 10_000).unwrap();
        assert!(few.low < 0.01 && 0.01 < few.high && few.low >= 0.0);
        assert!(few.low < many.low && many.high < few.high, "{few:?} {many:?}");
        // The roots of M(p) = 20, found by another program with another gamma function.
        assert!((many.low - 0.006_558_476).abs() < 1e-8 && (many.high - 0.014_462_067).abs() < 1e-8, "{many:?}");
    }

    #[test]
    fn none_and_all_have_one_bound_at_the_edge() {
        let none = ratio(0, 50).unwrap();
        assert!(none.low.abs() < 1e-12 && none.high < 0.2, "{none:?}");
        let all = ratio(50, 50).unwrap();
        assert!((all.high - 1.0).abs() < 1e-12 && all.low > 0.8, "{all:?}");
        assert!(ratio(u64::MAX, u64::MAX).unwrap().low > 0.99);
    }

    #[test]
    fn looked_at_after_every_request_they_hold_the_true_ratio_all_the_same() {
        let mut random = StdRng::seed_from_u64(11);
        let left = (0..300).filter(|_| {
            let mut bad = 0;
            (1..500).any(|all| {
                bad += u64::from(random.random_bool(0.05));
                let bounds = ratio(bad, all).unwrap();
                !(bounds.low..=bounds.high).contains(&0.05)
            })
        });
        let left = left.count();
        println!("{left} of 300 runs ever left their bounds");
        assert!(left <= 25, "{left}: 5% is 15");
    }
}
