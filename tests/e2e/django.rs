//! A real site: Django under gunicorn, on PostgreSQL. Its data logger, its visitors, and what they notice of maintenance,
//! of restarts and of a bad release.

use crate::harness::{LONG, Load, Logger, SHORT, Site, heavy_turn, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_logger_loses_no_reading_through_maintenance() {
    let site = Site::start_with(|config| config.replace("retry_after = \"1m\"", "retry_after = \"1s\"")).await;
    let logger = Logger::start(site.router.address());
    until("readings are stored", SHORT, async || logger.so_far().stored > 10).await;
    site.command(&["mode", "maintenance", "--retry-after", "1s"]).await.ok();
    until("the logger was told to wait", SHORT, async || logger.so_far().told_to_wait > 1).await;
    let while_off = site.readings();
    site.manage("server0", &["check", "--database", "default"]);
    assert_eq!(site.readings(), while_off, "nothing reaches the database");
    site.command(&["mode", "serve"]).await.ok();
    let before = logger.so_far().stored;
    until("readings are stored again", SHORT, async || logger.so_far().stored > before + 20).await;

    // The same by the flag file.
    let flag = site.router.folder().join("maintenance.on");
    std::fs::write(&flag, "").unwrap();
    let told = logger.so_far().told_to_wait;
    until("the logger was told to wait again", SHORT, async || logger.so_far().told_to_wait > told).await;
    std::fs::remove_file(&flag).unwrap();
    let (measured, posts) = logger.stop().await;
    println!("{measured} readings, told to wait {} times, {} failed", posts.told_to_wait, posts.failed.len());
    assert!(posts.failed.is_empty(), "{:?}", posts.failed);
    site.assert_all_stored_once(measured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_are_replaced_on_hup_under_load_fail_no_request() {
    let _turn = heavy_turn().await;
    let site = Site::start().await;
    let logger = Logger::over(site.router.address(), 4);
    let load = Load::on(site.router.address()).rate(60.0).of("localhost", "/up").without_posts().start();
    for _ in 0..5 {
        site.reload_copy("server0").await;
        let before = logger.so_far().stored;
        until("readings go on", LONG, async || logger.so_far().stored > before + 5).await;
    }
    let tally = load.stop().await;
    let (measured, posts) = logger.stop().await;
    println!("5 HUP, {} GET and {measured} POST, failed: {:?} {:?}", tally.gets, tally.failed_gets, posts.failed);
    assert!(tally.failed_gets.is_empty() && posts.failed.is_empty(), "{:?} {posts:?}", tally.failed_gets);
    assert_eq!(posts.told_to_wait, 0);
    site.assert_all_stored_once(measured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_stopped_and_started_again_keeps_its_visitors_waiting_and_loses_no_reading() {
    let _turn = heavy_turn().await;
    let site = Site::start_with(|config| format!("{config}[service.hold]\nrestart = \"30s\"\n")).await;
    site.stop_copy("server1").await;
    site.router.pool_health("server1", false).await;
    let logger = Logger::start(site.router.address());
    let load = Load::on(site.router.address()).rate(40.0).of("localhost", "/up").without_posts().start();
    until("readings are stored", SHORT, async || logger.so_far().stored > 10).await;

    // As it is: a request that could not be sent waits. A GET that was cut off is sent again; a POST never is, and is the
    // data logger's to repeat.
    site.stop_copy("server0").await;
    site.start_copy("server0").await;
    let before = logger.so_far().stored;
    until("readings go on", LONG, async || logger.so_far().stored > before + 10).await;
    let cut_off = logger.so_far().failed;

    // With a hold around it nothing is cut off.
    site.command(&["mode", "hold", "--drain", "10s"]).await.ok();
    site.stop_copy("server0").await;
    site.start_copy("server0").await;
    site.command(&["mode", "serve"]).await.ok();
    let before = logger.so_far().stored;
    until("readings go on", LONG, async || logger.so_far().stored > before + 10).await;

    let tally = load.stop().await;
    let (measured, posts) = logger.stop().await;
    println!("2 restarts, {} GET and {measured} POST, failed: {:?} {:?}", tally.gets, tally.failed_gets, posts.failed);
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    assert_eq!((posts.told_to_wait, &posts.failed), (0, &cut_off), "the second restart has cut off nothing");
    site.assert_all_stored_once(measured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_breaks_one_view_is_taken_back_and_its_visitors_see_no_error() {
    let _turn = heavy_turn().await;
    let site = Site::start_with(|config| {
        let (before, _) = config.split_once("steps = ").unwrap();
        format!(
            "{before}steps = [{{ weight = 25, hold = \"2s\" }}, {{ weight = 50, hold = \"2s\" }}]\nmin_requests = 50\n"
        )
    })
    .await;
    // A slip that no health check sees: the page asks for a column that is not there.
    site.edit("server1", "readings/views.py", "select_related(\"author\")", "select_related(\"auther\")");
    site.release("server1", &[]).await;
    let load = Load::on(site.router.address()).rate(60.0).of("localhost", "/").without_posts().start();
    let result = site.command(&["rollout", "start", "server1", "--release", "2026.11.2", "--wait"]).await;
    assert_eq!(result.code, 3, "taken back: {result:#?}");
    let tally = load.stop().await;
    println!("{} GET, of which visitors saw fail: {:?}", tally.gets, tally.failed_gets);
    assert!(tally.failed_gets.is_empty(), "live has answered what the candidate could not: {:?}", tally.failed_gets);
    assert_eq!(site.router.view().await["live"], "server0");
    let reason = site.router.decided("rollback").await["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("error"), "{reason}");
}
