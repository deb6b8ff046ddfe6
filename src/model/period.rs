//! Durations as people write them: a number with a unit, `"500ms"`, `"2m"`, `"1h 30m"`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time that is written as a string with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(Duration);

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write a number with a unit, such as \"500ms\", \"30s\", \"2m\" or \"1h\"")]
pub struct InvalidPeriod(String);

impl Period {
    /// Of that many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Of that many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// As the standard library's duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

/// Longer than any sensible setting, and short enough that adding it to a time never overflows.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl FromStr for Period {
    type Err = InvalidPeriod;
    fn from_str(text: &str) -> Result<Self, InvalidPeriod> {
        let invalid = || InvalidPeriod(text.chars().take(100).collect());
        let signed: jiff::SignedDuration = text.parse().map_err(|_| invalid())?;
        let duration = Duration::try_from(signed).map_err(|_| invalid())?;
        if duration > LONGEST { Err(invalid()) } else { Ok(Self(duration)) }
    }
}

impl TryFrom<String> for Period {
    type Error = InvalidPeriod;
    fn try_from(text: String) -> Result<Self, InvalidPeriod> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        period.to_string()
    }
}

impl From<Duration> for Period {
    fn from(duration: Duration) -> Self {
        Self(duration.min(LONGEST))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never fails: `LONGEST` is far below the signed range.
        let signed = jiff::SignedDuration::try_from(self.0).unwrap_or(jiff::SignedDuration::MAX);
        write!(f, "{signed:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_and_written_with_units() {
        for (text, seconds) in [("2m", 120.0), ("500ms", 0.5), ("1h 30m", 5400.0), ("0s", 0.0)] {
            let period: Period = text.parse().unwrap();
            assert!((period.get().as_secs_f64() - seconds).abs() < 1e-9, "{text}");
            assert_eq!(period.to_string(), text);
        }
        for bad in ["", "5", "-1s", "soon", "99999999h"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    odd_input! {
        fn what_is_read_is_a_length_of_time_that_is_written_and_read_again(
            text in prop_oneof!["([0-9]{1,9}(\\.[0-9]{1,4})? ?(ms|s|m|h|d|us|ns|hour|minutes)[ ,]{0,2}){1,3}", "[-+PTHMSDWYa-z0-9:., ]{0,16}", ".{0,12}"],
        ) {
            if let Ok(period) = text.parse::<Period>() {
                prop_assert!(period.get() <= LONGEST, "{text}");
                prop_assert!(text.contains(char::is_numeric), "{text}");
                prop_assert_eq!(period.to_string().parse(), Ok(period));
            }
        }

        fn every_length_of_time_can_be_written(seconds in 0..=LONGEST.as_secs(), rest in 0..1_000_000_000_u32) {
            let period = Period::from(Duration::new(seconds, rest));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        fn a_number_with_a_unit_is_so_many_of_them(
            number in 0..500_000_u64,
            (unit, milliseconds) in prop::sample::select(vec![("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)]),
        ) {
            let expected = Duration::from_millis(number * milliseconds);
            let read = format!("{number}{unit}").parse::<Period>().map(Period::get).ok();
            prop_assert_eq!(read, (expected <= LONGEST).then_some(expected));
        }
    }
}
