//! From how long answers took to the limits above which one is slow, and to what people see of it.
//!
//! A limit is a quantile of live's past. It may be any time whatever, as long as it does not depend on the answers that
//! are compared by it: so it is told before the ticks in which it is used, and never changed for one.

use crate::analysis::{Evidence, QuantileTimes};
use crate::model::{Check, LatencyCheck, Plan, Until};
use crate::routing::{AgedTimes, ByMoment, BySide, Draws, Limit, Limits, lag};
use std::time::{Duration, Instant};

/// How often the times are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How old a limit gets before it is renewed: the time of day moves what is slow, and a limit that moves with every
/// answer would be no better.
const RENEW: Duration = Duration::from_secs(10);

/// After this time an answer weighs half.
const HALF_LIFE: Duration = Duration::from_secs(600);

/// A quantile is taken from this many answers of live at least, …
const FEWEST: f64 = 50.0;

/// … and from as many as put this many beyond it.
const BEYOND: f64 = 10.0;

type Quantiles<T> = [T; LatencyCheck::QUANTILES];

/// The times of a rollout's answers.
#[derive(Debug)]
pub(super) struct Timing {
    checks: ByMoment<Option<CheckTiming>>,
    looked: Instant,
}

/// The times until one moment, as a latency check looks at them.
#[derive(Debug)]
struct CheckTiming {
    check: LatencyCheck,
    times: BySide<AgedTimes>,
    limits: Quantiles<Option<Duration>>,
    renewed: Instant,
}

impl Timing {
    /// Of a rollout whose answers are counted from now on.
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        let check = |until| {
            plan.checks.iter().find_map(|check| match check {
                Check::Latency(check) if check.until == until => Some(CheckTiming::new(check, now)),
                Check::Latency(_) | Check::ErrorRatio(_) | Check::StatusRatio(_) | Check::PromQl(_) => None,
            })
        };
        Self { checks: ByMoment::each(check), looked: now }
    }

    /// Takes in what was counted since the last look, and puts limits in force where there are new ones. Whether it was
    /// time for a look.
    pub(super) fn pass(&mut self, draws: &Draws, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.looked);
        if since < LOOK {
            return false;
        }
        self.looked = now;
        let keep = 0.5_f64.powf(since.as_secs_f64() / HALF_LIFE.as_secs_f64());
        let mut changed = false;
        for (check, until) in [(&mut self.checks.head, Until::Head), (&mut self.checks.end, Until::End)] {
            if let Some(check) = check {
                let counts = draws.times(until);
                check.times.candidate.take(counts.candidate, keep);
                check.times.live.take(counts.live, keep);
                changed |= check.renew(now);
            }
        }
        if changed {
            let limits = |until| self.checks.of(until).as_ref().map(CheckTiming::limits).unwrap_or_default();
            draws.set_limits(Limits::each(limits), now);
        }
        true
    }

    /// Tells people what it knows.
    pub(super) fn tell(&self, evidence: &mut Evidence) {
        for until in Until::ALL {
            if let Some(check) = self.checks.of(until) {
                evidence.set_times(until, check.shown());
            }
        }
    }
}

impl CheckTiming {
    fn new(check: &LatencyCheck, now: Instant) -> Self {
        Self { check: check.clone(), times: BySide::default(), limits: Quantiles::default(), renewed: now }
    }

    /// Takes limits from live's past: the first ones as soon as there are enough answers, others when they are old.
    /// Whether one has changed.
    fn renew(&mut self, now: Instant) -> bool {
        let old = now.saturating_duration_since(self.renewed) >= RENEW;
        let (before, total) = (self.limits, self.times.live.total());
        for (limit, quantile) in self.limits.iter_mut().zip(&self.check.quantiles) {
            let enough = total >= FEWEST.max(BEYOND / (1.0 - quantile));
            if enough && (old || limit.is_none()) {
                *limit = self.times.live.quantile(*quantile);
            }
        }
        if old {
            self.renewed = now;
        }
        self.limits != before
    }

    /// The limits as workers go by them. What takes longer than the lag is not told apart, so a limit above it is none.
    fn limits(&self) -> Quantiles<Option<Limit>> {
        self.limits.map(|limit| {
            let live = limit?;
            let candidate = Duration::try_from_secs_f64(live.as_secs_f64() * (1.0 + self.check.tolerate)).ok()?;
            (candidate <= lag(self.check.until)).then_some(Limit { candidate, live })
        })
    }

    fn shown(&self) -> Quantiles<QuantileTimes> {
        let mut shown = Quantiles::<QuantileTimes>::default();
        for ((shown, quantile), limit) in shown.iter_mut().zip(&self.check.quantiles).zip(self.limits()) {
            *shown = QuantileTimes {
                limit: limit.map(|limit| limit.live),
                candidate: self.times.candidate.quantile(*quantile),
                live: self.times.live.quantile(*quantile),
            };
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Measures, SeenVisitors, Side, VisitorKey, WorkerId};

    /// A rollout whose answers are timed until their heads.
    struct World {
        draws: Draws,
        timing: Timing,
        epoch: Instant,
        seen: SeenVisitors,
    }

    impl World {
        fn new(tolerate: f64) -> Self {
            let check = LatencyCheck { quantiles: vec![0.5, 0.99], tolerate, ..LatencyCheck::default() };
            let plan = Plan { checks: vec![Check::Latency(check)], ..Plan::default() };
            let epoch = Instant::now();
            let draws = Draws::new(1, epoch, Measures::of(&plan));
            Self { timing: Timing::new(&plan, epoch), draws, epoch, seen: SeenVisitors::default() }
        }

        fn answer(&self, at: Duration, side: Side, millis: u64, times: u32) {
            for _ in 0..times {
                let at = self.epoch + at;
                let dispatch = self.draws.dispatched(WorkerId(0), at, side, VisitorKey::Alone, &self.seen);
                let then = at + Duration::from_millis(millis);
                self.draws.decided(WorkerId(0), then, &dispatch, Until::Head, None, &self.seen);
            }
        }

        fn pass(&mut self, at: Duration) -> Quantiles<Option<Duration>> {
            assert!(self.timing.pass(&self.draws, self.epoch + at));
            self.timing.checks.head.as_ref().unwrap().shown().map(|shown| shown.limit)
        }

        /// Which quantiles have a limit in the tick of a moment.
        fn limited(&self, at: Duration) -> Quantiles<bool> {
            self.answer(at, Side::Live, 1, 1);
            self.draws.read(self.draws.tick_at(self.epoch + at), Until::Head).limited
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn is_about(limit: Option<Duration>, millis: f64) -> bool {
        limit.is_some_and(|limit| (limit.as_secs_f64() * 1000.0 / millis - 1.0).abs() < 0.07)
    }

    #[test]
    fn a_quantile_has_a_limit_once_enough_answers_of_live_were_seen() {
        let mut world = World::new(0.1);
        world.answer(Duration::ZERO, Side::Live, 20, 49);
        world.answer(Duration::ZERO, Side::Candidate, 20, 5000);
        assert_eq!(world.pass(seconds(1)), [None; 3]);
        world.answer(seconds(1), Side::Live, 20, 2);
        let limits = world.pass(seconds(2));
        assert!(is_about(limits[0], 20.0) && limits[1].is_none(), "{limits:?}");
        world.answer(seconds(2), Side::Live, 20, 960);
        let limits = world.pass(seconds(3));
        assert!(is_about(limits[1], 20.0) && limits[2].is_none(), "{limits:?}");
        assert!(!world.timing.pass(&world.draws, world.epoch + seconds(3)), "it was looked at just now");
    }

    #[test]
    fn a_limit_is_in_force_only_after_it_was_told_and_is_renewed_now_and_then() {
        let mut world = World::new(0.1);
        world.answer(Duration::ZERO, Side::Live, 20, 100);
        let first = world.pass(seconds(1));
        assert_eq!(world.limited(seconds(1)), [false; 3]);
        assert_eq!(world.limited(Duration::from_millis(1_500)), [true, false, false]);
        world.answer(seconds(2), Side::Live, 80, 900);
        assert_eq!(world.pass(seconds(9))[0], first[0]);
        assert!(is_about(world.pass(seconds(10))[0], 80.0));
    }

    #[test]
    fn a_limit_that_is_later_than_the_lag_is_none() {
        let mut world = World::new(0.5);
        world.answer(Duration::ZERO, Side::Live, 1_500, 100);
        assert_eq!(world.pass(seconds(1)), [None; 3]);
        let live = world.timing.checks.head.as_ref().unwrap().shown()[0].live;
        assert!(is_about(live, 1_500.0), "people see how long it takes: {live:?}");
    }
}
