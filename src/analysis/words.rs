//! Numbers as people read them, and as JSON keeps them.

use std::time::Duration;

/// With a comma every three digits.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12 of 300 (4%)`.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "none of none".to_owned();
    }
    let ratio = super::eprocess::as_f64(part) / super::eprocess::as_f64(whole);
    format!("{} of {} ({})", count(part), count(whole), percent(ratio))
}

/// A ratio, 0 to 1, as `0.1%`.
pub(super) fn percent(ratio: f64) -> String {
    // Three decimals tell 0.1% from 0.15%.
    format!("{}%", number(ratio * 100.0))
}

/// With up to three decimals.
pub(super) fn number(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// In milliseconds, as precisely as such a time is known.
pub(super) fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    if ms < 10.0 { format!("{ms:.1} ms") } else { format!("{ms:.0} ms") }
}

/// A number as text: JSON has no infinity, and text gives every bit back.
pub(super) mod number_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    // The signature is serde's.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(in crate::analysis) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(in crate::analysis) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    pub(in crate::analysis) fn parse(text: &str) -> Result<f64, String> {
        match text.parse::<f64>() {
            Ok(number) if !number.is_nan() => Ok(number),
            Ok(_) | Err(_) => Err(format!("{text:?} is not a number")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_and_shares_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(share(12, 300), "12 of 300 (4%)");
        assert_eq!(share(3, 5700), "3 of 5,700 (0.053%)");
        assert_eq!(share(100, 100), "100 of 100 (100%)");
        assert_eq!(share(0, 0), "none of none");
    }

    odd_input! {
        fn every_number_of_the_evidence_is_read_back_as_it_was(number in any::<f64>()) {
            let text = number.to_string();
            prop_assert_eq!(number_text::parse(&text).ok().map(f64::to_bits), (!number.is_nan()).then_some(number.to_bits()));
        }
    }
}
