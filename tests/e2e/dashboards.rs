//! The Grafana dashboard and the alert rules, against a real Prometheus that scraped a real router.

use crate::harness::{
    Application, Issuer, LONG, Load, Prometheus, Router, SHORT, Setup, eventually, free_address, heavy_turn, until,
};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// Every query of a dashboard, with what Grafana would fill in.
fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let filled = |expression: &Value| {
        expression.as_str().unwrap().replace("$service", "shop").replace("$__rate_interval", "30s")
    };
    let panels = dashboard["panels"].as_array().unwrap();
    let of_panels = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (title.to_owned(), filled(&target["expr"])))
    });
    let annotations = dashboard["annotations"]["list"].as_array().into_iter().flatten();
    let of_annotations =
        annotations.map(|annotation| (annotation["name"].as_str().unwrap().to_owned(), filled(&annotation["expr"])));
    of_annotations.chain(of_panels).collect()
}

/// A promtool run that must go well.
fn promtool(arguments: &[&str]) {
    let output =
        Command::new("promtool").args(arguments).output().expect("promtool is installed; `tests/run` installs it");
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {told}");
}

#[test]
fn the_alert_rules_pass_promtool_and_fire_on_what_they_should() {
    let rules = dashboards().join("alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    let folder = tempfile::tempdir().unwrap();
    let tests = folder.path().join("tests.yml");
    let text = include_str!("alerts_test.yml").replace("RULES", rules.to_str().unwrap());
    std::fs::write(&tests, text).unwrap();
    promtool(&["test", "rules", tests.to_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_query_of_the_dashboard_and_the_rules_is_answered_during_a_rollout() {
    let _turn = heavy_turn().await;
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 30, hold = \"10m\" } ]\n";
    let issuer = Issuer::new();
    issuer.issue("site", &["shop.example.com"], 1);
    let tls = issuer.tls(&format!("\"{}\"", free_address()), &["site"], "");
    let router = Router::start(Setup::before(&server0, &server1).server(&tls).rollout(rollout)).await;
    let prometheus = Prometheus::start(&[router.setup.admin], Some(&dashboards().join("alerts.yml"))).await;
    let load = Load::on(router.address()).rate(100.0).start();
    until("the first scrape", LONG, async || !prometheus.query("cutover_rollout_phase").await.is_empty()).await;
    router.command(&["mode", "maintenance"]).await.ok();
    assert_eq!(router.visitor().get("/").await.status, 503);
    router.command(&["mode", "serve"]).await.ok();
    router.command(&["rollout", "start", "server1"]).await.ok();
    until("the candidate serves", SHORT, async || load.so_far().answered_by("server1") > 20).await;
    // One failure is rescued, and no reason for a rollback.
    server1.break_next(1);
    until("one request failed", SHORT, async || server1.failed() > 0).await;

    for file in std::fs::read_dir(dashboards()).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let queries = queries(&dashboard);
        assert!(queries.len() > 10, "{} has only {} queries", path.display(), queries.len());
        for (panel, query) in queries {
            eventually(&format!("an answer for {panel:?}: {query}"), LONG, async || {
                let series = prometheus.query(&query).await;
                let numbers = series.iter().all(|one| one["value"][1].as_str().unwrap().parse::<f64>().is_ok());
                (!series.is_empty() && numbers).then_some(())
            })
            .await;
        }
    }
    assert_eq!(router.view().await["phase"], "canary", "it was a rollout all the while");
    rules_are_evaluated(&prometheus).await;
    drop(load);
}

/// Each rule is evaluated without a fault, and every metric it names exists.
async fn rules_are_evaluated(prometheus: &Prometheus) {
    let rules = eventually("the rules are evaluated", LONG, async || {
        let rules = prometheus.rules().await;
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    assert!(rules.len() >= 4, "{rules:?}");
    for rule in rules {
        assert_eq!((&rule["health"], &rule["lastError"]), (&json!("ok"), &Value::Null), "{rule}");
        let query = rule["query"].as_str().unwrap();
        for word in
            query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("cutover_"))
        {
            assert!(!prometheus.query(word).await.is_empty(), "{} names {word}, which is not there", rule["name"]);
        }
    }
}
