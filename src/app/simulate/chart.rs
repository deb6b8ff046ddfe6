//! What became of the runs over time, drawn with characters.

use super::report::{Moment, Summary};
use std::fmt::Write as _;

const WIDTH: usize = 60;
const HEIGHT: usize = 8;
const PROMOTED: char = '░';
const ROLLED_BACK: char = '█';
const GOING: char = '·';

/// Rolled back from below, promoted from above, and what is still going on in between.
#[must_use]
pub fn chart(summary: &Summary) -> String {
    let columns: Vec<&Moment> = (0..WIDTH).filter_map(|column| at(&summary.timeline, column)).collect();
    let mut out = String::new();
    for row in 0..HEIGHT {
        let label = match row {
            0 => "100%",
            _ if row + 1 == HEIGHT => "  0%",
            _ => "    ",
        };
        let cells: String = columns.iter().map(|moment| cell(moment, row)).collect();
        // Writing to a string does not fail.
        let _ = writeln!(out, "  {label} {cells}");
    }
    let end = summary.timeline.last().map_or(0.0, |moment| moment.seconds);
    let _ = writeln!(out, "       0 s{:>1$}", seconds(end), WIDTH.saturating_sub(3));
    out
}

/// What the characters of a chart mean.
#[must_use]
pub fn legend() -> String {
    format!("{PROMOTED} promoted  {GOING} still going on  {ROLLED_BACK} rolled back")
}

fn at(timeline: &[Moment], column: usize) -> Option<&Moment> {
    let last = timeline.len().checked_sub(1)?;
    timeline.get(last * column / (WIDTH - 1))
}

/// One cell of a column: shares of less than half a cell are not seen.
#[allow(clippy::cast_precision_loss)] // eight rows
fn cell(moment: &Moment, row: usize) -> char {
    let from_above = (row as f64 + 0.5) / HEIGHT as f64;
    if from_above <= moment.promoted {
        PROMOTED
    } else if 1.0 - from_above <= moment.rolled_back {
        ROLLED_BACK
    } else {
        GOING
    }
}

/// A time as people read it: `8 s`, `1 min 20 s`, `2 h 5 min`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    // Never negative, and no run takes longer than days.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        for (number, text) in [
            (0.44, "0.4 s"),
            (8.0, "8.0 s"),
            (59.7, "1 min"),
            (80.0, "1 min 20 s"),
            (7500.0, "2 h 5 min"),
            (3600.0, "1 h"),
        ] {
            assert_eq!(seconds(number), text);
        }
    }

    #[test]
    fn a_column_is_promoted_above_and_rolled_back_below() {
        let moment = Moment { seconds: 1.0, promoted: 0.25, rolled_back: 0.5 };
        let column: String = (0..HEIGHT).map(|row| cell(&moment, row)).collect();
        assert_eq!(column, "░░··████");
    }
}
