//! What may be counted of an answer, for the comparison of two pools.

use super::{LatencyCheck, Until};

/// Something bad that an answer may be, by which two pools are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Indicator {
    /// It counts as a failure by the table of outcomes, as far as its head tells.
    Failed,
    /// No head came within the lag.
    NoHead,
    /// Its status is one of those that the status check compares.
    Status,
    /// Its head came later than the limit of this quantile, counted from 0.
    SlowHead(usize),
    /// It was cut off after its head.
    CutOff,
    /// Its trailers have a failing gRPC status.
    GrpcTrailers,
    /// It ended later than the limit of this quantile, counted from 0.
    SlowEnd(usize),
}

impl Indicator {
    /// How many there are.
    pub const COUNT: usize = 5 + 2 * LatencyCheck::QUANTILES;

    /// All of them, each at its own index.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Failed,
        Self::NoHead,
        Self::Status,
        Self::CutOff,
        Self::GrpcTrailers,
        Self::SlowHead(0),
        Self::SlowHead(1),
        Self::SlowHead(2),
        Self::SlowEnd(0),
        Self::SlowEnd(1),
        Self::SlowEnd(2),
    ];

    /// Its place in an array of all.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Failed => 0,
            Self::NoHead => 1,
            Self::Status => 2,
            Self::CutOff => 3,
            Self::GrpcTrailers => 4,
            Self::SlowHead(quantile) => 5 + quantile.min(LatencyCheck::QUANTILES - 1),
            Self::SlowEnd(quantile) => 5 + LatencyCheck::QUANTILES + quantile.min(LatencyCheck::QUANTILES - 1),
        }
    }

    /// When it is known: with the head of the answer, or with its end.
    #[must_use]
    pub fn known_at(self) -> Until {
        match self {
            Self::Failed | Self::NoHead | Self::Status | Self::SlowHead(_) => Until::Head,
            Self::CutOff | Self::GrpcTrailers | Self::SlowEnd(_) => Until::End,
        }
    }

    /// That an answer is slower than the limit of a quantile.
    #[must_use]
    pub fn slow(until: Until, quantile: usize) -> Self {
        match until {
            Until::Head => Self::SlowHead(quantile),
            Until::End => Self::SlowEnd(quantile),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_place() {
        for (place, indicator) in Indicator::ALL.into_iter().enumerate() {
            assert_eq!(indicator.index(), place, "{indicator:?}");
        }
    }
}
