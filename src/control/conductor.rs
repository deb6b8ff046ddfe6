//! The conductor: the one owner of every service's state.
//!
//! ```text
//! commands, health, files, PromQL answers, time ─► event ─► rollout::decide ─► transition
//!   planned:    the store accepts ─► in force ─► one table swap
//!   protective: in force ─► one table swap ─► written as soon as the store takes it
//! ```
//!
//! It never waits for anything but its inbox: the disk, the targets and Prometheus are waited for elsewhere, and
//! their answers arrive as messages. So a hanging disk holds up planned changes, and nothing that protects.

use super::command::{Command, CommandError};
use super::files;
use super::gathering::{Gathering, change_evidence};
use super::handle::{Published, Shared};
use super::health::{Checked, HealthChecks};
use super::message::{Done, Message, Notice, Reply, Request};
use super::ports::{MetricsSource, Record, StoreError};
use super::service::ServiceControl;
use super::store::StoreThread;
use super::writing::{PATIENCE, WAITING, Written};
use super::{polling, view};
use crate::analysis::Evidence;
use crate::config::{Config, Maintenance};
use crate::model::view::HistoryView;
use crate::model::{Mode, PoolName, ServiceName, Timestamp};
use crate::rollout::{Event, EvidenceChange, ServiceState, Start, Transition, decide};
use crate::routing::{HostIndex, Live, Route, Secret, Suspicion, TICK, Table};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Evidence is given to the store at least this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How long an operator waits for a protective change to be durable before it is answered as not yet durable.
const DURABLE_PATIENCE: Duration = Duration::from_secs(1);
/// Decisions that may wait for the store; the oldest are dropped, loudly.
const UNWRITTEN: usize = 10_000;

/// What the conductor works with.
pub(super) struct Tools {
    pub(super) live: Arc<Live>,
    pub(super) secret: Arc<Secret>,
    pub(super) store: StoreThread,
    pub(super) metrics: Option<Arc<dyn MetricsSource>>,
    pub(super) shared: Arc<Shared>,
    pub(super) sender: mpsc::Sender<Message>,
}

/// The one owner of every service's state.
pub(super) struct Conductor {
    tools: Tools,
    config: Config,
    services: Vec<ServiceControl>,
    /// States of services that the configuration does not name at the moment.
    dormant: HashMap<ServiceName, (ServiceState, Option<String>)>,
    routes: Vec<Arc<Route>>,
    hosts: Arc<HostIndex>,
    version: u64,
    checks: HealthChecks,
    files: Option<AbortOnDropHandle<()>>,
}

impl Conductor {
    /// With every service in the state that was stored, and the first table in force.
    pub(super) fn new(
        tools: Tools,
        config: Config,
        mut stored: HashMap<ServiceName, (ServiceState, Option<String>)>,
    ) -> Self {
        let workers = tools.live.workers();
        let services = config
            .services
            .iter()
            .map(|service| {
                let state = stored.remove(&service.name);
                new_service(service.clone(), state, workers)
            })
            .collect();
        let checks = HealthChecks::new(tools.sender.clone());
        let mut conductor = Self {
            tools,
            config,
            services,
            dormant: stored,
            routes: Vec::new(),
            hosts: Arc::default(),
            version: 0,
            checks,
            files: None,
        };
        for at in 0..conductor.services.len() {
            conductor.poll_checks(at);
        }
        conductor.adopt_config();
        conductor
    }

    /// Runs until the token is cancelled. What is in force by then and not yet durable is written.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        mut suspicions: mpsc::Receiver<Suspicion>,
        shutdown: CancellationToken,
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(message) = inbox.recv() => self.take(message),
                Some(suspicion) = suspicions.recv() => self.checks.suspect(&suspicion),
                _ = ticks.tick() => self.tick(),
            }
        }
        self.write_out(&mut inbox).await;
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Request(request) => self.request(request, Instant::now()),
            Message::Notice(notice) => self.notice(notice),
            Message::Written { service, sequence, result } => self.written(&service, sequence, result),
            Message::Reload { config, reply } => {
                // Who asked may be gone; the log has it.
                let _ = reply.send(self.reload(*config));
            }
        }
    }

    fn position(&self, service: &ServiceName) -> Option<usize> {
        self.services.iter().position(|control| control.config.name == *service)
    }

    // Commands.

    fn request(&mut self, request: Request, since: Instant) {
        let Some(at) = self.position(&request.service) else {
            let _ = request.reply.send(Err(CommandError::UnknownService(request.service.to_string())));
            return;
        };
        match self.transition_for(at, &request) {
            Err(error) => drop(request.reply.send(Err(error))),
            Ok(None) => drop(request.reply.send(Ok(self.done(at, &[])))),
            Ok(Some(transition)) if transition.protective => {
                self.protect(at, transition);
                self.services[at].writing.unanswered.push((Instant::now(), request.reply));
            }
            Ok(Some(transition)) => {
                let writing = &mut self.services[at].writing;
                if writing.current.is_none() {
                    self.plan(at, transition, Some(request.reply));
                } else if writing.waiting.len() < WAITING {
                    writing.waiting.push_back((since, request));
                } else {
                    let reason = "too many commands wait for the store".to_owned();
                    let _ = request.reply.send(Err(CommandError::NotStored(reason)));
                }
            }
        }
    }

    fn transition_for(&self, at: usize, request: &Request) -> Result<Option<Transition>, CommandError> {
        let service = &self.services[at];
        if request.if_match.is_some_and(|revision| revision != service.state.revision) {
            let (service, revision) = (request.service.clone(), service.state.revision);
            return Err(CommandError::Moved { service, revision });
        }
        let event = event_of(service, &request.command)?;
        decide(&service.state, &event, Timestamp::now()).map_err(|refusal| CommandError::Refused(refusal.to_string()))
    }

    fn done(&self, at: usize, draining: &[PoolName]) -> Done {
        let service = &self.services[at];
        let load = |name: &PoolName| Some(Arc::clone(&service.pool(name)?.load));
        Done {
            service: view::service(service),
            table: self.version,
            draining: draining.iter().filter_map(load).collect(),
        }
    }

    // Changes of state.

    /// Gives a planned change to the store; it comes into force when the store has it.
    fn plan(&mut self, at: usize, transition: Transition, reply: Option<Reply>) {
        let service = &self.services[at];
        let mut history = service.unwritten.clone();
        history.push(entry(service, &transition));
        let evidence = match (transition.evidence, &transition.state.rollout, &service.gathering) {
            (EvidenceChange::End, _, _) => None,
            (EvidenceChange::Begin, Some(rollout), _) => Some(Evidence::begin(&rollout.plan)),
            (change, _, Some(gathering)) => {
                let mut evidence = gathering.evidence.clone();
                change_evidence(&mut evidence, change, transition.state.weight);
                Some(evidence)
            }
            (_, _, None) => None,
        };
        let state = transition.state.clone();
        let sequence = self.services[at].writing.begin(Written::Planned(Box::new(transition), reply));
        self.write(at, sequence, state, evidence.as_ref(), history);
    }

    /// Puts a protective change in force at once, and gives it to the store after that.
    fn protect(&mut self, at: usize, transition: Transition) {
        if let Some(reply) = self.services[at].writing.give_up() {
            let reason = format!("{} came first: {}", transition.decision.name, transition.decision.reason);
            let _ = reply.send(Err(CommandError::Refused(reason)));
        }
        let service = &mut self.services[at];
        let entry = entry(service, &transition);
        if service.unwritten.len() >= UNWRITTEN {
            tracing::error!(service = %service.config.name, "a decision could not be written for too long and is lost");
            service.unwritten.remove(0);
        }
        service.unwritten.push(entry);
        self.adopt(at, transition);
        self.flush(at);
    }

    /// Puts a change in force: the state, the evidence, and one table swap.
    fn adopt(&mut self, at: usize, transition: Transition) {
        let workers = self.tools.live.workers();
        let service = &mut self.services[at];
        let decision = &transition.decision;
        tracing::info!(
            service = %service.config.name,
            decision = %decision.name,
            by = decision.by,
            reason = decision.reason,
            phase = %transition.state.phase,
            live = %transition.state.live,
            weight = %transition.state.weight,
            revision = transition.state.revision,
            "decided"
        );
        self.tools.shared.count_decision(&service.config.name, decision.name.as_str(), &decision.by);
        service.state = transition.state;
        match (transition.evidence, &service.state.rollout, &mut service.gathering) {
            (EvidenceChange::Begin, Some(rollout), gathering) => {
                let evidence = Evidence::begin(&rollout.plan);
                *gathering = Some(Gathering::new(evidence, &rollout.plan, workers, Timestamp::now()));
            }
            (EvidenceChange::End, _, gathering) => *gathering = None,
            (change, _, Some(gathering)) => gathering.change(change, service.state.weight),
            (_, _, None) => {}
        }
        if matches!(transition.evidence, EvidenceChange::Begin | EvidenceChange::End) {
            self.poll_checks(at);
        }
        self.publish(at);
    }

    /// Asks the PromQL checks of the rollout that is under way, and no others.
    fn poll_checks(&mut self, at: usize) {
        let service = &mut self.services[at];
        service.pollers = match (&service.gathering, &service.state.rollout) {
            (Some(_), Some(rollout)) => {
                polling::start(&service.config.name, rollout, self.tools.metrics.as_ref(), &self.tools.sender)
            }
            _ => Vec::new(),
        };
    }

    /// Swaps in a table with this service as it is now.
    fn publish(&mut self, at: usize) {
        let service = &mut self.services[at];
        self.routes[at] = Arc::new(service.route(&self.tools.secret, self.tools.live.workers()));
        self.swap();
        self.show(at, true);
    }

    fn swap(&mut self) {
        self.version += 1;
        let services = self.routes.clone().into_boxed_slice();
        self.tools.live.publish(Table { version: self.version, hosts: Arc::clone(&self.hosts), services });
    }

    /// Shows a service to whoever looks, and tells those who listen if it is news.
    fn show(&self, at: usize, news: bool) {
        let service = &self.services[at];
        let published = Published { service: view::service(service), evidence: view::evidence(service) };
        self.tools.shared.publish(at, published, news);
    }

    // The store.

    fn write(
        &mut self,
        at: usize,
        sequence: u64,
        state: ServiceState,
        evidence: Option<&Evidence>,
        history: Vec<HistoryView>,
    ) {
        let service = &mut self.services[at];
        service.writing.saved = Instant::now();
        if let Some(gathering) = &mut service.gathering {
            gathering.unsaved = false;
        }
        let name = service.config.name.clone();
        let record = serde_json::to_string(&evidence).map(|json| Record {
            service: name.clone(),
            expected: service.writing.stored,
            state,
            evidence: evidence.map(|_| json),
            history,
        });
        let sender = self.tools.sender.clone();
        let store = self.tools.store.clone();
        tokio::spawn(async move {
            let result = match record {
                Ok(record) => store.call(move |store| store.commit(&record)).await,
                Err(error) => Err(StoreError::Unavailable(format!("the evidence can't be written as JSON: {error}"))),
            };
            // Nobody is there to listen only when the router stops.
            let _ = sender.send(Message::Written { service: name, sequence, result }).await;
        });
    }

    /// Gives to the store what is in force and not durable, or evidence that is new for a while.
    fn flush(&mut self, at: usize) {
        let service = &self.services[at];
        let evidence_due = service.writing.saved.elapsed() >= SAVE_EVERY
            && service.gathering.as_ref().is_some_and(|gathering| gathering.unsaved);
        let due = evidence_due || !service.durable();
        if !(due && service.writing.free()) {
            return;
        }
        let (state, history) = (service.state.clone(), service.unwritten.clone());
        let evidence = service.gathering.as_ref().map(|gathering| gathering.evidence.clone());
        let written = Written::Flush(state.revision, history.len());
        let sequence = self.services[at].writing.begin(written);
        self.write(at, sequence, state, evidence.as_ref(), history);
    }

    fn written(&mut self, service: &ServiceName, sequence: u64, result: Result<(), StoreError>) {
        let Some(at) = self.position(service) else { return };
        let writing = &mut self.services[at].writing;
        match (writing.end(sequence), result) {
            (None, _) => return,
            (Some(Written::GivenUp), _) => writing.stored = None,
            (Some(Written::Planned(transition, reply)), Ok(())) => {
                writing.succeeded(transition.state.revision);
                self.services[at].unwritten.clear();
                let before = self.services[at].state.drained.clone();
                let draining: Vec<PoolName> = transition.state.drained.difference(&before).cloned().collect();
                self.adopt(at, *transition);
                if let Some(reply) = reply {
                    let _ = reply.send(Ok(self.done(at, &draining)));
                }
            }
            (Some(Written::Planned(_, reply)), Err(error)) => {
                tracing::error!(%service, %error, "the store refused a change; nothing was changed");
                writing.failed(error.to_string());
                if let Some(reply) = reply {
                    let _ = reply.send(Err(CommandError::NotStored(error.to_string())));
                }
            }
            (Some(Written::Flush(revision, entries)), Ok(())) => {
                writing.succeeded(revision);
                self.services[at].unwritten.drain(..entries);
            }
            (Some(Written::Flush(..)), Err(error)) => {
                tracing::error!(%service, %error, "the state can't be written; routing and protection go on");
                writing.failed(error.to_string());
            }
        }
        self.answer_durable(at);
        if let Some((since, request)) = self.services[at].writing.waiting.pop_front() {
            self.request(request, since);
        }
        self.flush(at);
        self.show(at, true);
    }

    /// Answers those who asked for a protective change, once it is durable or that takes too long.
    fn answer_durable(&mut self, at: usize) {
        let durable = self.services[at].durable();
        let due = |since: &Instant| durable || since.elapsed() >= DURABLE_PATIENCE;
        let unanswered = std::mem::take(&mut self.services[at].writing.unanswered);
        let (answer, wait) = unanswered.into_iter().partition(|(since, _)| due(since));
        self.services[at].writing.unanswered = wait;
        for (_, reply) in answer {
            let _ = reply.send(Ok(self.done(at, &[])));
        }
    }

    /// Refuses what has waited too long for the store.
    fn lose_patience(&mut self, at: usize) {
        let writing = &mut self.services[at].writing;
        let refused =
            || Err(CommandError::NotStored(format!("the store has not answered for {}s", PATIENCE.as_secs())));
        if writing.current.as_ref().is_some_and(|write| write.since.elapsed() >= PATIENCE) {
            if let Some(reply) = writing.give_up() {
                let _ = reply.send(refused());
            }
            writing.fault = Some(format!("the store has not answered for {}s", PATIENCE.as_secs()));
        }
        while writing.waiting.front().is_some_and(|(since, _)| since.elapsed() >= PATIENCE) {
            if let Some((_, request)) = writing.waiting.pop_front() {
                let _ = request.reply.send(refused());
            }
        }
    }

    /// At the end: gives what is not durable to the store, and waits for it a little.
    async fn write_out(&mut self, inbox: &mut mpsc::Receiver<Message>) {
        let deadline = Instant::now() + PATIENCE;
        for service in &mut self.services {
            service.writing.saved = Instant::now().checked_sub(SAVE_EVERY).unwrap_or(service.writing.saved);
        }
        for at in 0..self.services.len() {
            self.flush(at);
        }
        while self.services.iter().any(|service| service.writing.current.is_some()) {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, inbox.recv()).await {
                Ok(Some(Message::Written { service, sequence, result })) => self.written(&service, sequence, result),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    // What is noticed.

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Health { service, pool, load, fault } => {
                let Some(at) = self.position(&service) else { return };
                let targets = self.services[at].pools.iter_mut().filter(|known| known.name == pool);
                let target = targets.flat_map(|pool| &mut pool.targets).find(|target| Arc::ptr_eq(&target.load, &load));
                let Some(target) = target else { return };
                target.checked = true;
                if target.fault != fault {
                    tracing::warn!(%service, %pool, target = %target.address, fault, "health changed");
                    target.fault = fault;
                    self.publish(at);
                    self.tick_service(at);
                }
                if self
                    .services
                    .iter()
                    .flat_map(|service| &service.pools)
                    .all(|pool| pool.targets.iter().all(|t| t.checked))
                {
                    self.tools.shared.set_ready();
                }
            }
            Notice::Files { service, files } => {
                let Some(at) = self.position(&service) else { return };
                tracing::info!(%service, flag = files.flag, page = files.page.is_some(), "maintenance files changed");
                self.services[at].files = files;
                self.publish(at);
            }
            Notice::Answer { service, rollout, check, answer } => {
                let Some(at) = self.position(&service) else { return };
                let control = &mut self.services[at];
                // An answer to the question of an earlier rollout says nothing of this one.
                if polling::generation(control.state.rollout.as_ref()) == Some(rollout)
                    && let Some(gathering) = &mut control.gathering
                {
                    gathering.answer(&check, answer, Timestamp::now());
                }
            }
        }
    }

    // Time.

    fn tick(&mut self) {
        for at in 0..self.services.len() {
            if self.services[at].needs_time() {
                self.tick_service(at);
            }
        }
    }

    fn tick_service(&mut self, at: usize) {
        self.lose_patience(at);
        self.answer_durable(at);
        let now = Timestamp::now();
        let service = &mut self.services[at];
        if let (Some(gathering), Some(rollout)) = (&mut service.gathering, &service.state.rollout) {
            gathering.gather(&rollout.plan, Instant::now(), now);
        }
        if let Some(event) = passing_of_time(service) {
            match decide(&service.state, &event, now) {
                Ok(Some(transition)) if transition.protective => self.protect(at, transition),
                Ok(Some(transition)) if service.writing.free() => self.plan(at, transition, None),
                Ok(_) => {}
                Err(refusal) => tracing::error!(service = %service.config.name, %refusal, "an event was refused"),
            }
        }
        self.flush(at);
        if self.services[at].gathering.is_some() {
            self.show(at, false);
        }
    }

    // Configuration.

    /// Puts another configuration in force, whole, in one swap.
    fn reload(&mut self, config: Config) -> Result<(), Vec<String>> {
        let faults = self.faults_of(&config);
        if !faults.is_empty() {
            return Err(faults);
        }
        let workers = self.tools.live.workers();
        let mut before = std::mem::take(&mut self.services);
        for service in &config.services {
            let control = match before.iter().position(|control| control.config.name == service.name) {
                Some(at) => {
                    let mut control = before.swap_remove(at);
                    control.reconfigure(service.clone(), workers);
                    control
                }
                None => new_service(service.clone(), self.dormant.remove(&service.name), workers),
            };
            self.services.push(control);
        }
        for gone in before {
            self.dormant.insert(gone.config.name.clone(), (gone.state, None));
        }
        self.config = config;
        self.adopt_config();
        Ok(())
    }

    /// What stands against a new configuration, given what is in force.
    fn faults_of(&self, config: &Config) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fixed = |same: bool, section: &str| {
            if !same {
                faults.push(format!("[{section}] can't change while the router runs: restart it"));
            }
        };
        fixed(config.server == self.config.server, "server");
        fixed(config.admin == self.config.admin, "admin");
        fixed(config.state == self.config.state, "state");
        fixed(config.prometheus == self.config.prometheus, "prometheus");
        fixed(config.access_log == self.config.access_log, "access_log");
        for control in &self.services {
            let name = &control.config.name;
            match config.services.iter().find(|service| service.name == *name) {
                Some(service) => {
                    let missing = pools_in_use(&control.state).find(|pool| service.pool(pool).is_none());
                    if let Some(pool) = missing {
                        faults.push(format!("service {name}: pool {pool} is in use and can't be removed"));
                    }
                }
                None if control.state.candidate.is_some() || control.state.watch_until.is_some() => {
                    faults.push(format!("service {name} has a rollout under way and can't be removed"));
                }
                None => {}
            }
        }
        for service in &config.services {
            if let Some((state, _)) = self.dormant.get(&service.name) {
                faults.extend(state_faults(service, state));
            }
        }
        faults
    }

    /// Follows the configuration that is now in force: the routes, the checks, the files.
    fn adopt_config(&mut self) {
        let workers = self.tools.live.workers();
        let watched: Vec<files::Watched> = self.services.iter().filter_map(watched).collect();
        let mut looker = files::Looker::default();
        let mut known = HashMap::new();
        for watched in &watched {
            // Before the first request: a flag file that is there already is obeyed from the start.
            known.insert(watched.service.clone(), looker.look(watched));
        }
        for service in &mut self.services {
            service.files = known.get(&service.config.name).cloned().unwrap_or_default();
        }
        self.files = (!watched.is_empty()).then(|| {
            AbortOnDropHandle::new(tokio::spawn(files::watch(watched, looker, known, self.tools.sender.clone())))
        });
        let configs = || self.services.iter().map(|service| &service.config);
        self.hosts = Arc::new(HostIndex::new(configs().map(|config| (config.hosts.as_slice(), &config.path_prefix))));
        let secret = &self.tools.secret;
        self.routes = self.services.iter_mut().map(|service| Arc::new(service.route(secret, workers))).collect();
        self.swap();
        self.checks.follow(self.services.iter().flat_map(checked).collect());
        self.tools.shared.publish_all(
            self.services
                .iter()
                .map(|service| Published { service: view::service(service), evidence: view::evidence(service) })
                .collect(),
        );
    }
}

fn new_service(
    config: crate::config::Service,
    stored: Option<(ServiceState, Option<String>)>,
    workers: usize,
) -> ServiceControl {
    let Some((state, evidence)) = stored else {
        let state = ServiceState::new(config.live.clone());
        return ServiceControl::new(config, state, workers);
    };
    let mut service = ServiceControl::new(config, state, workers);
    service.writing.stored = Some(service.state.revision);
    if let (Some(rollout), Some(_)) = (&service.state.rollout, &service.state.candidate) {
        let restored = evidence.as_deref().and_then(|json| serde_json::from_str(json).ok());
        if restored.is_none() {
            tracing::warn!(service = %service.config.name, "the rollout's evidence was not stored; it begins anew");
        }
        let evidence = restored.unwrap_or_else(|| Evidence::begin(&rollout.plan));
        service.gathering = Some(Gathering::new(evidence, &rollout.plan, workers, Timestamp::now()));
    }
    service
}

/// Pools that a state can't do without.
fn pools_in_use(state: &ServiceState) -> impl Iterator<Item = &PoolName> {
    let watched = state.watch_until.and(state.rollout.as_ref()).map(|rollout| &rollout.previous_live);
    [Some(&state.live), state.candidate.as_ref(), watched].into_iter().flatten()
}

/// Why a stored state does not fit a configured service, if it does not.
pub(super) fn state_faults(service: &crate::config::Service, state: &ServiceState) -> Vec<String> {
    pools_in_use(state)
        .filter(|pool| service.pool(pool).is_none())
        .map(|pool| {
            let name = &service.name;
            format!("service {name}: the state says that pool {pool} is in use, but the configuration has no such pool")
        })
        .collect()
}

fn watched(service: &ServiceControl) -> Option<files::Watched> {
    let Maintenance { file, page, .. } = &service.config.maintenance;
    (file.is_some() || page.is_some()).then(|| files::Watched {
        service: service.config.name.clone(),
        flag: file.clone(),
        page: page.clone(),
    })
}

fn checked(service: &ServiceControl) -> impl Iterator<Item = Checked> {
    service.pools.iter().flat_map(move |pool| {
        pool.targets.iter().map(move |target| Checked {
            service: service.config.name.clone(),
            pool: pool.name.clone(),
            address: target.address.clone(),
            load: Arc::clone(&target.load),
            health: service.config.health.clone(),
        })
    })
}

/// The event that a command is.
fn event_of(service: &ServiceControl, command: &Command) -> Result<Event, CommandError> {
    let known = |pool: &PoolName| {
        service.pool(pool).ok_or_else(|| CommandError::UnknownPool {
            service: service.config.name.clone(),
            pool: pool.clone(),
            known: service.pools.iter().map(|pool| pool.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    };
    Ok(match command {
        Command::Start { pool, release, steps, force } => {
            let control = known(pool)?;
            let mut plan = service.config.rollout.clone();
            if let Some(steps) = steps {
                plan.steps.clone_from(steps);
            }
            let configured = service.config.pool(pool).and_then(|pool| pool.release.clone());
            Event::Start(Start {
                pool: pool.clone(),
                release: release.clone().or(configured),
                plan,
                force: *force,
                candidate_healthy: control.healthy(),
            })
        }
        Command::Pause => Event::Pause,
        Command::Resume => Event::Resume,
        Command::Promote => Event::Promote,
        Command::Rollback => Event::Rollback,
        Command::Weight(weight) => Event::SetWeight(*weight),
        Command::Switch { pool, drain } => {
            let control = known(pool)?;
            let live = service.pool(&service.state.live);
            if !control.healthy() && live.is_some_and(super::service::PoolControl::healthy) {
                let fault = control.fault();
                return Err(CommandError::Refused(format!("{fault}; switch when it is up: `cutover status` tells")));
            }
            Event::Switch { pool: pool.clone(), drain: drain.is_some() }
        }
        Command::Mode(setting) => {
            if setting.mode == Mode::Serve
                && service.files.flag
                && let Some(file) = &service.config.maintenance.file
            {
                return Err(CommandError::HeldByFile { service: service.config.name.clone(), file: file.clone() });
            }
            Event::SetMode(setting.clone())
        }
    })
}

/// What the passing of time means for a service, if it means anything.
fn passing_of_time(service: &ServiceControl) -> Option<Event> {
    let Some(candidate) = service.state.candidate.as_ref().and_then(|name| service.pool(name)) else {
        return service.state.watch_until.map(|_| Event::Tick(None));
    };
    if !candidate.healthy() {
        return Some(Event::CandidateDown(candidate.fault()));
    }
    let gathering = service.gathering.as_ref()?;
    if gathering.unreachable() {
        return Some(Event::CandidateUnreachable);
    }
    Some(Event::Tick(Some(gathering.assessment().judgement.clone())))
}

/// What the history says of a transition.
fn entry(service: &ServiceControl, transition: &Transition) -> HistoryView {
    let state = &transition.state;
    HistoryView {
        id: 0,
        at: Timestamp::now(),
        revision: state.revision,
        decision: transition.decision.name.as_str().to_owned(),
        by: transition.decision.by.clone(),
        reason: transition.decision.reason.clone(),
        phase: state.phase,
        live: state.live.clone(),
        candidate: state.candidate.clone(),
        weight: state.weight,
        evidence: service.gathering.as_ref().map(|_| view::evidence(service)),
    }
}
