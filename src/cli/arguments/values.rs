//! The values that stand behind options, as text to what they mean. An error says what to write.

use super::Replay;
use crate::app::simulate::Visitors;
use crate::model::{BasisPoints, InvalidPeriod, Period};
use std::ops::RangeInclusive;

pub(super) fn percent(text: &str) -> Result<BasisPoints, String> {
    let number = text.trim().trim_end_matches('%');
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
