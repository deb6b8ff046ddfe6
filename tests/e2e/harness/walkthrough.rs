//! The commands of a README, run as a reader would.

use super::{Site, run};
use std::path::Path;

/// The `sh` blocks of a section, in their order.
pub struct Walkthrough {
    blocks: std::vec::IntoIter<String>,
}

impl Walkthrough {
    /// Those below a heading of a file, up to the next heading of the same level.
    pub fn of(file: &str, heading: &str) -> Self {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let section = text.split("\n## ").find_map(|section| section.strip_prefix(heading));
        let section = section.unwrap_or_else(|| panic!("{file} has no section {heading:?}"));
        let parts = section.split("```sh\n").skip(1);
        let blocks: Vec<_> = parts.map(|part| part.split("```").next().unwrap().to_owned()).collect();
        assert!(!blocks.is_empty(), "{file} has no commands in {heading:?}");
        Self { blocks: blocks.into_iter() }
    }

    /// Runs the next block in the site's folder, with the site's ports instead of the usual ones, and gives what it printed.
    /// The first command that fails ends it, and the test.
    pub fn next(&mut self, site: &Site) -> String {
        self.next_with(site, str::to_owned)
    }

    /// The same, with something of the test's in the place of something of the reader's.
    pub fn next_with(&mut self, site: &Site, change: impl FnOnce(&str) -> String) -> String {
        let block = change(&site.with_ports(&self.blocks.next().expect("one more block of commands")));
        println!("{block}");
        run(site.program("bash", site.router.folder()).args(["-euo", "pipefail", "-c", &block]))
    }

    /// There must be none left that was not run.
    pub fn end(mut self) {
        assert_eq!(self.blocks.next(), None, "a block of commands that no test has run");
    }
}
