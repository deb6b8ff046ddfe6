//! The service as a deploy sees and changes it: through restarts of the router, and never over somebody else's change.

use super::DeployArguments;
use super::course::Step;
use crate::cli::CliError;
use crate::cli::output::{complain, plain};
use crate::cli::session::Session;
use crate::cli::wait::{LOOK_EVERY, OUTAGE};
use crate::model::Deploy;
use crate::model::view::ServiceView;
use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::cell::Cell;
use std::convert::Infallible;
use std::time::{Duration, Instant};

/// How often a change is tried when others change the service at the same time.
const TRIES: usize = 10;

/// A run says so often that it is alive: the router takes one for dead that has missed three.
const ALIVE_EVERY: Duration = Duration::from_secs(2);

/// What a change of the service comes to, once it is looked at.
pub(super) enum Change<T> {
    /// It has to be made: method, path below the service, body, and how long the router may take over it.
    Make(Method, &'static str, Value, Duration),
    /// It is made already.
    Made(T),
}

/// The service that is deployed to.
pub(super) struct Site<'s> {
    pub(super) session: &'s Session,
    /// Its path below the API.
    pub(super) path: String,
    pub(super) asked: &'s DeployArguments,
    /// Who deploys; no other run has the same.
    pub(super) by: String,
    is_away: Cell<bool>,
}

/// A line about the progress.
pub(super) fn note(text: &str) {
    complain(&format!("deploy: {}", plain(text)));
}

impl<'s> Site<'s> {
    pub(super) fn new(session: &'s Session, path: String, asked: &'s DeployArguments) -> Self {
        let who = asked.by.clone().unwrap_or_else(user_and_host);
        let by = format!("{who}, run {:08x}", rand::random::<u32>());
        Self { session, path, asked, by, is_away: Cell::new(false) }
    }

    /// The service now. A router that restarts is waited for.
    pub(super) async fn look(&self) -> Result<ServiceView, CliError> {
        self.patiently(async || self.session.client.get(&self.path, &[]).await?.read()).await
    }

    /// Asks until there is an answer; at most as long as a router takes to restart.
    async fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T, CliError>) -> Result<T, CliError> {
        let since = Instant::now();
        loop {
            match ask().await {
                Err(error) if error.may_pass() && since.elapsed() < OUTAGE => {
                    if !self.is_away.replace(true) {
                        note("the router does not answer; trying again");
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                answer => {
                    self.is_away.set(false);
                    return answer;
                }
            }
        }
    }

    /// Begins the deploy, or goes on with it, if the service is as it was looked at.
    pub(super) async fn begin(&self, view: &ServiceView) -> Result<ServiceView, CliError> {
        let is_joining = view.candidate.as_ref() == Some(&self.asked.pool);
        let mut body = self.body("begin");
        body["force"] = json!(self.asked.force || is_joining);
        body["take_over"] = json!(self.asked.take_over);
        let path = format!("{}/deploy", self.path);
        self.session.client.send_for(view.revision, Method::PUT, &path, &body, Duration::ZERO).await?.read()
    }

    /// Notes how far the deploy is. The same told twice is no change, so an answer that was lost does no harm.
    pub(super) async fn record(&self, act: &str, more: &[(&str, Value)]) -> Result<ServiceView, CliError> {
        let mut body = self.body(act);
        for (name, value) in more {
            body[name] = value.clone();
        }
        let path = format!("{}/deploy", self.path);
        let tell = async || self.session.client.send(Method::PUT, &path, &body, Duration::ZERO).await?.read();
        match self.patiently(tell).await {
            // What protects the site may have come first; after that there is a place for it.
            Err(CliError::Refused(_)) => {
                tokio::time::sleep(LOOK_EVERY).await;
                self.patiently(tell).await
            }
            told => told,
        }
    }

    /// Says that this run is alive, for as long as it is waited for.
    pub(super) fn alive(&self) -> impl Future<Output = Infallible> + use<'s> {
        let (session, path, body) = (self.session, format!("{}/deploy", self.path), self.body("alive"));
        async move {
            loop {
                // A router that does not hear it hears the next one.
                let _ = session.client.send(Method::PUT, &path, &body, Duration::ZERO).await;
                tokio::time::sleep(ALIVE_EVERY).await;
            }
        }
    }

    /// Whether another run of the same deploy has it.
    pub(super) fn is_others(&self, view: &ServiceView) -> bool {
        let same = view.deploy.as_ref().filter(|deploy| deploy.is_of(&self.asked.pool, &self.asked.release));
        same.is_some_and(|deploy| deploy.is_under_way() && deploy.by != self.by)
    }

    fn body(&self, act: &str) -> Value {
        json!({ "pool": self.asked.pool, "release": self.asked.release, "by": self.by, "act": act })
    }

    /// The record, as long as it is that of this run.
    pub(super) fn own<'v>(&self, view: &'v ServiceView) -> Option<&'v Deploy> {
        let deploy = view.deploy.as_ref()?;
        let is_own =
            deploy.is_under_way() && deploy.is_of(&self.asked.pool, &self.asked.release) && deploy.by == self.by;
        is_own.then_some(deploy)
    }

    /// Changes the service as it is at that moment, as long as the deploy is this run's. Where somebody else changes it in between, or the answer is lost, it is
    /// looked at again.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        step: Step,
        plan: impl Fn(&ServiceView) -> Result<Change<T>, CliError>,
    ) -> Result<T, CliError> {
        let mut last = None;
        for _ in 0..TRIES {
            let view = self.look().await?;
            let (method, below, body, wait) = match plan(&view)? {
                Change::Made(made) => return Ok(made),
                Change::Make(method, below, body, wait) => (method, below, body, wait),
            };
            if self.own(&view).is_none() {
                let told = "the deploy is not this run's any more; `cutover history` says what came in between";
                return Err(CliError::Deploy(format!("{}: {told}", step.name())));
            }
            let path = format!("{}{below}", self.path);
            match self.session.client.send_for(view.revision, method, &path, &body, wait).await {
                Ok(answer) => return answer.read(),
                Err(error @ CliError::Moved(_)) => last = Some(error),
                Err(error) if error.may_pass() => {
                    last = Some(error);
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                Err(error) => return Err(error),
            }
        }
        let last = last.map_or_else(String::new, |error| format!(": {error}"));
        Err(CliError::Deploy(format!("{} was tried {TRIES} times{last}", step.name())))
    }
}

/// Who runs the command, as far as it is known.
fn user_and_host() -> String {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_default();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = |text: &str, otherwise: &str| {
        let text: String = text.chars().filter(|character| !character.is_control()).take(60).collect();
        if text.trim().is_empty() { otherwise.to_owned() } else { text.trim().to_owned() }
    };
    format!("{}@{}", name(&user, "someone"), name(&host, "somewhere"))
}

#[cfg(test)]
mod tests {
    use super::super::arguments::parsed;
    use super::*;
    use crate::cli::arguments::Global;
    use crate::cli::samples::{canary, time};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_run_whose_place_another_has_taken_changes_nothing_any_more() {
        let deploy = Deploy {
            pool: "server1".parse().unwrap(),
            release: "2026.11.2".parse().unwrap(),
            by: "me@here, run 2".to_owned(),
            started: time("2026-11-22T04:00:00Z"),
            done: Vec::new(),
            guard: None,
            ended: None,
        };
        let view = ServiceView { deploy: Some(deploy), ..canary() };
        let changes = Arc::new(AtomicUsize::new(0));
        let (shown, counted) = (view.clone(), Arc::clone(&changes));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = listener.local_addr().unwrap().to_string();
        let router = axum::Router::new()
            .route("/api/v1/services/shop", axum::routing::get(async move || axum::Json(shown)))
            .route(
                "/api/v1/services/shop/switch",
                axum::routing::post(async move || {
                    counted.fetch_add(1, Ordering::Relaxed);
                    axum::Json(view)
                }),
            );
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        let session = Session::open(&Global { admin, token_file: None, service: None, json: false }).unwrap();
        let asked = parsed(["deploy", "server1", "--release", "2026.11.2"]);
        let mut site = Site::new(&session, "/services/shop".to_owned(), &asked);
        let switch = |_: &ServiceView| Ok(Change::Make(Method::POST, "/switch", json!({}), Duration::ZERO));
        let refused = site.change::<ServiceView>(Step::Switch, switch).await.unwrap_err();
        assert!(refused.to_string().contains("not this run's any more"), "{refused}");
        assert_eq!(changes.load(Ordering::Relaxed), 0);
        "me@here, run 2".clone_into(&mut site.by);
        site.change::<ServiceView>(Step::Switch, switch).await.unwrap();
        assert_eq!(changes.load(Ordering::Relaxed), 1);
        server.abort();
    }
}
