//! The table of the README, as Markdown.

use super::grid::{Cell, Kind, LatencyRow};
use super::reference::Reference;
use super::{DEFAULT, Record, STRICT, Size, names};
use cutover::app::simulate::{Share, Spread};
use std::fmt::Write as _;

/// Where delays are shown: the cell of STATISTICS §7.
pub const SHOWN: (f64, f64, f64) = (0.001, 5.0, 1000.0);
const SHOWN_RATIOS: [f64; 3] = [2.0, 3.0, 10.0];

fn same(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-9
}

/// Whether a cell's delays are shown.
pub fn is_shown(cell: &Cell) -> bool {
    let (base, share, rate) = SHOWN;
    cell.kind == Kind::Plain && same(cell.base, base) && same(cell.share, share) && same(cell.rate, rate)
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        rare if rare > 0.0 && rare < 0.1 => format!("{rare:.2}%"),
        few if few > 0.0 && few < 10.0 => format!("{few:.1}%"),
        other => format!("{other:.0}%"),
    }
}

/// A time in seconds or minutes.
pub fn time(seconds: f64) -> String {
    match seconds {
        never if never.is_infinite() => "never".to_owned(),
        short if short < 9.95 => format!("{short:.1} s"),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        long => format!("{:.0} min", long / 60.0),
    }
}

/// Runs rolled back among all runs of these cells, with the worst cell.
pub fn pooled(records: &[&Record]) -> (f64, f64) {
    let shares = records.iter().map(|record| record.outcome.rolled_back.share);
    #[expect(clippy::cast_precision_loss, reason = "a few hundred cells")]
    let mean = shares.clone().sum::<f64>() / records.len().max(1) as f64;
    (mean, shares.fold(0.0, f64::max))
}

/// A rule's cells.
pub fn of(all: &[Record], rule: usize, keep: impl Fn(&Record) -> bool) -> Vec<&Record> {
    all.iter().filter(|record| record.rule == rule && keep(record)).collect()
}

/// Cells whose fault every rule should see: twice as many errors or more, and beyond what the product tolerates.
pub fn is_clear(record: &Record) -> bool {
    record.cell.ratio >= 2.0 && record.cell.base * (record.cell.ratio - 1.0) > super::TOLERATE * 1.000_001
}

/// All of it.
pub fn markdown(size: &Size, all: &[Record], reference: &[Reference], latency: &[LatencyRow]) -> String {
    let mut out = String::new();
    rules(&mut out, all);
    worlds(&mut out, all);
    references(&mut out, size, reference);
    latencies(&mut out, latency);
    out
}

fn rules(out: &mut String, all: &[Record]) {
    let (base, share, rate) = SHOWN;
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "| rule | false rollbacks in an hour, all worlds (worst cell) | clear regressions missed in an hour | \
         at {}%, share {share}%, {rate}/s: ratio 2, median · 90% | ratio 3 | ratio 10 | requests failed at ratio 10 |\n\
         |---|---|---|---|---|---|---|",
        base * 100.0
    );
    for (rule, name) in names().iter().enumerate() {
        let (mean, worst) = pooled(&of(all, rule, |record| record.cell.ratio <= 1.0));
        let (seen, _) = pooled(&of(all, rule, is_clear));
        let _ = write!(out, "| {name} | {} ({}) | {}", percent(mean), percent(worst), percent(1.0 - seen));
        let at = |ratio: f64| {
            all.iter().find(|record| record.rule == rule && is_shown(&record.cell) && same(record.cell.ratio, ratio))
        };
        for ratio in SHOWN_RATIOS {
            let _ = write!(out, " | {}", at(ratio).map_or("–".to_owned(), |record| delays(&record.outcome.seconds)));
        }
        let failed = at(10.0).map_or("–".to_owned(), |record| format!("{:.0}", record.outcome.failed));
        let _ = writeln!(out, " | {failed} |");
    }
}

fn delays(spread: &Spread) -> String {
    format!("{} · {}", time(spread.median.value), time(spread.ninety.value))
}

/// The worlds without a fault.
const FAULTLESS: [Kind; 4] = [Kind::Plain, Kind::Sticky, Kind::Diurnal, Kind::Bursts];

fn worlds(out: &mut String, all: &[Record]) {
    let _ = write!(out, "\n| false rollbacks in an hour, mean (worst cell)");
    for kind in FAULTLESS {
        let _ = write!(out, " | {}", kind.name());
    }
    let _ = writeln!(out, " |\n|---|---|---|---|---|");
    for (rule, name) in names().iter().enumerate() {
        let _ = write!(out, "| {name}");
        for kind in FAULTLESS {
            let cells = of(all, rule, |record| record.cell.ratio <= 1.0 && record.cell.kind == kind);
            let (mean, worst) = pooled(&cells);
            let shown =
                if cells.is_empty() { "–".to_owned() } else { format!("{} ({})", percent(mean), percent(worst)) };
            let _ = write!(out, " | {shown}");
        }
        let _ = writeln!(out, " |");
    }
    for rule in [DEFAULT, STRICT] {
        let runs = of(all, rule, |record| record.cell.ratio <= 1.0);
        let (back, number) = runs.iter().fold((0, 0), |(back, number), record| {
            let outcome = &record.outcome;
            (back + outcome.back, number + outcome.runs)
        });
        let share = Share::of(back, number);
        let _ = writeln!(
            out,
            "\n{}: {back} of {number} faultless rollouts taken back, {:.2}% ({:.2}–{:.2}).",
            names()[rule],
            share.share * 100.0,
            share.low * 100.0,
            share.high * 100.0
        );
    }
}

fn references(out: &mut String, size: &Size, reference: &[Reference]) {
    let _ = writeln!(
        out,
        "\n| 1,000/s, live failing 0.1%, δ = 0: median · 90% of {} runs | error ratio alone | STATISTICS §7 | without late \
         start | STATISTICS §7 | all default checks |\n|---|---|---|---|---|---|",
        size.reference
    );
    for cell in reference {
        let [late, plain] =
            cell.expected().map(|expected| expected.map(|seconds| seconds.map_or("–".to_owned(), time)).join(" · "));
        let [alone, bare, whole] = [cell.alone, cell.plain, cell.whole].map(|spread| delays(&spread));
        let _ = writeln!(out, "| {} | {alone} | {late} | {bare} | {plain} | {whole} |", cell.name());
    }
}

fn latencies(out: &mut String, rows: &[LatencyRow]) {
    let _ = writeln!(
        out,
        "\n| share, slower by, at 1,000/s: rolled back: median · 90% | cutover, latency check tolerating 10% | Flagger, \
         p99 ≤ 500 ms | Kayenta, every 5 min |\n|---|---|---|---|"
    );
    for row in rows {
        let cells = row.outcomes.iter().map(|outcome| {
            outcome.as_ref().map_or("–".to_owned(), |outcome| {
                format!("{}: {}", percent(outcome.rolled_back.share), delays(&outcome.seconds))
            })
        });
        let _ = writeln!(out, "| {}%, {}% | {} |", row.share, row.shift * 100.0, cells.collect::<Vec<_>>().join(" | "));
    }
}
