//! A moment as people write it: a time of day, a day and a time, or an exact one with its offset.

use crate::model::Timestamp;
use jiff::Zoned;
use jiff::civil::{DateTime, Time};

/// As [`parse`], with the clock and the time zone of this machine.
pub(super) fn parse_now(text: &str) -> Result<Timestamp, String> {
    parse(text, &Zoned::now())
}

/// The moment that `text` means; a bare time of day is the next one after `now`.
fn parse(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let invalid = || "write a time such as 18:30, \"2026-11-22 18:30\" or 2026-11-22T18:30:00+01:00".to_owned();
    let exact = text.parse::<Timestamp>().ok();
    let local = |local: DateTime| local.to_zoned(now.time_zone().clone()).map(|zoned| zoned.timestamp()).ok();
    let of_day = || {
        let time: Time = text.parse().ok()?;
        let today = local(now.date().to_datetime(time))?;
        if today > now.timestamp() { Some(today) } else { local(now.date().tomorrow().ok()?.to_datetime(time)) }
    };
    let moment = exact.or_else(|| local(text.parse().ok()?)).or_else(of_day).ok_or_else(invalid)?;
    if moment <= now.timestamp() { Err("this is in the past".to_owned()) } else { Ok(moment) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_moment_is_exact_local_or_the_next_one_of_the_clock() {
        let now: Zoned = "2026-11-22T12:00:00+02:00[+02:00]".parse().unwrap();
        for (text, moment) in [
            ("2026-11-22T18:30:00Z", "2026-11-22T18:30:00Z"),
            ("2026-11-22T18:30+01:00", "2026-11-22T17:30:00Z"),
            ("2026-11-22 18:30", "2026-11-22T16:30:00Z"),
            ("18:30", "2026-11-22T16:30:00Z"),
            ("11:00", "2026-11-23T09:00:00Z"),
        ] {
            assert_eq!(parse(text, &now).map(|moment| moment.to_string()), Ok(moment.to_owned()), "{text}");
        }
        for bad in ["", "soon", "25:00", "2020-01-01 00:00", "10m"] {
            assert!(parse(bad, &now).is_err(), "{bad}");
        }
    }

    odd_input! {
        fn a_moment_lies_ahead_and_is_the_one_that_was_written(
            text in prop_oneof!["[0-9]{4}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9])?(Z|[+-][01][0-9]:[03]0)?", "[0-2]?[0-9]:[0-5][0-9]", "[0-9TZ:+. -]{0,20}", ".{0,8}"],
        ) {
            let now: Zoned = "2026-11-22T12:00:00+02:00[+02:00]".parse().unwrap();
            if let Ok(moment) = parse(&text, &now) {
                prop_assert!(moment > now.timestamp(), "{text} is {moment}");
                let here = moment.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d %H:%M").to_string();
                if let Some((local, zone)) = text.split_at_checked(here.len()) && !zone.contains(['Z', '+', '-']) {
                    prop_assert_eq!(local.replace('T', " "), here);
                }
                if text.len() <= 5 {
                    prop_assert!(moment <= now.timestamp() + std::time::Duration::from_secs(24 * 3600), "{text} is {moment}");
                }
            }
        }

        fn every_time_of_the_day_is_the_next_one(hour in 0..24_i8, minute in 0..60_i8) {
            let now: Zoned = "2026-11-22T12:00:00+02:00[+02:00]".parse().unwrap();
            let moment = parse(&format!("{hour:02}:{minute:02}"), &now).unwrap().to_zoned(now.time_zone().clone());
            prop_assert_eq!((moment.hour(), moment.minute()), (hour, minute));
            prop_assert!(moment.timestamp() <= now.timestamp() + std::time::Duration::from_secs(24 * 3600), "{moment}");
        }
    }
}
