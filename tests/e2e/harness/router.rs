//! The router: the built binary with a configuration of its own.

use super::{LONG, SHORT, Setup, Visitor, eventually};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

const BINARY: &str = env!("CARGO_BIN_EXE_cutover");

/// What a command printed, and how it ended.
#[derive(Debug, Clone)]
pub struct CommandResult {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl CommandResult {
    /// The output, of a command that must have gone well.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.out
    }

    pub fn json(self) -> Value {
        let out = self.ok();
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }
}

/// Runs the binary, with a deadline.
pub async fn run_binary(arguments: &[&str], environment: &[(&str, &str)], within: Duration) -> CommandResult {
    let mut command = tokio::process::Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env_remove("CUTOVER_TOKEN");
    command.envs(environment.iter().copied());
    let output = timeout(within, command.output())
        .await
        .unwrap_or_else(|_| panic!("`cutover {}` did not end within {within:?}", arguments.join(" ")))
        .unwrap();
    CommandResult {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// An answer of the admin API.
#[derive(Debug, Clone)]
pub struct Answered {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub text: String,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The body of a request that must have gone well.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text);
        self.json()
    }

    /// Checks that this is a problem document with that status, and gives it.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        let content_type = self.headers.get("content-type").map(|value| value.to_str().unwrap());
        assert_eq!(content_type, Some("application/problem+json"), "{}", self.text);
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }
}

/// A router in a folder of its own, ended with it.
pub struct Router {
    pub setup: Setup,
    folder: TempDir,
    child: Mutex<Option<Child>>,
    client: reqwest::Client,
}

impl Router {
    /// Starts one and waits until it is ready.
    pub async fn start(setup: Setup) -> Self {
        let router = Self::prepare(setup);
        router.start_again().await;
        router
    }

    /// Writes the configuration, and starts nothing yet.
    pub fn prepare(setup: Setup) -> Self {
        let folder = TempDir::with_prefix("cutover-e2e-").unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(LONG).build().unwrap();
        let router = Self { setup, folder, child: Mutex::new(None), client };
        router.write_config(&router.setup.text());
        router
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config(&self) -> PathBuf {
        self.folder().join("cutover.toml")
    }

    /// Replaces the configuration file; the router reads it at the next start or reload.
    pub fn write_config(&self, text: &str) {
        // Renamed into place: a watcher of the file never sees half of it.
        let draft = self.folder().join("draft.toml");
        std::fs::write(&draft, text).unwrap();
        std::fs::rename(draft, self.config()).unwrap();
    }

    /// Starts the process and waits until it is ready.
    pub async fn start_again(&self) {
        self.launch();
        eventually("the router is ready", LONG, async || {
            let exited = self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap();
            assert!(exited.is_none(), "the router ended at its start: {exited:?}\n{}", self.log());
            let answer = self.client.get(self.admin_url("/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    /// Starts the process without waiting for it.
    pub fn launch(&self) {
        // The limit that most systems begin with. What sets it becomes the router, as the shell below does.
        let mut command = Command::new("prlimit");
        command.arg("--nofile=1024:");
        if let Some(hosts) = &self.setup.hosts {
            // A mount that no other process sees.
            let script = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
            command.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(hosts);
        }
        command.arg(BINARY);
        command.args(["run", "--config"]).arg(self.config()).current_dir(self.folder()).stdin(Stdio::null());
        command.envs(self.setup.environment.iter().copied());
        command.stdout(self.log_file("router.out")).stderr(self.log_file("router.err"));
        let previous = self.child.lock().unwrap().replace(command.spawn().unwrap());
        assert!(previous.is_none(), "it runs already");
    }

    fn log_file(&self, name: &str) -> File {
        OpenOptions::new().create(true).append(true).open(self.folder().join(name)).unwrap()
    }

    /// What it wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder().join("router.err")).unwrap_or_default()
    }

    /// What it wrote to standard output.
    pub fn output(&self) -> String {
        std::fs::read_to_string(self.folder().join("router.out")).unwrap_or_default()
    }

    /// Ends the process at once, by `kill -9`.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks the process to end and waits for it.
    pub async fn terminate(&self) -> ExitStatus {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits until the process, which was asked to end, has done so.
    pub async fn ended(&self) -> ExitStatus {
        let child = self.child.lock().unwrap().take();
        let mut child = child.unwrap();
        eventually("the router ends when asked", LONG, async || child.try_wait().unwrap()).await
    }

    /// Asks the process to read its configuration again.
    pub fn reload(&self) {
        self.signal("HUP");
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.lock().unwrap().as_ref().unwrap().id()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: &str) {
        let id = self.id();
        let sent = Command::new("kill").args([format!("-{signal}"), id.to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Bytes of memory that the process holds.
    pub fn memory(&self) -> u64 {
        const PAGE: u64 = 4096;
        let id = self.id();
        let pages = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * PAGE
    }

    pub fn address(&self) -> SocketAddr {
        self.setup.listen
    }

    /// A new visitor of the site.
    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.address())
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.setup.admin)
    }

    /// Runs a command against this router.
    pub async fn command(&self, arguments: &[&str]) -> CommandResult {
        run_binary(arguments, &[("CUTOVER_ADMIN", &self.admin_url(""))], 2 * LONG).await
    }

    /// A request to the admin API below the service's path, as a program would send it.
    pub async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Answered {
        self.api_with(method, path, body, &[]).await
    }

    pub async fn api_with(&self, method: &str, path: &str, body: Option<Value>, headers: &[(&str, &str)]) -> Answered {
        let mut request = self.request(method, &format!("/api/v1/services/{}{path}", self.setup.name));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if method != "GET" {
            request = request.header("content-type", "application/json");
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        answered(request).await
    }

    /// A request to the admin address that a test shapes further.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method.parse().unwrap(), self.admin_url(path))
    }

    /// The service as the API shows it.
    pub async fn view(&self) -> Value {
        self.api("GET", "", None).await.ok()
    }

    pub async fn evidence(&self) -> Value {
        self.api("GET", "/evidence", None).await.ok()
    }

    /// The history, oldest first.
    pub async fn history(&self) -> Vec<Value> {
        self.api("GET", "/history", None).await.ok()["history"].as_array().unwrap().clone()
    }

    /// The newest entry of that decision.
    pub async fn decided(&self, decision: &str) -> Value {
        let history = self.history().await;
        let found = history.iter().rev().find(|entry| entry["decision"] == decision);
        found.unwrap_or_else(|| panic!("no {decision:?} in {history:#?}")).clone()
    }

    /// Waits for a state of the service, and gives it.
    pub async fn view_when(&self, what: &str, within: Duration, condition: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let deadline = tokio::time::Instant::now() + within;
        while tokio::time::Instant::now() < deadline {
            last = self.view().await;
            if condition(&last) {
                return last;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("not within {within:?}: {what}; {last:#}\n{}", self.log());
    }

    /// Waits for a phase.
    pub async fn phase(&self, phase: &str, within: Duration) -> Value {
        self.view_when(&format!("phase {phase}"), within, |view| view["phase"] == phase).await
    }

    /// Starts a rollout of `server1` that stays at 1% until a command moves it.
    pub async fn start_held_rollout(&self) {
        self.start_held_rollout_of("server1").await;
    }

    /// The same of another pool.
    pub async fn start_held_rollout_of(&self, pool: &str) {
        let body = serde_json::json!({"pool": pool, "steps": [{"weight": 1, "hold": "1h"}]});
        self.api("POST", "/rollout", Some(body)).await.ok();
        self.view_when("the first step", SHORT, |view| view["phase"] == "canary" && view["weight"] == 1.0).await;
    }

    /// Sets the candidate's weight in percent.
    pub async fn weigh(&self, percent: f64) {
        self.api("PUT", "/rollout/weight", Some(serde_json::json!({ "weight": percent }))).await.ok();
    }

    /// A metric's samples as Prometheus would scrape them: label text and value.
    pub async fn metric(&self, name: &str) -> Vec<(String, f64)> {
        samples(&self.metrics().await, name)
    }

    /// All of `/metrics`.
    pub async fn metrics(&self) -> String {
        let answer = answered(self.request("GET", "/metrics")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.text
    }

    /// The status that `/metrics` gives to who has no token.
    pub async fn metrics_without_token(&self) -> u16 {
        answered(self.request("GET", "/metrics")).await.status
    }

    /// `/readyz`: status and body.
    pub async fn readiness(&self) -> Answered {
        answered(self.request("GET", "/readyz")).await
    }

    /// Waits until every target of a pool has that health.
    pub async fn pool_health(&self, pool: &str, healthy: bool) {
        self.view_when(&format!("{pool} healthy: {healthy}"), SHORT, |view| {
            let targets = view["pools"][pool]["targets"].as_array().unwrap();
            targets.iter().all(|target| target["healthy"] == healthy)
        })
        .await;
    }
}

/// Sends it, and gives what came.
pub async fn answered(request: reqwest::RequestBuilder) -> Answered {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answered { status, headers, text: response.text().await.unwrap() }
}

fn samples(text: &str, name: &str) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels.to_owned(), value.parse().ok()?))
        })
        .collect()
}

impl Drop for Router {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(30).collect();
            eprintln!("--- the router's last lines ---");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
