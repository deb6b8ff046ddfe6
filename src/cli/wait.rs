//! `cutover rollout start --wait`: stays until the rollout ends, and says how in the exit code.

use super::CliError;
use super::client::Answer;
use super::output::{complain, plain, plain_json, say};
use super::overview::between;
use super::progress::Progress;
use super::session::Session;
use crate::model::view::{HistoriesView, ServiceView};
use crate::model::{Held, HeldBy, Phase, PoolName, Timestamp};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A router that restarts, or is replaced, is back within this.
pub(super) const OUTAGE: Duration = Duration::from_secs(60);
/// A metrics source, or what both pools share, may be down for a while and come back; whoever waits longer should look.
const PASSING_OUTAGE: Duration = Duration::from_secs(600);

/// The exit code of a rollout that was rolled back.
pub(super) const ROLLED_BACK: u8 = 3;
/// The exit code of one that is held.
pub(super) const HELD: u8 = 4;

/// How a rollout that was waited for ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Promoted,
    RolledBack,
    /// Someone's `switch` ended it, and this pool is live.
    Switched(PoolName),
    Held(Held),
}

/// What came of the waiting.
pub(super) enum Waited {
    /// The rollout ended, with what the API answered then.
    Ended(Box<(Ending, ServiceView, Answer)>),
    /// The router did not come back in time.
    Lost(CliError),
}

/// Waits for the rollout that `start` shows to end, and tells how.
pub(super) async fn wait(
    session: &Session,
    path: &str,
    pool: &PoolName,
    start: &ServiceView,
) -> Result<ExitCode, CliError> {
    let mut progress = Progress::new(session.json);
    progress.tell("waiting for the rollout to end; Ctrl-C ends the waiting, not the rollout");
    match follow(session, path, pool, start, &mut progress).await? {
        Waited::Ended(ended) => {
            let (ending, view, answer) = *ended;
            let reason = last_reason(session, path).await;
            say(&if session.json { plain_json(&answer.json) } else { told(&view, pool, &ending, &reason) })?;
            Ok(ExitCode::from(exit_code(pool, &ending)))
        }
        Waited::Lost(error) => {
            complain(&format!("cutover: {error}; the waiting ends here, the rollout may go on"));
            Ok(ExitCode::from(HELD))
        }
    }
}

/// Follows the rollout that `start` shows to its end, through restarts of the router.
pub(super) async fn follow(
    session: &Session,
    path: &str,
    pool: &PoolName,
    start: &ServiceView,
    progress: &mut Progress,
) -> Result<Waited, CliError> {
    let started = start.rollout.as_ref().map(|rollout| rollout.started);
    let mut outage: Option<Instant> = None;
    loop {
        let answer = session.client.get(path, &[]).await;
        match answer.and_then(|answer| Ok((answer.read::<ServiceView>()?, answer))) {
            Ok((view, answer)) => {
                outage = None;
                if let Some(ending) = ending(&view, pool, started, Timestamp::now())? {
                    progress.close();
                    return Ok(Waited::Ended(Box::new((ending, view, answer))));
                }
                progress.show(&view, Timestamp::now());
            }
            Err(error) if error.may_pass() => {
                if outage.get_or_insert_with(Instant::now).elapsed() > OUTAGE {
                    progress.close();
                    return Ok(Waited::Lost(error));
                }
                progress.interrupted();
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// How the rollout that began at `started` ended; nothing while it is under way.
fn ending(
    view: &ServiceView,
    pool: &PoolName,
    started: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Ending>, CliError> {
    let is_another = view.rollout.as_ref().is_some_and(|rollout| started.is_some_and(|at| at != rollout.started));
    if is_another {
        return Err(CliError::Replaced(pool.to_string()));
    }
    Ok(match view.phase {
        Phase::Idle => Some(Ending::Switched(view.live.clone())),
        Phase::Promoted if view.live == *pool => Some(Ending::Promoted),
        Phase::Promoted => return Err(CliError::Replaced(pool.to_string())),
        Phase::RolledBack => Some(Ending::RolledBack),
        Phase::Preview | Phase::Canary => {
            view.held.clone().filter(|held| needs_someone(view, held, now)).map(Ending::Held)
        }
    })
}

/// Whether a hold lasts until someone looks.
fn needs_someone(view: &ServiceView, held: &Held, now: Timestamp) -> bool {
    match held.by {
        HeldBy::Operator | HeldBy::Evidence | HeldBy::Approval => true,
        HeldBy::Gate => !is_asking(view),
        HeldBy::Source | HeldBy::Incident => between(held.since, now).get() > PASSING_OUTAGE,
    }
}

/// Whether gates are being asked still. One that has failed before a restart is not to be seen any more.
fn is_asking(view: &ServiceView) -> bool {
    let gates = view.rollout.as_ref().map_or(&[][..], |rollout| &rollout.gates);
    !gates.is_empty() && gates.iter().all(|gate| gate.state != "failed")
}

/// The exit code that says how it ended.
pub(super) fn exit_code(pool: &PoolName, ending: &Ending) -> u8 {
    match ending {
        Ending::Promoted => 0,
        Ending::Switched(live) if live == pool => 0,
        Ending::Switched(_) | Ending::RolledBack => ROLLED_BACK,
        Ending::Held(_) => HELD,
    }
}

pub(super) fn told(view: &ServiceView, pool: &PoolName, ending: &Ending, reason: &str) -> String {
    let service = &view.name;
    match ending {
        Ending::Promoted => format!("{service}: {pool} is promoted and live{reason}"),
        Ending::RolledBack => format!("{service}: {pool} is rolled back, {} stays live{reason}", view.live),
        Ending::Switched(live) => format!("{service}: a switch ended the rollout of {pool}, {live} is live{reason}"),
        Ending::Held(held) => format!(
            "{service}: {pool} is held at {}% by {}: {}\n  see `cutover status`; then `cutover rollout` resume, \
             promote or rollback",
            view.weight,
            held.by,
            plain(&held.reason)
        ),
    }
}

/// What the history says of the last decision; the ending stands without it.
pub(super) async fn last_reason(session: &Session, path: &str) -> String {
    let answer = session.client.get(&format!("{path}/history"), &[]).await;
    let history = answer.and_then(|answer| answer.read::<HistoriesView>());
    let last = history.ok().and_then(|mut view| view.history.pop());
    last.map_or_else(String::new, |entry| format!("\n  {}: {}", plain(&entry.by), plain(&entry.reason)))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{canary, time};
    use super::*;
    use crate::model::GatePoint;
    use crate::model::view::GateView;

    fn end(view: &ServiceView, now: &str) -> Result<Option<Ending>, CliError> {
        ending(view, &"server1".parse().unwrap(), Some(time("2026-11-22T04:00:00Z")), time(now))
    }

    fn held(by: HeldBy) -> ServiceView {
        let held = Held { by, reason: "why".to_owned(), since: time("2026-11-22T05:00:00Z") };
        ServiceView { held: Some(held), ..canary() }
    }

    const NOW: &str = "2026-11-22T05:01:00Z";

    #[test]
    fn a_rollout_under_way_has_no_end() {
        assert_eq!(end(&canary(), NOW).unwrap(), None);
    }

    #[test]
    fn promoted_and_rolled_back_are_ends() {
        let promoted = ServiceView { phase: Phase::Promoted, live: "server1".parse().unwrap(), ..canary() };
        assert_eq!(end(&promoted, NOW).unwrap(), Some(Ending::Promoted));
        let rolled_back = ServiceView { phase: Phase::RolledBack, ..canary() };
        assert_eq!(end(&rolled_back, NOW).unwrap(), Some(Ending::RolledBack));
    }

    #[test]
    fn a_switch_is_an_end_that_depends_on_what_is_live() {
        let pool = "server1".parse().unwrap();
        let away = end(&ServiceView { phase: Phase::Idle, rollout: None, ..canary() }, NOW).unwrap().unwrap();
        assert_eq!(exit_code(&pool, &away), 3);
        let there = ServiceView { phase: Phase::Idle, rollout: None, live: pool.clone(), ..canary() };
        assert_eq!(exit_code(&pool, &end(&there, NOW).unwrap().unwrap()), 0);
    }

    #[test]
    fn a_hold_that_needs_someone_is_an_end_and_a_source_gets_time_to_come_back() {
        for by in [HeldBy::Operator, HeldBy::Evidence, HeldBy::Approval, HeldBy::Gate] {
            assert!(matches!(end(&held(by), NOW).unwrap(), Some(Ending::Held(_))), "{by}");
        }
        assert_eq!(end(&held(HeldBy::Incident), NOW).unwrap(), None);
        assert_eq!(end(&held(HeldBy::Source), NOW).unwrap(), None);
        assert!(matches!(end(&held(HeldBy::Source), "2026-11-22T05:11:00Z").unwrap(), Some(Ending::Held(_))));
    }

    #[test]
    fn gates_that_are_being_asked_are_waited_for_and_one_that_failed_is_an_end() {
        let gate = |state: &str| GateView {
            name: "smoke".to_owned(),
            at: GatePoint::BeforePromotion,
            step: None,
            state: state.to_owned(),
            detail: String::new(),
            since: time(NOW),
        };
        for (states, is_end) in
            [(["passed", "asked"], false), (["passed", "passed"], false), (["passed", "failed"], true)]
        {
            let mut view = held(HeldBy::Gate);
            view.rollout.as_mut().unwrap().gates = states.map(gate).to_vec();
            assert_eq!(end(&view, NOW).unwrap().is_some(), is_end, "{states:?}");
        }
    }

    #[test]
    fn another_rollout_in_its_place_is_told() {
        let mut other = canary();
        other.rollout.as_mut().unwrap().started = time("2026-11-22T04:30:00Z");
        assert!(matches!(end(&other, NOW), Err(CliError::Replaced(_))));
    }

    /// A router that restarts once while it promotes.
    fn restarting() -> axum::Router {
        use axum::response::IntoResponse;
        let looks = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        axum::Router::new().route(
            "/api/v1/services/shop",
            axum::routing::get(async move || match looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => axum::Json(canary()).into_response(),
                1 => axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response(),
                _ => {
                    let live = "server1".parse().unwrap();
                    axum::Json(ServiceView { phase: Phase::Promoted, live, ..canary() }).into_response()
                }
            }),
        )
    }

    #[tokio::test]
    async fn waiting_outlasts_a_restart_of_the_router() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(axum::serve(listener, restarting()).into_future());
        let global = super::super::arguments::Global { admin, token_file: None, service: None, json: false };
        let session = Session::open(&global).unwrap();
        let code = wait(&session, "/services/shop", &"server1".parse().unwrap(), &canary()).await.unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        server.abort();
    }
}
