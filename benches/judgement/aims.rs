//! What was aimed at, and where it is not met.

use super::grid::{Cell, Kind, LatencyRow, Outcome, TOLERATED_SHIFT, others, product};
use super::reference::Reference;
use super::table::{percent, time};
use super::{DEFAULT, Record, SEED, STRICT, Size, TOLERATE, names};
use cutover::app::simulate::Share;
use std::fmt::Write as _;

/// The chance of a false rollback that the product's default promises.
const ALPHA: f64 = 0.01;
/// What a simulation may miss it by: with a cell's neighbours there are runs enough to be sure of half a percent.
const ERROR: f64 = 0.005;
/// What the grid seems to show is simulated again, with other runs, and so many.
const AGAIN: usize = 400;
const SEED_AGAIN: u64 = SEED + 1;

/// The list of aims that are not met, with figures.
pub fn unmet(size: &Size, all: &[Record], reference: &[Reference], latency: &[LatencyRow]) -> String {
    let mut out = String::from("\n### Where an aim is not met\n\n");
    section(
        &mut out,
        "False rollbacks above α = 1%, beyond the simulation's own error",
        false_rollbacks(all).into_iter().chain(false_rollbacks_by_latency(latency)).collect(),
    );
    section(
        &mut out,
        "Delays of STATISTICS §7 missed by more than 10%",
        reference.iter().flat_map(Reference::off).collect(),
    );
    if reference.iter().any(|reference| !reference.off().is_empty()) {
        let _ = writeln!(out, "{}\n", super::reference::WHY);
    }
    section(&mut out, "A rule with as few false rollbacks is faster", faster(size, all));
    let _ = writeln!(out, "{}", compared(size, all));
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
            format!("{}: {}: {}", names()[record.rule], record.cell.name(), with_error(record.outcome.rolled_back))
        })
        .collect()
}

fn false_rollbacks_by_latency(rows: &[LatencyRow]) -> Vec<String> {
    rows.iter()
        .filter(|row| row.shift <= TOLERATED_SHIFT)
        .filter_map(|row| Some((row, row.outcomes.first()?.as_ref()?)))
        .filter(|(_, outcome)| outcome.rolled_back.low > ALPHA)
        .map(|(row, outcome)| {
            let [share, shift] = [row.share, row.shift * 100.0];
            format!("cutover, share {share}%, slower by {shift}%: {}", with_error(outcome.rolled_back))
        })
        .collect()
}

fn with_error(share: Share) -> String {
    format!("{} ({}–{})", percent(share.share), percent(share.low), percent(share.high))
}

/// The faultless cell with which a rule's false rollbacks in a cell are counted: before a late fault the world is plain.
fn faultless(cell: &Cell) -> Cell {
    Cell { ratio: 1.0, kind: if cell.kind == Kind::Late { Kind::Plain } else { cell.kind }, ..*cell }
}

fn find<'a>(all: &'a [Record], rule: usize, cell: &Cell) -> Option<&'a Outcome> {
    let same = |record: &&Record| record.rule == rule && record.cell == *cell;
    all.iter().find(same).map(|record| &record.outcome)
}

/// Whether two values stand side by side in the grid, or are the same.
fn side_by_side(values: &[f64], one: f64, other: f64) -> bool {
    let place = |of: f64| values.iter().position(|value| value.total_cmp(&of).is_eq());
    place(one).zip(place(other)).is_some_and(|(one, other)| one.abs_diff(other) <= 1)
}

/// Whether a rule takes so few faultless releases back in a cell's world: in no more than α of the cell's own runs, and,
/// together with the cells beside it in share and rate (same world, same base), by the upper end of the 95% interval in
/// no more than α and the error of the simulation.
fn has_few_false_rollbacks(size: &Size, all: &[Record], rule: usize, cell: &Cell) -> bool {
    let own = faultless(cell);
    let Some(of_own) = find(all, rule, &own) else { return false };
    let beside = all.iter().filter(|record| {
        let other = &record.cell;
        record.rule == rule
            && *other == Cell { share: other.share, rate: other.rate, ..own }
            && side_by_side(&size.shares, own.share, other.share)
            && side_by_side(&size.rates, own.rate, other.rate)
    });
    let (back, runs) =
        beside.fold((0, 0), |(back, runs), record| (back + record.outcome.back, runs + record.outcome.runs));
    of_own.rolled_back.share <= ALPHA && Share::of(back, runs).high <= ALPHA + ERROR
}

/// What is compared: a regression beyond what the product's check tolerates.
fn is_compared(record: &Record) -> bool {
    record.rule <= STRICT && record.cell.is_regression()
}

/// The rule's cell for a cell of the product: others have no tolerance of the product's.
fn of_others(cell: &Cell) -> Cell {
    Cell { tolerate: TOLERATE, ..*cell }
}

fn is_faster(rival: &Outcome, own: &Outcome) -> bool {
    rival.seconds.median.high < own.seconds.median.low
}

/// In which cells a rule of others with as few false rollbacks is faster, by the grid and by further runs.
fn faster(size: &Size, all: &[Record]) -> Vec<String> {
    let mut lines = Vec::new();
    for record in all.iter().filter(|record| is_compared(record)) {
        let cell = of_others(&record.cell);
        let suspects: Vec<usize> = (STRICT + 1..names().len())
            .filter(|rule| find(all, *rule, &cell).is_some_and(|rival| is_faster(rival, &record.outcome)))
            .filter(|rule| has_few_false_rollbacks(size, all, *rule, &cell))
            .collect();
        if suspects.is_empty() {
            continue;
        }
        let Some(own) = product(&record.cell, AGAIN, SEED_AGAIN) else { continue };
        let with_fault = others(&cell, AGAIN, SEED_AGAIN);
        let without = others(&faultless(&cell), AGAIN, SEED_AGAIN);
        for rule in suspects {
            let of = |outcomes: &[Option<Outcome>]| outcomes[rule - STRICT - 1].clone();
            let (Some(rival), Some(false_alarms)) = (of(&with_fault), of(&without)) else { continue };
            if is_faster(&rival, &own) && false_alarms.rolled_back.share <= ALPHA {
                lines.push(format!(
                    "{}, than {}: {}: median {} against {}, with {} false rollbacks",
                    names()[rule],
                    names()[record.rule],
                    record.cell.name(),
                    time(rival.seconds.median.value),
                    time(own.seconds.median.value),
                    with_error(false_alarms.rolled_back),
                ));
            }
        }
    }
    lines
}

/// Against whom, where, and by which rule that was compared.
fn compared(size: &Size, all: &[Record]) -> String {
    let mut out = format!(
        "Delays are compared where the regression is beyond what the plan tolerates: by default {}%, and nothing in the \
         strict plan. A rule has as few false rollbacks where it takes back no more than 1% of a cell's faultless \
         releases, and, together with the cells beside it in share and rate, no more than {}% by the upper end of the 95% \
         interval. A rule that seems faster (the medians' 95% intervals lie apart) is run {AGAIN} times more. Cells \
         compared, of {}:",
        TOLERATE * 100.0,
        (ALPHA + ERROR) * 100.0,
        all.iter().filter(|record| is_compared(record)).count(),
    );
    for (rule, name) in names().iter().enumerate().skip(STRICT + 1) {
        let few = |record: &&Record| has_few_false_rollbacks(size, all, rule, &of_others(&record.cell));
        let cells = all.iter().filter(|record| is_compared(record)).filter(few).count();
        let _ = write!(out, "{} {name} {cells}", if rule == STRICT + 1 { "" } else { ";" });
    }
    let own = |rule: usize| {
        let few = |record: &&Record| has_few_false_rollbacks(size, all, rule, &record.cell);
        let cells = all.iter().filter(|record| record.rule == rule && record.cell.is_regression());
        (cells.clone().filter(few).count(), cells.count())
    };
    let [(few, cells), (few_strict, cells_strict)] = [own(DEFAULT), own(STRICT)];
    let _ = write!(
        out,
        ". cutover itself has as few in {few} of its {cells} by default and {few_strict} of {cells_strict} strictly."
    );
    out
}
