//! Walks the steps of a course, and leaves the site as it should be where one of them fails.

use super::course::{Planned, Step, missing};
use super::interrupt::Interrupt;
use super::report::{Done, Outcome, State};
use super::site::{Change, Site, note};
use super::{guard, program};
use crate::cli::CliError;
use crate::cli::overview::summary;
use crate::cli::progress::Progress;
use crate::cli::switch::drained;
use crate::cli::wait::{Ending, HELD, LOOK_EVERY, Waited, exit_code, follow, last_reason, told};
use crate::model::Mode;
use crate::model::view::{DrainView, ServiceView, SwitchView};
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// How the walk ended, if nothing failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) exit_code: u8,
    /// In a sentence.
    pub(super) told: String,
}

/// A walk on its way.
pub(super) struct Walk<'s> {
    pub(super) site: Site<'s>,
    pub(super) interrupt: Interrupt,
    pub(super) steps: Vec<Done>,
    guard: Option<Mode>,
}

impl<'s> Walk<'s> {
    pub(super) fn new(site: Site<'s>, interrupt: Interrupt) -> Self {
        Self { site, interrupt, steps: Vec::new(), guard: None }
    }

    /// Walks to the end. After an error the site is out of the mode that the walk has put it into.
    pub(super) async fn walk(&mut self, planned: Vec<Planned>) -> Result<End, CliError> {
        let alive = self.site.alive();
        let ended = tokio::select! {
            biased;
            ended = self.all(planned) => ended,
            never = alive => match never {},
        };
        match ended {
            Ok(end) => Ok(end),
            Err(error) => Err(self.give_up(&error).await),
        }
    }

    async fn all(&mut self, planned: Vec<Planned>) -> Result<End, CliError> {
        let mut end = None;
        for Planned { step, what, done } in planned {
            let since = Instant::now();
            if let Some(done) = done {
                note(&format!("{what}: {done}"));
                self.steps.push(Done::new(step, State::Already, since, done));
                continue;
            }
            note(&what);
            match self.step(step).await {
                Ok((detail, ended)) => {
                    self.steps.push(Done::new(step, State::Done, since, detail));
                    end = ended.or(end);
                }
                Err(error) => {
                    self.steps.push(Done::new(step, State::Failed, since, error.to_string()));
                    return Err(error);
                }
            }
        }
        match end {
            Some(end) => Ok(end),
            None => Ok(switched(&self.site.look().await?, None)),
        }
    }

    async fn step(&mut self, step: Step) -> Result<(String, Option<End>), CliError> {
        let detail = match step {
            Step::Prepare => self.prepare().await?,
            Step::Ready => self.ready().await?,
            Step::Gate => self.gate().await?,
            Step::Guard(mode) => {
                self.guard = Some(mode);
                let drain = self.interrupt.unless(guard::enter(&self.site, mode)).await?;
                drain.map_or_else(String::new, drained)
            }
            Step::Migrate => self.migrate().await?,
            Step::Leave => {
                let left = guard::leave(&self.site).await?;
                self.guard = None;
                left
            }
            Step::Switch => return self.switch().await,
            Step::Rollout => return self.rollout().await,
        };
        Ok((detail, None))
    }

    async fn prepare(&self) -> Result<String, CliError> {
        let Some(command) = &self.site.asked.prepare else { return Ok(String::new()) };
        self.program("the preparation", command).await?;
        Ok("has run".to_owned())
    }

    /// Waits until every target is up, and says the release where it is asked.
    async fn ready(&self) -> Result<String, CliError> {
        let (asked, since) = (self.site.asked, Instant::now());
        let mut last = Vec::new();
        let view = loop {
            let view = self.interrupt.unless(self.site.look()).await?;
            let missing = missing(asked, &view);
            if missing.is_empty() {
                break view;
            }
            if since.elapsed() >= asked.timeout.get() {
                let (pool, missing) = (&asked.pool, missing.join("; "));
                return Err(CliError::Deploy(format!("{pool} is not ready after {}: {missing}", asked.timeout)));
            }
            if missing != last {
                note(&missing.join("; "));
                last = missing;
            }
            self.interrupt.unless(pause()).await?;
        };
        self.site.record("ready", &[]).await?;
        let number = view.pools.get(&asked.pool).map_or(0, |pool| pool.targets.len());
        let targets = if number == 1 { "the target is up".to_owned() } else { format!("all {number} targets are up") };
        if view.release_source.is_none() {
            note("which release runs is taken on trust; with service.health.release the router reads it");
            return Ok(targets);
        }
        Ok(format!("{targets}, and {} {}", if number == 1 { "says" } else { "say" }, asked.release))
    }

    async fn gate(&self) -> Result<String, CliError> {
        let Some(command) = &self.site.asked.gate_command else { return Ok(String::new()) };
        self.program("the gate command", command).await?;
        self.site.record("gate", &[]).await?;
        Ok("passed".to_owned())
    }

    async fn migrate(&self) -> Result<String, CliError> {
        let Some(command) = &self.site.asked.migrate else { return Ok(String::new()) };
        let running = self.program("the migration", command);
        match self.guard {
            None => running.await?,
            Some(mode) => tokio::select! {
                ended = running => ended?,
                never = guard::keep(&self.site, mode) => match never {},
            },
        }
        self.site.record("migrated", &[]).await?;
        Ok("has run".to_owned())
    }

    async fn program(&self, what: &str, command: &str) -> Result<(), CliError> {
        let asked = self.site.asked;
        let view = self.interrupt.unless(self.site.look()).await?;
        let targets = view.pools.get(&asked.pool).map_or(&[][..], |pool| &pool.targets);
        let targets: Vec<&str> = targets.iter().map(|target| target.address.as_str()).collect();
        let environment = [
            ("CUTOVER_SERVICE", view.name.to_string()),
            ("CUTOVER_POOL", asked.pool.to_string()),
            ("CUTOVER_RELEASE", asked.release.to_string()),
            ("CUTOVER_TARGETS", targets.join(" ")),
            ("CUTOVER_LIVE", view.live.to_string()),
            ("CUTOVER_ADMIN", self.site.session.client.admin().to_owned()),
        ];
        let ran = program::run(command, &environment, asked.command_timeout, &self.interrupt).await;
        ran.map_err(|reason| CliError::Deploy(format!("{what} failed: {reason}")))
    }

    async fn switch(&self) -> Result<(String, Option<End>), CliError> {
        let (pool, drain) = (&self.site.asked.pool, self.site.asked.drain());
        let switching = self.site.change(Step::Switch, |view| {
            if view.live == *pool {
                return Ok(Change::Made(SwitchView { service: view.clone(), drain: None }));
            }
            let body = json!({ "pool": pool, "drain": drain, "hold": false });
            Ok(Change::Make(Method::POST, "/switch", body, drain.get()))
        });
        let SwitchView { service, drain } = self.interrupt.unless(switching).await?;
        Ok((drain.map_or_else(String::new, drained), Some(switched(&service, drain))))
    }

    async fn rollout(&self) -> Result<(String, Option<End>), CliError> {
        let asked = self.site.asked;
        let starting = self.site.change(Step::Rollout, |view| {
            let is_own = |rollout: &crate::model::view::RolloutView| rollout.release == asked.release;
            if view.candidate.as_ref() == Some(&asked.pool) && view.rollout.as_ref().is_some_and(is_own) {
                return Ok(Change::Made(view.clone()));
            }
            let mut body = json!({ "pool": asked.pool, "release": asked.release, "force": asked.force });
            if let Some(strategy) = [(asked.canary, "canary"), (asked.blue_green, "blue-green")]
                .into_iter()
                .find_map(|(wanted, strategy)| wanted.then_some(strategy))
            {
                body["strategy"] = json!(strategy);
            }
            Ok(Change::Make(Method::POST, "/rollout", body, Duration::ZERO))
        });
        let start: ServiceView = self.interrupt.unless(starting).await?;
        let mut progress = Progress::lines();
        let (session, path) = (self.site.session, self.site.path.as_str());
        let end = match self.interrupt.unless(follow(session, path, &asked.pool, &start, &mut progress)).await? {
            Waited::Ended(ended) => {
                let (ending, view, _) = *ended;
                let reason = last_reason(session, path).await;
                End {
                    outcome: outcome(&ending, &view, self.site.asked),
                    exit_code: exit_code(&asked.pool, &ending),
                    told: told(&view, &asked.pool, &ending, &reason),
                }
            }
            Waited::Lost(error) => {
                let told = format!("{error}; the waiting ends here, the rollout may go on");
                End { outcome: Outcome::Lost, exit_code: HELD, told }
            }
        };
        Ok((String::new(), Some(end)))
    }

    /// After an error: leaves the mode, notes the end, and says what is the case now. Signals are waited out.
    async fn give_up(&mut self, error: &CliError) -> CliError {
        let mut told = vec![error.to_string()];
        let left = guard::leave(&self.site).await;
        let is_left = left.is_ok();
        if let Err(left) = left {
            let until = "it ends by itself, or by `cutover mode serve`";
            told.push(format!("the mode could not be left: {left}; {until}"));
        }
        match self.site.look().await {
            Ok(view) => {
                let goes_on = view.candidate.as_ref() == Some(&self.site.asked.pool);
                // Whose deploy is another's by now has nothing to note; and whose mode is on still is not over: the next run
                // leaves it.
                if !goes_on
                    && is_left
                    && self.site.own(&view).is_some()
                    && let Err(untold) = self.site.record("stopped", &[]).await
                {
                    told.push(format!("that it was stopped could not be noted: {untold}"));
                }
                told.push(format!("the state now: {}", summary(&view)));
                told.push(self.what_next(&view, goes_on));
            }
            Err(unknown) => told.push(format!("in which state the service is can't be told: {unknown}")),
        }
        CliError::Deploy(told.join("\n  "))
    }

    fn what_next(&self, view: &ServiceView, goes_on: bool) -> String {
        let asked = self.site.asked;
        if goes_on {
            return "the rollout goes on by itself; the same command waits for it again".to_owned();
        }
        if view.live == asked.pool {
            return format!("{} is live; nothing is left to do", asked.release);
        }
        let migrated = match (&asked.migrate, view.migrated.contains(&asked.release)) {
            (None, _) => String::new(),
            (Some(_), true) => format!(", the migration of {} has run", asked.release),
            (Some(_), false) => ", no migration has run to its end".to_owned(),
        };
        format!("no traffic was moved{migrated}; the same command goes on from there")
    }
}

async fn pause() -> Result<(), CliError> {
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

fn switched(view: &ServiceView, drain: Option<DrainView>) -> End {
    let cut = drain.map_or_else(String::new, |drain| format!("; {}", drained(drain)));
    let told = format!("{}: all traffic goes to {}{cut}", view.name, view.live);
    End { outcome: Outcome::Switched, exit_code: 0, told }
}

fn outcome(ending: &Ending, view: &ServiceView, asked: &super::DeployArguments) -> Outcome {
    match ending {
        Ending::Promoted => Outcome::Promoted,
        Ending::Switched(_) if view.live == asked.pool => Outcome::Switched,
        Ending::RolledBack | Ending::Switched(_) => Outcome::RolledBack,
        Ending::Held(_) => Outcome::Held,
    }
}
