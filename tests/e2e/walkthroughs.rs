//! What the READMEs tell their readers to type, typed.

use crate::harness::{Load, Logger, SHORT, Site, USER, Walkthrough, heavy_turn, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_four_steps_of_the_readme_bring_four_releases_to_a_real_site() {
    let _turn = heavy_turn().await;
    // As the example has it, but for the times.
    let site = Site::start_with(|config| {
        let (before, _) = config.split_once("steps = ").unwrap();
        let steps = "steps = [{ weight = 10, hold = \"1s\" }, { weight = 50, hold = \"1s\" }]\nmin_requests = 20\n";
        format!("{}{steps}", before.replace("retry_after = \"1m\"", "retry_after = \"1s\""))
    })
    .await;
    let mut steps = Walkthrough::of("README.md", "From a maintenance page to canary releases in four steps");
    let logger = Logger::start(site.router.address());
    let mut reader = site.person();
    reader.log_in().await;

    // 1. The flag file.
    steps.next(&site);
    site.runs("server0", "2026.11.2").await;
    until("the site again, with its new release", SHORT, async || reader.home().await.status == 200).await;
    assert_eq!(reader.release().await, "2026.11.2");

    // 2. Read-only.
    let load = Load::on(site.router.address()).rate(40.0).of("localhost", "/").without_posts().start();
    steps.next(&site);
    site.runs("server0", "2026.11.3").await;
    assert_eq!(reader.release().await, "2026.11.3");
    let told_to_wait = logger.so_far().told_to_wait;
    assert!(told_to_wait > 0, "the logger came while nothing could be written");

    // 3. The instant switch: first the link, which only who has it follows.
    let said = steps.next(&site);
    site.runs("server1", "2026.11.4").await;
    let link = said.split_whitespace().find(|word| word.starts_with("http")).expect("a link");
    let (_, path) = link.split_once(&site.router.address().port().to_string()).unwrap();
    let mut previewer = site.person();
    assert_eq!(previewer.visitor.get(path).await.status, 303);
    assert_eq!(previewer.release().await, "2026.11.4");
    assert_eq!(reader.release().await, "2026.11.3", "nobody else has seen it");
    site.router.pool_health("server1", true).await;
    steps.next(&site);
    assert_eq!(reader.release().await, "2026.11.4");

    // 4. The canary.
    steps.next(&site);
    assert_eq!(reader.release().await, "2026.11.5");
    assert_eq!(site.router.view().await["live"], "server0");
    steps.end();

    let tally = load.stop().await;
    let (measured, posts) = logger.stop().await;
    println!("{} GET and {measured} POST, failed: {:?} {:?}", tally.gets, tally.failed_gets, posts.failed);
    assert!(tally.failed_gets.is_empty(), "from read-only on visitors notice nothing: {:?}", tally.failed_gets);
    assert!(posts.failed.is_empty(), "{:?}", posts.failed);
    assert_eq!(posts.told_to_wait, told_to_wait, "nothing was refused by the switch and the canary");
    site.assert_all_stored_once(measured);
    assert_eq!(reader.appears_as().await.as_deref(), Some(USER), "logged in all the while");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_of_the_example_sets_it_up_and_moves_its_database() {
    let site = Site::empty().await;
    // The example with this test's ports, where a reader has the repository.
    let example = site.router.folder().join("example");
    site.copy_example_to(&example);
    let file = "config/examples/django/README.md";
    let mut set_up = Walkthrough::of(file, "Set it up");
    set_up.next_with(&site, |block| block.replace("\"$EXAMPLE\"", example.to_str().unwrap()));
    set_up.end();
    for pool in ["server0", "server1"] {
        site.answers(pool).await;
    }
    site.router.start_again().await;
    assert_eq!(site.person().release().await, "2026.11.1");

    let logger = Logger::start(site.router.address());
    until("readings are stored", SHORT, async || logger.so_far().stored > 10).await;
    let mut database = Walkthrough::of(file, "The database moves");
    let new = format!("{}_new", site.database);
    database.next_with(&site, |block| block.replace("station_new", &new));
    site.answers("server1").await;
    site.router.pool_health("server1", true).await;
    database.next_with(&site, |block| block.replace("station_new", &new));
    database.end();
    let before = logger.so_far().stored;
    until("readings are stored again", SHORT, async || logger.so_far().stored > before + 10).await;
    let (measured, posts) = logger.stop().await;
    assert!(posts.failed.is_empty() && posts.told_to_wait == 0, "{posts:?}");
    assert_eq!(site.sql_in(&new, "select count(*), max(received) from readings_reading"), format!("{measured}|1"));
    assert!(site.readings() < measured, "nothing went to the old database after the move");
}
