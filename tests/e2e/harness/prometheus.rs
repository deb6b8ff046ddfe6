//! A real Prometheus server that scrapes what a test tells it to.

use super::{LONG, eventually, free_address};
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// A Prometheus in a folder of its own, ended with it.
pub struct Prometheus {
    address: SocketAddr,
    folder: TempDir,
    child: Mutex<Option<Child>>,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one that scrapes these addresses every second, with these rules if any.
    pub async fn start(targets: &[SocketAddr], rules: Option<&Path>) -> Self {
        let folder = TempDir::with_prefix("cutover-prometheus-").unwrap();
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let rules = rules.map_or_else(String::new, |rules| format!("rule_files: [\"{}\"]\n", rules.display()));
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n{rules}scrape_configs:\n  - job_name: cutover\n    static_configs: [ {{ targets: [{}] }} ]\n",
            targets.join(", ")
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(LONG).build().unwrap();
        let prometheus = Self { address: free_address(), folder, child: Mutex::new(None), client };
        prometheus.start_again().await;
        prometheus
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it on the same address with the same data, and waits until it answers.
    pub async fn start_again(&self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", self.folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", self.folder.path().join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed; `tests/run` installs it");
        *self.child.lock().unwrap() = Some(child);
        eventually("Prometheus is ready", LONG, async || {
            let answer = self.client.get(format!("{}/-/ready", self.url())).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Ends it at once.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The result of a query: a list of series.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let request = self.client.get(format!("{}/api/v1/query", self.url())).query(&[("query", query)]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        match answer["data"]["result"].as_array() {
            Some(series) => series.clone(),
            None => panic!("{query}: {answer}"),
        }
    }

    /// The alert rules as it evaluated them.
    pub async fn rules(&self) -> Vec<Value> {
        let answer: Value =
            self.client.get(format!("{}/api/v1/rules", self.url())).send().await.unwrap().json().await.unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}
