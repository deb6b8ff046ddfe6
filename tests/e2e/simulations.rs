//! `cutover simulate`: no router runs.

use crate::harness::{CommandResult, run_binary};
use serde_json::Value;
use std::time::Duration;

/// It promises seconds; a busy machine may take longer.
const SIMULATION: Duration = Duration::from_secs(60);

async fn simulate(arguments: &str) -> CommandResult {
    let arguments: Vec<&str> = std::iter::once("simulate").chain(arguments.split_whitespace()).collect();
    run_binary(&arguments, &[], SIMULATION).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_candidate_is_told_from_one_as_good_as_live() {
    let text = simulate("--live-error 0.1% --candidate-error 5% --rps 200 --runs 20").await.ok();
    for word in ["promoted", "rolled back", "as good as live", "as given", "median", "100%", "█", "░"] {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert!(!text.contains('\u{1b}'), "plain text: {text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_has_the_shares_with_their_error_and_is_the_same_for_the_same_seed() {
    let arguments = "--candidate-error 5% --rps 200 --runs 20 --seed 3 --json";
    let told = simulate(arguments).await.ok();
    let json: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(json["report"]["candidate"]["rolled_back"]["share"], 1.0, "{told}");
    assert!(json["report"]["faultless"]["rolled_back"]["high"].as_f64().unwrap() > 0.0);
    assert!(json["report"]["candidate"]["seconds_to_rollback"]["median"]["value"].as_f64().unwrap() < 120.0);
    assert_eq!(json["report"]["faultless"]["steps"].as_array().map(Vec::len), Some(3));
    assert_eq!(told, simulate(arguments).await.ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sticky_visitors_and_late_faults_can_be_asked_for() {
    let arguments =
        "--rps 200 --requests-per-visitor 30 --unlucky 1% --weather bursts --fault-after 1m --runs 10 --json";
    let json: Value = serde_json::from_str(&simulate(arguments).await.ok()).unwrap();
    assert!(json["simulated"]["visitors"].as_u64().unwrap() > 1000, "{json}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chart_is_well_formed_svg() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chart.svg");
    simulate(&format!("--candidate-error 5% --rps 50 --runs 5 --svg {}", file.display())).await.ok();
    let svg = std::fs::read_to_string(&file).unwrap();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"), "{svg}");
    let mut open = Vec::new();
    for tag in svg.split('<').skip(1) {
        let name: String = tag.trim_start_matches('/').chars().take_while(char::is_ascii_alphabetic).collect();
        let inside = tag.split('>').next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
        } else if !inside.ends_with('/') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    assert!(svg.contains("prefers-color-scheme:dark") && svg.matches("<polygon").count() == 4);
}

const TWO_SERVICES: &str = r#"
[prometheus]
url = "http://127.0.0.1:9090"
[[service]]
name = "shop"
hosts = ["shop.example.com"]
[service.pool.server0]
targets = ["127.0.0.1:9000"]
[service.pool.server1]
targets = ["127.0.0.1:9001"]
[service.rollout]
steps = [ { weight = 20, hold = "30s" } ]
[[service.rollout.check]]
kind = "error-ratio"
[[service.rollout.check]]
kind = "promql"
name = "failed jobs"
query = 'sum(rate(jobs_failed_total{release="{{release}}"}[1m]))'
max = 0.5
[[service]]
name = "blog"
hosts = ["blog.example.com"]
[service.pool.server0]
targets = ["127.0.0.1:9002"]
[service.pool.server1]
targets = ["127.0.0.1:9003"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_of_a_service_is_simulated_and_what_is_left_out_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cutover.toml");
    std::fs::write(&file, TWO_SERVICES).unwrap();
    let plan = format!("--plan {}", file.display());
    let text = simulate(&format!("{plan} --service shop --rps 50 --runs 5")).await.ok();
    assert!(text.contains("20%") && text.contains("failed jobs"), "{text}");

    let which = simulate(&plan).await;
    assert!(which.code == 1 && which.err.contains("--service") && which.err.contains("blog"), "{which:?}");
    let unknown = simulate(&format!("{plan} --service news")).await;
    assert!(unknown.code == 2 && unknown.err.contains("news") && unknown.err.contains("shop"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_told() {
    for (arguments, word) in [
        ("--live-error 2", "share from 0 to 1"),
        ("--rps none", "write a number"),
        ("--runs 0", "whole number"),
        ("--plan /nowhere/cutover.toml", "/nowhere/cutover.toml"),
        ("--rps 100000 --requests-per-visitor 1", "visitors"),
    ] {
        let result = simulate(arguments).await;
        assert!(result.code == 2 && result.err.contains(word), "{arguments}: {result:?}");
    }
    let result = simulate("--runs 1 --svg /nowhere/chart.svg").await;
    assert!(result.code == 1 && result.err.contains("/nowhere/chart.svg"), "{result:?}");
}
