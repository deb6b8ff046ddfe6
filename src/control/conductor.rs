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
use super::deciding::Decided;
use super::events::{event_of, gates_answer, over, passing_of_time};
use super::files::FirstLook;
use super::gathering::Gathering;
use super::handle::{Published, Shared};
use super::health::HealthChecks;
use super::message::{Done, Message, Notice, Request};
use super::names::{Lookups, Ways};
use super::ports::{GateKeeper, MetricsSource, Notifier};
use super::reloading::new_service;
use super::service::ServiceControl;
use super::store::StoreThread;
use super::telling::announcement;
use super::writing::WAITING;
use super::{polling, view};
use crate::analysis::Evidence;
use crate::config::Config;
use crate::model::{PoolName, ServiceName, Timestamp};
use crate::rollout::{Event, EvidenceChange, ServiceState, Transition};
use crate::routing::{HostIndex, Live, Route, Secret, Suspicion, TICK, Table};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often counts are looked at, in ticks: each second, often enough to take a bad promotion back within seconds.
const LOOK_EVERY: usize = 10;

/// What the conductor works with.
pub(super) struct Tools {
    pub(super) live: Arc<Live>,
    pub(super) secret: Arc<Secret>,
    pub(super) store: StoreThread,
    pub(super) metrics: Option<Arc<dyn MetricsSource>>,
    pub(super) gates: Arc<dyn GateKeeper>,
    pub(super) notifier: Option<Arc<dyn Notifier>>,
    pub(super) shared: Arc<Shared>,
    pub(super) sender: mpsc::Sender<Message>,
}

/// The one owner of every service's state.
pub(super) struct Conductor {
    pub(super) tools: Tools,
    pub(super) config: Config,
    pub(super) services: Vec<ServiceControl>,
    /// States of services that the configuration does not name at the moment.
    pub(super) dormant: HashMap<ServiceName, (ServiceState, Option<String>)>,
    pub(super) routes: Vec<Arc<Route>>,
    pub(super) hosts: Arc<HostIndex>,
    pub(super) version: u64,
    ticks: usize,
    pub(super) checks: HealthChecks,
    pub(super) lookups: Lookups,
    pub(super) files: AbortOnDropHandle<()>,
}

impl Conductor {
    /// With every service in the state that was stored, and the first table in force.
    pub(super) fn new(
        tools: Tools,
        config: Config,
        (files, ways): (FirstLook, &Ways),
        mut stored: HashMap<ServiceName, (ServiceState, Option<String>)>,
    ) -> Self {
        let workers = tools.live.workers();
        let services = config
            .services
            .iter()
            .map(|service| {
                let state = stored.remove(&service.name);
                new_service(service.clone(), state, workers, ways)
            })
            .collect();
        let checks = HealthChecks::new(tools.sender.clone());
        let lookups = Lookups::new(config.server.dns_refresh.get());
        let mut conductor = Self {
            tools,
            config,
            services,
            dormant: stored,
            routes: Vec::new(),
            hosts: Arc::default(),
            version: 0,
            ticks: 0,
            checks,
            lookups,
            files: AbortOnDropHandle::new(tokio::spawn(std::future::ready(()))),
        };
        conductor.adopt_config(files);
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
                Some(suspicion) = suspicions.recv() => self.suspected(&suspicion),
                _ = ticks.tick() => self.tick(),
            }
        }
        self.write_out(&mut inbox).await;
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Request(request) => self.request(request, Instant::now()),
            Message::Hold { service, command, if_match, reply } => {
                // Who asked holds what it holds by what it is told; unheard, the hold ends when it is overdue.
                let _ = reply.send(self.hold(&service, &command, if_match));
            }
            Message::LetGo { service, number, reply } => {
                self.let_go(&service, number);
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
            }
            Message::Notice(notice) => self.notice(notice),
            Message::Written { service, sequence, result } => self.written(&service, sequence, result),
            Message::Reload { config, files, ways, reply } => {
                // Who asked may be gone; the log has it.
                let _ = reply.send(self.reload(*config, files, &ways));
            }
        }
    }

    pub(super) fn position(&self, service: &ServiceName) -> Option<usize> {
        self.services.iter().position(|control| control.config.name == *service)
    }

    pub(super) fn request(&mut self, request: Request, since: Instant) {
        let Some(at) = self.position(&request.service) else {
            let _ = request.reply.send(Err(CommandError::UnknownService(request.service.to_string())));
            return;
        };
        let heard = self.services[at].hear(&request.command, Instant::now());
        let fault = heard.err().or_else(|| request.held.and_then(|number| self.hold_fault(at, number)));
        let decision = fault.map_or_else(|| self.decision_on(at, &request.command, request.if_match), Err);
        match decision {
            Err(error) => drop(request.reply.send(Err(error))),
            Ok(None) => drop(request.reply.send(Ok(self.done(at, &[])))),
            Ok(Some(decided)) if decided.transition.protective => {
                self.protect(at, decided);
                self.services[at].writing.unanswered.push((Instant::now(), request.reply));
            }
            Ok(Some(decided)) => {
                let writing = &mut self.services[at].writing;
                if writing.current.is_none() {
                    self.plan(at, decided, Some(request.reply));
                } else if writing.waiting.len() < WAITING {
                    writing.waiting.push_back((since, request));
                } else {
                    let reason = "too many commands wait for the store".to_owned();
                    let _ = request.reply.send(Err(CommandError::NotStored(reason)));
                }
            }
        }
    }

    pub(super) fn decision_on(
        &self,
        at: usize,
        command: &Command,
        if_match: Option<u64>,
    ) -> Result<Option<Decided>, CommandError> {
        let service = &self.services[at];
        if if_match.is_some_and(|revision| revision != service.state.revision) {
            let (service, revision) = (service.config.name.clone(), service.state.revision);
            return Err(CommandError::Moved { service, revision });
        }
        let event = event_of(service, command)?;
        Decided::by(&service.state, event, Timestamp::now())
            .map_err(|refusal| CommandError::Refused(refusal.to_string()))
    }

    pub(super) fn done(&self, at: usize, draining: &[PoolName]) -> Done {
        let service = &self.services[at];
        let load = |name: &PoolName| Some(Arc::clone(&service.pool(name)?.load));
        Done {
            service: view::service(service),
            table: self.version,
            draining: draining.iter().filter_map(load).collect(),
            pools: service.pools.iter().map(|pool| Arc::clone(&pool.load)).collect(),
        }
    }

    /// Puts a change in force: the state, the evidence, and one table swap.
    pub(super) fn adopt(&mut self, at: usize, transition: Transition) {
        let workers = self.tools.live.workers();
        let told = self.tools.notifier.as_ref().map(|_| announcement(&self.services[at], &transition));
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
                *gathering = Some(Gathering::new(evidence, rollout, workers, Timestamp::now()));
            }
            (EvidenceChange::Watch, Some(rollout), Some(gathering)) => {
                gathering.begin_watch(service.guarding.watch(rollout, Timestamp::now()));
            }
            (EvidenceChange::End, _, gathering) => *gathering = None,
            (change, _, Some(gathering)) => gathering.change(change, service.state.weight),
            (_, _, None) => {}
        }
        if matches!(transition.evidence, EvidenceChange::Begin | EvidenceChange::Watch | EvidenceChange::End) {
            self.poll_checks(at);
        }
        self.follow_gates(at, &decision.reason);
        self.publish(at);
        if let (Some(notifier), Some(told)) = (&self.tools.notifier, told) {
            notifier.tell(&told, &view::service(&self.services[at]));
        }
    }

    /// Asks the PromQL checks of the rollout that is under way, and no others.
    pub(super) fn poll_checks(&mut self, at: usize) {
        let service = &mut self.services[at];
        // After a promotion nothing is asked any more.
        service.pollers = match (&service.state.candidate, &service.state.rollout) {
            (Some(_), Some(rollout)) => {
                polling::start(service, rollout, self.tools.metrics.as_ref(), &self.tools.sender)
            }
            _ => Vec::new(),
        };
    }

    /// Swaps in a table with this service as it is now.
    pub(super) fn publish(&mut self, at: usize) {
        let service = &mut self.services[at];
        service.follow_mode(Timestamp::now());
        self.routes[at] = Arc::new(service.route(&self.tools.secret, self.tools.live.workers()));
        self.swap();
        self.checks.hurry(&self.services[at]);
        self.show(at, true);
    }

    pub(super) fn swap(&mut self) {
        self.version += 1;
        let services = self.routes.clone().into_boxed_slice();
        self.tools.live.publish(Table { version: self.version, hosts: Arc::clone(&self.hosts), services });
    }

    /// Shows a service to whoever looks, and tells those who listen if it is news.
    pub(super) fn show(&self, at: usize, news: bool) {
        let service = &self.services[at];
        let published = Published::of(service);
        self.tools.shared.publish(at, published, news);
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Health { service, pool, load, fault, release } => {
                let Some(at) = self.position(&service) else { return };
                let targets = self.services[at].pools.iter_mut().filter(|known| known.name == pool);
                let target = targets.flat_map(|pool| &mut pool.targets).find(|target| Arc::ptr_eq(&target.load, &load));
                let Some(target) = target else { return };
                target.checked = true;
                let says_another = target.release != release;
                if says_another {
                    let release = release.as_ref().map(ToString::to_string);
                    tracing::info!(%service, %pool, target = %target.address(), release, "another release is reported");
                }
                target.release = release;
                if target.fault == fault {
                    if says_another {
                        // No request depends on it.
                        self.show(at, true);
                    }
                } else {
                    tracing::warn!(%service, %pool, target = %target.address(), fault, "health changed");
                    // One that was never down has not recovered.
                    target.recovered = target.fault.is_some().then(Instant::now);
                    target.fault = fault;
                    self.services[at].unsettled = true;
                    self.publish(at);
                    self.tick_service(at);
                }
                if self
                    .services
                    .iter()
                    .flat_map(|service| &service.pools)
                    .all(|pool| pool.targets.iter().all(|t| t.checked))
                {
                    self.tools.shared.set_checked();
                }
            }
            Notice::Files { service, files } => {
                let Some(at) = self.position(&service) else { return };
                tracing::info!(%service, flag = files.flag, page = files.page.is_some(), assets = files.assets.as_ref().map_or(0, |assets| assets.0.len()), "maintenance files changed");
                self.services[at].files = files;
                self.publish(at);
            }
            Notice::Gate { service, asking, view } => {
                let Some(at) = self.position(&service) else { return };
                self.services[at].gating.show(asking, view);
                self.show(at, true);
            }
            Notice::Gates { service, asking, answer } => {
                let Some(at) = self.position(&service) else { return };
                self.services[at].gating.take(asking, answer);
                self.tick_service(at);
            }
            Notice::Answer { service, rollout, check, report } => {
                let Some(at) = self.position(&service) else { return };
                let control = &mut self.services[at];
                // An answer to the question of an earlier rollout says nothing of this one.
                if polling::generation(control.state.rollout.as_ref()) == Some(rollout)
                    && let Some(gathering) = &mut control.gathering
                {
                    gathering.answer(&check, report, Timestamp::now());
                }
            }
        }
    }

    fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        let (now, time) = (Instant::now(), Timestamp::now());
        for at in 0..self.services.len() {
            self.follow_targets(at, now);
            // Not of all services at once: what that takes, workers on the same processor have to wait for.
            if self.ticks.wrapping_add(at).is_multiple_of(LOOK_EVERY) {
                self.services[at].look_at_counts(time);
            }
            if self.services[at].needs_time() {
                self.tick_service(at);
            }
        }
    }

    /// What follows from an event that is no command, where it can be acted on now; if not, it comes again.
    fn decide(&self, at: usize, event: Event, now: Timestamp) -> Option<Decided> {
        let service = &self.services[at];
        match Decided::by(&service.state, event, now) {
            Ok(decided) => decided.filter(|decided| decided.transition.protective || service.writing.free()),
            Err(refusal) => {
                tracing::error!(service = %service.config.name, %refusal, "an event was refused");
                None
            }
        }
    }

    fn tick_service(&mut self, at: usize) {
        self.end_overdue_hold(at);
        self.lose_patience(at);
        self.answer_durable(at);
        let now = Timestamp::now();
        let service = &mut self.services[at];
        if let (Some(gathering), Some(rollout)) = (&mut service.gathering, &service.state.rollout) {
            gathering.gather(rollout, Instant::now(), now);
        }
        // Gates come second: while the disk keeps their answer from becoming part of the state, what protects goes on.
        let over = over(service, now);
        let is_overdue = over.is_none() && service.state.mode.until.is_some_and(|until| now >= until);
        let told = std::mem::replace(&mut service.overdue, is_overdue);
        let events = [passing_of_time(service), gates_answer(service), over];
        if let Some(decided) = events.into_iter().flatten().find_map(|event| self.decide(at, event, now)) {
            if decided.transition.protective {
                self.protect(at, decided);
            } else {
                self.plan(at, decided, None);
            }
        }
        if is_overdue != told {
            // The page says no moment that has passed, and the status why the mode goes on.
            self.publish(at);
        }
        self.flush(at);
        if self.services[at].gathering.is_some() {
            self.show(at, false);
        }
    }
}
