//! What a real Chromium shows of the site.

use crate::harness::{Browser, SHORT, Site, until};
use serde_json::json;

/// Asks for a stylesheet as an open page would that needs it late, and says what became of it.
fn late(stylesheet: &str) -> String {
    format!(
        "return new Promise(done => {{
            const link = document.createElement('link');
            link.rel = 'stylesheet';
            link.onload = () => done('loaded');
            link.onerror = () => done('failed');
            link.href = {stylesheet:?};
            document.head.append(link);
        }})"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_the_old_release_gets_its_old_assets_after_the_promotion() {
    let site = Site::start().await;
    site.upgrade("server1", &["2026.11.2"]);
    site.manage("server1", &["migrate"]);
    site.release("server1", &[]).await;
    let browser = Browser::start().await;
    let home = format!("http://localhost:{}/", site.router.address().port());
    browser.open(&home).await;
    let shown =
        "return [document.documentElement.dataset.script, getComputedStyle(document.querySelector('h1')).color]";
    assert_eq!(browser.run(shown).await, json!(["2026.11.1", "rgb(0, 90, 160)"]));
    let stylesheet = browser.run("return document.querySelector('link[rel=stylesheet]').href").await;
    let stylesheet = stylesheet.as_str().unwrap();

    let start = ["rollout", "start", "server1", "--release", "2026.11.2", "--strategy", "blue-green"];
    site.command(&start).await.ok();
    site.router.phase("promoted", SHORT).await;
    assert_eq!(site.person().release().await, "2026.11.2");
    let (_, path) = stylesheet.split_once("/static/").unwrap();
    let path = format!("/static/{path}");
    let mut direct = crate::harness::Visitor::new(site.address("server1")).of_host("localhost");
    assert_eq!(direct.get(&path).await.status, 404, "the new release does not have it");

    // The query makes it a request of its own: the browser has the file, and may keep it for ever.
    assert_eq!(browser.run(&late(&format!("{path}?late"))).await, "loaded");
    assert_eq!(browser.run(&late("/static/readings/never-was.css")).await, "failed");
    browser.open(&home).await;
    assert_eq!(browser.run(shown).await, json!(["2026.11.2", "rgb(20, 110, 60)"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_built_in_maintenance_page_fits_a_phone_and_says_what_is_the_matter() {
    let site = Site::start_with(|config| config.replace("page = \"maintenance.html\"", "")).await;
    let browser = Browser::start().await;
    let home = format!("http://localhost:{}/", site.router.address().port());
    browser.open(&home).await;
    assert!(browser.text().await.contains("The weather here"));
    site.command(&["mode", "maintenance", "--message", "We move to a <b>larger</b> machine."]).await.ok();
    browser.open(&home).await;
    let text = browser.text().await;
    assert!(text.contains("We move to a <b>larger</b> machine."), "as it was written: {text}");
    assert_eq!(browser.run("return document.documentElement.scrollWidth <= window.innerWidth").await, true);
    assert_eq!(browser.run("return document.documentElement.lang").await, "en");
    site.command(&["mode", "serve"]).await.ok();
    until("the site is back", SHORT, async || {
        browser.open(&home).await;
        browser.text().await.contains("The weather here")
    })
    .await;
}
