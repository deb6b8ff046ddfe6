//! What reaches the terminal. Nothing of a visitor's, a target's or a server's may steer it.

use super::CliError;
use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write as _};

/// Writes lines to standard output. A reader that has gone, as in `cutover history | head`, is no error.
pub(super) fn say(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    let written =
        out.write_all(text.trim_end().as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(CliError::Output(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes a line to standard error; where that fails there is nobody left to tell.
pub(super) fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Whether a character could move the cursor, or make text look like another text.
pub(super) fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text on one line, with what could steer a terminal written as `\u{…}`.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if steers(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// JSON as it is, with the few characters escaped that JSON allows in a string and a terminal obeys.
pub(super) fn plain_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        // Line breaks and tabs can only be between values.
        if steers(character) && !matches!(character, '\n' | '\r' | '\t') {
            // All of them are in the plane that takes one escape; writing to a string does not fail.
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
    out
}

/// Rows with their columns set below each other; the last column is left as it is.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

/// Lines with so many spaces before each.
pub(super) fn indented(lines: &str, by: usize) -> String {
    lines.lines().fold(String::new(), |text, line| format!("{text}{:by$}{line}", "").trim_end().to_owned() + "\n")
}

/// A ratio in percent, with as many decimals as tell two small ones apart.
pub(super) fn percent(ratio: f64) -> String {
    let percent = 100.0 * ratio;
    let decimals = if percent.abs() >= 0.1 || percent == 0.0 { 2 } else { 3 };
    let text = format!("{percent:.decimals$}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

/// The widest line that people are shown on a terminal, and the narrowest that is worth folding for.
const WIDEST: u16 = 100;
const NARROWEST: u16 = 60;

/// Text as people read it on a terminal: no line is longer than it need be. Elsewhere it stays as it is, for `grep`.
pub(super) fn for_people(text: String) -> String {
    if !std::io::stdout().is_terminal() {
        return text;
    }
    let width = ratatui::crossterm::terminal::size().map_or(WIDEST, |(columns, _)| columns.clamp(NARROWEST, WIDEST));
    text.lines().fold(String::new(), |text, line| text + &folded(line, usize::from(width)) + "\n")
}

/// A line that goes on below its last column, as long as that leaves it room.
fn folded(line: &str, width: usize) -> String {
    let characters: Vec<char> = line.chars().collect();
    if characters.len() <= width {
        return line.to_owned();
    }
    let gap = characters.windows(2).rposition(|pair| pair == [' ', ' ']).map_or(0, |at| at + 2);
    let hanging = if gap > width * 2 / 3 { characters.iter().take_while(|c| **c == ' ').count() + 2 } else { gap };
    let mut lines: Vec<String> = Vec::new();
    let mut current = String::new();
    let mut length = 0;
    for (number, word) in line.split(' ').enumerate() {
        let word_length = word.chars().count();
        let has_text = current.chars().any(|c| c != ' ');
        if has_text && length + 1 + word_length > width {
            lines.push(std::mem::replace(&mut current, " ".repeat(hanging)));
            length = hanging;
        } else if number > 0 {
            current.push(' ');
            length += 1;
        }
        current.push_str(word);
        length += word_length;
    }
    lines.push(current);
    lines.join("\n")
}

/// A number with its thousands apart: `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_foreign_steers_the_terminal() {
        assert_eq!(plain("a\x1b[2J\r\nb\u{9b}c\u{202e}é"), r"a\u{1b}[2J\r\nb\u{9b}c\u{202e}é");
        let json = "{\"a\": \"\u{9b}\u{7f}\u{202e}é\"}\n";
        let shown = plain_json(json);
        assert_eq!(shown, "{\"a\": \"\\u009b\\u007f\\u202eé\"}\n");
        let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(same(&shown), same(json));
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["a".to_owned(), "b".to_owned()], ["long".to_owned(), "c".to_owned()]];
        assert_eq!(columns(&rows), "a     b\nlong  c\n");
    }

    #[test]
    fn a_long_line_goes_on_below_its_last_column() {
        assert_eq!(folded("7   step  one two three", 17), "7   step  one two\n          three");
        assert_eq!(folded("    a sentence that is long", 16), "    a sentence\n    that is long");
        assert_eq!(folded("short", 17), "short");
        let unbroken = "x".repeat(30);
        assert_eq!(folded(&unbroken, 17), unbroken, "a word stays whole, to be copied");
    }

    #[test]
    fn small_ratios_are_told_apart() {
        for (ratio, text) in
            [(0.0, "0%"), (1.0, "100%"), (0.0025, "0.25%"), (0.000_439, "0.044%"), (0.999, "99.9%"), (0.1, "10%")]
        {
            assert_eq!(percent(ratio), text);
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    odd_input! {
        fn what_is_shown_steers_nothing_and_json_stays_what_it_says(text in ".{0,20}|[\u{0}-\u{1f}\u{7f}-\u{9f}\u{200e}-\u{202e}\u{61c}\u{2066}-\u{2069}a]{0,9}") {
            prop_assert!(!plain(&text).contains(steers), "{text:?}");
            let value = serde_json::json!({ (&text): [&text, 1, null] });
            let shown = plain_json(&value.to_string());
            prop_assert!(!shown.contains(steers), "{text:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
