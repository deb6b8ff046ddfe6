use super::*;
use crate::model::{LatencyCheck, StatusRatioCheck};
use crate::routing::{BadCounts, Limit};

const W: WorkerId = WorkerId(0);
const ALONE: VisitorKey = VisitorKey::Alone;

/// The draws of a rollout with two workers.
struct World {
    draws: Draws,
    epoch: Instant,
    seen: SeenVisitors,
}

impl World {
    fn new() -> Self {
        let mut checks: Vec<Check> =
            Until::ALL.map(|until| Check::Latency(LatencyCheck { until, ..LatencyCheck::default() })).into();
        checks.push(Check::StatusRatio(StatusRatioCheck::default()));
        let measures = Measures::of(&Plan { checks, ..Plan::default() });
        let epoch = Instant::now();
        Self { draws: Draws::new(2, epoch, measures), epoch, seen: SeenVisitors::default() }
    }

    fn at(&self, millis: u64) -> Instant {
        self.epoch + Duration::from_millis(millis)
    }

    fn dispatch(&self, millis: u64, side: Side, key: VisitorKey) -> Dispatch {
        self.draws.dispatched(W, self.at(millis), side, key, &self.seen)
    }

    fn head(&self, millis: u64, dispatch: &Dispatch, bad: Option<Indicator>) {
        self.draws.begins_answer(W, self.at(millis), dispatch);
        self.draws.decided(W, self.at(millis), dispatch, Until::Head, bad, &self.seen);
    }

    fn end(&self, millis: u64, dispatch: &Dispatch, bad: Option<Indicator>) {
        self.draws.decided(W, self.at(millis), dispatch, Until::End, bad, &self.seen);
    }

    fn heads(&self, tick: u64) -> TickCounts {
        self.draws.read(tick, Until::Head)
    }

    fn ends(&self, tick: u64) -> TickCounts {
        self.draws.read(tick, Until::End)
    }

    /// Limits of one millisecond on live and two on the candidate at the median, in force from the sixth tick on.
    fn set_limits(&self) {
        let limit = Limit { candidate: Duration::from_millis(2), live: Duration::from_millis(1) };
        let limits = [Some(limit), None, None];
        self.draws.set_limits(Limits { head: limits, end: limits }, self.epoch);
    }
}

fn asked(counts: &SideCounts) -> (u64, u64) {
    (counts.requests, counts.decided)
}

fn bad(counted: u64, all: u64, new: u64) -> BadCounts {
    BadCounts { counted, all, new }
}

#[test]
fn what_becomes_of_a_request_counts_in_the_tick_of_its_dispatch() {
    let world = World::new();
    let first = world.dispatch(0, Side::Candidate, ALONE);
    let second = world.draws.dispatched(WorkerId(1), world.at(100), Side::Live, ALONE, &world.seen);
    assert!(!world.heads(0).complete);
    world.head(500, &first, Some(Indicator::Failed));
    world.draws.decided(WorkerId(1), world.at(500), &second, Until::Head, None, &world.seen);
    assert!(world.heads(0).complete);
    let candidate = world.heads(0).sides.candidate;
    assert_eq!((asked(&candidate), candidate.of(Indicator::Failed)), ((1, 1), bad(1, 1, 1)));
    assert_eq!(asked(&world.heads(1).sides.live), (1, 1));
    assert_eq!(world.heads(2).sides, BySide::default());
}

#[test]
fn the_end_is_known_later_than_the_head_and_only_of_answers_that_began() {
    let world = World::new();
    let answered = world.dispatch(0, Side::Candidate, ALONE);
    let refused = world.dispatch(0, Side::Candidate, ALONE);
    world.head(100, &answered, None);
    assert!(!world.ends(0).complete, "another answer may begin");
    world.draws.decided(W, world.at(200), &refused, Until::Head, Some(Indicator::Failed), &world.seen);
    assert!(world.heads(0).complete && !world.ends(0).complete);
    world.end(9_900, &answered, Some(Indicator::CutOff));
    let ends = world.ends(0);
    assert!(ends.complete);
    assert_eq!(asked(&ends.sides.candidate), (1, 1));
    assert_eq!(ends.sides.candidate.of(Indicator::CutOff), bad(1, 1, 1));
    assert_eq!(ends.sides.candidate.of(Indicator::GrpcTrailers), bad(0, 0, 0));
}

#[test]
fn what_comes_after_the_lag_stays_undecided() {
    let world = World::new();
    let late = world.dispatch(0, Side::Candidate, ALONE);
    world.head(2_100, &late, Some(Indicator::Failed));
    let heads = world.heads(0).sides.candidate;
    assert_eq!((asked(&heads), heads.of(Indicator::Failed)), ((1, 0), bad(0, 0, 0)));
    assert_eq!(heads.of(Indicator::NoHead), bad(1, 1, 1));
    assert_eq!(asked(&world.ends(0).sides.candidate), (1, 0), "it has begun all the same");
    world.end(10_100, &late, Some(Indicator::CutOff));
    assert_eq!(world.ends(0).sides.candidate.of(Indicator::CutOff), bad(0, 0, 0));
}

#[test]
fn a_sticky_visitor_is_bad_once_per_step_in_each_way_and_is_one_draw_of_the_rollout() {
    let mut world = World::new();
    let answer = |world: &World, at, key, indicator| {
        let dispatch = world.dispatch(at, Side::Candidate, key);
        world.head(at, &dispatch, Some(indicator));
    };
    for key in [7, 7, 8] {
        answer(&world, 0, VisitorKey::Sticky(key), Indicator::Failed);
    }
    answer(&world, 0, VisitorKey::Sticky(7), Indicator::Status);
    assert_eq!(world.heads(0).sides.candidate.of(Indicator::Failed), bad(2, 3, 2));
    assert_eq!(world.heads(0).sides.candidate.of(Indicator::Status), bad(1, 1, 1));
    world.seen = SeenVisitors::default();
    answer(&world, 100, VisitorKey::Sticky(7), Indicator::Failed);
    assert_eq!(world.heads(1).sides.candidate.of(Indicator::Failed), bad(1, 1, 0));
}

/// The hashes of that many visitors.
fn visitors(count: u64) -> impl Iterator<Item = VisitorKey> {
    (0..count).map(|number| {
        use std::hash::Hasher;
        let mut hasher = siphasher::sip::SipHasher24::new_with_keys(1, 2);
        hasher.write_u64(number);
        VisitorKey::Sticky(hasher.finish())
    })
}

#[test]
fn where_more_visitors_fail_than_can_be_told_apart_both_sides_lose_the_same_part() {
    let world = World::new();
    for (number, key) in visitors(600_000).enumerate() {
        let side = if number % 100 == 0 { Side::Candidate } else { Side::Live };
        let dispatch = world.dispatch(0, side, key);
        world.head(0, &dispatch, Some(Indicator::Failed));
    }
    let counted = [world.heads(0).sides.candidate, world.heads(0).sides.live].map(|side| {
        let failed = side.of(Indicator::Failed);
        failed.counted * 1000 / failed.all
    });
    assert!(counted[0].abs_diff(counted[1]) < 30, "of a thousand failures of each side count {counted:?}");
}

#[test]
fn visitors_who_ask_for_what_is_not_there_hide_no_failure() {
    let world = World::new();
    let answer = |key, indicator| {
        let dispatch = world.dispatch(0, Side::Candidate, key);
        world.head(0, &dispatch, Some(indicator));
    };
    visitors(600_000).for_each(|key| answer(key, Indicator::Status));
    visitors(1000).for_each(|key| answer(key, Indicator::Failed));
    let failed = world.heads(0).sides.candidate.of(Indicator::Failed);
    assert!(failed.counted > 990 && failed.new > 990, "{failed:?}");
}

#[test]
fn distinct_draws_of_the_candidate_are_counted() {
    let world = World::new();
    for key in [VisitorKey::Sticky(10), VisitorKey::Sticky(10), VisitorKey::Sticky(20), ALONE, ALONE] {
        let _ = world.dispatch(0, Side::Candidate, key);
    }
    let _ = world.dispatch(0, Side::Live, VisitorKey::Sticky(30));
    assert_eq!(world.heads(0).new_draws, 4);
}

#[test]
fn of_a_sticky_visitor_one_request_is_timed_and_the_others_count_all_the_same() {
    let world = World::new();
    for key in [VisitorKey::Sticky(10), VisitorKey::Sticky(10), ALONE, ALONE] {
        let _ = world.dispatch(0, Side::Live, key);
    }
    let live = world.heads(0).sides.live;
    assert_eq!((live.requests, live.timed), (4, 3));
    assert_eq!(live.of(Indicator::NoHead), bad(3, 4, 3));
}

#[test]
fn a_request_that_its_visitor_gave_up_is_taken_out_again() {
    let world = World::new();
    let given_up = world.dispatch(0, Side::Candidate, ALONE);
    let answered = world.dispatch(0, Side::Candidate, ALONE);
    world.draws.withdrawn(W, world.at(500), &given_up, Until::Head);
    let heads = world.heads(0).sides.candidate;
    assert_eq!((heads.requests, heads.timed), (1, 1));
    world.draws.withdrawn(W, world.at(2_100), &given_up, Until::Head);
    assert_eq!(world.heads(0).sides.candidate.requests, 1, "after the lag the tick may have been judged");
    world.head(600, &answered, None);
    world.draws.withdrawn(W, world.at(700), &answered, Until::End);
    let ends = world.ends(0);
    assert_eq!((ends.sides.candidate.requests, ends.sides.candidate.timed, ends.complete), (0, 0, true));
    assert_eq!(asked(&world.heads(0).sides.candidate), (1, 1), "its head has come");
}

#[test]
fn answers_are_slow_by_the_limits_of_their_tick() {
    let world = World::new();
    world.set_limits();
    let answer = |at, side, took, key| {
        let dispatch = world.dispatch(at, side, key);
        world.head(at + took, &dispatch, None);
        world.end(at + took, &dispatch, None);
    };
    answer(0, Side::Live, 50, ALONE);
    assert_eq!(world.heads(0).limited, [false; 3]);
    for took in [1, 2, 3] {
        answer(500, Side::Live, took, ALONE);
        answer(500, Side::Candidate, took, ALONE);
    }
    // The second request of a sticky visitor is not timed.
    answer(500, Side::Live, 1, VisitorKey::Sticky(1));
    answer(500, Side::Live, 50, VisitorKey::Sticky(1));
    for (counts, slow) in [(world.heads(5), Indicator::SlowHead(0)), (world.ends(5), Indicator::SlowEnd(0))] {
        assert_eq!((counts.limited, counts.complete), ([true, false, false], true));
        assert_eq!((counts.sides.live.timed, counts.sides.live.of(slow)), (4, bad(2, 2, 2)));
        assert_eq!((counts.sides.candidate.timed, counts.sides.candidate.of(slow)), (3, bad(1, 1, 1)));
    }
}

#[test]
fn an_answer_that_does_not_come_is_slow() {
    let world = World::new();
    world.set_limits();
    let _ = world.dispatch(500, Side::Candidate, ALONE);
    let candidate = world.heads(5).sides.candidate;
    assert_eq!(candidate.of(Indicator::SlowHead(0)), bad(1, 1, 1));
    assert_eq!(candidate.of(Indicator::SlowHead(1)), bad(0, 0, 0), "there is no limit");
}

#[test]
fn workers_that_go_by_different_limits_make_no_tick_of_slow_answers() {
    let world = World::new();
    let _ = world.dispatch(500, Side::Live, ALONE);
    // As when the worker was told too late.
    world.set_limits();
    let _ = world.draws.dispatched(WorkerId(1), world.at(500), Side::Live, ALONE, &world.seen);
    assert_eq!(world.heads(5).limited, [false; 3]);
    let _ = world.draws.dispatched(WorkerId(1), world.at(600), Side::Live, ALONE, &world.seen);
    assert_eq!(world.heads(6).limited, [true, false, false]);
}

#[test]
fn every_answer_is_in_the_histogram_however_late() {
    let world = World::new();
    let dispatch = world.dispatch(0, Side::Live, VisitorKey::Sticky(1));
    world.head(5_000, &dispatch, None);
    let mut aged = crate::routing::AgedTimes::default();
    aged.take(world.draws.times(Until::Head).live, 1.0);
    assert!(aged.quantile(0.5).is_some_and(|median| median > Duration::from_millis(4_500)));
    assert_eq!(world.draws.times(Until::End), BySide::default());
}

#[test]
fn only_the_statuses_of_the_check_are_compared() {
    let world = World::new();
    let compared: Vec<u16> = (0..=999).filter(|status| world.draws.compares(*status)).collect();
    assert_eq!(compared, [401, 403, 404]);
    let none = Draws::new(1, world.epoch, Measures::of(&Plan::default()));
    assert!(!none.compares(404));
}

#[test]
fn a_slot_is_cleared_before_it_is_used_again() {
    let world = World::new();
    let first = world.dispatch(0, Side::Live, ALONE);
    world.head(0, &first, Some(Indicator::Failed));
    let again = 16_000;
    let _ = world.dispatch(again, Side::Live, ALONE);
    assert_eq!(world.heads(0).sides, BySide::default());
    assert_eq!((world.heads(160).sides.live.requests, world.ends(160).sides.live.requests), (1, 0));
    assert_eq!(world.heads(160).sides.live.of(Indicator::Failed), bad(0, 0, 0));
}
