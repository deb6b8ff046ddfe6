//! How many frames that bring no request further a visitor may send.
//!
//! What such a frame costs the router is little, but a connection can bring a million of them per second. Each is paid
//! for out of a budget that time and answers refill: who is being served may well send many of them.

use super::frames::{Frame, Kind};
use std::time::Instant;

/// What may be spent at once.
const MOST: u64 = 10_000;

/// What is added per second.
const PER_SECOND: u64 = 1000;

/// One is added per so many bytes that the visitor takes. The answer to a PING or SETTINGS is less than they cost.
const BYTES: u64 = 16;

/// What is left of the budget.
#[derive(Debug)]
pub(super) struct Patience {
    left: u64,
    /// Bytes that make no whole unit yet.
    bytes: u64,
    /// Whether the last frame of a body brought some of it.
    brought: bool,
    since: Instant,
}

impl Patience {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: MOST, bytes: 0, brought: false, since: now }
    }

    /// Time has passed.
    pub(super) fn wait(&mut self, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.since).as_millis()).unwrap_or(u64::MAX);
        let added = millis.saturating_mul(PER_SECOND) / 1000;
        if added > 0 {
            self.since = now;
            self.add(added);
        }
    }

    /// The visitor has taken so many bytes.
    pub(super) fn served(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.add(self.bytes / BYTES);
        self.bytes %= BYTES;
    }

    /// A frame comes; whether it is still put up with.
    pub(super) fn bears(&mut self, frame: Frame) -> bool {
        let left = self.left.checked_sub(self.cost(frame));
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    fn add(&mut self, units: u64) {
        self.left = self.left.saturating_add(units).min(MOST);
    }

    fn cost(&mut self, frame: Frame) -> u64 {
        match frame.kind {
            // The request that it ends was perhaps sent to a target in vain (CVE-2023-44487).
            Kind::Reset => 20,
            // The window's own reader sends one for each part that it has read.
            Kind::WindowUpdate => 1,
            // The router asks for very few.
            Kind::Settings | Kind::Ping if frame.first_flag => 100,
            Kind::Settings | Kind::Ping | Kind::GoAway | Kind::Continuation | Kind::Other => 4,
            Kind::Data if frame.length == 0 && !frame.first_flag => {
                // Some clients flush each part of a body with an empty one: the part has paid for it.
                if std::mem::take(&mut self.brought) { 0 } else { 4 }
            }
            // They bring a request further; their number at once is bounded otherwise.
            Kind::Data => {
                self.brought = true;
                0
            }
            Kind::Headers => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frames::{Frames, tests};
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8) -> Frame {
        with(kind, flags, &[])
    }

    fn with(kind: u8, flags: u8, content: &[u8]) -> Frame {
        let mut seen = None;
        Frames::of_server().pass(&tests::frame(kind, flags, 1, content), |frame| seen = Some(frame));
        seen.unwrap()
    }

    fn borne(patience: &mut Patience, frame: Frame) -> usize {
        (0..100_000).take_while(|_| patience.bears(frame)).count()
    }

    #[test]
    fn a_flood_is_borne_for_a_while_only_and_a_body_for_ever() {
        let now = Instant::now();
        for (kind, flags, expected) in [
            (3, 0, 500),
            (6, 0, 2500),
            (4, 0, 2500),
            (6, 1, 100),
            (8, 0, 10_000),
            (2, 0, 2500),
            (0, 0, 2500),
            (0, 1, 100_000),
            (1, 4, 100_000),
        ] {
            assert_eq!(borne(&mut Patience::new(now), frame(kind, flags)), expected, "{kind} {flags}");
        }
    }

    #[test]
    fn time_and_answers_restore_it() {
        let now = Instant::now();
        let mut patience = Patience::new(now);
        borne(&mut patience, frame(3, 0));
        patience.wait(now + Duration::from_secs(2));
        assert_eq!(borne(&mut patience, frame(3, 0)), 100);
        patience.served(100 * 20 * 16);
        assert_eq!(borne(&mut patience, frame(3, 0)), 100);
        patience.wait(now + Duration::from_secs(1000));
        assert_eq!(borne(&mut patience, frame(3, 0)), 500);
    }

    #[test]
    fn an_empty_frame_behind_each_part_of_a_body_costs_nothing() {
        let mut patience = Patience::new(Instant::now());
        for _ in 0..100_000 {
            assert!(patience.bears(with(0, 0, b"x")) && patience.bears(frame(0, 0)));
        }
        patience.bears(frame(0, 0));
        assert!(borne(&mut patience, frame(0, 0)) < 2500, "one more does");
    }

    #[test]
    fn the_answers_to_pings_do_not_pay_for_them() {
        let mut patience = Patience::new(Instant::now());
        let borne = (0..100_000).take_while(|_| {
            patience.served(17);
            patience.bears(frame(6, 0))
        });
        assert!(borne.count() < 5000);
    }
}
