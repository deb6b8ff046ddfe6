//! Virtual time through the product's own code, against the figures that the method has to meet: how often a faultless
//! release is taken back, and how long a bad one goes unnoticed. α = 0.01, nothing tolerated.
//!
//! Seeded: `CUTOVER_SEED` sets another seed. Built with --release, there are more runs and the tolerances are tighter.

mod several;

use super::eprocess::{Null, Plain, WORSE};
use super::{ComparisonEvidence, Pair};
use crate::model::BasisPoints;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const ALPHA: f64 = 0.01;
const NULL: Null = Null { ratio: 1.0, tolerate: 0.0 };
/// How many times more runs there are in a release build.
const SCALE: usize = if cfg!(debug_assertions) { 1 } else { 5 };

fn random(story: u64) -> StdRng {
    let seed = std::env::var("CUTOVER_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    println!("CUTOVER_SEED={seed}");
    StdRng::seed_from_u64(seed ^ (story << 32))
}

fn alarm_at() -> f64 {
    -ALPHA.ln()
}

fn as_f64(count: usize) -> f64 {
    super::eprocess::as_f64(count as u64)
}

/// One error of a pool among a hundred requests.
fn error(of_candidate: bool, share: u64) -> Pair {
    Pair {
        candidate_requests: share,
        candidate_failures: u64::from(of_candidate),
        live_requests: 100 - share,
        live_failures: u64::from(!of_candidate),
        ..Pair::default()
    }
}

/// The chance that an error is the candidate's, where it fails `ratio` times as often as live.
fn candidates_part(share: u64, ratio: f64) -> f64 {
    let share = super::eprocess::as_f64(share) / 100.0;
    share * ratio / (share * ratio + 1.0 - share)
}

/// The number of errors after which there is an alarm, looked at after every one, with E then.
fn errors_to_alarm(random: &mut StdRng, share: u64, ratio: f64, most: usize) -> Option<(usize, f64)> {
    let part = candidates_part(share, ratio);
    let mut process = Plain::new();
    (1..=most).find_map(|errors| {
        process.observe(error(random.random_bool(part), share), &WORSE, NULL);
        (process.ln_e() >= alarm_at()).then(|| (errors, process.ln_e().exp()))
    })
}

fn quantile(sorted: &[f64], of: f64) -> f64 {
    // Never beyond the end for a share below 1.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let place = (as_f64(sorted.len()) * of) as usize;
    sorted[place]
}

fn assert_near(what: &str, got: f64, expected: f64, tolerance: f64) {
    println!("{what}: {got:.4}, to be {expected}");
    assert!((got - expected).abs() <= tolerance, "{what}: {got} is not {expected} ± {tolerance}");
}

#[test]
fn few_faultless_releases_are_taken_back() {
    let mut random = random(1);
    let runs = 4000 * SCALE;
    for (share, by_100, by_600) in [(5, 0.0036, 0.0046), (50, 0.0072, 0.0080)] {
        let alarms: Vec<usize> =
            (0..runs).filter_map(|_| errors_to_alarm(&mut random, share, 1.0, 600).map(|(errors, _)| errors)).collect();
        for (most, expected) in [(100, by_100), (600, by_600)] {
            let got = as_f64(alarms.iter().filter(|errors| **errors <= most).count()) / as_f64(runs);
            let scatter = (expected / as_f64(runs)).sqrt();
            assert_near(&format!("false alarms at {share}% by {most} errors"), got, expected, 3.0 * scatter);
            assert!(got <= ALPHA + 3.0 * (ALPHA / as_f64(runs)).sqrt());
        }
    }
}

/// The same without the scatter of rare events: runs are drawn as the mixture bets, and each counts 1/E.
#[test]
fn few_faultless_releases_are_taken_back_to_the_third_digit() {
    let mut random = random(2);
    let runs = 6000 * SCALE;
    for (share, by_100, by_600) in [(5, 0.0036, 0.0046), (50, 0.0072, 0.0080)] {
        let alarms: Vec<(usize, f64)> = (0..runs)
            .filter_map(|_| {
                let ratio = WORSE[random.random_range(0..WORSE.len())];
                errors_to_alarm(&mut random, share, ratio, 600)
            })
            .collect();
        for (most, expected) in [(100, by_100), (600, by_600)] {
            let weights = alarms.iter().filter(|(errors, _)| *errors <= most).map(|(_, e)| 1.0 / e);
            let got = weights.sum::<f64>() / as_f64(runs);
            assert_near(&format!("false alarms at {share}% by {most} errors"), got, expected, 0.05 * expected);
        }
    }
}

#[test]
fn a_candidate_that_alone_fails_is_noticed_after_few_errors() {
    for (share, expected) in [(5, 3), (50, 8)] {
        let mut process = Plain::new();
        let errors = (1..100).find(|_| {
            process.observe(error(true, share), &WORSE, NULL);
            process.ln_e() >= alarm_at()
        });
        assert_eq!(errors, Some(expected), "at {share}%");
    }
}

#[test]
fn errors_to_an_alarm_meet_the_figures() {
    let mut random = random(3);
    let runs = 3000 * SCALE;
    let beyond = f64::INFINITY;
    for (share, ratio, median, most) in [
        (5, 2.0, 330.0, beyond),
        (5, 3.0, 99.0, 219.0),
        (5, 5.0, 34.0, 77.0),
        (5, 10.0, 12.0, 27.0),
        (50, 2.0, 98.0, 199.0),
        (50, 3.0, 40.0, 80.0),
        (50, 5.0, 17.0, 40.0),
        (50, 10.0, 13.0, 21.0),
    ] {
        let mut errors: Vec<f64> = (0..runs)
            .map(|_| errors_to_alarm(&mut random, share, ratio, 600).map_or(beyond, |(errors, _)| as_f64(errors)))
            .collect();
        errors.sort_by(f64::total_cmp);
        for (name, of, expected) in [("median", 0.5, median), ("90%", 0.9, most)] {
            let what = format!("errors to alarm at {share}%, ratio {ratio}, {name}");
            let got = quantile(&errors, of);
            if expected.is_finite() {
                // With few errors E takes few values, and a quantile jumps by up to four errors from one to the next.
                assert_near(&what, got, expected, (0.1 * expected).max(4.0));
            } else {
                println!("{what}: {got}, to be beyond 600");
                assert!(got.is_infinite(), "{what}: {got}");
            }
        }
    }
}

/// How many of `requests` fail, each with the chance `ratio`.
fn failures(random: &mut StdRng, requests: u64, ratio: f64) -> u64 {
    let mut failed = 0;
    let mut place = 0.0;
    loop {
        // The gap to the next failure is geometric; nearly always it is beyond the end.
        let uniform: f64 = random.random();
        place += ((1.0 - uniform).ln() / (-ratio).ln_1p()).floor() + 1.0;
        if place > super::eprocess::as_f64(requests) {
            return failed;
        }
        failed += 1;
    }
}

/// A tick at 1,000 requests/s, live failing 0.1%.
fn busy_tick(random: &mut StdRng, share: u64, ratio: f64) -> Pair {
    Pair {
        candidate_requests: share,
        candidate_failures: failures(random, share, 0.001 * ratio),
        live_requests: 100 - share,
        live_failures: failures(random, 100 - share, 0.001),
        ..Pair::default()
    }
}

/// Seconds from the fault to the alarm, without and with the late start, after some seconds without a fault.
fn seconds_to_alarm(random: &mut StdRng, share: u64, ratio: f64, clean: usize) -> (f64, f64) {
    let weight = BasisPoints::from_percent(super::eprocess::as_f64(share)).unwrap();
    let mut plain = Plain::new();
    let mut evidence = ComparisonEvidence::new(0.0);
    evidence.begin_step(weight);
    for _ in 0..clean * 10 {
        let tick = busy_tick(random, share, 1.0);
        plain.observe(tick, &WORSE, NULL);
        evidence.observe(tick);
    }
    let (mut without, mut with) = (None, None);
    for tick_number in 1..20_000 {
        let tick = busy_tick(random, share, ratio);
        let at = as_f64(tick_number) / 10.0;
        if without.is_none() {
            plain.observe(tick, &WORSE, NULL);
            without = (plain.ln_e() >= alarm_at()).then_some(at);
        }
        if with.is_none() {
            evidence.observe(tick);
            with = (evidence.ln_rollback() >= alarm_at()).then_some(at);
        }
        if without.is_some() && with.is_some() {
            break;
        }
    }
    (without.unwrap_or(f64::INFINITY), with.unwrap_or(f64::INFINITY))
}

fn delays(random: &mut StdRng, runs: usize, share: u64, ratio: f64, clean: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut without, mut with): (Vec<f64>, Vec<f64>) =
        (0..runs).map(|_| seconds_to_alarm(random, share, ratio, clean)).unzip();
    without.sort_by(f64::total_cmp);
    with.sort_by(f64::total_cmp);
    (without, with)
}

#[test]
fn seconds_to_an_alarm_meet_the_figures() {
    let mut random = random(4);
    let runs = 1000 * SCALE;
    for (share, ratio, plain, late) in [
        (5, 10.0, (8.0, 18.0), (9.0, 19.0)),
        (5, 5.0, (28.0, 68.0), (30.0, 73.0)),
        (5, 3.0, (85.0, 192.0), (103.0, 196.0)),
        (50, 10.0, (2.4, 4.1), (2.7, 4.5)),
        (50, 5.0, (6.3, 13.0), (7.3, 16.0)),
        (50, 3.0, (20.0, 41.0), (22.0, 44.0)),
    ] {
        let (without, with) = delays(&mut random, runs, share, ratio, 0);
        for (name, of, expected, expected_late) in [("median", 0.5, plain.0, late.0), ("90%", 0.9, plain.1, late.1)] {
            let what = format!("seconds to alarm at {share}%, ratio {ratio}, {name}");
            assert_near(&what, quantile(&without, of), expected, (0.15 * expected).max(0.5));
            assert_near(
                &format!("{what}, late start"),
                quantile(&with, of),
                expected_late,
                (0.15 * expected_late).max(0.5),
            );
        }
    }
}

#[test]
fn a_fault_that_begins_late_is_not_buried() {
    let mut random = random(5);
    let (without, with) = delays(&mut random, 200 * SCALE, 5, 10.0, 300);
    assert_near("late fault, without late start", quantile(&without, 0.5), 41.0, 5.0);
    assert_near("late fault, with late start", quantile(&with, 0.5), 17.0, 2.5);
}

/// Visitors of two identical releases: 1% of them fail 20% of their requests.
struct Visitors {
    in_cohort: Vec<bool>,
    counted: Vec<bool>,
}

const VISITORS: usize = 1000;
const UNLUCKY: usize = VISITORS / 100;
const REQUESTS_EACH: usize = 60;

impl Visitors {
    fn new(random: &mut StdRng) -> Self {
        Self { in_cohort: (0..VISITORS).map(|_| random.random()).collect(), counted: vec![false; VISITORS] }
    }

    /// A hundred requests of any visitors; and how many more of the candidate's have failed for the first time.
    fn tick(&mut self, random: &mut StdRng, capped: bool) -> (Pair, u64) {
        let (mut tick, mut newly_failing) = (Pair::default(), 0);
        for _ in 0..100 {
            let visitor = random.random_range(0..VISITORS);
            let failed = visitor < UNLUCKY && random.random_bool(0.2);
            let first = failed && !std::mem::replace(&mut self.counted[visitor], true);
            let counts = u64::from(failed && (first || !capped));
            if self.in_cohort[visitor] {
                tick.candidate_requests += 1;
                tick.candidate_failures += counts;
                newly_failing += u64::from(first);
            } else {
                tick.live_requests += 1;
                tick.live_failures += counts;
            }
            self.counted[visitor] |= failed;
        }
        (tick, newly_failing)
    }
}

/// The share of rollouts of an identical release, at 50%, that is taken back.
fn false_rollbacks(random: &mut StdRng, runs: usize, capped: bool) -> f64 {
    let taken_back = (0..runs).filter(|_| {
        let mut visitors = Visitors::new(random);
        let mut evidence = ComparisonEvidence::new(0.0);
        evidence.begin_step(BasisPoints::from_percent(50.0).unwrap());
        evidence.add_draws(as_draws(VISITORS / 2), 0);
        (0..VISITORS * REQUESTS_EACH / 100).any(|_| {
            let (tick, newly_failing) = visitors.tick(random, capped);
            evidence.observe(tick);
            evidence.add_draws(0, newly_failing);
            evidence.ln_rollback() >= alarm_at() && evidence.alarm_allowed()
        })
    });
    as_f64(taken_back.count()) / as_f64(runs)
}

fn as_draws(visitors: usize) -> u64 {
    visitors as u64
}

#[test]
fn a_few_unlucky_visitors_take_no_release_back() {
    let mut random = random(6);
    let runs = 400 * SCALE;
    let capped = false_rollbacks(&mut random, runs, true);
    let uncapped = false_rollbacks(&mut random, runs, false);
    println!("false rollbacks by unlucky visitors: {capped:.4} capped, {uncapped:.4} if all of their failures counted");
    assert!(capped <= ALPHA + 3.0 * (ALPHA / as_f64(runs)).sqrt());
    assert!(uncapped > 0.1, "the cap is there for a reason");
}

/// One request in nearly every tick, each drawn for itself: alone, such ticks say nothing.
fn quiet_tick(random: &mut StdRng, share: f64, candidate_fails: f64, live_fails: f64) -> Pair {
    let candidate = random.random_bool(share);
    let failed = u64::from(random.random_bool(if candidate { candidate_fails } else { live_fails }));
    if candidate {
        Pair { candidate_requests: 1, candidate_failures: failed, ..Pair::default() }
    } else {
        Pair { live_requests: 1, live_failures: failed, ..Pair::default() }
    }
}

#[test]
fn a_quiet_site_with_shared_outages_takes_no_faultless_release_back() {
    let mut random = random(7);
    let runs = 200 * SCALE;
    for (percent, share) in [(5.0, 0.05), (50.0, 0.5)] {
        let taken_back = (0..runs).filter(|_| {
            let mut evidence = ComparisonEvidence::new(0.0);
            evidence.begin_step(BasisPoints::from_percent(percent).unwrap());
            (0..20_000).any(|tick_number| {
                // For five seconds of every two minutes, everything fails on both sides.
                let fails = if tick_number % 1200 < 50 { 1.0 } else { 0.01 };
                evidence.observe(quiet_tick(&mut random, share, fails, fails));
                evidence.ln_rollback() >= alarm_at()
            })
        });
        let got = as_f64(taken_back.count()) / as_f64(runs);
        println!("false rollbacks of a quiet site at {percent}%: {got:.4}");
        assert!(got <= ALPHA + 3.0 * (ALPHA / as_f64(runs)).sqrt());
    }
}

#[test]
fn a_quiet_site_notices_a_candidate_that_fails_everything() {
    let mut random = random(8);
    for (percent, share, most) in [(5.0, 0.05, 15.0), (50.0, 0.5, 5.0)] {
        let mut seconds: Vec<f64> = (0..500)
            .map(|_| {
                let mut evidence = ComparisonEvidence::new(0.0);
                evidence.begin_step(BasisPoints::from_percent(percent).unwrap());
                let ticks = (1..10_000).find(|_| {
                    evidence.observe(quiet_tick(&mut random, share, 1.0, 0.001));
                    evidence.ln_rollback() >= alarm_at()
                });
                as_f64(ticks.unwrap()) / 10.0
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let median = quantile(&seconds, 0.5);
        println!("seconds to alarm at 10 requests/s and {percent}%, all failing: {median:.1}");
        assert!(median <= most);
    }
}

#[test]
fn a_candidate_that_fails_everything_is_noticed_within_two_seconds() {
    let mut random = random(9);
    let slowest = (0..2000)
        .map(|_| {
            let mut evidence = ComparisonEvidence::new(super::evidence::ALWAYS_ON_TOLERATE);
            evidence.begin_step(BasisPoints::from_percent(5.0).unwrap());
            let mut first_failure = None;
            for tick_number in 1..1000 {
                let candidate = failures(&mut random, 20, 0.05);
                evidence.observe(Pair {
                    candidate_requests: candidate,
                    candidate_failures: candidate,
                    live_requests: 20 - candidate,
                    live_failures: 0,
                    ..Pair::default()
                });
                evidence.add_draws(candidate, candidate);
                let first = (candidate > 0).then_some(tick_number);
                first_failure = first_failure.or(first);
                if evidence.ln_rollback() >= alarm_at() && evidence.alarm_allowed() {
                    return as_f64(tick_number - first_failure.unwrap_or(tick_number)) / 10.0;
                }
            }
            f64::INFINITY
        })
        .fold(0.0, f64::max);
    println!("the slowest alarm at 200 requests/s and 5%, all failing: {slowest:.1} s after the first failure");
    assert!(slowest < 2.0);
}
