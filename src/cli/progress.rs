//! How a rollout that is waited for comes along: a bar on a terminal, lines elsewhere.

use super::output::{complain, plain, say};
use super::overview::between;
use crate::model::Timestamp;
use crate::model::view::{RolloutView, ServiceView};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Where there is no terminal: a line at each change, and one as a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(30);

/// A bar on a terminal, lines elsewhere.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { to_stderr: bool, last: String, at: Instant },
}

impl Progress {
    /// With `json`, standard output is for the answer alone.
    pub(super) fn new(json: bool) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines { to_stderr: json, last: String::new(), at: Instant::now() };
        }
        let bar = ProgressBar::new(1000);
        if let Ok(style) = ProgressStyle::with_template("[{bar:24}] {wide_msg}") {
            bar.set_style(style.progress_chars("#>-"));
        }
        Self::Bar(bar)
    }

    /// Lines on standard error, also on a terminal: for what is followed in a log.
    pub(super) fn lines() -> Self {
        Self::Lines { to_stderr: true, last: String::new(), at: Instant::now() }
    }

    pub(super) fn tell(&mut self, text: &str) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines { to_stderr: true, .. } => complain(text),
            // Whoever stops reading the lines still wants the exit code.
            Self::Lines { to_stderr: false, .. } => drop(say(text)),
        }
    }

    pub(super) fn show(&mut self, view: &ServiceView, now: Timestamp) {
        let standing = standing(view);
        let waiting = view.rollout.as_ref().map(|rollout| plain(&rollout.waiting_for)).unwrap_or_default();
        let text = if waiting.is_empty() { standing.clone() } else { format!("{standing}; {waiting}") };
        match self {
            Self::Bar(bar) => {
                bar.set_position(view.rollout.as_ref().map_or(0, |rollout| permille(rollout, now)));
                bar.set_message(text);
            }
            Self::Lines { last, at, .. } => {
                if *last != standing || at.elapsed() >= SIGN_OF_LIFE {
                    *last = standing;
                    *at = Instant::now();
                    self.tell(&text);
                }
            }
        }
    }

    pub(super) fn interrupted(&mut self) {
        const TEXT: &str = "the router does not answer; trying again";
        match self {
            Self::Bar(bar) => bar.set_message(TEXT),
            Self::Lines { last, .. } if last == TEXT => {}
            Self::Lines { last, .. } => {
                TEXT.clone_into(last);
                self.tell(TEXT);
            }
        }
    }

    pub(super) fn close(&mut self) {
        match self {
            Self::Bar(bar) => bar.finish_and_clear(),
            Self::Lines { .. } => {}
        }
    }
}

/// What is worth a new line when it changes.
fn standing(view: &ServiceView) -> String {
    let mut text = format!("{} at {}%", view.phase, view.weight);
    if let Some(rollout) = &view.rollout {
        let _ = write!(text, ", step {} of {}", rollout.step + 1, rollout.steps.len());
    }
    if let Some(verdict) = view.verdict {
        let _ = write!(text, ", {verdict}");
    }
    if let Some(held) = &view.held {
        let _ = write!(text, ", held by {}", held.by);
    }
    text
}

/// How far a rollout is, in thousandths: each step is one part, filled as its expected time goes by.
fn permille(rollout: &RolloutView, now: Timestamp) -> u64 {
    let steps = u64::try_from(rollout.steps.len()).unwrap_or(1).max(1);
    let passed = u64::try_from(rollout.step).unwrap_or(0).min(steps);
    let part = rollout.steps.get(rollout.step).map_or(0, |step| {
        let needed = step.expected.unwrap_or(step.hold).max(step.hold).get().as_millis().max(1);
        let gone = between(rollout.step_since, now).get().as_millis();
        // A step is not passed before it is, however long it takes.
        u64::try_from(1000 * gone / needed).unwrap_or(u64::MAX).min(950)
    });
    (1000 * passed + part) / steps
}

#[cfg(test)]
mod tests {
    use super::super::samples::{canary, time};
    use super::*;

    #[test]
    fn a_line_says_where_the_rollout_stands() {
        assert_eq!(standing(&canary()), "canary at 12.5%, step 2 of 3, insufficient");
    }

    #[test]
    fn the_bar_fills_with_time_but_not_beyond_the_step() {
        let rollout = canary().rollout.unwrap();
        // One step of three is passed; the second was expected to take 377 s.
        for (now, expected) in [("04:02:00", 333), ("04:05:08", 499), ("09:00:00", 650)] {
            assert_eq!(permille(&rollout, time(&format!("2026-11-22T{now}Z"))), expected, "{now}");
        }
    }
}
