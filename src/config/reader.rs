//! Helpers to walk the spanned tree: each value knows its place and its path, and says itself what is wrong with it.
//!
//! A reading function answers `None` when the value is missing or faulty; the fault is noted already, so the walk
//! goes on with a default and finds the others. A configuration with a fault is refused as a whole at the end.

use super::fault::{Fault, Position};
use super::keys::{Keys, NOT_YET, nearest};
use crate::model::Period;
use ipnet::IpNet;
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of a configuration and what was found in it so far.
pub(super) struct Source<'t> {
    text: &'t str,
    base: &'t Path,
    line_starts: Vec<usize>,
    /// Lines that are no TOML. What else is wrong on them is only an echo.
    unread_lines: Vec<usize>,
    faults: RefCell<Vec<Fault>>,
    warnings: RefCell<Vec<Fault>>,
}

impl<'t> Source<'t> {
    pub(super) fn new(text: &'t str, base: &'t Path, errors: &[toml::de::Error]) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let faults = RefCell::default();
        let mut source = Self { text, base, line_starts, unread_lines: vec![], faults, warnings: RefCell::default() };
        for error in errors.iter().take(super::fault::LISTED) {
            let position = source.position(error.span().unwrap_or(0..0).start);
            // The parser stumbles on over the rest of a line; the first thing it says is the one that helps.
            if !source.unread_lines.contains(&position.line) {
                source.unread_lines.push(position.line);
                let message = format!("mend the TOML here: {}", error.message());
                source.faults.get_mut().push(Fault { position: Some(position), path: String::new(), message });
            }
        }
        source.unread_lines.sort_unstable();
        source
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).map_or(0, |index| self.line_starts[index]);
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Position { line, column }
    }

    fn fault(&self, offset: usize, path: &str, message: String) {
        let position = self.position(offset);
        if self.unread_lines.binary_search(&position.line).is_err() {
            let fault = Fault { position: Some(position), path: path.to_owned(), message };
            self.faults.borrow_mut().push(fault);
        }
    }

    fn warn(&self, offset: usize, path: &str, message: String) {
        let warning = Fault { position: Some(self.position(offset)), path: path.to_owned(), message };
        self.warnings.borrow_mut().push(warning);
    }

    fn is_broken(&self) -> bool {
        !self.unread_lines.is_empty()
    }

    /// Faults and warnings, each in the order of the file.
    pub(super) fn into_findings(self) -> (Vec<Fault>, Vec<Fault>) {
        let sorted = |list: RefCell<Vec<Fault>>| {
            let mut list = list.into_inner();
            list.sort_by_key(|fault| fault.position);
            list
        };
        (sorted(self.faults), sorted(self.warnings))
    }
}

/// A value of the file, with its place and its path.
#[derive(Clone)]
pub(super) struct Node<'t> {
    source: &'t Source<'t>,
    value: &'t Spanned<DeValue<'t>>,
    path: String,
}

impl<'t> Node<'t> {
    pub(super) fn fault(&self, message: impl Into<String>) {
        if !self.is_unread() {
            self.source.fault(self.value.span().start, &self.path, message.into());
        }
    }

    pub(super) fn warn(&self, message: impl Into<String>) {
        self.source.warn(self.value.span().start, &self.path, message.into());
    }

    pub(super) fn line(&self) -> usize {
        self.source.position(self.value.span().start).line
    }

    /// What the parser puts in the place of a value that it could not read: its fault is noted already.
    fn is_unread(&self) -> bool {
        self.value.span().is_empty() && self.source.is_broken()
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        let kind = self.value.get_ref().type_str();
        let article = if kind.starts_with(['a', 'i']) { "an" } else { "a" };
        self.fault(format!("this is {article} {kind}; write {what}"));
        None
    }

    /// A value that `FromStr` makes of a string; `what` says how it is written.
    fn parsed_as<T: FromStr<Err: Display>>(&self, what: &str) -> Option<T> {
        let Some(text) = self.value.get_ref().as_str() else { return self.expected(what) };
        text.parse().map_err(|error: T::Err| self.fault(error.to_string())).ok()
    }

    pub(super) fn text(&self) -> Option<&'t str> {
        self.value.get_ref().as_str().or_else(|| self.expected("a text in quotes"))
    }

    /// The text, where it is one.
    pub(super) fn text_if_any(&self) -> Option<&'t str> {
        self.value.get_ref().as_str()
    }

    pub(super) fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.parsed_as("a text in quotes")
    }

    pub(super) fn yes_or_no(&self) -> Option<bool> {
        self.value.get_ref().as_bool().or_else(|| self.expected("true or false, without quotes"))
    }

    /// The truth value, where it is one.
    pub(super) fn yes_or_no_if_any(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    /// One of a few words.
    pub(super) fn choice<T: Clone>(&self, choices: &[(&str, T)], later: &[&str]) -> Option<T> {
        let text = self.text()?;
        if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(chosen.clone());
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        if later.contains(&text) {
            self.fault(format!("{text:?} is {NOT_YET}"));
        } else if let Some(near) = nearest(text, &words) {
            self.fault(format!("{text:?} is none of the choices; did you mean \"{near}\"?"));
        } else {
            self.fault(format!("{text:?} is none of the choices; write one of \"{}\"", words.join("\", \"")));
        }
        None
    }

    pub(super) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.get_ref().as_integer() else { return self.expected("a whole number") };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = range.into_inner();
            self.fault(format!("{integer} is out of range; write a whole number from {least} to {most}"));
        }
        number
    }

    /// How often, or how many: 1 to a million.
    pub(super) fn count(&self) -> Option<u32> {
        u32::try_from(self.integer(1..=1_000_000)?).ok()
    }

    /// A finite number, with or without a fraction.
    pub(super) fn number(&self) -> Option<f64> {
        let text = match self.value.get_ref() {
            DeValue::Float(float) => float.as_str(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str(),
            DeValue::Integer(_)
            | DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => return self.expected("a number without quotes"),
        };
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        if number.is_none() {
            self.fault(format!("{text} can't be used here; write a finite number"));
        }
        number
    }

    /// A number that `is_usable`; `rule` completes "write a number …".
    pub(super) fn number_that(&self, rule: &str, is_usable: impl Fn(f64) -> bool) -> Option<f64> {
        let number = self.number()?;
        if is_usable(number) {
            return Some(number);
        }
        self.fault(format!("{number} is out of range; write a number {rule}"));
        None
    }

    pub(super) fn period(&self) -> Option<Period> {
        self.parsed_as("a duration in quotes with its unit, such as \"30s\"")
    }

    pub(super) fn period_of_at_least(&self, least: Period) -> Option<Period> {
        let period = self.period()?;
        if period >= least {
            return Some(period);
        }
        self.fault(format!("{period} is too short; write at least {least}"));
        None
    }

    /// More than no time at all.
    pub(super) fn positive_period(&self) -> Option<Period> {
        self.period_of_at_least(Period::from_millis(1))
    }

    /// A path; a relative one begins at the folder of the file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        let text = self.text()?;
        if text.is_empty() {
            self.fault("this is empty; write a path, or leave the key out");
            return None;
        }
        Some(self.beside(text))
    }

    /// The path of a file that has to be there when the router starts.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let path = self.path()?;
        if !path.is_file() {
            self.warn(format!("{} is not there; make it before the router starts", path.display()));
        }
        Some(path)
    }

    /// A path beside the file, unless it is absolute.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        self.source.base.join(path)
    }

    /// A network in CIDR notation, or one address.
    pub(super) fn network(&self) -> Option<IpNet> {
        let text = self.text()?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
        if network.is_err() {
            self.fault(format!("{text:?} is not a network; write one such as \"10.0.0.0/8\", or an address"));
        }
        network.ok().map(|network| network.trunc())
    }

    pub(super) fn networks(&self) -> Option<Vec<IpNet>> {
        Some(self.list("a list of networks")?.iter().filter_map(Node::network).collect())
    }

    /// The items of a list.
    pub(super) fn list(&self, what: &str) -> Option<Vec<Node<'t>>> {
        let Some(array) = self.value.get_ref().as_array() else {
            return self.expected(&format!("{what} in square brackets"));
        };
        let item = |(index, value)| Node { source: self.source, value, path: format!("{}[{index}]", self.path) };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// A table with exactly these keys allowed.
    pub(super) fn table(&self, keys: &Keys) -> Option<Table<'t>> {
        let table = self.table_of_names()?;
        for (key, _) in table.content {
            if let Some(refusal) = keys.refusal(key.get_ref()) {
                self.source.fault(key.span().start, &table.path_of(key.get_ref()), refusal);
            }
        }
        Some(table)
    }

    /// A table whose keys are names of the operator's choice.
    pub(super) fn table_of_names(&self) -> Option<Table<'t>> {
        let Some(content) = self.value.get_ref().as_table() else { return self.expected("a table") };
        let path = self.path.clone();
        Some(Table { source: self.source, content, path, offset: self.value.span().start })
    }

    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }
}

/// A table of the file.
pub(super) struct Table<'t> {
    source: &'t Source<'t>,
    content: &'t DeTable<'t>,
    path: String,
    offset: usize,
}

impl<'t> Table<'t> {
    /// The whole file.
    pub(super) fn root(source: &'t Source<'t>, content: &'t Spanned<DeValue<'t>>, keys: &Keys) -> Option<Self> {
        Node { source, value: content, path: String::new() }.table(keys)
    }

    fn path_of(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        let key = if is_bare { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// The value of a key, where the file has it.
    pub(super) fn get(&self, key: &str) -> Option<Node<'t>> {
        let value = self.content.get(key)?;
        Some(Node { source: self.source, value, path: self.path_of(key) })
    }

    /// The value of a key as `read` understands it; nothing where it is missing or faulty.
    pub(super) fn read<T>(&self, key: &str, read: impl FnOnce(&Node<'t>) -> Option<T>) -> Option<T> {
        self.get(key).as_ref().and_then(read)
    }

    /// As `read`; a missing key is a fault.
    pub(super) fn required<T>(&self, key: &str, advice: &str, read: impl FnOnce(&Node<'t>) -> Option<T>) -> Option<T> {
        let node = self.get(key);
        if node.is_none() {
            self.missing(key, advice);
        }
        node.as_ref().and_then(read)
    }

    /// Notes that something is missing here, unless it may be in a part that could not be read.
    pub(super) fn missing(&self, key: &str, advice: &str) {
        if !self.source.is_broken() {
            self.source.fault(self.offset, &self.path_of(key), advice.to_owned());
        }
    }

    /// The names and their values in the order of the file.
    pub(super) fn entries(&self) -> Vec<(&'t str, Node<'t>)> {
        let mut entries: Vec<_> = self.content.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let node = |value, key: &str| Node { source: self.source, value, path: self.path_of(key) };
        entries.into_iter().map(|(key, value)| (key.get_ref().as_ref(), node(value, key.get_ref()))).collect()
    }
}
