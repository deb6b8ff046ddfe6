//! The program's own log: text lines on standard error.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use tracing_subscriber::EnvFilter;

/// The environment variable that says what is logged: a level, or directives such as `info,cutover::control=debug`.
pub const LOG_VARIABLE: &str = "CUTOVER_LOG";

/// What is logged where the variable says nothing. h2 warns of what any visitor can send, as often as it is sent.
const DEFAULT_FILTER: &str = "info,h2=error";

/// The log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum InvalidFilter {
    /// The variable holds no filter.
    #[error(
        "{LOG_VARIABLE}: {0}; write a level such as \"debug\", or directives such as \"info,cutover::control=debug\""
    )]
    Directive(String),
    /// There is a log already.
    #[error("the log was set up before")]
    Twice,
}

/// Has everything that this program tells logged to standard error. To be called once, at the start.
///
/// # Errors
/// When the variable `CUTOVER_LOG` holds no filter, or the log was set up before.
pub fn set_up_log() -> Result<(), InvalidFilter> {
    let directives = std::env::var(LOG_VARIABLE).ok().filter(|directives| !directives.trim().is_empty());
    let filter = EnvFilter::builder()
        .parse(directives.as_deref().unwrap_or(DEFAULT_FILTER))
        .map_err(|error| InvalidFilter::Directive(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(|| Escaped(io::stderr()))
        .try_init()
        .map_err(|_| InvalidFilter::Twice)
}

/// Writes whole lines, with control characters made visible: what a visitor or another program put into a text
/// can neither begin a line of its own nor speak to a terminal.
struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // One write per line, so that lines of several threads stay whole. When it fails, nobody is left to tell.
        let _ = self.0.write_all(escape(&String::from_utf8_lossy(line)).as_bytes());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A line without control characters but the one that ends it.
fn escape(line: &str) -> Cow<'_, str> {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    if !text.contains(char::is_control) {
        return line.into();
    }
    let mut escaped = String::with_capacity(line.len() + 16);
    for c in text.chars() {
        if c.is_control() {
            // Writing to a string never fails.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    (escaped + end).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tracing_subscriber::fmt::MakeWriter;

    #[test]
    fn control_characters_are_made_visible() {
        assert_eq!(escape("plain äöü\n"), "plain äöü\n");
        assert_eq!(escape("a\nb\r\t\u{1b}[31m\u{9b}\u{7f}\n"), "a\\nb\\r\\t\\u{1b}[31m\\u{9b}\\u{7f}\n");
    }

    #[derive(Clone, Default)]
    struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Lines {
        type Writer = Escaped<Self>;
        fn make_writer(&'w self) -> Self::Writer {
            Escaped(self.clone())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(lines.clone()).finish();
        tracing::subscriber::with_default(log, || tracing::warn!(path = "/a\nb", "first\nforged \u{1b}[2J line"));
        let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(told.contains("first\\nforged") && !told.contains('\u{1b}'), "{told}");
    }

    odd_input! {
        fn a_line_stays_one_line(text in ".{0,20}|[\u{0}-\u{1f}\u{7f}-\u{9f}a]{0,9}", end in "\n?") {
            let line = format!("{text}{end}");
            let escaped = escape(&line);
            prop_assert_eq!(escaped.strip_suffix('\n').unwrap_or(&escaped).contains(char::is_control), false, "{}", escaped);
            prop_assert_eq!(escaped.ends_with('\n'), line.ends_with('\n'));
            prop_assert_eq!(line.contains(char::is_control) || *escaped == *line, true);
        }
    }
}
