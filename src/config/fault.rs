//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// More than this many would only bury the first.
pub(super) const LISTED: usize = 1000;

/// A place in the file, both counted from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

/// One fault of a configuration, or one thing in it that deserves a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where; nothing for what concerns the file as a whole.
    pub position: Option<Position>,
    /// The key, such as `service[0].pool.server1.targets[1]`; empty for what belongs to no key.
    pub path: String,
    /// What is wrong and what to do, as a sentence.
    pub message: String,
}

impl Fault {
    pub(super) fn of_the_whole(path: &str, message: impl Into<String>) -> Self {
        Self { position: None, path: path.to_owned(), message: message.into() }
    }

    /// As `check` prints it: `FILE:LINE:COL: path: message`.
    #[must_use]
    pub fn in_file(&self, file: Option<&Path>) -> String {
        match file {
            Some(file) if self.position.is_some() => format!("{}:{self}", file.display()),
            Some(file) => format!("{}: {self}", file.display()),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All faults of a configuration that was refused, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    /// The file, where it came from one.
    pub file: Option<PathBuf>,
    /// At least one.
    pub faults: Vec<Fault>,
    /// What would have been warned about besides.
    pub warnings: Vec<Fault>,
}

impl Faults {
    pub(super) fn new(mut faults: Vec<Fault>, warnings: Vec<Fault>) -> Self {
        if faults.len() > LISTED {
            faults.truncate(LISTED);
            faults.push(Fault::of_the_whole("", "there are more faults; mend these first"));
        }
        Self { file: None, faults, warnings }
    }

    pub(super) fn of_the_whole(path: &str, message: impl Into<String>) -> Self {
        Self::new(vec![Fault::of_the_whole(path, message)], Vec::new())
    }

    pub(super) fn in_file(self, file: &Path) -> Self {
        Self { file: Some(file.to_owned()), ..self }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&fault.in_file(self.file.as_deref()))?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
