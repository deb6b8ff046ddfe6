//! Plain lines: one for each event, and one every two seconds that says where things stand.

use super::scene::{News, Scene};
use std::io::Write;
use std::time::Duration;

/// Between two lines that say where things stand.
const EVERY: Duration = Duration::from_secs(2);

/// Writes a line to standard output. Where nobody reads it any more, the story goes on for its exit code.
pub(super) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// A moment of the story, as it stands before a line.
pub(super) fn moment(at: Duration) -> String {
    format!("{:6.1}s", at.as_secs_f64())
}

/// The lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    next_status: Duration,
}

impl Lines {
    #[allow(clippy::unused_self)] // a line needs nothing of the lines before it
    pub(super) fn tell(&self, news: &News) {
        say(&format!("{}  {}", moment(news.at), news.text));
    }

    pub(super) fn show(&mut self, scene: &Scene) {
        if scene.at < self.next_status {
            return;
        }
        self.next_status = scene.at + EVERY;
        say(&format!("{}    {}", moment(scene.at), status(scene)));
    }
}

fn status(scene: &Scene) -> String {
    let service = scene.service;
    let mut parts = vec![format!("live {}", scene.release(&service.live))];
    if let Some(candidate) = &service.candidate {
        parts.push(format!("{} gets {}%", scene.release(candidate), service.weight));
    }
    parts.push(scene.standing());
    parts.push(format!("{:.0} requests/s", scene.rate));
    if let Some(sample) = scene.ratios.last() {
        let candidate = sample.candidate.map(|ratio| format!(", candidate {ratio:.1}%"));
        parts.push(format!("errors live {:.1}%{}", sample.live, candidate.unwrap_or_default()));
    }
    if let (Some(_), Some((ln, threshold))) = (&service.candidate, scene.evidence()) {
        parts.push(format!("ln E {ln:.1} of {threshold:.1}"));
    }
    parts.join(" | ")
}
