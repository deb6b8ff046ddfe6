//! Weights: shares of traffic in hundredths of a percent.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A share of traffic, 0 to 10,000 basis points. Serialised as a number of basis points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct BasisPoints(u16);

/// A weight outside 0 to 100 percent, or finer than 0.01 percent.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("a weight is a percentage from 0 to 100 in steps of 0.01, not {0}")]
pub struct InvalidWeight(f64);

impl BasisPoints {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All traffic.
    pub const ALL: Self = Self(10_000);

    /// From a percentage.
    ///
    /// # Errors
    /// When it is not a number from 0 to 100, or has more than two decimals.
    pub fn from_percent(percent: f64) -> Result<Self, InvalidWeight> {
        let points = (percent * 100.0).round();
        if !(0.0..=10_000.0).contains(&points) || (points - percent * 100.0).abs() > 1e-6 {
            return Err(InvalidWeight(percent));
        }
        // In range and whole by the test above, so the cast loses nothing.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self(points as u16))
    }

    /// The share in basis points, 0 to 10,000.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// The share in percent.
    #[must_use]
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// The share from 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

impl TryFrom<u16> for BasisPoints {
    type Error = InvalidWeight;
    fn try_from(points: u16) -> Result<Self, InvalidWeight> {
        if points <= 10_000 { Ok(Self(points)) } else { Err(InvalidWeight(f64::from(points) / 100.0)) }
    }
}

impl From<BasisPoints> for u16 {
    fn from(weight: BasisPoints) -> u16 {
        weight.0
    }
}

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.percent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentages_in_hundredths_are_taken_and_others_are_not() {
        assert_eq!(BasisPoints::from_percent(12.5), Ok(BasisPoints(1250)));
        assert_eq!(BasisPoints::from_percent(0.01), Ok(BasisPoints(1)));
        assert_eq!(BasisPoints::from_percent(100.0), Ok(BasisPoints::ALL));
        for bad in [-1.0, 100.01, 0.005, f64::NAN, f64::INFINITY] {
            assert!(BasisPoints::from_percent(bad).is_err(), "{bad}");
        }
        assert_eq!(BasisPoints(1250).to_string(), "12.5%");
    }

    odd_input! {
        fn exactly_the_hundredths_of_a_percent_are_weights(
            percent in prop_oneof![(0..=10_000_u16).prop_map(|points| f64::from(points) / 100.0), -1.0..101.0_f64, any::<f64>()],
        ) {
            let points = percent * 100.0;
            let is_weight = (0.0..=10_000.0).contains(&points) && (points - points.round()).abs() < 1e-7;
            match BasisPoints::from_percent(percent) {
                Ok(weight) => prop_assert!((weight.percent() - percent).abs() < 1e-7, "{percent} is not {weight}"),
                Err(_) => prop_assert!(!is_weight, "{percent}"),
            }
        }
    }
}
