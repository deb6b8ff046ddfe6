//! Several checks at once, as a rollout has them: through all of [`Evidence`] and [`assess`].

use super::{ALPHA, SCALE, alarm_at, as_f64, busy_tick, quantile, random};
use crate::analysis::{Bad, Evidence, Pair, SideTick, Tick, assess};
use crate::model::{
    BasisPoints, Check, ErrorRatioCheck, Indicator, LatencyCheck, Plan, StatusRatioCheck, Timestamp, Until, Verdict,
};
use rand::RngExt;
use rand::rngs::StdRng;

/// How much the time of an answer scatters: its logarithm's standard deviation. The median is 1.
const SCATTER: f64 = 0.5;
/// Below them are 50%, 90% and 99% of a normal distribution.
const NORMAL_QUANTILES: [f64; LatencyCheck::QUANTILES] = [0.0, 1.281_552, 2.326_348];
const TOLERATE_SLOWER: f64 = 0.1;

/// Nothing is tolerated but what the latency check tolerates: a release that is no worse is as bad as it may be.
fn plan(latency: bool, status: bool) -> Plan {
    let mut checks = vec![Check::ErrorRatio(ErrorRatioCheck { tolerate: 0.0 })];
    checks
        .extend(latency.then(|| Check::Latency(LatencyCheck { tolerate: TOLERATE_SLOWER, ..LatencyCheck::default() })));
    checks
        .extend(status.then(|| Check::StatusRatio(StatusRatioCheck { tolerate: 0.0, ..StatusRatioCheck::default() })));
    Plan { checks, false_alarm: ALPHA, ..Plan::default() }
}

fn begun(plan: &Plan, percent: f64) -> Evidence {
    let mut evidence = Evidence::begin(plan);
    evidence.begin_step(BasisPoints::from_percent(percent).unwrap());
    evidence
}

/// Who is taken back, if anyone: the check that decides.
fn taken_back(evidence: &Evidence, plan: &Plan) -> Option<String> {
    let judgement = assess(evidence, plan, 0, Timestamp::UNIX_EPOCH).judgement;
    (judgement.verdict == Verdict::Regressed).then_some(judgement.by)
}

/// Each request is drawn for itself, and every bad one is another draw's.
fn bad(count: u64) -> Bad {
    Bad { counted: count, all: count, new_draws: count }
}

fn heads(candidate: &SideTick, live: &SideTick) -> Tick {
    Tick {
        known_at: Until::Head,
        candidate: *candidate,
        live: *live,
        new_draws: candidate.requests,
        limited: [true; LatencyCheck::QUANTILES],
    }
}

/// The ends of the same answers, of which none was bad.
fn ends(tick: &Tick) -> Tick {
    let side = |side: &SideTick| SideTick { requests: side.requests, timed: side.timed, ..SideTick::default() };
    Tick { known_at: Until::End, candidate: side(&tick.candidate), live: side(&tick.live), new_draws: 0, ..*tick }
}

/// A tick of which only the failures matter.
fn of_failures(pair: Pair) -> Tick {
    let side = |requests, failures| {
        let mut side = SideTick { requests, timed: requests, ..SideTick::default() };
        side.bad[Indicator::Failed.index()] = bad(failures);
        side
    };
    let candidate = side(pair.candidate_requests, pair.candidate_failures);
    heads(&candidate, &side(pair.live_requests, pair.live_failures))
}

/// How long an answer takes.
fn time(random: &mut StdRng) -> f64 {
    // Box and Muller's transform.
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (SCATTER * (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()).exp()
}

fn note_time(side: &mut SideTick, time: f64, tolerate: f64) {
    side.requests += 1;
    side.timed += 1;
    for (place, normal) in NORMAL_QUANTILES.into_iter().enumerate() {
        let limit = (SCATTER * normal).exp() * (1.0 + tolerate);
        let at = Indicator::SlowHead(place).index();
        side.bad[at] = bad(side.bad[at].all + u64::from(time > limit));
    }
}

/// Ten requests of either pool on average; the times of the candidate's answers, and of everybody's.
fn timed_tick(random: &mut StdRng, of_candidate: impl Fn(&mut StdRng) -> f64, of_all: f64) -> Tick {
    let (mut candidate, mut live) = (SideTick::default(), SideTick::default());
    for _ in 0..20 {
        let time = time(random) * of_all;
        if random.random() {
            let slower = of_candidate(random);
            note_time(&mut candidate, time * slower, TOLERATE_SLOWER);
        } else {
            note_time(&mut live, time, 0.0);
        }
    }
    heads(&candidate, &live)
}

/// Whoever fails is also slow, gets a bad status, and gets no head in time: the checks depend on each other entirely.
fn dependent_tick(random: &mut StdRng) -> Tick {
    let mut side = || {
        let mut side = SideTick { requests: 10, timed: 10, ..SideTick::default() };
        let failed = (0..10).filter(|_| random.random_bool(0.02)).count() as u64;
        for indicator in Indicator::ALL.into_iter().filter(|indicator| indicator.known_at() == Until::Head) {
            side.bad[indicator.index()] = bad(failed);
        }
        side
    };
    heads(&side(), &side())
}

#[test]
fn several_checks_together_take_few_faultless_releases_back() {
    let mut random = random(20);
    let runs = 200 * SCALE;
    let plan = plan(true, true);
    let alarms = (0..runs).filter(|_| {
        let mut evidence = begun(&plan, 50.0);
        (0..500).any(|_| {
            let tick = dependent_tick(&mut random);
            evidence.observe(&tick);
            taken_back(&evidence, &plan).is_some()
        })
    });
    let got = as_f64(alarms.count()) / as_f64(runs);
    println!("false rollbacks by six checks that depend on each other: {got:.4}");
    assert!(got <= ALPHA + 3.0 * (ALPHA / as_f64(runs)).sqrt(), "{got}");
}

/// Seconds until such a candidate is taken back, and by which check; at 200 requests/s and 50%.
fn seconds_until_slow_is_noticed(
    random: &mut StdRng,
    of_candidate: impl Fn(&mut StdRng) -> f64,
    of_all: f64,
    seconds: usize,
) -> Option<f64> {
    let plan = plan(true, false);
    let mut evidence = begun(&plan, 50.0);
    (1..=seconds * 10).find_map(|ticks| {
        evidence.observe(&timed_tick(random, &of_candidate, of_all));
        let by = taken_back(&evidence, &plan)?;
        assert_eq!(by, "latency");
        Some(as_f64(ticks) / 10.0)
    })
}

#[test]
fn a_shift_at_any_of_the_quantiles_is_noticed() {
    let mut random = random(21);
    let sometimes =
        |part: f64, slower: f64| move |random: &mut StdRng| if random.random_bool(part) { slower } else { 1.0 };
    let runs = 20 * SCALE;
    let mut check = |what: &str, of_candidate: &dyn Fn(&mut StdRng) -> f64, most: f64| {
        let mut seconds: Vec<f64> = (0..runs)
            .map(|_| seconds_until_slow_is_noticed(&mut random, of_candidate, 1.0, 120).unwrap_or(f64::INFINITY))
            .collect();
        seconds.sort_by(f64::total_cmp);
        let (median, most_of_them) = (quantile(&seconds, 0.5), quantile(&seconds, 0.9));
        println!("seconds until {what} is noticed at 200 requests/s and 50%: {median:.1}, 90% {most_of_them:.1}");
        assert!(median <= most, "{what}: {median}");
    };
    check("a release that is half as slow again", &|_| 1.5, 3.0);
    check("one answer in five that takes four times as long", &sometimes(0.2, 4.0), 6.0);
    check("one answer in thirty that takes ten times as long", &sometimes(1.0 / 30.0, 10.0), 12.0);
}

#[test]
fn a_shared_slow_down_or_one_within_the_tolerance_is_hardly_ever_a_regression() {
    let mut random = random(22);
    let runs = 40 * SCALE;
    for (what, of_candidate, of_all) in [
        ("everything takes three times as long", 1.0, 3.0),
        ("the candidate is 5% slower, where 10% is tolerated", 1.05, 1.0),
        ("the candidate is 10% slower and everything twice as slow", 1.0 + TOLERATE_SLOWER, 2.0),
    ] {
        let alarms = (0..runs)
            .filter(|_| seconds_until_slow_is_noticed(&mut random, |_| of_candidate, of_all, 30).is_some())
            .count();
        println!("taken back where {what}: {alarms} of {runs}");
        assert!(as_f64(alarms) <= as_f64(runs) * ALPHA + 3.0 * (as_f64(runs) * ALPHA).sqrt(), "{what}: {alarms}");
    }
}

/// Seconds from the fault to the rollback by the default checks, and to the alarm of the error ratio alone over the
/// same requests; after some seconds without a fault.
fn seconds_to_rollback(random: &mut StdRng, share: u64, ratio: f64, clean: usize) -> (f64, f64) {
    let plan = plan(false, false);
    let mut evidence = begun(&plan, crate::analysis::eprocess::as_f64(share));
    for _ in 0..clean * 10 {
        let tick = of_failures(busy_tick(random, share, 1.0));
        evidence.observe(&tick);
        evidence.observe(&ends(&tick));
    }
    let (mut together, mut alone) = (None, None);
    for ticks in 1..5000 {
        let tick = of_failures(busy_tick(random, share, ratio));
        evidence.observe(&tick);
        evidence.observe(&ends(&tick));
        let seconds = as_f64(ticks) / 10.0;
        let error_ratio = evidence.error_ratio().unwrap();
        alone = alone.or_else(|| (error_ratio.ln_rollback() >= alarm_at()).then_some(seconds));
        together = together.or_else(|| taken_back(&evidence, &plan).map(|_| seconds));
        if let (Some(together), Some(alone)) = (together, alone) {
            return (together, alone);
        }
    }
    (f64::INFINITY, f64::INFINITY)
}

#[test]
fn the_default_checks_together_are_hardly_slower_than_one_alone() {
    let mut random = random(23);
    for (share, ratio, clean, runs) in [(5, 10.0, 0, 200), (50, 10.0, 0, 200), (5, 10.0, 300, 15)] {
        let (mut together, mut alone): (Vec<f64>, Vec<f64>) =
            (0..runs * SCALE).map(|_| seconds_to_rollback(&mut random, share, ratio, clean)).unzip();
        together.sort_by(f64::total_cmp);
        alone.sort_by(f64::total_cmp);
        for of in [0.5, 0.9] {
            let (together, alone) = (quantile(&together, of), quantile(&alone, of));
            println!(
                "seconds to rollback at {share}%, ratio {ratio}, after {clean} s, quantile {of}: {together}, alone {alone}"
            );
            assert!(together.is_finite() && together <= 1.1 * alone + 0.2, "{together}, alone {alone}");
        }
    }
}

#[test]
fn a_restart_in_between_changes_nothing() {
    let mut random = random(24);
    let plan = plan(true, true);
    let mut evidence = begun(&plan, 50.0);
    let mut restarted = evidence.clone();
    for number in 0..200 {
        let tick = timed_tick(&mut random, |_| 1.08, 1.0);
        for evidence in [&mut evidence, &mut restarted] {
            evidence.observe(&tick);
            evidence.observe(&ends(&tick));
        }
        if number % 20 == 0 {
            let stored = serde_json::to_string(&restarted).unwrap();
            restarted = serde_json::from_str(&stored).unwrap();
        }
        let judge = |evidence| assess(evidence, &plan, 0, Timestamp::UNIX_EPOCH);
        assert_eq!(judge(&evidence), judge(&restarted));
    }
    assert_eq!(evidence, restarted, "to the last bit");
}
