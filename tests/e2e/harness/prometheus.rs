//! A real Prometheus server that scrapes what a test tells it to.

use super::{LONG, eventually, free_address};
use serde_json::Value;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use tempfile::TempDir;

/// Of [`Prometheus::PASSWORD`], by bcrypt with the least work that it knows.
const HASH: &str = "$2b$04$klV2xlon.//Y970ORTaWC.uYk2J7Lwowu9Aq/h36avAJ9xdANxgWK";

/// A Prometheus in a folder of its own, ended with it.
pub struct Prometheus {
    address: SocketAddr,
    folder: TempDir,
    scheme: &'static str,
    more: Vec<String>,
    child: Mutex<Option<Child>>,
    client: reqwest::Client,
}

impl Prometheus {
    /// Starts one that scrapes these addresses every second, with these rules if any.
    pub async fn start(targets: &[SocketAddr], rules: Option<&Path>) -> Self {
        let prometheus = Self::prepare(targets, rules);
        prometheus.start_again().await;
        prometheus
    }

    /// Starts one that speaks TLS with this certificate and key, and lets in only who knows the password of
    /// [`Self::USER`].
    pub async fn start_guarded(targets: &[SocketAddr], certificate: &Path, key: &Path) -> Self {
        let mut prometheus = Self::prepare(targets, None);
        let config = format!(
            "tls_server_config: {{ cert_file: \"{}\", key_file: \"{}\" }}\nbasic_auth_users: {{ {}: \"{HASH}\" }}\n",
            certificate.display(),
            key.display(),
            Self::USER,
        );
        let file = prometheus.folder.path().join("web.yml");
        std::fs::write(&file, config).unwrap();
        prometheus.more.push(format!("--web.config.file={}", file.display()));
        prometheus.scheme = "https";
        let authority = reqwest::Certificate::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([authority]);
        prometheus.client = client.timeout(LONG).build().unwrap();
        prometheus.start_again().await;
        prometheus
    }

    /// Who is let in by one that is guarded, and the password.
    pub const USER: &str = "cutover";
    pub const PASSWORD: &str = "s3cret-of-the-test";

    fn prepare(targets: &[SocketAddr], rules: Option<&Path>) -> Self {
        let folder = TempDir::with_prefix("cutover-prometheus-").unwrap();
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let rules = rules.map_or_else(String::new, |rules| format!("rule_files: [\"{}\"]\n", rules.display()));
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n{rules}scrape_configs:\n  - job_name: cutover\n    static_configs: [ {{ targets: [{}] }} ]\n",
            targets.join(", ")
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(LONG).build().unwrap();
        let more = Vec::new();
        Self { address: free_address(), folder, scheme: "http", more, child: Mutex::new(None), client }
    }

    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Starts it on the same address with the same data, and waits until it answers.
    pub async fn start_again(&self) {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", self.folder.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", self.folder.path().join("data").display()))
            .arg(format!("--web.listen-address={}", self.address))
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("prometheus is installed; `tests/run` installs it");
        *self.child.lock().unwrap() = Some(child);
        eventually("Prometheus is ready", LONG, async || {
            let answer = self.get("/-/ready").send().await.ok()?;
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
        let request = self.get("/api/v1/query").query(&[("query", query)]);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        match answer["data"]["result"].as_array() {
            Some(series) => series.clone(),
            None => panic!("{query}: {answer}"),
        }
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url())).basic_auth(Self::USER, Some(Self::PASSWORD))
    }

    /// The alert rules as it evaluated them.
    pub async fn rules(&self) -> Vec<Value> {
        let answer: Value = self.get("/api/v1/rules").send().await.unwrap().json().await.unwrap();
        let groups = answer["data"]["groups"].as_array().unwrap();
        groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}
