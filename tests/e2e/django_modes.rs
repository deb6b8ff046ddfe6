//! A real site in the modes that keep it open while its data rests: who is logged in, what is stored, what waits.

use crate::harness::{Logger, Person, SHORT, Site, USER, until};

async fn logged_in(site: &Site) -> Person {
    let mut person = site.person();
    person.log_in().await;
    person
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_in_read_only_changes_nothing_and_works_again_afterwards() {
    let site = Site::start().await;
    let mut person = logged_in(&site).await;
    assert_eq!(person.write_note("before").await.status, 302);
    let everything = site.dump();
    site.command(&["mode", "read-only", "--message", "We move to a larger machine."]).await.ok();

    let refused = person.write_note("meanwhile").await;
    assert_eq!((refused.status, refused.header("x-cutover-maintenance")), (503, Some("read-only")), "{refused:?}");
    assert!(refused.header("retry-after").is_some() && refused.text().contains("larger machine"), "{refused:?}");
    let page = person.home().await;
    assert_eq!((page.status, page.header("x-cutover-mode")), (200, Some("read-only")));
    assert!(page.text().contains("you can read everything"), "the application's own banner: {}", page.text());
    assert_eq!(person.appears_as().await.as_deref(), Some(USER), "still logged in");
    let login = site.person().try_to_log_in().await;
    assert_eq!(login.status, 503, "a session is stored as well");
    assert_eq!(site.dump(), everything, "not a byte of the database has changed");

    site.command(&["mode", "serve"]).await.ok();
    assert_eq!(person.write_note("after").await.status, 302);
    assert!(!person.home().await.text().contains("you can read everything"));
    assert_eq!(site.sql("select string_agg(text, ' ' order by id) from readings_note"), "before after");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_anonymous_mode_everyone_appears_logged_out_and_is_logged_in_again_after_it() {
    let site = Site::start().await;
    let mut person = logged_in(&site).await;
    site.command(&["mode", "anonymous"]).await.ok();
    for _ in 0..3 {
        assert_eq!(person.appears_as().await, None);
    }
    assert!(person.home().await.text().contains("logged out for a few minutes"), "the application's own banner");
    let login = site.person().try_to_log_in().await;
    assert!(
        login.headers.get_all("set-cookie").iter().all(|cookie| !cookie.to_str().unwrap().starts_with("sessionid")),
        "no session begins: {login:?}"
    );
    site.command(&["mode", "read-only", "--anonymous"]).await.ok();
    assert_eq!(person.appears_as().await, None);
    assert_eq!(person.home().await.header("x-cutover-mode"), Some("read-only, anonymous"));
    site.command(&["mode", "serve"]).await.ok();
    assert_eq!(person.appears_as().await.as_deref(), Some(USER), "the same session as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_hold_everything_waits_and_nothing_fails() {
    let site = Site::start().await;
    let mut person = logged_in(&site).await;
    let logger = Logger::over(site.router.address(), 2);
    until("readings are stored", SHORT, async || logger.so_far().stored > 10).await;
    site.command(&["mode", "hold", "--drain", "10s"]).await.ok();
    let everything = site.dump();
    let note = tokio::spawn(async move { person.write_note("waited").await });
    // A migration of a second or so; the database is at rest all the while.
    site.upgrade("server1", &["2026.11.2"]);
    assert_eq!(site.dump(), everything, "not a byte of the database has changed");
    site.manage("server1", &["migrate"]);
    site.command(&["mode", "serve"]).await.ok();
    assert_eq!(note.await.unwrap().status, 302);
    let before = logger.so_far().stored;
    until("readings go on", SHORT, async || logger.so_far().stored > before + 10).await;
    let (measured, posts) = logger.stop().await;
    assert!(posts.failed.is_empty() && posts.told_to_wait == 0, "{posts:?}");
    site.assert_all_stored_once(measured);
}
