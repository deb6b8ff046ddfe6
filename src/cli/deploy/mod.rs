//! `cutover deploy`: the whole walk of a deploy script, from a pool that runs the release to traffic on it.
//!
//! ```text
//! arguments, the service ─► course ─► walk ─► report
//!                                      ├─► site     looks, changes, and notes how far it is
//!                                      ├─► guard    the mode around a migration and a switch
//!                                      └─► program  the operator's commands
//! ```
//!
//! What is done is noted in the service's state. So a run that was broken off is taken up by the next one, on any machine,
//! and a deploy of something else is told of it.

mod arguments;
mod course;
mod guard;
mod interrupt;
mod program;
mod report;
mod site;
mod walk;

pub(super) use arguments::DeployArguments;

use super::CliError;
use super::error::FAILED;
use super::output::{for_people, plain_json, say};
use super::session::Session;
use super::wait::{LOOK_EVERY, ROLLED_BACK};
use crate::model::view::ServiceView;
use course::{Course, Planned, course, meant};
use interrupt::Interrupt;
use report::{Outcome, Report, taken};
use serde_json::json;
use site::{Site, note};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use walk::{End, Walk};

pub(super) async fn run(session: &Session, mut asked: DeployArguments) -> Result<ExitCode, CliError> {
    let since = Instant::now();
    let path = session.service_path().await?;
    let view: ServiceView = session.client.get(&path, &[]).await?.read()?;
    asked.pool = meant(&asked, &view).map_err(CliError::Refused)?;
    let site = Site::new(session, path, &asked);
    let (view, planned) = match begin(&site).await? {
        Begun::Over(view, end) => return tell(session, &report(&asked, &view, end, since)),
        Begun::DryRun(view, planned) => return tell_plan(session, &asked, &view, &planned),
        Begun::Walk(view, planned) => (view, planned),
    };
    let mut walk = Walk::new(site, Interrupt::listen()?);
    let ended = walk.walk(planned).await;
    let steps = std::mem::take(&mut walk.steps);
    match ended {
        Ok(end) => tell(session, &Report { steps, ..report(&asked, &view, end, since) }),
        Err(error) => {
            let end = End { outcome: Outcome::Failed, exit_code: FAILED, told: error.to_string() };
            if session.json {
                tell(session, &Report { steps, ..report(&asked, &view, end, since) })?;
            }
            Err(error)
        }
    }
}

/// What there is to do, once the deploy has begun.
enum Begun {
    Over(ServiceView, End),
    DryRun(ServiceView, Vec<Planned>),
    Walk(ServiceView, Vec<Planned>),
}

/// A router has noticed by then that the run before has died.
const DEATH: Duration = Duration::from_secs(10);

/// Looks, decides what there is to do, and begins it if the service is still as it was looked at.
async fn begin(site: &Site<'_>) -> Result<Begun, CliError> {
    let since = Instant::now();
    let mut is_waiting = false;
    loop {
        let view: ServiceView = site.session.client.get(&site.path, &[]).await?.read()?;
        let planned = match course(site.asked, &view).map_err(CliError::Refused)? {
            Course::Live => {
                let end = live(site.asked, &view);
                return Ok(Begun::Over(view, end));
            }
            Course::Rejected => {
                let end = rejected(site.asked, &view);
                return Ok(Begun::Over(view, end));
            }
            Course::Walk(planned) => planned,
        };
        if site.asked.dry_run {
            return Ok(Begun::DryRun(view, planned));
        }
        match site.begin(&view).await {
            Ok(view) => return Ok(Begun::Walk(view, planned)),
            // Each try is another look at what others have changed.
            Err(CliError::Moved(_)) => {}
            Err(CliError::Refused(_)) if site.is_others(&view) && since.elapsed() < DEATH => {
                if !std::mem::replace(&mut is_waiting, true) {
                    note("another run of this deploy was at work just now; waiting whether it is alive");
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn live(asked: &DeployArguments, view: &ServiceView) -> End {
    let told = format!("{}: {} is live with {} already; nothing is to be done", view.name, asked.pool, asked.release);
    End { outcome: Outcome::AlreadyLive, exit_code: 0, told }
}

fn rejected(asked: &DeployArguments, view: &ServiceView) -> End {
    let told = format!(
        "{}: {} was rolled back before, and {} is live; deploy it again with --force, or another release",
        view.name, asked.release, view.live
    );
    End { outcome: Outcome::RolledBack, exit_code: ROLLED_BACK, told }
}

fn report(asked: &DeployArguments, view: &ServiceView, end: End, since: Instant) -> Report {
    Report {
        service: view.name.clone(),
        pool: asked.pool.clone(),
        release: asked.release.clone(),
        outcome: end.outcome,
        exit_code: end.exit_code,
        told: end.told,
        took: taken(since),
        steps: Vec::new(),
    }
}

fn tell(session: &Session, report: &Report) -> Result<ExitCode, CliError> {
    say(&if session.json { plain_json(&json!(report).to_string()) } else { for_people(report.text()) })?;
    Ok(ExitCode::from(report.exit_code))
}

/// What a dry run says: the steps in their order, and those that are done.
fn tell_plan(
    session: &Session,
    asked: &DeployArguments,
    view: &ServiceView,
    planned: &[Planned],
) -> Result<ExitCode, CliError> {
    if session.json {
        let step = |step: &Planned| json!({ "step": step.step.name(), "what": step.what, "done": step.done });
        let steps: Vec<_> = planned.iter().map(step).collect();
        let plan = json!({ "dry_run": true, "pool": asked.pool, "release": asked.release, "steps": steps });
        say(&plain_json(&plan.to_string()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{}: {} is live; a deploy of {} would\n", view.name, view.live, asked.release);
    for (number, Planned { what, done, .. }) in (1..).zip(planned) {
        let done = done.as_ref().map_or_else(String::new, |done| format!(" (not needed: {done})"));
        text.push_str(&super::output::plain(&format!("  {number}. {what}{done}")));
        text.push('\n');
    }
    text.push_str("This was a dry run: nothing was changed.");
    say(&for_people(text))?;
    Ok(ExitCode::SUCCESS)
}
