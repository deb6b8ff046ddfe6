//! The account in words and figures.

use super::account::Account;
use super::act::{Act, BAD, NEXT};
use super::applications::USUAL_ERRORS;
use super::plain::moment;
use super::scene::in_words;
use super::stage::{SERVICE, Stage};
use super::visitors::VISITORS;
use crate::app::DemoFault;
use std::fmt::Write as _;
use std::time::Duration;

/// The whole summary.
pub(super) fn text(account: &Account) -> String {
    let mut text = format!("\nThe demo in figures: {VISITORS} visitors, {:.0} s\n\n", account.took.as_secs_f64());
    text.push_str(&table(account));
    text.push_str(&what_the_fault_did(account));
    text.push_str("\nDecisions, as the history keeps them\n");
    for decision in &account.decisions {
        let at = Duration::try_from(decision.at.duration_since(account.started_at)).unwrap_or_default();
        let _ = writeln!(text, "{}  {}", moment(at), in_words(decision));
    }
    let otherwise = account.otherwise();
    if otherwise.is_empty() {
        text.push_str("\nIt went as told.");
    } else {
        let _ = write!(text, "\nIt did not go as told:\n  - {}", otherwise.join("\n  - "));
    }
    text
}

fn table(account: &Account) -> String {
    let row = |cells: [&str; 6]| {
        let [act, requests, posts, usual, bad, broken] = cells;
        format!("  {act:<20} {requests:>8} {posts:>6} {usual:>9} {bad:>12} {broken:>12}\n")
    };
    let bad = format!("5xx of {BAD}");
    let mut text = row(["what visitors saw", "requests", "POSTs", "usual 5xx", &bad, "broken"]);
    text.push_str(&row(["", "", "", "", "GET / POST", "GET / POST"]));
    for act in Act::ALL {
        let counts = account.counts[act.index()];
        text.push_str(&row([
            &format!("{}. release {}", act.index() + 1, act.release()),
            &counts.requests.to_string(),
            &counts.posts.to_string(),
            &counts.usual_errors.to_string(),
            &format!("{} / {}", counts.bad_gets, counts.bad_posts),
            &format!("{} / {}", counts.broken_gets, counts.broken_posts),
        ]));
    }
    let usual = USUAL_ERRORS * 100.0;
    let _ = writeln!(text, "  usual: any release of this shop fails {usual}% of its requests, as sites do");
    text
}

fn what_the_fault_did(account: &Account) -> String {
    let counts = account.counts[Act::Bad.index()];
    let rescued = format!("  {} that failed on a candidate: live answered instead\n", many(account.rescues, "GET"));
    match (account.fault, account.to_rollback) {
        (DemoFault::None, _) => format!("\n{rescued}"),
        (DemoFault::Errors | DemoFault::Latency | DemoFault::Crash, None) => {
            format!("\n  there was no rollback\n{rescued}")
        }
        (DemoFault::Errors | DemoFault::Latency | DemoFault::Crash, Some(time)) => format!(
            "\n  {:.2} s from the first sign of release {BAD}'s fault to its rollback in force\n{rescued}  {} and {} failed for \
             visitors because of release {BAD}; a POST is never sent twice\n",
            time.as_secs_f64(),
            many(counts.bad_gets + counts.broken_gets, "GET"),
            many(counts.bad_posts + counts.broken_posts, "POST"),
        ),
    }
}

fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What there is to try while everything stays up.
pub(super) fn to_try(stage: &Stage) -> String {
    let pool = stage.router.handle.service(SERVICE).map_or_else(
        |_| "server0".to_owned(),
        |view| view.pools.keys().find(|pool| **pool != view.live).map_or("server0".to_owned(), ToString::to_string),
    );
    format!(
        "\nEverything stays up until Ctrl-C. Release {NEXT}, a healthy one, is deployed to {pool}. In another terminal:\n\
         \n  export CUTOVER_ADMIN={admin}\
         \n  cutover status\
         \n  cutover rollout start {pool} --release {NEXT} --wait\
         \n  cutover rollout rollback\
         \n  cutover mode maintenance --message 'Back in a minute'\
         \n  cutover mode serve\
         \n  cutover history\
         \n\
         \n  the site     {site}\
         \n  the metrics  {admin}/metrics\
         \n  the state    {folder}\n",
        admin = stage.admin(),
        site = stage.site(),
        folder = stage.folder().display(),
    )
}
