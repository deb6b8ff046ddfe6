//! The delays of STATISTICS §7, under its conditions: 1,000 requests/s of which live fails 0.1%, α = 1%, nothing
//! tolerated, requests that are each drawn for themselves.
//!
//! Its figures are of the error ratio alone. They are met by that check alone, with the late start, as the product has
//! it; by the bare formula of §1 without a late start, written down here a second time; and by the whole product, in
//! which the checks that are always on have their share of α.

use super::grid::{Cell, Kind, walks};
use super::table::time;
use cutover::analysis::{ComparisonEvidence, Pair};
use cutover::app::simulate::{Pace, Spread, parallel, seed};
use cutover::model::BasisPoints;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Binomial, Distribution};
use std::time::Duration;

/// How near the delays shall be.
const NEAR: f64 = 0.1;
const ALPHA: f64 = 0.01;
const BASE: f64 = 0.001;
const RATE: f64 = 1000.0;
/// Why a figure may be off though the product does what the formula says.
pub const WHY: &str = "The seconds of §7 were simulated themselves. Reckoned exactly from the chances of each number of errors, \
    without the late start, at 5% and 50%: ratio 10: 7.9 · 19.4 s and 2.1 · 4.2 s; ratio 5: 27.7 · 64.8 s and 6.2 · 13.6 s; \
    ratio 3: 89.1 · 198.9 s and 19.1 · 40.3 s. Here requests are drawn one by one, so that a tick has now more and now \
    fewer of the candidate than its share, which costs some percent more.";

/// Nobody waits longer for an alarm.
const LONGEST: Duration = Duration::from_secs(LONGEST_SECONDS as u64);
const LONGEST_SECONDS: u32 = 3600;
const TICKS_PER_SECOND: u32 = 10;
/// In a tick, of both pools.
const REQUESTS: u64 = 100;

/// A row of §7: a share in percent, the ratio, the clean seconds before the fault, and the median and the 90% quantile
/// of the delay without and with the late start, as far as they are given.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub share: u32,
    pub ratio: f64,
    pub clean: u32,
    plain: [Option<f64>; 2],
    late: [Option<f64>; 2],
}

const fn row(share: u32, ratio: f64, plain: [f64; 2], late: [f64; 2]) -> Row {
    Row { share, ratio, clean: 0, plain: [Some(plain[0]), Some(plain[1])], late: [Some(late[0]), Some(late[1])] }
}

const ROWS: [Row; 7] = [
    row(5, 10.0, [8.0, 18.0], [9.0, 19.0]),
    row(5, 5.0, [28.0, 68.0], [30.0, 73.0]),
    row(5, 3.0, [85.0, 192.0], [103.0, 196.0]),
    row(50, 10.0, [2.4, 4.1], [2.7, 4.5]),
    row(50, 5.0, [6.3, 13.0], [7.3, 16.0]),
    row(50, 3.0, [20.0, 41.0], [22.0, 44.0]),
    Row { share: 5, ratio: 10.0, clean: 300, plain: [Some(41.0), None], late: [Some(17.0), None] },
];

/// A row as it was simulated.
pub struct Reference {
    pub row: Row,
    /// By the formula without the late start.
    pub plain: Spread,
    /// By the product's check of the error ratio alone.
    pub alone: Spread,
    /// By the whole product.
    pub whole: Spread,
}

/// The formula of §1 for rollbacks, at r0 = 1 and δ = 0: the mean of 24 bets from 1.2 to 64.
struct Plain([f64; 24]);

impl Plain {
    fn observe(&mut self, tick: Pair) {
        #[expect(clippy::cast_precision_loss, reason = "counts of a tick")]
        let [n, k, m, l] = [tick.candidate_requests, tick.candidate_failures, tick.live_requests, tick.live_failures]
            .map(|it| it as f64);
        let share = n / (n + m);
        for (place, ln_e) in (0..24).zip(&mut self.0) {
            let bet = 1.2 * (64.0_f64 / 1.2).powf(f64::from(place) / 23.0);
            let mix = share * bet + 1.0 - share;
            *ln_e += k * (bet / mix).ln() - l * mix.ln();
        }
    }

    fn alarms(&self) -> bool {
        self.0.iter().map(|ln_e| ln_e.exp()).sum::<f64>() / 24.0 >= 1.0 / ALPHA
    }
}

/// A tick in which each request goes to the candidate with the share's chance, and fails with its pool's.
fn tick(share: f64, ratio: f64, random: &mut StdRng) -> Pair {
    let mut part = |of: u64, chance: f64| Binomial::new(of, chance).map_or(0, |part| part.sample(random));
    let candidate = part(REQUESTS, share);
    Pair {
        candidate_requests: candidate,
        candidate_failures: part(candidate, BASE * ratio),
        live_requests: REQUESTS - candidate,
        live_failures: part(REQUESTS - candidate, BASE),
        ..Pair::default()
    }
}

/// Seconds from the fault to the alarm, by the formula without the late start and by the product's check.
fn delays(row: &Row, random: &mut StdRng) -> [f64; 2] {
    let share = f64::from(row.share) / 100.0;
    let mut plain = Plain([0.0; 24]);
    let mut check = ComparisonEvidence::new(0.0);
    check.begin_step(BasisPoints::from_percent(share * 100.0).unwrap_or(BasisPoints::ZERO));
    for _ in 0..row.clean * TICKS_PER_SECOND {
        let tick = tick(share, 1.0, random);
        plain.observe(tick);
        check.observe(tick);
    }
    let mut alarms = [f64::INFINITY; 2];
    for number in 1..=LONGEST_SECONDS * TICKS_PER_SECOND {
        let tick = tick(share, row.ratio, random);
        let fails = tick.candidate_failures > 0;
        plain.observe(tick);
        check.observe(tick);
        let alarmed = [fails && plain.alarms(), fails && check.ln_rollback() >= -ALPHA.ln()];
        for (at, alarmed) in alarms.iter_mut().zip(alarmed) {
            if alarmed && at.is_infinite() {
                *at = f64::from(number) / f64::from(TICKS_PER_SECOND);
            }
        }
        if alarms.iter().all(|at| at.is_finite()) {
            break;
        }
    }
    alarms
}

/// Simulates all rows.
pub fn reference(runs: usize, from: u64) -> Vec<Reference> {
    let simulated = ROWS.into_iter().filter_map(|row| {
        let both = parallel(runs, |run| delays(&row, &mut StdRng::seed_from_u64(seed(from, 4, run as u64))));
        let of = |place: usize| Spread::of(both.iter().map(|delays| delays[place]));
        let cell = Cell {
            kind: Kind::Plain,
            base: BASE,
            ratio: row.ratio,
            share: f64::from(row.share),
            rate: RATE,
            tolerate: 0.0,
        };
        let whole = walks(&cell.ground_after(row.clean.into(), from), &cell.plan(), Pace::close(LONGEST), runs, from);
        let clean = f64::from(row.clean);
        let whole = Spread::of(whole.iter().map(|run| run.map_or(f64::INFINITY, |at| (at - clean).max(0.0))))?;
        Some(Reference { row, plain: of(0)?, alone: of(1)?, whole })
    });
    simulated.collect()
}

impl Reference {
    pub fn name(&self) -> String {
        let Row { share, ratio, clean, .. } = self.row;
        if clean == 0 {
            format!("{share}%, ratio {ratio}")
        } else {
            format!("{share}%, ratio {ratio}, after {clean} clean s")
        }
    }

    /// What §7 says with the late start, and without it.
    pub fn expected(&self) -> [[Option<f64>; 2]; 2] {
        [self.row.late, self.row.plain]
    }

    /// Each figure that is further off than it may be.
    pub fn off(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (what, got, expected) in
            [("", self.alone, self.row.late), (", without the late start", self.plain, self.row.plain)]
        {
            for (name, got, expected) in [("median", got.median, expected[0]), ("90%", got.ninety, expected[1])] {
                let Some(expected) = expected else { continue };
                if (got.value / expected - 1.0).abs() > NEAR {
                    lines.push(format!(
                        "{}{what}, {name}: {} ({}–{}), to be {}",
                        self.name(),
                        time(got.value),
                        time(got.low),
                        time(got.high),
                        time(expected)
                    ));
                }
            }
        }
        lines
    }
}
