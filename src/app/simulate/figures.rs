//! Shares and quantiles with the error that a simulation of so many runs has.

use serde::Serialize;

/// The 97.5% quantile of the normal distribution: for intervals that hold in 95 of 100 cases.
const Z: f64 = 1.959_964;

/// A share of runs, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// As simulated.
    pub share: f64,
    /// The lower end of its 95% interval (Wilson 1927).
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Share {
    /// Of `some` among `all`.
    #[must_use]
    pub fn of(some: usize, all: usize) -> Self {
        if all == 0 {
            return Self { share: 0.0, low: 0.0, high: 1.0 };
        }
        let (n, share) = (as_f64(all), as_f64(some) / as_f64(all));
        let middle = share + Z * Z / (2.0 * n);
        let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        // Exactly 0 and 1 where none or all are: the formula leaves a last digit.
        let low = if some == 0 { 0.0 } else { (middle - half) / scale };
        let high = if some == all { 1.0 } else { (middle + half) / scale };
        Self { share, low, high }
    }
}

/// A quantile of what runs gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantile {
    /// As simulated.
    pub value: f64,
    /// The lower end of its 95% interval, by order statistics.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Quantile {
    /// The quantile `of` of sorted values; None where there are none.
    #[must_use]
    pub fn of(sorted: &[f64], of: f64) -> Option<Self> {
        let n = as_f64(sorted.len());
        let half = Z * (n * of * (1.0 - of)).sqrt();
        Some(Self { value: at(sorted, n * of)?, low: at(sorted, n * of - half)?, high: at(sorted, n * of + half)? })
    }
}

/// The value at a place that may be beyond either end.
fn at(sorted: &[f64], place: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    // Negative places are 0 after the cast.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    sorted.get((place.max(0.0) as usize).min(last)).copied()
}

/// Counts of runs are small.
#[allow(clippy::cast_precision_loss)]
pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_an_interval_even_where_nothing_was_seen() {
        let none = Share::of(0, 200);
        assert!(none.share == 0.0 && none.low == 0.0 && (0.015..0.02).contains(&none.high), "{none:?}");
        let half = Share::of(50, 100);
        assert!((half.low - 0.4038).abs() < 1e-3 && (half.high - 0.5962).abs() < 1e-3, "{half:?}");
        assert!((Share::of(9, 9).high - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_quantile_has_the_values_around_it_as_its_interval() {
        let values: Vec<f64> = (0..100).map(as_f64).collect();
        let median = Quantile::of(&values, 0.5).unwrap();
        assert_eq!((median.value, median.low, median.high), (50.0, 40.0, 59.0));
        assert_eq!(Quantile::of(&[], 0.5), None);
        assert!((Quantile::of(&[7.0], 0.9).unwrap().low - 7.0).abs() < 1e-12);
    }
}
