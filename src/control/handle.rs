//! What the floors above hold of the control plane.

use super::command::{Command, CommandError};
use super::draining::Purpose;
use super::explain;
use super::files::FirstLook;
use super::guarding::Guarded;
use super::linking::Mount;
use super::meanwhile::Counted;
use super::message::{Done, Message, Request};
use super::names::Ways;
use super::ports::{HistoryQuestion, MetricsSource};
use super::service::ServiceControl;
use super::store::StoreThread;
use super::view;
use crate::config::Config;
use crate::model::view::{EvidenceView, ExplainView, HistoryView, ServiceView, SwitchView};
use crate::model::{PromQlCheck, ServiceName, Timestamp};
use crate::routing::counters::ServiceTally;
use crate::routing::{DoorTally, Live, PerWorker, Route, Secret, Table, UnderWay};
use crate::transport::{Certificates, Expiry};
use http::{HeaderMap, Method};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use tokio::sync::{broadcast, mpsc, oneshot};

/// What is shown of a service.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) service: ServiceView,
    meanwhile: Option<Counted>,
    /// Of the rollout that is under way.
    evidence: Option<EvidenceView>,
    /// Where none is.
    guarded: Guarded,
    /// The PromQL checks of its next rollout.
    pub(super) promql: Arc<[PromQlCheck]>,
    /// Where visitors find it.
    pub(super) mount: Mount,
}

impl Published {
    pub(super) fn of(service: &ServiceControl) -> Self {
        let promql = Arc::clone(&service.promql);
        let (hosts, path_prefix) = (service.config.hosts.clone(), service.config.path_prefix.clone());
        let (mount, meanwhile) = (Mount { hosts, path_prefix }, service.meanwhile.clone());
        let (evidence, guarded) = (view::evidence(service), service.guarded());
        Self { service: view::service(service), meanwhile, evidence, guarded, promql, mount }
    }

    /// The evidence. Without a rollout it is made when somebody looks: what is counted changes all the time.
    pub(super) fn evidence(&self) -> EvidenceView {
        let of_none = || EvidenceView { guard: Some(self.guarded.view(Timestamp::now())), ..EvidenceView::default() };
        self.evidence.clone().unwrap_or_else(of_none)
    }
}

/// Where the conductor shows the services. Nothing here is touched by a request of a visitor.
#[derive(Debug)]
pub(super) struct Shared {
    published: RwLock<Vec<Arc<Published>>>,
    decisions: Mutex<BTreeMap<(ServiceName, String, String), u64>>,
    /// What is counted of services that are configured no more, for as long as a request of theirs is under way.
    former: Mutex<Vec<(ServiceName, Weak<PerWorker<ServiceTally>>)>>,
    events: broadcast::Sender<ServiceView>,
    /// Whether the first round of health checks is done.
    checked: AtomicBool,
    /// Whether visitors are served.
    serving: AtomicBool,
}

/// Events that a slow listener may fall behind by.
const EVENTS: usize = 256;
/// Kinds of decision that are counted; they are few, this only makes it sure.
const DECISION_KINDS: usize = 10_000;

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            published: RwLock::default(),
            decisions: Mutex::default(),
            former: Mutex::default(),
            events: broadcast::channel(EVENTS).0,
            checked: AtomicBool::new(false),
            serving: AtomicBool::new(false),
        }
    }

    pub(super) fn publish_all(&self, all: Vec<Published>) {
        for published in &all {
            // Nobody may be listening.
            let _ = self.events.send(published.service.clone());
        }
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = all.into_iter().map(Arc::new).collect();
    }

    pub(super) fn publish(&self, at: usize, published: Published, news: bool) {
        if news {
            let _ = self.events.send(published.service.clone());
        }
        if let Some(slot) = self.published.write().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
            *slot = Arc::new(published);
        }
    }

    /// A service is configured no more; its tunnels go on.
    pub(super) fn is_gone(&self, service: ServiceName, tally: &Arc<PerWorker<ServiceTally>>) {
        let mut former = self.former.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever is under way holds the table that it was routed by, and this with it.
        former.retain(|(_, tally)| tally.strong_count() > 0);
        former.push((service, Arc::downgrade(tally)));
    }

    pub(super) fn count_decision(&self, service: &ServiceName, decision: &str, check: &str) {
        let mut decisions = self.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (service.clone(), decision.to_owned(), check.to_owned());
        if decisions.len() < DECISION_KINDS || decisions.contains_key(&key) {
            *decisions.entry(key).or_default() += 1;
        }
    }

    pub(super) fn set_checked(&self) {
        self.checked.store(true, Ordering::Release);
    }
}

/// The control plane, for those who ask it and command it.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) secret: Arc<Secret>,
    pub(super) store: StoreThread,
    pub(super) metrics: Option<Arc<dyn MetricsSource>>,
    pub(super) certificates: Option<Arc<Certificates>>,
}

/// Whether the router can route, and what its operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Whether visitors are served.
    pub ready: bool,
    /// One sentence each, with the name of the service or the file of the certificate.
    pub warnings: Vec<String>,
}

/// How often something was decided since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionCount {
    /// For which service.
    pub service: ServiceName,
    /// What.
    pub decision: String,
    /// By which check, or `operator`, `time`, ….
    pub check: String,
    /// How often.
    pub count: u64,
}

/// A request to be explained.
#[derive(Debug, Clone)]
pub struct ExplainRequest {
    /// The host.
    pub host: String,
    /// The path, which may have a query.
    pub path: String,
    /// The method.
    pub method: Method,
    /// The headers.
    pub headers: HeaderMap,
    /// The visitor's address.
    pub client: Option<IpAddr>,
}

impl Handle {
    /// Whether the first round of health checks is done.
    #[must_use]
    pub fn has_checked(&self) -> bool {
        self.shared.checked.load(Ordering::Acquire)
    }

    /// From now on visitors are served.
    pub fn serves(&self) {
        self.shared.serving.store(true, Ordering::Release);
    }

    fn published(&self) -> Vec<Arc<Published>> {
        self.shared.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Published>, CommandError> {
        let published = self.shared.published.read().unwrap_or_else(PoisonError::into_inner);
        let found = published.iter().find(|published| published.service.name.as_str() == name);
        found.map(Arc::clone).ok_or_else(|| CommandError::UnknownService(name.chars().take(64).collect()))
    }

    /// Every service, in the order of the configuration.
    #[must_use]
    pub fn services(&self) -> Vec<ServiceView> {
        self.each(|service, _| service)
    }

    /// Every service with the evidence of its rollout, in the order of the configuration.
    #[must_use]
    pub fn services_with_evidence(&self) -> Vec<(ServiceView, EvidenceView)> {
        self.each(|service, published| (service, published.evidence()))
    }

    fn each<T>(&self, mut show: impl FnMut(ServiceView, &Published) -> T) -> Vec<T> {
        let table = self.live.table();
        let published = self.published();
        let warnings = self.certificate_warnings();
        let each = published.iter().enumerate();
        // A service has the same place in the table, but for the moment of a reload.
        each.map(|(at, published)| {
            let route = table.services.get(at).filter(|route| route.service == published.service.name);
            let mut service = fresh(published, route.map(Arc::as_ref));
            service.warnings.extend_from_slice(&warnings);
            show(service, published)
        })
        .collect()
    }

    /// One service.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn service(&self, name: &str) -> Result<ServiceView, CommandError> {
        let published = self.find(name)?;
        let table = self.live.table();
        let route = table.services.iter().find(|route| route.service == published.service.name);
        let mut service = fresh(&published, route.map(Arc::as_ref));
        service.warnings.extend(self.certificate_warnings());
        Ok(service)
    }

    /// The evidence of a service's rollout.
    ///
    /// # Errors
    /// When there is no service of that name.
    pub fn evidence(&self, name: &str) -> Result<EvidenceView, CommandError> {
        Ok(self.find(name)?.evidence())
    }

    /// Carries out a command. With a drain, it returns when the drain is over. Before a rollout starts, its PromQL checks
    /// are asked once.
    ///
    /// # Errors
    /// When it is not carried out; nothing was changed then. And when its drain has ended because another command has
    /// undone it.
    pub async fn command(
        &self,
        service: &str,
        command: Command,
        if_match: Option<u64>,
    ) -> Result<SwitchView, CommandError> {
        let published = self.find(service)?;
        let warnings = match &command {
            Command::Start { pool, release, .. } => self.try_checks(&published, pool, release.as_ref()).await?,
            _ => Vec::new(),
        };
        let service = published.service.name.clone();
        if let Command::Switch { hold: true, .. } = &command {
            return self.switch_under_hold(&service, command, if_match).await;
        }
        let mut view = self.carry_out(&service, command, if_match).await?;
        view.service.warnings.extend(warnings);
        Ok(view)
    }

    /// Has a command carried out, with its drain.
    pub(super) async fn carry_out(
        &self,
        service: &ServiceName,
        command: Command,
        if_match: Option<u64>,
    ) -> Result<SwitchView, CommandError> {
        let (patience, purpose) = match &command {
            Command::Switch { drain, .. } => (*drain, Purpose::Leave),
            Command::Mode { setting, drain } => (*drain, Purpose::Mode(service, setting.mode)),
            _ => (None, Purpose::Leave),
        };
        let done = self.ask(service, command, if_match, None).await?;
        let Some(patience) = patience else { return Ok(SwitchView { service: done.service, drain: None }) };
        let under_way = match purpose {
            // What came after the mode was set is let through on purpose, and may go on for ever.
            Purpose::Mode(..) => UnderWay { pools: done.pools.into(), before: Some(done.table) },
            Purpose::Leave | Purpose::Hold(_) => UnderWay { pools: done.draining.into(), before: None },
        };
        let drain = self.drain(&under_way, done.table, patience.get(), purpose).await?;
        Ok(SwitchView { service: self.service(service.as_str()).unwrap_or(done.service), drain: Some(drain) })
    }

    /// Has the conductor carry out a command, perhaps under a hold.
    pub(super) async fn ask(
        &self,
        service: &ServiceName,
        command: Command,
        if_match: Option<u64>,
        held: Option<u64>,
    ) -> Result<Done, CommandError> {
        let (reply, replied) = oneshot::channel();
        let request = Request { service: service.clone(), command, if_match, held, reply };
        self.inbox.send(Message::Request(request)).await.map_err(|_| CommandError::Stopping)?;
        replied.await.map_err(|_| CommandError::Stopping)?
    }

    /// The entries of a service's history that are asked for, the newest last.
    ///
    /// # Errors
    /// When there is no such service, or the store can't be read.
    pub async fn history(&self, service: &str, question: HistoryQuestion) -> Result<Vec<HistoryView>, CommandError> {
        let name = self.find(service)?.service.name.clone();
        let history = self.store.call(move |store| store.history(&name, question)).await;
        history.map_err(|error| CommandError::NotStored(error.to_string()))
    }

    /// Where a request would go, and why.
    ///
    /// # Errors
    /// When there is no service of that name.
    pub fn explain(&self, service: &str, request: &ExplainRequest) -> Result<ExplainView, CommandError> {
        self.find(service)?;
        let explained = explain::explain(&self.live.table(), &self.secret, request);
        let of = explained.service.as_ref().and_then(|service| self.find(service.as_str()).ok());
        let evidence =
            of.and_then(|published| published.evidence.clone()).filter(|evidence| evidence.verdict.is_some());
        Ok(ExplainView { evidence, ..explained })
    }

    /// Writes a consistent copy of the state into a new file.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn backup(&self, file: &Path) -> Result<(), CommandError> {
        let file = file.to_owned();
        let copied = self.store.call(move |store| store.backup(&file)).await;
        copied.map_err(|error| CommandError::Invalid(error.to_string()))
    }

    /// Puts another configuration in force.
    ///
    /// # Errors
    /// With every reason that stands against it; the old one stays in force then.
    pub async fn reload(&self, config: Config) -> Result<(), Vec<String>> {
        let stopping = || vec!["the router is stopping".to_owned()];
        let (reply, replied) = oneshot::channel();
        let files = FirstLook::at(&config).await;
        let ways = Box::new(Ways::of(&config).await?);
        let message = Message::Reload { config: Box::new(config), files, ways, reply };
        self.inbox.send(message).await.map_err(|_| stopping())?;
        replied.await.map_err(|_| stopping())?
    }

    /// Whether the router can route, and what its operator should know.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let published = self.published();
        let services = published.iter().map(|published| &published.service);
        let of_services =
            services.flat_map(|service| service.warnings.iter().map(|warning| format!("{}: {warning}", service.name)));
        Readiness {
            ready: self.shared.serving.load(Ordering::Acquire),
            warnings: of_services.chain(self.certificate_warnings()).collect(),
        }
    }

    /// What an operator should know of the certificates, which belong to every service.
    fn certificate_warnings(&self) -> Vec<String> {
        self.certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.warnings(Timestamp::now()))
    }

    /// Until when each certificate can be shown.
    #[must_use]
    pub fn certificate_expiries(&self) -> Vec<Expiry> {
        self.certificates.as_ref().map_or_else(Vec::new, |certificates| certificates.expiries())
    }

    /// The sum over all workers of something that they count of visitors' connections.
    #[must_use]
    pub fn doors(&self, count: impl Fn(&DoorTally) -> u64) -> u64 {
        self.live.doors().map(count).sum()
    }

    /// Every change of a service from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<ServiceView> {
        self.shared.events.subscribe()
    }

    /// The table in force.
    #[must_use]
    pub fn table(&self) -> Arc<Table> {
        self.live.table()
    }

    /// How many tunnels there are, by service. One that is configured no more is among them for as long as it has any.
    #[must_use]
    pub fn tunnels(&self) -> BTreeMap<ServiceName, u64> {
        let count = |tally: &PerWorker<ServiceTally>| tally.sum(|tally| tally.tunnels.get());
        let table = self.live.table();
        let mut all: BTreeMap<_, _> =
            table.services.iter().map(|route| (route.service.clone(), count(&route.tally))).collect();
        for (service, tally) in &*self.shared.former.lock().unwrap_or_else(PoisonError::into_inner) {
            let left = tally.upgrade().map_or(0, |tally| count(&tally));
            if left > 0 {
                *all.entry(service.clone()).or_default() += left;
            }
        }
        all
    }

    /// How many requests were refused since the start for a fault of their own, by status.
    #[must_use]
    pub fn refusals(&self) -> BTreeMap<u16, u64> {
        let mut sums = BTreeMap::new();
        for (status, count) in self.live.refusals() {
            *sums.entry(status).or_default() += count;
        }
        sums
    }

    /// How often what was decided since the start.
    #[must_use]
    pub fn decisions(&self) -> Vec<DecisionCount> {
        let decisions = self.shared.decisions.lock().unwrap_or_else(PoisonError::into_inner);
        decisions
            .iter()
            .map(|((service, decision, check), count)| DecisionCount {
                service: service.clone(),
                decision: decision.clone(),
                check: check.clone(),
                count: *count,
            })
            .collect()
    }
}

/// The service with what is counted of it as it is now.
fn fresh(published: &Published, route: Option<&Route>) -> ServiceView {
    let mut service = published.service.clone();
    service.held_requests = route.map_or(0, |route| route.tally.sum(|tally| tally.held.get()));
    for pool in route.into_iter().flat_map(|route| &route.pools) {
        if let Some(view) = service.pools.get_mut(&pool.name) {
            view.in_flight = pool.load.sum(|load| load.in_flight.get());
        }
    }
    service.meanwhile = published.meanwhile.as_ref().map(Counted::view);
    service
}
