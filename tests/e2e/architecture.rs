//! The house has floors: a module imports only from lower ones (see `src/lib.rs`).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// From the ground up. Modules of one floor don't import each other, but for those named in `NEIGHBOURS`.
const FLOORS: [&[&str]; 7] = [
    &["model", "telemetry", "odd_input"],
    &["config", "analysis", "rollout"],
    &["routing", "transport"],
    &["proxy", "control"],
    &["adapters"],
    &["admin"],
    &["cli", "app"],
];

/// Which module may import which of its own floor.
const NEIGHBOURS: [(&str, &str); 3] = [("telemetry", "model"), ("routing", "transport"), ("cli", "app")];

fn floor(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|floor| floor.contains(&module))
        .unwrap_or_else(|| panic!("{module} is on no floor: name it in this test and in src/lib.rs"))
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The top module that a file belongs to; none for `lib.rs` and `main.rs`.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(source()).unwrap();
    let first = Path::new(inside.components().next()?.as_os_str()).file_stem()?.to_str()?.to_owned();
    (first != "lib" && first != "main").then_some(first)
}

/// A file's code without its comments.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| line.find("//").map_or(line, |comment| &line[..comment])).collect::<Vec<_>>().join("\n")
}

/// The top modules that a file names behind `crate::`, alone or in braces.
fn imports(code: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    for (place, path) in code.match_indices("crate::") {
        let preceded = code[..place].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_$".contains(c));
        if preceded {
            continue;
        }
        let rest = &code[place + path.len()..];
        match rest.strip_prefix('{') {
            Some(group) => modules.extend(first_words(group)),
            None => modules.extend(word(rest)),
        }
    }
    modules
}

fn word(text: &str) -> Option<String> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

/// The first word of each part of a group, up to its closing brace.
fn first_words(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => parts.push(String::new()),
            other if depth == 0 => parts.last_mut().unwrap().push(other),
            _ => {}
        }
    }
    parts.iter().filter_map(|part| word(part)).collect()
}

#[test]
fn a_module_imports_only_from_lower_floors() {
    let mut files = Vec::new();
    files_below(&source(), &mut files);
    assert!(files.len() > 20, "the source is elsewhere");
    let mut faults = Vec::new();
    for file in &files {
        let Some(module) = module_of(file) else { continue };
        for imported in imports(&code(file)) {
            let neighbour = NEIGHBOURS.contains(&(module.as_str(), imported.as_str()));
            if imported != module && !neighbour && floor(&imported) >= floor(&module) {
                faults.push(format!("{}: {module} imports {imported}", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn imports_are_read_alone_and_in_groups() {
    let text = "use crate::model::{A, b::C};\nuse crate::{routing::{x, y}, config as c, telemetry};\nlet a = crate::proxy::run();\n$crate::not::this mycrate::nor::this";
    let found: Vec<_> = imports(text).into_iter().collect();
    assert_eq!(found, ["config", "model", "proxy", "routing", "telemetry"]);
}

#[test]
fn files_stay_readable() {
    let mut files = Vec::new();
    files_below(&source(), &mut files);
    let lines = |file: &PathBuf| std::fs::read_to_string(file).unwrap().lines().count();
    let long: Vec<_> = files.iter().map(|file| (lines(file), file)).filter(|(lines, _)| *lines > 400).collect();
    assert!(long.len() * 10 <= files.len(), "one idea per file, rarely over 400 lines: {long:#?}");
    assert!(long.iter().all(|(lines, _)| *lines <= 800), "twice that is two ideas: {long:#?}");
}
