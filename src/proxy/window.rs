//! How many requests that have waited may be under way at once: the slow start of TCP (RFC 5681 §3.1), so that a target
//! that has just come up isn't flooded.

use std::cell::Cell;

/// Requests that are let go at once when waiting is over.
const FIRST: u64 = 4;

/// The window grows no further: what is left is few against it.
const MOST: u64 = 4096;

/// The window, and what is in it.
pub(super) struct Window {
    size: Cell<u64>,
    /// Let go, and not yet answered.
    out: Cell<u64>,
}

impl Window {
    /// A small one with nothing in it.
    pub(super) fn new() -> Self {
        Self { size: Cell::new(FIRST), out: Cell::new(0) }
    }

    /// Whether one more may go.
    pub(super) fn is_open(&self) -> bool {
        self.out.get() < self.size.get()
    }

    /// One goes.
    pub(super) fn enter(&self) {
        self.out.set(self.out.get() + 1);
    }

    /// One that went has been answered, or has come back.
    pub(super) fn leave(&self) {
        self.out.set(self.out.get().saturating_sub(1));
    }

    /// One that went was answered. Each good answer opens it by one, so that it doubles while all are good.
    pub(super) fn answered(&self, well: bool) {
        let size = self.size.get();
        self.size.set(if well { (size + 1).min(MOST) } else { (size / 2).max(FIRST) });
    }

    /// Opens it a little whatever the answers: those that take long must not keep the others waiting.
    pub(super) fn widen(&self) {
        self.size.set((self.size.get() + FIRST).min(MOST));
    }

    /// Those that went and are not answered yet count no more: others wait by now, for something else.
    pub(super) fn forget(&self) {
        self.out.set(0);
    }

    /// Makes it small again.
    pub(super) fn narrow(&self) {
        self.size.set(FIRST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets go whatever may; how many.
    fn burst(window: &Window) -> u64 {
        let mut count = 0;
        while window.is_open() {
            window.enter();
            count += 1;
        }
        count
    }

    fn answers(window: &Window, count: u64, well: bool) {
        for _ in 0..count {
            window.answered(well);
            window.leave();
        }
    }

    #[test]
    fn each_round_of_good_answers_lets_twice_as_many_go() {
        let window = Window::new();
        for expected in [4, 8, 16, 32] {
            let count = burst(&window);
            assert_eq!(count, expected);
            answers(&window, count, true);
        }
    }

    #[test]
    fn failures_make_it_small_and_it_never_closes() {
        let window = Window::new();
        answers(&window, burst(&window), true);
        answers(&window, burst(&window), false);
        assert_eq!(burst(&window), 4);
    }

    #[test]
    fn what_went_before_keeps_nobody_waiting_once_it_is_forgotten() {
        let window = Window::new();
        burst(&window);
        window.narrow();
        assert_eq!(burst(&window), 0);
        window.forget();
        assert_eq!(burst(&window), 4);
        answers(&window, 8, true);
        assert!(burst(&window) >= 4, "answers to what is forgotten do no harm");
    }

    #[test]
    fn it_opens_while_nothing_is_answered() {
        let window = Window::new();
        assert_eq!(burst(&window), 4);
        window.widen();
        assert_eq!(burst(&window), 4);
        for _ in 0..2000 {
            window.widen();
        }
        assert_eq!(burst(&window), MOST - 8);
    }
}
