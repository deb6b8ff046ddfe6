//! The rules of others, as their documentation describes them. Each looks at what it would see: the requests and the
//! failures of both pools, and the median time to answer, minute by minute (one of them second by second).
//!
//! They are given a minute as their interval even where their documented example has five, so that none is slow for its
//! interval alone; and they are given sums that no scrape has missed.

use statrs::distribution::{ContinuousCDF, Discrete, Hypergeometric, Normal};

/// What was counted in one interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    pub candidate: u64,
    pub candidate_failed: u64,
    pub live: u64,
    pub live_failed: u64,
    /// The median of the candidate's times to answer, in seconds, where there were answers and times are looked at.
    pub candidate_time: Option<f64>,
    pub live_time: Option<f64>,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.candidate += other.candidate;
        self.candidate_failed += other.candidate_failed;
        self.live += other.live;
        self.live_failed += other.live_failed;
    }

    fn candidate_ratio(&self) -> Option<f64> {
        ratio(self.candidate_failed, self.candidate)
    }

    fn live_ratio(&self) -> Option<f64> {
        ratio(self.live_failed, self.live)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

fn ratio(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| as_f64(some) / as_f64(all))
}

/// A rule that decides by intervals: at which one it takes the candidate back, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Flagger: `analysis.threshold: 5`, the "max number of failed metric checks before rollback", and
    /// `request-success-rate` with `thresholdRange.min: 99`, each `interval: 1m` (docs.flagger.app/usage/metrics). It
    /// counts failed checks over the whole analysis, and a check without any traffic is a failed one: "Halt advancement
    /// no values found" (fluxcd/flagger, `pkg/controller/scheduler_metrics.go`).
    Flagger,
    /// Argo Rollouts: `successCondition: result[0] >= 0.95`, `failureLimit: 3`, the documented example
    /// (argoproj/argo-rollouts, docs/analysis/prometheus.md). More failed measurements than the limit abort. Without
    /// traffic the quotient is NaN, which meets no condition and fails too.
    Argo95,
    /// The same with 0.99.
    Argo99,
    /// The same with a query that compares: the candidate's error ratio at most 1.5 times the stable one's. There is no
    /// documented default for this. As its users do, no errors on either side are guarded against.
    ArgoCompared,
    /// Kayenta (spinnaker.io/guides/user/canary/judge): Mann-Whitney U at 98% on one value per minute since the begin,
    /// with a tolerance of a quarter of the Hodges-Lehmann estimate (`NetflixACAJudge`: fraction 0.25, confLevel 0.98). One
    /// metric that is "High" of one gives the score 0, below the marginal score of 75. Judged every 30 minutes, "the
    /// recommended interval".
    Kayenta30,
    /// The same, judged every 5 minutes.
    Kayenta5,
    /// A two-proportion z-test at 1%, one-sided, on all counts so far, looked at every minute.
    ZTest,
    /// Fisher's exact test at 1%, one-sided, on all counts so far, looked at every minute.
    Fisher,
}

/// What a fixed-sample test is held to at each look.
const LEVEL: f64 = 0.01;
const FLAGGER_THRESHOLD: u32 = 5;
const ARGO_FAILURE_LIMIT: u32 = 3;
const ARGO_RATIO: f64 = 1.5;
const KAYENTA_CONFIDENCE: f64 = 0.98;
const KAYENTA_TOLERANCE: f64 = 0.25;

impl Rule {
    pub const ALL: [Self; 8] = [
        Self::Flagger,
        Self::Argo95,
        Self::Argo99,
        Self::ArgoCompared,
        Self::Kayenta30,
        Self::Kayenta5,
        Self::ZTest,
        Self::Fisher,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Flagger => "Flagger, 99%, 5 failed checks",
            Self::Argo95 => "Argo Rollouts, ≥ 95%, limit 3",
            Self::Argo99 => "Argo Rollouts, ≥ 99%, limit 3",
            Self::ArgoCompared => "Argo Rollouts, ≤ 1.5 × stable, limit 3",
            Self::Kayenta30 => "Kayenta, judged every 30 min",
            Self::Kayenta5 => "Kayenta, judged every 5 min",
            Self::ZTest => "z-test at 1% each minute",
            Self::Fisher => "Fisher at 1% each minute",
        }
    }

    /// The minute in which it takes the candidate back.
    pub fn rolls_back(self, minutes: &[Counts]) -> Option<usize> {
        match self {
            Self::Flagger => failed_checks(minutes, FLAGGER_THRESHOLD, |minute| below(minute, 0.99)),
            Self::Argo95 => failed_checks(minutes, ARGO_FAILURE_LIMIT + 1, |minute| below(minute, 0.95)),
            Self::Argo99 => failed_checks(minutes, ARGO_FAILURE_LIMIT + 1, |minute| below(minute, 0.99)),
            Self::ArgoCompared => failed_checks(minutes, ARGO_FAILURE_LIMIT + 1, more_than_stable),
            Self::Kayenta30 => kayenta(minutes, 30),
            Self::Kayenta5 => kayenta(minutes, 5),
            Self::ZTest => peeked(minutes, z_test),
            Self::Fisher => peeked(minutes, fisher),
        }
    }
}

/// Failed checks are counted over the whole analysis.
fn failed_checks(minutes: &[Counts], most: u32, fails: impl Fn(&Counts) -> bool) -> Option<usize> {
    let mut failed = 0;
    let place = minutes.iter().position(|minute| {
        failed += u32::from(fails(minute));
        failed >= most
    });
    place.map(|place| place + 1)
}

fn below(minute: &Counts, success: f64) -> bool {
    minute.candidate_ratio().is_none_or(|ratio| 1.0 - ratio < success)
}

fn more_than_stable(minute: &Counts) -> bool {
    match (minute.candidate_ratio(), minute.live_ratio()) {
        (Some(candidate), Some(live)) => candidate > ARGO_RATIO * live,
        // No value: the comparison is guarded.
        _ => false,
    }
}

/// Looked at after each interval, on all counts so far.
pub fn peeked(intervals: &[Counts], p_value: impl Fn(&Counts) -> f64) -> Option<usize> {
    let mut sum = Counts::default();
    intervals
        .iter()
        .position(|interval| {
            sum.add(interval);
            p_value(&sum) < LEVEL
        })
        .map(|place| place + 1)
}

/// The p-value of a pooled two-proportion z-test against "the candidate fails no more often".
pub fn z_test(counts: &Counts) -> f64 {
    let (Some(candidate), Some(live)) = (counts.candidate_ratio(), counts.live_ratio()) else { return 1.0 };
    let (n, m) = (as_f64(counts.candidate), as_f64(counts.live));
    let pooled = as_f64(counts.candidate_failed + counts.live_failed) / (n + m);
    let spread = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    if spread > 0.0 { Normal::standard().sf((candidate - live) / spread) } else { 1.0 }
}

/// The p-value of Fisher's exact test against the same: the chance that, of all failures, so many or more are the
/// candidate's.
pub fn fisher(counts: &Counts) -> f64 {
    let failed = counts.candidate_failed + counts.live_failed;
    let all = counts.candidate + counts.live;
    let Ok(chance) = Hypergeometric::new(all, failed, counts.candidate) else { return 1.0 };
    let expected = as_f64(failed) * as_f64(counts.candidate) / as_f64(all.max(1));
    if as_f64(counts.candidate_failed) <= expected {
        return 1.0;
    }
    // By its logarithm: the binomial coefficients of an hour's requests are beyond any float. From what was seen on the
    // terms only fall, each by a ratio of four counts.
    let (mut term, mut sum) = (chance.ln_pmf(counts.candidate_failed).exp(), 0.0);
    for failures in counts.candidate_failed..=failed.min(counts.candidate) {
        sum += term;
        if term < sum * 1e-9 {
            break;
        }
        let good_of_live = all - counts.candidate - (failed - failures) + 1;
        term *= as_f64(failed - failures) / as_f64(failures + 1) * as_f64(counts.candidate - failures)
            / as_f64(good_of_live);
    }
    sum
}

/// Judged after every so many minutes, on all minutes so far.
fn kayenta(minutes: &[Counts], every: usize) -> Option<usize> {
    let ratios = |side: fn(&Counts) -> Option<f64>, until: usize| -> Vec<f64> {
        // Minutes without a value are left out, as its judge leaves out NaN.
        minutes[..until].iter().filter_map(side).collect()
    };
    (every..=minutes.len()).step_by(every).find(|until| {
        let times =
            |until| is_high(&ratios(|minute| minute.candidate_time, until), &ratios(|minute| minute.live_time, until));
        let errors = is_high(&ratios(Counts::candidate_ratio, *until), &ratios(Counts::live_ratio, *until));
        // Of two metrics one that is high gives a score of 50, which is below 75 as well.
        errors || times(*until)
    })
}

/// Whether the experiment is "High": the lower end of the confidence interval of the shift is above a quarter of its
/// estimate. That end is where the test statistic equals the normal quantile, and the statistic falls with the shift; so
/// the end is above a shift where the statistic there is above the quantile.
pub fn is_high(experiment: &[f64], control: &[f64]) -> bool {
    let mut shifts: Vec<f64> = experiment.iter().flat_map(|x| control.iter().map(move |y| x - y)).collect();
    if shifts.is_empty() {
        return false;
    }
    let middle = shifts.len() / 2;
    let estimate = *shifts.select_nth_unstable_by(middle, f64::total_cmp).1;
    let quantile = Normal::standard().inverse_cdf(0.5 + KAYENTA_CONFIDENCE / 2.0);
    statistic(experiment, control, KAYENTA_TOLERANCE * estimate.abs()) > quantile
}

/// The normal approximation of the Mann-Whitney statistic of `experiment − shift` against `control`, with corrections for
/// continuity and ties.
fn statistic(experiment: &[f64], control: &[f64], shift: f64) -> f64 {
    let mut all: Vec<(f64, bool)> =
        experiment.iter().map(|x| (x - shift, true)).chain(control.iter().map(|y| (*y, false))).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (n, m) = (as_f64(experiment.len() as u64), as_f64(control.len() as u64));
    let (mut ranks, mut ties, mut begin) = (0.0, 0.0, 0);
    #[expect(clippy::float_cmp, reason = "ties are equal to the last bit")]
    while begin < all.len() {
        let same = all[begin..].iter().take_while(|(value, _)| *value == all[begin].0).count();
        let of_experiment = all[begin..begin + same].iter().filter(|(_, experiment)| *experiment).count();
        let size = as_f64(same as u64);
        ranks += as_f64(of_experiment as u64) * (as_f64(begin as u64) + f64::midpoint(size, 1.0));
        ties += size * (size * size - 1.0);
        begin += same;
    }
    let difference = ranks - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let variance = n * m / 12.0 * (n + m + 1.0 - ties / ((n + m) * (n + m - 1.0)));
    if variance > 0.0 { (difference - 0.5 * difference.signum()) / variance.sqrt() } else { 0.0 }
}
