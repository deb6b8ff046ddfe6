//! The error ratios of both applications over time, as the applications themselves count.

use super::applications::{Answers, Application};
use super::stage::Stage;
use crate::model::view::ServiceView;
use std::collections::VecDeque;
use std::time::Duration;

/// Between two samples.
pub(super) const EVERY: Duration = Duration::from_millis(200);
/// Samples that a ratio is taken over: more than a second, since errors come one by one.
const WINDOW: usize = 6;

/// Both ratios at one moment, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Seconds since the start.
    pub(super) at: f64,
    /// Of the live release.
    pub(super) live: f64,
    /// Of the candidate, while there is one.
    pub(super) candidate: Option<f64>,
}

/// The ratios from the start on.
#[derive(Debug, Default)]
pub(super) struct Ratios {
    server0: Window,
    server1: Window,
    samples: Vec<Sample>,
    had_candidate: bool,
    next: Duration,
}

impl Ratios {
    /// Takes a sample if it is time for one; answers whether it was.
    pub(super) fn observe(&mut self, at: Duration, service: &ServiceView, stage: &Stage) -> bool {
        if at < self.next {
            return false;
        }
        self.next = at + EVERY;
        let server0 = self.server0.observe(&stage.applications.server0);
        let server1 = self.server1.observe(&stage.applications.server1);
        let (live, other) = if service.live.as_str() == "server0" { (server0, server1) } else { (server1, server0) };
        // The last sample of a candidate shows what it was taken back for.
        let has_candidate = service.candidate.is_some() || std::mem::take(&mut self.had_candidate);
        self.had_candidate = service.candidate.is_some();
        let candidate = has_candidate.then_some(other);
        self.samples.push(Sample { at: at.as_secs_f64(), live, candidate });
        true
    }

    /// All samples, the oldest first.
    pub(super) fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

/// The last counts of an application.
#[derive(Debug, Default)]
struct Window(VecDeque<Answers>);

impl Window {
    /// The ratio after what it has answered by now. One that has crashed fails whatever it is asked.
    fn observe(&mut self, application: &Application) -> f64 {
        if application.is_up() { self.push(application.answers()) } else { 100.0 }
    }

    /// The ratio of the window, in percent.
    #[allow(clippy::cast_precision_loss)] // counts of a minute
    fn push(&mut self, answers: Answers) -> f64 {
        if self.0.back().is_some_and(|last| last.requests > answers.requests) {
            // Another release counts from zero.
            self.0.clear();
        }
        if self.0.len() > WINDOW {
            self.0.pop_front();
        }
        let first = *self.0.front().unwrap_or(&Answers::default());
        self.0.push_back(answers);
        let requests = answers.requests - first.requests;
        if requests == 0 { 0.0 } else { 100.0 * (answers.failures - first.failures) as f64 / requests as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_forgets_what_is_older_than_its_window_and_what_another_release_did() {
        let mut window = Window::default();
        let answers = |requests, failures| Answers { requests, failures };
        assert!(window.push(answers(0, 0)).abs() < 1e-9);
        assert!((window.push(answers(10, 1)) - 10.0).abs() < 1e-9);
        for more in 1..=10 {
            window.push(answers(10 + more, 1));
        }
        assert!(window.push(answers(30, 1)).abs() < 1e-9, "the failure is long ago");
        assert!((window.push(answers(4, 2)) - 50.0).abs() < 1e-9, "another release");
    }
}
