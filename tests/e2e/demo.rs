//! The demonstration, as a reader of the README runs it.

use crate::harness::{heavy_turn, run_binary};
use std::time::{Duration, Instant};

/// It promises to end within a minute; a busy machine may take longer to start it.
const DEMO: Duration = Duration::from_secs(90);

async fn demo(fault: &str) {
    let _turn = heavy_turn().await;
    let since = Instant::now();
    let result = run_binary(&["demo", "--fault", fault], &[], DEMO).await;
    println!("{}\nin {:?}", result.out, since.elapsed());
    assert_eq!(result.code, 0, "{result:?}");
    let told = result.out.to_lowercase();
    for word in ["promoted", "rolled back", "requests", "error"] {
        assert!(told.contains(word), "{word:?} is in its story");
    }
    assert!(!result.out.contains('\u{1b}'), "plain lines when not on a terminal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_promotes_a_good_release_and_takes_back_one_with_errors() {
    demo("errors").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_promotes_a_good_release_and_takes_back_one_that_crashes() {
    demo("crash").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_promotes_a_good_release_and_takes_back_a_slow_one() {
    demo("latency").await;
}
