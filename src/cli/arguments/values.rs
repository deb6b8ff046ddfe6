//! The values that stand behind options, as text to what they mean. An error says what to write.

use super::Replay;
use crate::app::simulate::Visitors;
use crate::model::{BasisPoints, InvalidPeriod, Period};
use std::ops::RangeInclusive;

pub(super) fn percent(text: &str) -> Result<BasisPoints, String> {
    let number = text.trim();
    let number = number.strip_suffix('%').unwrap_or(number);
    let percent: f64 = number.parse().map_err(|_| "write a percentage, such as 12.5".to_owned())?;
    BasisPoints::from_percent(percent).map_err(|error| error.to_string())
}

pub(super) fn replay(text: &str) -> Result<Replay, String> {
    match text {
        Replay::ALL => Ok(Replay::All),
        id => id.parse().map(Replay::One).map_err(|_| "write the id of a decision, or nothing for all".to_owned()),
    }
}

/// A share as `0.001` or `0.1%`.
pub(super) fn ratio(text: &str) -> Result<f64, String> {
    let (number, scale) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 0.01));
    let ratio: Option<f64> = number.trim().parse().ok().map(|number: f64| number * scale);
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or("write a share from 0 to 1, such as 0.001 or 0.1%".to_owned())
}

fn number_in(text: &str, range: RangeInclusive<f64>, advice: &str) -> Result<f64, String> {
    let number: Option<f64> = text.trim().parse().ok();
    number.filter(|number| range.contains(number)).ok_or_else(|| advice.to_owned())
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    number_in(text, 0.001..=1_000_000.0, "write a number from 0.001 to 1000000")
}

pub(super) fn at_least_one(text: &str) -> Result<f64, String> {
    number_in(text, 1.0..=1e9, "write a number of at least 1")
}

pub(super) fn activity_spread(text: &str) -> Result<f64, String> {
    number_in(text, 0.0..=3.0, "write a number from 0 to 3")
}

fn whole_in(text: &str, most: usize) -> Result<usize, String> {
    let number: Option<usize> = text.trim().parse().ok();
    number.filter(|number| (1..=most).contains(number)).ok_or_else(|| format!("write a whole number from 1 to {most}"))
}

pub(super) fn visitors(text: &str) -> Result<usize, String> {
    whole_in(text, Visitors::MOST)
}

pub(super) fn runs(text: &str) -> Result<usize, String> {
    whole_in(text, 100_000)
}

pub(super) fn some_time(text: &str) -> Result<Period, String> {
    let period: Period = text.parse().map_err(|error: InvalidPeriod| error.to_string())?;
    if period.get().is_zero() { Err("no answer takes no time: write at least 1ms".to_owned()) } else { Ok(period) }
}

pub(super) fn header(text: &str) -> Result<String, String> {
    let is_header = text.split_once(':').is_some_and(|(name, _)| name.parse::<http::HeaderName>().is_ok());
    if is_header { Ok(text.to_owned()) } else { Err("write NAME: VALUE, such as 'Cookie: cutover=…'".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    odd_input! {
        fn a_percentage_is_a_number_with_or_without_its_sign(points in 0..=10_000_u16, sign in "%?", space in " {0,2}") {
            let text = format!("{space}{}{sign}{space}", f64::from(points) / 100.0);
            prop_assert_eq!(percent(&text).map(BasisPoints::get), Ok(points));
        }

        fn nothing_else_is_a_value(text in prop_oneof!["[+-]?[0-9]{0,4}\\.?[0-9]{0,4}(e[0-9])?%{0,2}", "[0-9a-zA-Z%.+-]{0,8}", ".{0,6}"]) {
            let bare = text.trim();
            let bare = bare.strip_suffix('%').unwrap_or(bare);
            let number = bare.trim().parse::<f64>().unwrap_or(f64::NAN);
            if let Ok(weight) = percent(&text) {
                prop_assert!((weight.percent() - number).abs() < 1e-6, "{text}");
            }
            if let Ok(share) = ratio(&text) {
                let expected = if text.ends_with('%') { number / 100.0 } else { number };
                prop_assert!((0.0..=1.0).contains(&share) && (share - expected).abs() < 1e-9, "{text}");
            }
            for (read, range) in [(rate as fn(&str) -> _, 0.001..=1e6), (at_least_one, 1.0..=1e9), (activity_spread, 0.0..=3.0)] {
                if let Ok(read) = read(&text) {
                    prop_assert!(range.contains(&read) && text.trim().parse() == Ok(read), "{text}");
                }
            }
            prop_assert_eq!(runs(&text).ok(), text.trim().parse().ok().filter(|number| (1..=100_000).contains(number)));
            prop_assert_eq!(replay(&text).ok(), text.parse().ok().map(Replay::One));
        }

        fn a_header_has_a_name_before_its_colon(name in "[a-zA-Z0-9 ()-]{0,5}", colon in ":?", value in ".{0,6}") {
            let text = format!("{name}{colon}{value}");
            let of_text = text.split(':').next().filter(|_| text.contains(':'));
            let is_token = |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
            prop_assert_eq!(header(&text).ok(), of_text.filter(|name| is_token(name)).map(|_| text.clone()));
        }
    }
}
