//! What was aimed at, and where it is not met.

use super::grid::{Cell, Kind, Outcome, product};
use super::table::{percent, time};
use super::{DEFAULT, Record, STRICT, Size, names};
use std::fmt::Write as _;

/// The chance of a false rollback that the product's default promises.
const ALPHA: f64 = 0.01;
/// How near the delays shall be.
const NEAR: f64 = 0.1;

/// A cell of STATISTICS §7: at 1,000 requests/s, live failing 0.1%, nothing tolerated.
pub struct Reference {
    pub share: f64,
    pub ratio: f64,
    /// Median and 90%, in seconds, with the late start.
    pub expected: [f64; 2],
    pub outcome: Outcome,
}

/// Simulates them.
pub fn reference(size: &Size, seed: u64) -> Vec<Reference> {
    let cells = [
        (5.0, 10.0, [9.0, 19.0]),
        (5.0, 5.0, [30.0, 73.0]),
        (5.0, 3.0, [103.0, 196.0]),
        (50.0, 10.0, [2.7, 4.5]),
        (50.0, 5.0, [7.3, 16.0]),
        (50.0, 3.0, [22.0, 44.0]),
    ];
    let simulated = cells.into_iter().filter_map(|(share, ratio, expected)| {
        let cell = Cell { kind: Kind::Plain, base: 0.001, ratio, share, rate: 1000.0, tolerate: 0.0 };
        Some(Reference { share, ratio, expected, outcome: product(&cell, size.reference, seed)? })
    });
    simulated.collect()
}

impl Reference {
    /// Each figure that is further off than it may be, beyond the simulation's own error.
    pub fn off(&self) -> Vec<String> {
        let got = [self.outcome.seconds.median, self.outcome.seconds.ninety];
        ["median", "90%"]
            .into_iter()
            .zip(got)
            .zip(self.expected)
            .filter(|((_, got), expected)| got.low > expected * (1.0 + NEAR) || got.high < expected * (1.0 - NEAR))
            .map(|((name, got), expected)| {
                format!(
                    "share {}%, ratio {}, {name}: {} ({}–{}), to be {}",
                    self.share,
                    self.ratio,
                    time(got.value),
                    time(got.low),
                    time(got.high),
                    time(expected)
                )
            })
            .collect()
    }
}

/// The list of aims that are not met, with figures.
pub fn unmet(all: &[Record], reference: &[Reference]) -> String {
    let mut out = String::from("\n### Where an aim is not met\n\n");
    section(&mut out, "False rollbacks above α = 1%, beyond the simulation's own error", false_rollbacks(all));
    section(
        &mut out,
        "Delays of STATISTICS §7 missed by more than 10%",
        reference.iter().flat_map(Reference::off).collect(),
    );
    section(&mut out, "A rule with as few false rollbacks is faster", faster(all));
    out
}

fn section(out: &mut String, title: &str, lines: Vec<String>) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "**{title}**: {}\n", if lines.is_empty() { "nowhere." } else { "here:" });
    for line in lines {
        let _ = writeln!(out, "- {line}");
    }
    if !out.ends_with("\n\n") {
        out.push('\n');
    }
}

fn false_rollbacks(all: &[Record]) -> Vec<String> {
    all.iter()
        .filter(|record| record.rule <= STRICT && record.cell.ratio <= 1.0 && record.outcome.rolled_back.low > ALPHA)
        .map(|record| {
            let share = record.outcome.rolled_back;
            format!(
                "{}: {}: {} ({}–{})",
                names()[record.rule],
                record.cell.name(),
                percent(share.share),
                percent(share.low),
                percent(share.high)
            )
        })
        .collect()
}

/// Cells in which a rule of others is faster that has as few false rollbacks in the same world, as far as the
/// simulation can tell, grouped by rule, with an example.
fn faster(all: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    for own in [DEFAULT, STRICT] {
        for (rule, name) in names().iter().enumerate().skip(STRICT + 1) {
            let faster: Vec<(&Record, &Record)> = all
                .iter()
                .filter(|record| record.rule == own && record.cell.ratio > 1.0)
                .filter_map(|record| Some((record, rival(all, record, rule)?)))
                .collect();
            let (tolerated, real): (Vec<_>, Vec<_>) =
                faster.into_iter().partition(|(record, _)| !record.cell.is_regression());
            for (cells, why) in [(tolerated, "within what the check tolerates"), (real, "beyond what it tolerates")] {
                let Some((record, rival)) = cells.first() else { continue };
                lines.push(format!(
                    "{name}, than {}: in {} cells {why}, such as {}: {} against {}",
                    names()[own],
                    cells.len(),
                    record.cell.name(),
                    time(rival.outcome.seconds.median.value),
                    time(record.outcome.seconds.median.value),
                ));
            }
        }
    }
    lines
}

/// The rule's record in the same cell, where it is faster and has as few false rollbacks.
fn rival<'a>(all: &'a [Record], own: &Record, rule: usize) -> Option<&'a Record> {
    let same = |record: &&Record, ratio: f64, rule: usize, tolerate: f64| {
        record.rule == rule && record.cell == Cell { ratio, tolerate, ..own.cell }
    };
    let default = super::TOLERATE;
    let rival = all.iter().find(|record| same(record, own.cell.ratio, rule, default))?;
    let rivals_false = all.iter().find(|record| same(record, 1.0, rule, default))?.outcome.rolled_back;
    let own_false = all.iter().find(|record| same(record, 1.0, own.rule, own.cell.tolerate))?.outcome.rolled_back;
    let as_few = rivals_false.low <= ALPHA.max(own_false.share);
    let faster = rival.outcome.seconds.median.high < own.outcome.seconds.median.low;
    (as_few && faster).then_some(rival)
}
