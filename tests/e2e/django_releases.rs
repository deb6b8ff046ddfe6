//! A real site through its releases: a column that is replaced without a break, and a database that moves.

use crate::harness::{Load, Logger, SHORT, Site, heavy_turn, run, until};

/// Switches all traffic, and waits until nothing is in the old pool.
async fn switch(site: &Site, pool: &str) {
    site.command(&["switch", pool, "--drain", "30s"]).await.ok();
}

/// Lets some readings come in.
async fn a_while(logger: &Logger) {
    let before = logger.so_far().stored;
    until("readings are stored", SHORT, async || logger.so_far().stored > before + 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_is_replaced_by_expand_migrate_and_contract_while_every_reading_is_stored() {
    let _turn = heavy_turn().await;
    let site = Site::start().await;
    let logger = Logger::start(site.router.address());
    let mut visitor = site.person();
    a_while(&logger).await;
    let empty = "select count(*) from readings_reading where celsius is null";

    // Expand: the release before goes on beside the new column, and is a way back.
    site.upgrade("server1", &["2026.11.2"]);
    site.manage("server1", &["migrate"]);
    a_while(&logger).await;
    assert_ne!(site.sql(empty), "0", "release 2026.11.1 leaves it empty");
    site.release("server1", &[]).await;
    switch(&site, "server1").await;
    a_while(&logger).await;
    assert_eq!(visitor.release().await, "2026.11.2");
    switch(&site, "server0").await;
    a_while(&logger).await;
    assert_eq!(visitor.release().await, "2026.11.1");
    switch(&site, "server1").await;

    // Migrate: once nobody leaves it empty any more, it is filled, and the next release reads it.
    site.upgrade("server0", &["2026.11.2", "2026.11.3"]);
    site.manage("server0", &["migrate"]);
    a_while(&logger).await;
    assert_eq!(site.sql(empty), "0");
    site.release("server0", &[]).await;
    switch(&site, "server0").await;
    assert_eq!(visitor.release().await, "2026.11.3");
    assert!(visitor.home().await.text().contains("°C"), "reads the new column");

    // Contract: the old column may be empty, then nobody writes it, then it goes.
    site.upgrade("server1", &["2026.11.3", "2026.11.4"]);
    site.manage("server1", &["migrate", "readings", "0004"]);
    a_while(&logger).await;
    site.release("server1", &[]).await;
    switch(&site, "server1").await;
    a_while(&logger).await;
    site.manage("server1", &["migrate"]);
    a_while(&logger).await;
    assert_eq!(visitor.release().await, "2026.11.4");
    assert_eq!(site.manage("server1", &["makemigrations", "--check"]).trim(), "No changes detected");

    let (measured, posts) = logger.stop().await;
    println!("{measured} readings through four releases, failed: {:?}", posts.failed);
    assert!(posts.failed.is_empty() && posts.told_to_wait == 0, "{posts:?}");
    site.assert_all_stored_once(measured);
    let wrong = "select count(*) from readings_reading where celsius is null or celsius < -0.01 or celsius > 50";
    assert_eq!(site.sql(wrong), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switch_with_hold_around_a_migration_fails_and_doubles_nothing() {
    let _turn = heavy_turn().await;
    let site = Site::start().await;
    let logger = Logger::over(site.router.address(), 4);
    let load = Load::on(site.router.address()).rate(40.0).of("localhost", "/").without_posts().start();
    site.upgrade("server1", &["2026.11.2"]);
    site.release("server1", &[]).await;
    a_while(&logger).await;

    // Release 2026.11.2 can't serve before its migration: its column is not there yet.
    site.command(&["mode", "hold", "--drain", "10s"]).await.ok();
    site.manage("server1", &["migrate"]);
    site.command(&["switch", "server1"]).await.ok();
    site.command(&["mode", "serve"]).await.ok();
    a_while(&logger).await;
    assert_eq!(site.person().release().await, "2026.11.2");
    // Back and forth in one command each, with requests under way.
    for pool in ["server0", "server1", "server0", "server1"] {
        site.command(&["switch", pool, "--hold"]).await.ok();
        a_while(&logger).await;
    }
    let tally = load.stop().await;
    let (measured, posts) = logger.stop().await;
    println!("{} GET, {measured} POST, failed: {:?} {:?}", tally.gets, tally.failed_gets, posts.failed);
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    assert!(posts.failed.is_empty() && posts.told_to_wait == 0, "{posts:?}");
    site.assert_all_stored_once(measured);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_deploy_command_migrates_under_hold_and_switches_and_nothing_fails() {
    let _turn = heavy_turn().await;
    let site = Site::start().await;
    let logger = Logger::over(site.router.address(), 4);
    let load = Load::on(site.router.address()).rate(40.0).of("localhost", "/").without_posts().start();
    site.release("server1", &["2026.11.2"]).await;
    a_while(&logger).await;
    let migrate = "cd server1 && python manage.py migrate";
    let deploy = ["deploy", "server1", "--release", "2026.11.2", "--switch", "--hold", "--migrate", migrate];
    let said = run(site.program(env!("CARGO_BIN_EXE_cutover"), site.router.folder()).args(deploy));
    a_while(&logger).await;
    assert_eq!(site.person().release().await, "2026.11.2", "{said}");
    assert_eq!(site.router.view().await["mode"], "serve");
    let tally = load.stop().await;
    let (measured, posts) = logger.stop().await;
    println!("{said}\n{} GET, {measured} POST, failed: {:?} {:?}", tally.gets, tally.failed_gets, posts.failed);
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    assert!(posts.failed.is_empty() && posts.told_to_wait == 0, "{posts:?}");
    site.assert_all_stored_once(measured);
}

/// Copies all that is in one database to another, as in the README.
fn copy_database(site: &Site, to: &str) {
    let copy = r#"set -o pipefail; pg_dump "$PGDATABASE" | psql -q -v ON_ERROR_STOP=1 -d "$0""#;
    run(site.program("bash", site.router.folder()).args(["-c", copy, to]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_under_hold_and_the_data_logger_does_not_notice() {
    let site = Site::start().await;
    let new = site.empty_database();
    site.stop_copy("server1").await;
    site.start_copy_on("server1", &new).await;
    let logger = Logger::over(site.router.address(), 2);
    a_while(&logger).await;
    site.command(&["mode", "hold", "--drain", "10s"]).await.ok();
    let old_at_rest = site.readings();
    copy_database(&site, &new);
    site.command(&["switch", "server1"]).await.ok();
    site.command(&["mode", "serve"]).await.ok();
    a_while(&logger).await;
    let (measured, posts) = logger.stop().await;
    println!("{measured} readings, {old_at_rest} of which before the move, failed: {:?}", posts.failed);
    assert!(posts.failed.is_empty() && posts.told_to_wait == 0, "{posts:?}");
    assert_eq!(site.readings(), old_at_rest, "nothing went to the old database after the move");
    assert_eq!(site.sql_in(&new, "select count(*), max(received) from readings_reading"), format!("{measured}|1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_under_read_only_while_visitors_read_on_and_no_reading_is_lost() {
    let site = Site::start().await;
    let new = site.empty_database();
    site.stop_copy("server1").await;
    site.start_copy_on("server1", &new).await;
    let logger = Logger::start(site.router.address());
    let load = Load::on(site.router.address()).rate(20.0).of("localhost", "/").without_posts().start();
    a_while(&logger).await;
    site.command(&["mode", "read-only", "--retry-after", "1s", "--drain", "10s"]).await.ok();
    until("the logger was told to wait", SHORT, async || logger.so_far().told_to_wait > 0).await;
    let old_at_rest = site.readings();
    copy_database(&site, &new);
    site.command(&["switch", "server1"]).await.ok();
    site.command(&["mode", "serve"]).await.ok();
    a_while(&logger).await;
    let tally = load.stop().await;
    let (measured, posts) = logger.stop().await;
    assert!(tally.failed_gets.is_empty(), "readers notice nothing: {:?}", tally.failed_gets);
    assert!(posts.failed.is_empty(), "{:?}", posts.failed);
    assert_eq!(site.readings(), old_at_rest, "nothing went to the old database after the move");
    assert_eq!(site.sql_in(&new, "select count(*), max(received) from readings_reading"), format!("{measured}|1"));
}
