//! What is shipped beside the program works: the configurations under `config/` and those in the README.

use crate::harness::{LONG, run_binary};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn assert_checks(config: &Path, what: &str) {
    let result = run_binary(&["check", "--config", config.to_str().unwrap()], &[], LONG).await;
    assert_eq!(result.code, 0, "{what}: {result:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_configuration_passes_its_check() {
    let examples: Vec<PathBuf> = std::fs::read_dir(root().join("config"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        assert_checks(&example, &example.display().to_string()).await;
    }
}

/// The fenced blocks of a language in a Markdown text.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let parts = text.split(&opening).skip(1);
    parts.map(|part| part.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_configuration_in_the_readme_passes_its_check() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let whole: Vec<_> = blocks(&readme, "toml").into_iter().filter(|block| block.contains("[[service]]")).collect();
    assert!(!whole.is_empty(), "the README shows a configuration");
    let folder = tempfile::tempdir().unwrap();
    for (number, block) in whole.iter().enumerate() {
        let config = folder.path().join(format!("readme-{number}.toml"));
        std::fs::write(&config, block).unwrap();
        assert_checks(&config, block).await;
    }
}

#[test]
fn the_files_that_a_project_needs_are_there() {
    for file in
        ["README.md", "LICENSE", "CHANGELOG.md", "Cargo.lock", "dashboards/cutover.json", "dashboards/alerts.yml"]
    {
        assert!(root().join(file).is_file(), "{file}");
    }
}
