//! `cargo bench --bench judgement [-- --quick] [--times NUMBER]`: this product's judgement against the rules of others, in virtual time.
//!
//! ```text
//! grid: Cell ─► product (its own analysis and rollout)  ─┐
//!            └► rules (Flagger, Argo, Kayenta, tests)  ──┴► Outcome ─► aims, table, chart
//! reference: the delays of STATISTICS §7 ───────────────────────────┘
//! ```
//!
//! It is seeded: the same arguments give the same figures. The table goes to standard output, the chart to
//! `benches/judgement.svg`.

#![allow(unreachable_pub, missing_docs, reason = "a bench exports nothing")]

mod aims;
mod chart;
mod grid;
mod reference;
mod rules;
mod table;

use grid::{Cell, Kind, Outcome, others, product};
use rules::Rule;

/// What the product's error-ratio check tolerates where nothing else is said.
const TOLERATE: f64 = 0.001;
const SEED: u64 = 2026;

/// How much is simulated.
#[derive(Debug, Clone)]
pub struct Size {
    /// Runs of a cell without a fault: false rollbacks are rare.
    pub faultless: usize,
    /// Runs of a cell with one.
    pub faulty: usize,
    /// Runs of the cells of STATISTICS §7.
    pub reference: usize,
    pub bases: Vec<f64>,
    pub ratios: Vec<f64>,
    pub shares: Vec<f64>,
    pub rates: Vec<f64>,
}

impl Size {
    fn full() -> Self {
        Self {
            faultless: 150,
            faulty: 30,
            reference: 2000,
            bases: vec![0.0001, 0.001, 0.01],
            ratios: vec![1.0, 1.5, 2.0, 3.0, 5.0, 10.0],
            shares: vec![1.0, 5.0, 50.0],
            rates: vec![10.0, 100.0, 1000.0, 10_000.0],
        }
    }

    fn quick() -> Self {
        Self {
            faultless: 16,
            faulty: 8,
            reference: 100,
            bases: vec![0.001, 0.01],
            ratios: vec![1.0, 3.0, 10.0],
            shares: vec![5.0, 50.0],
            rates: vec![100.0, 1000.0],
        }
    }

    fn multiply(&mut self, times: f64) {
        for runs in [&mut self.faultless, &mut self.faulty, &mut self.reference] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let more = (*runs as f64 * times).ceil() as usize;
            *runs = more;
        }
    }

    fn cells(&self, kind: Kind, tolerate: f64) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &base in &self.bases {
            for &share in &self.shares {
                for &rate in &self.rates {
                    // Without a fault that begins late a world is the plain one.
                    let ratios = self.ratios.iter().filter(|ratio| kind != Kind::Late || **ratio > 1.0);
                    cells.extend(ratios.map(|&ratio| Cell { kind, base, ratio, share, rate, tolerate }));
                }
            }
        }
        cells
    }
}

/// A rule in a cell.
#[derive(Debug, Clone)]
pub struct Record {
    pub cell: Cell,
    /// Its place in [`names`].
    pub rule: usize,
    pub outcome: Outcome,
}

/// The product as it is by default, and, in the plain world alone, with nothing tolerated; the rules of others; and the z-test each second.
pub const DEFAULT: usize = 0;
pub const STRICT: usize = 1;

/// The names of the rules by their places.
pub fn names() -> Vec<String> {
    let own = ["cutover, as by default", "cutover, nothing tolerated, plain world"].map(str::to_owned);
    let others = Rule::ALL.iter().map(|rule| rule.name().to_owned());
    own.into_iter().chain(others).chain(["z-test at 1% each second".to_owned()]).collect()
}

fn records(size: &Size, kind: Kind) -> Vec<Record> {
    let mut records = Vec::new();
    for cell in size.cells(kind, TOLERATE) {
        let runs = match cell.ratio > 1.0 {
            // Its delays stand in the table.
            true if table::is_shown(&cell) => size.faultless,
            true => size.faulty,
            false => size.faultless,
        };
        let strict = Cell { tolerate: 0.0, ..cell };
        // Once is enough to show what a tolerance costs.
        let strictly = (kind == Kind::Plain).then(|| product(&strict, runs, SEED)).flatten();
        let own = [product(&cell, runs, SEED), strictly];
        let outcomes = own.into_iter().chain(others(&cell, runs, SEED)).enumerate();
        records.extend(outcomes.filter_map(|(rule, outcome)| {
            let cell = if rule == STRICT { strict } else { cell };
            outcome.map(|outcome| Record { cell, rule, outcome })
        }));
    }
    records
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut size = if arguments.iter().any(|argument| argument == "--quick") { Size::quick() } else { Size::full() };
    // Four times the runs halve the error of the figures.
    if let Some(times) = arguments.iter().skip_while(|argument| *argument != "--times").nth(1) {
        match times.parse::<f64>() {
            Ok(times) if times > 0.0 && times <= 1000.0 => size.multiply(times),
            Ok(_) | Err(_) => {
                eprintln!("--times {times}: write how many times the usual runs, such as 4 or 0.2");
                std::process::exit(2);
            }
        }
    }
    let begun = std::time::Instant::now();
    let mut all = Vec::new();
    for kind in Kind::ALL {
        all.extend(records(&size, kind));
        eprintln!("{}: after {:.0} s", kind.name(), begun.elapsed().as_secs_f64());
    }
    let reference = reference::reference(size.reference, SEED);
    eprintln!("STATISTICS §7: after {:.0} s", begun.elapsed().as_secs_f64());
    let runs_of = |shift: f64| if shift > grid::TOLERATED_SHIFT { size.faulty } else { size.faultless };
    let latency = grid::latency(&size.shares, runs_of, SEED);
    eprintln!("latency: after {:.0} s", begun.elapsed().as_secs_f64());
    print!("{}", table::markdown(&size, &all, &reference, &latency));
    print!("{}", aims::unmet(&size, &all, &reference, &latency));
    println!("\n{}", ran(&size, begun.elapsed()));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/judgement.svg");
    match std::fs::write(file, chart::svg(&all)) {
        Ok(()) => eprintln!("the chart is in {file}"),
        Err(error) => eprintln!("{file} can't be written: {error}"),
    }
}

/// How much was simulated, and how long that took.
fn ran(size: &Size, took: std::time::Duration) -> String {
    let Size { faultless, faulty, reference, .. } = size;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!(
        "{faultless} runs of each rule in each faultless cell, {faulty} in each other, {reference} for the delays of \
         STATISTICS §7; seed {SEED}; {:.0} s on {cores} cores.",
        took.as_secs_f64()
    )
}
