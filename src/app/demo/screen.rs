//! What the story is shown on: a terminal that is drawn anew, or plain lines where there is none.

use super::display::Display;
use super::plain::Lines;
use super::scene::{News, Scene};
use std::io::IsTerminal;

/// One of the two.
pub(super) enum Screen {
    Terminal(Box<Display>),
    Lines(Lines),
}

impl Screen {
    /// The one that standard output can show.
    pub(super) fn open() -> Self {
        let is_capable = std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        match is_capable.then(Display::open) {
            Some(Ok(display)) => Self::Terminal(Box::new(display)),
            // A terminal that can't be drawn on still takes lines.
            Some(Err(_)) | None => Self::Lines(Lines::default()),
        }
    }

    /// Something happened.
    pub(super) fn tell(&self, news: &News) {
        match self {
            // It is part of every scene from now on.
            Self::Terminal(_) => {}
            Self::Lines(lines) => lines.tell(news),
        }
    }

    /// Shows a moment.
    pub(super) fn show(&mut self, scene: &Scene) {
        match self {
            Self::Terminal(display) => display.show(scene),
            Self::Lines(lines) => lines.show(scene),
        }
    }

    /// Whether someone at the keyboard wants it to end. A terminal that is drawn on sends no signal for Ctrl-C.
    pub(super) fn asked_to_end(&self) -> bool {
        match self {
            Self::Terminal(_) => Display::asked_to_end(),
            Self::Lines(_) => false,
        }
    }
}
