//! A real Chromium without a window, driven by the WebDriver protocol of the W3C.

use super::{LONG, eventually, free_port};
use serde_json::{Value, json};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const ARGUMENTS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=390,844",
];

/// A browser with a profile of its own, the size of a phone.
pub struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    profile: TempDir,
}

impl Browser {
    pub async fn start() -> Self {
        let profile = TempDir::with_prefix("cutover-browser-").unwrap();
        let port = free_port();
        // A group of its own: the driver's end is not always the browser's.
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver is installed; `tests/run` installs it");
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(LONG).build().unwrap();
        let address = format!("http://127.0.0.1:{port}");
        let mut browser = Self { driver, session: String::new(), client, profile };
        eventually("chromedriver is ready", LONG, async || {
            let answer: Value = browser.client.get(format!("{address}/status")).send().await.ok()?.json().await.ok()?;
            (answer["value"]["ready"] == true).then_some(())
        })
        .await;
        let mut arguments: Vec<_> = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", browser.profile.path().join("profile").display()));
        // The tests' certificates are by an authority that it does not know.
        let wanted = json!({"acceptInsecureCerts": true, "goog:chromeOptions": {"args": arguments}});
        let wanted = json!({"capabilities": {"alwaysMatch": wanted}});
        let session = browser.order(&format!("{address}/session"), wanted).await;
        browser.session = format!("{address}/session/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    /// Opens an address and waits until the page has loaded.
    pub async fn open(&self, url: &str) {
        self.order(&format!("{}/url", self.session), json!({ "url": url })).await;
    }

    /// What the body of a function returns that runs in the page; a promise's value if it is one.
    pub async fn run(&self, script: &str) -> Value {
        self.order(&format!("{}/execute/sync", self.session), json!({"script": script, "args": []})).await
    }

    /// The text of the page as it is shown.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText").await.as_str().unwrap().to_owned()
    }

    async fn order(&self, url: &str, body: Value) -> Value {
        let answer = self.client.post(url).body(body.to_string()).send().await.unwrap();
        let (status, answer) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert!(status.is_success(), "{url} {body}: {answer}");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = format!("-{}", self.driver.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.driver.wait();
    }
}
