//! How long a kept connection may have been idle to carry a request that can't be sent again.
//!
//! A target closes its kept connections when it wants to, and most don't say when. What is sent just while it does is
//! lost, and nobody can tell whether it was read. So each connection that turns out to be closed is a lesson: what can't
//! be sent again uses only connections that were idle for well below that time. The limit rises again by itself; where a
//! rise teaches the same lesson once more, the next one comes later.

use std::time::{Duration, Instant};

/// The limit before any lesson. gunicorn closes after 2 s, others later.
const HIGHEST: Duration = Duration::from_secs(1);

/// A limit below this is none at all: nothing tells such a connection from one that is closed with every answer.
const LOWEST: Duration = Duration::from_millis(1);

/// The limit after the hardest lesson: it rises for four times before a kept connection is used again.
const FLOOR: Duration = Duration::from_micros(63);

/// After this time the limit is doubled. A lesson that was none, as when a target has restarted, is forgotten in
/// minutes.
const RISES: Duration = Duration::from_secs(30);

/// The same for a target that has confirmed its lesson several times: its kept connections are tried again every some
/// minutes, up to a quarter of an hour, and each try may cost a request.
const RISES_LATE: Duration = Duration::from_secs(240);

/// What is known of how long a target's connections live while they are idle.
#[derive(Debug, Default)]
pub(super) struct IdleLimit(Option<Lesson>);

#[derive(Debug, Clone, Copy)]
struct Lesson {
    limit: Duration,
    since: Instant,
    rises: Duration,
}

impl IdleLimit {
    /// The longest that a connection may have been idle.
    pub(super) fn at(&self, now: Instant) -> Duration {
        match self.risen(now) {
            None => HIGHEST,
            Some(limit) if limit < LOWEST => Duration::ZERO,
            Some(limit) => limit,
        }
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        self.risen(now).is_none()
    }

    /// A connection was closed by the target after it was idle for this long, or sooner.
    pub(super) fn learn(&mut self, idle: Duration, now: Instant) {
        let limit = (idle / 2).max(FLOOR);
        let (before, known) = (self.risen(now), self.0);
        if limit >= before.unwrap_or(HIGHEST) {
            return;
        }
        let rises = match known.filter(|_| before.is_some()) {
            None => RISES,
            Some(lesson) if lesson.rises_by(now) == 0 => lesson.rises,
            Some(lesson) => (lesson.rises * 2).min(RISES_LATE),
        };
        self.0 = Some(Lesson { limit, since: now, rises });
    }

    /// The learned limit as it is by now; `None` when it has risen to where it was before.
    fn risen(&self, now: Instant) -> Option<Duration> {
        let lesson = self.0?;
        let limit = 1_u32.checked_shl(lesson.rises_by(now)).and_then(|factor| lesson.limit.checked_mul(factor))?;
        (limit < HIGHEST).then_some(limit)
    }
}

impl Lesson {
    /// How often its limit was doubled.
    fn rises_by(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.since).as_secs() / self.rises.as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn learned(idle: Duration, now: Instant) -> IdleLimit {
        let mut limit = IdleLimit::default();
        limit.learn(idle, now);
        limit
    }

    #[test]
    fn without_a_lesson_the_limit_is_below_what_servers_have() {
        let (start, mut limit) = (Instant::now(), IdleLimit::default());
        assert_eq!(limit.at(start), HIGHEST);
        limit.learn(Duration::from_secs(2), start);
        assert!(limit.at(start) == HIGHEST && limit.is_forgotten(start), "that is why");
    }

    #[test]
    fn the_shortest_life_counts_and_half_of_it_is_used() {
        let start = Instant::now();
        let mut limit = learned(100 * MILLISECOND, start);
        assert_eq!(limit.at(start), 50 * MILLISECOND);
        limit.learn(400 * MILLISECOND, start);
        assert_eq!(limit.at(start), 50 * MILLISECOND);
        limit.learn(20 * MILLISECOND, start);
        assert_eq!(limit.at(start), 10 * MILLISECOND);
    }

    #[test]
    fn where_connections_are_closed_with_the_answer_none_is_used() {
        let start = Instant::now();
        let limit = learned(Duration::ZERO, start);
        assert_eq!(limit.at(start), Duration::ZERO);
        assert_eq!(limit.at(start + 3 * RISES), Duration::ZERO);
        assert!(limit.at(start + 4 * RISES) >= LOWEST, "until it is tried again");
    }

    #[test]
    fn a_lesson_is_forgotten_in_minutes() {
        let start = Instant::now();
        for idle in [Duration::ZERO, MILLISECOND, 100 * MILLISECOND] {
            let limit = learned(idle, start);
            assert!(!limit.is_forgotten(start + RISES));
            let mut last = limit.at(start);
            for rise in 1..100 {
                let now = start + RISES * rise;
                assert!(limit.at(now) >= last && limit.at(now) <= HIGHEST);
                last = limit.at(now);
            }
            assert!(limit.is_forgotten(start + Duration::from_secs(8 * 60)), "{idle:?}");
            assert!(limit.is_forgotten(start + Duration::from_secs(1_000_000_000)), "{idle:?}");
        }
    }

    #[test]
    fn a_lesson_that_is_confirmed_is_tried_less_often_and_within_bounds() {
        let (mut now, mut limit, mut tries) = (Instant::now(), IdleLimit::default(), Vec::new());
        for _ in 0..8 {
            limit.learn(MILLISECOND / 2, now);
            let before = now;
            while limit.at(now).is_zero() {
                now += Duration::from_secs(1);
            }
            tries.push((now - before).as_secs());
        }
        assert_eq!(tries, [60, 120, 240, 480, 480, 480, 480, 480]);
    }

    #[test]
    fn lessons_that_come_together_are_one() {
        let start = Instant::now();
        let mut limit = learned(4 * MILLISECOND, start);
        limit.learn(2 * MILLISECOND, start + MILLISECOND);
        assert_eq!(limit.at(start + RISES + MILLISECOND), 2 * MILLISECOND, "it rises as soon as after one");
    }
}
