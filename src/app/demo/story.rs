//! The story: a healthy release is promoted, then a bad one is taken back. What is decided is the router's own doing:
//! the story only deploys releases, starts rollouts, and watches.

use super::account::Account;
use super::act::{Act, BAD, HEALTHY};
use super::applications::Fault;
use super::ratios::Ratios;
use super::scene::{self, News, Scene};
use super::screen::Screen;
use super::stage::{SERVICE, Stage};
use crate::app::DemoFault;
use crate::control::{Command, Handle};
use crate::model::view::{HistoryView, ServiceView};
use crate::model::{Phase, Timestamp};
use anyhow::Context;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::AbortOnDropHandle;

/// Time to see what is usual.
const OPENING: Duration = Duration::from_secs(4);
/// Time to see the new release serve everyone.
const AFTER_PROMOTION: Duration = Duration::from_secs(3);
/// Time to see that it is calm again.
const AFTERMATH: Duration = Duration::from_secs(5);
/// A rollout that takes longer has not gone as told: its holds are 12 s.
const LONGEST_ROLLOUT: Duration = Duration::from_secs(22);
/// When the fault shows, after the first visitor of the release: a late fault, which the first step knows nothing of.
const FAULT_AFTER: Duration = Duration::from_secs(6);
/// The share of answers that fail then.
const FAULT_SHARE: f64 = 0.3;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// More decisions than the story has.
const DECISIONS: usize = 100;
/// The rate is taken over so many samples.
const RATE_SAMPLES: usize = 8;

/// Someone ended it before its end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// The signals that end it.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they don't end the process any more.
    pub(super) fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be listened for");
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// Resolves at the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The story as it is told.
pub(super) struct Story<'a> {
    fault: DemoFault,
    stage: &'a Stage,
    screen: Screen,
    signals: &'a mut Signals,
    started: Instant,
    started_at: Timestamp,
    act: Act,
    news: Vec<News>,
    ratios: Ratios,
    /// Requests until then, at each sample.
    requests: Vec<(Instant, u64)>,
    decisions: Vec<HistoryView>,
    taken_back: Arc<OnceLock<Instant>>,
    _rollback_watch: AbortOnDropHandle<()>,
}

impl<'a> Story<'a> {
    pub(super) fn new(fault: DemoFault, stage: &'a Stage, signals: &'a mut Signals) -> Self {
        let taken_back = Arc::default();
        let watch = tokio::spawn(note_rollback(stage.router.handle.clone(), Arc::clone(&taken_back)));
        Self {
            fault,
            stage,
            screen: Screen::open(),
            signals,
            started: Instant::now(),
            started_at: Timestamp::now(),
            act: Act::Opening,
            news: Vec::new(),
            ratios: Ratios::default(),
            requests: Vec::new(),
            decisions: Vec::new(),
            taken_back,
            _rollback_watch: AbortOnDropHandle::new(watch),
        }
    }

    /// Tells it, and gives account of how it went.
    pub(super) async fn tell(mut self) -> anyhow::Result<Account> {
        self.begin(Act::Opening);
        self.watch_for(OPENING).await?;

        self.begin(Act::Healthy);
        self.roll_out("server1", HEALTHY, Fault::None).await?;
        let healthy = self.watch_rollout().await?;
        if healthy == Phase::Promoted {
            self.watch_for(AFTER_PROMOTION).await?;
            self.begin(Act::Bad);
            if self.fault != DemoFault::None {
                self.stage.visitors.tally().watch_out_for(BAD);
            }
            self.roll_out("server0", BAD, self.bad_fault()).await?;
            let bad = self.watch_rollout().await?;
            self.watch_for(AFTERMATH).await?;
            return Ok(self.account(healthy, Some(bad)));
        }
        Ok(self.account(healthy, None))
    }

    fn bad_fault(&self) -> Fault {
        match self.fault {
            DemoFault::Errors => Fault::Errors { share: FAULT_SHARE, after: FAULT_AFTER },
            DemoFault::Crash => Fault::Crash { after: FAULT_AFTER },
            DemoFault::None => Fault::None,
        }
    }

    fn begin(&mut self, act: Act) {
        self.act = act;
        self.stage.visitors.tally().begin(act);
        self.news(format!("act {}: {}", act.index() + 1, act.title(self.fault)));
    }

    fn news(&mut self, text: String) {
        let news = News { at: self.started.elapsed(), text };
        self.screen.tell(&news);
        self.news.push(news);
    }

    /// Deploys a release to the pool that serves nobody, and starts its rollout.
    async fn roll_out(&mut self, pool: &str, release: &str, fault: Fault) -> anyhow::Result<()> {
        self.stage.application(pool).deploy(release, fault);
        let start = Command::Start {
            pool: pool.parse()?,
            release: Some(release.parse()?),
            strategy: None,
            steps: None,
            force: false,
        };
        let started = self.stage.router.handle.command(SERVICE, start, None).await;
        started.with_context(|| format!("the rollout of release {release} can't be started"))?;
        Ok(())
    }

    /// Watches a rollout to its end, or until it has taken too long; answers with its phase then.
    async fn watch_rollout(&mut self) -> anyhow::Result<Phase> {
        let is_over = |view: &ServiceView| match view.phase {
            Phase::Preview | Phase::Canary => false,
            Phase::Idle | Phase::Promoted | Phase::RolledBack => true,
        };
        self.watch(LONGEST_ROLLOUT, is_over).await
    }

    async fn watch_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.watch(time, |_| false).await.map(|_| ())
    }

    /// Shows what happens, until it is done or the time is over.
    async fn watch(&mut self, limit: Duration, is_done: impl Fn(&ServiceView) -> bool) -> anyhow::Result<Phase> {
        let since = Instant::now();
        loop {
            let service = self.look().await?;
            if is_done(&service) || since.elapsed() >= limit {
                return Ok(service.phase);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK.min(limit.saturating_sub(since.elapsed()))) => {}
                () = self.signals.next() => return Err(Interrupted.into()),
            }
            if self.screen.asked_to_end() {
                return Err(Interrupted.into());
            }
        }
    }

    async fn look(&mut self) -> anyhow::Result<ServiceView> {
        let handle = &self.stage.router.handle;
        let service = handle.service(SERVICE)?;
        let evidence = handle.evidence(SERVICE)?;
        self.note_first_failure();
        self.note_decisions(&service).await?;
        // Once a rollout is over, its last decision has the evidence that it ended with.
        let last = self.decisions.last().and_then(|decision| decision.evidence.clone());
        let evidence = if evidence.checks.is_empty() { last.unwrap_or(evidence) } else { evidence };
        let counts = self.stage.visitors.tally().total();
        if self.ratios.observe(self.started.elapsed(), &service, self.stage) {
            self.requests.push((Instant::now(), counts.requests));
        }
        let scene = Scene {
            fault: self.fault,
            act: self.act,
            at: self.started.elapsed(),
            service: &service,
            evidence: &evidence,
            ratios: self.ratios.samples(),
            counts,
            rate: self.rate(),
            rescues: self.stage.rescues(),
            news: &self.news,
        };
        self.screen.show(&scene);
        Ok(service)
    }

    /// Requests per second, over the last samples.
    #[allow(clippy::cast_precision_loss)] // counts of a minute
    fn rate(&self) -> f64 {
        let recent = &self.requests[self.requests.len().saturating_sub(RATE_SAMPLES)..];
        match (recent.first(), recent.last()) {
            (Some((since, before)), Some((until, by_then))) if until > since => {
                (by_then - before) as f64 / (*until - *since).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    fn note_first_failure(&mut self) {
        let is_told = self.news.iter().any(|news| news.text.starts_with(FIRST_FAILURE));
        if let (false, Some(at)) = (is_told, self.first_failure()) {
            let what = match self.fault {
                DemoFault::Errors => format!("from now on {:.0}% of its answers are errors", FAULT_SHARE * 100.0),
                DemoFault::Crash => "its port is closed, its connections are reset".to_owned(),
                DemoFault::None => return,
            };
            self.news(format!("{FIRST_FAILURE}, {:.1} s in: {what}", (at - self.started).as_secs_f64()));
        }
    }

    fn first_failure(&self) -> Option<Instant> {
        self.stage.applications.server0.first_failure()
    }

    /// Tells what was decided since the last look, as the history says it.
    async fn note_decisions(&mut self, service: &ServiceView) -> anyhow::Result<()> {
        if self.decisions.last().is_some_and(|last| last.revision >= service.revision) {
            return Ok(());
        }
        let last = self.decisions.last().map_or(0, |last| last.id);
        for decision in self.stage.router.handle.history(SERVICE, DECISIONS).await? {
            if decision.id > last {
                self.news(scene::in_words(&decision));
                self.decisions.push(decision);
            }
        }
        Ok(())
    }

    fn account(self, healthy: Phase, bad: Option<Phase>) -> Account {
        let since_failure = self.first_failure().zip(self.taken_back.get());
        let tally = self.stage.visitors.tally();
        Account {
            fault: self.fault,
            took: self.started.elapsed(),
            started_at: self.started_at,
            counts: Act::ALL.map(|act| tally.of(act)),
            healthy,
            bad,
            to_rollback: since_failure.map(|(failed, taken_back)| *taken_back - failed),
            rescues: self.stage.rescues(),
            decisions: self.decisions,
        }
    }
}

const FIRST_FAILURE: &str = "release 1.2 fails for the first time";

/// Notes the moment from which on no visitor is drawn to a release that was taken back: the control plane tells of a
/// change once its table is in force.
async fn note_rollback(handle: Handle, taken_back: Arc<OnceLock<Instant>>) {
    let mut events = handle.subscribe();
    loop {
        match events.recv().await {
            Ok(view) if view.phase == Phase::RolledBack => {
                taken_back.get_or_init(Instant::now);
                return;
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}
