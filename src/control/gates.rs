//! Asks the gates of a moment, one after the other, in a task of its own: what hangs there holds up nothing but the
//! walk of its rollout. The answer comes back to the conductor as a message.

use super::conductor::Conductor;
use super::message::{Message, Notice};
use super::ports::{GateFault, GateKeeper, GateQuestion};
use super::service::ServiceControl;
use crate::model::view::GateView;
use crate::model::{Gate, GatePoint, HeldBy, OnGateFailure, ServiceName, Timestamp};
use crate::rollout::{Asking, GatesAnswer, Rollout, ServiceState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Before the first retry; each further one waits twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A gatekeeper keeps a gate's time-out itself; this much later it is not waited for any more.
const OVERTIME: Duration = Duration::from_secs(10);

/// The gates of a service, as far as they are asked.
#[derive(Debug, Default)]
pub(super) struct Gating {
    asking: Option<Asking>,
    /// What they have answered, until it has become part of the state.
    pub(super) answer: Option<GatesAnswer>,
    /// Those of the last moment.
    pub(super) views: Vec<GateView>,
    task: Option<AbortOnDropHandle<()>>,
}

impl Gating {
    /// What has been answered to that question.
    pub(super) fn answer_to(&self, asking: Asking) -> Option<&GatesAnswer> {
        self.answer.as_ref().filter(|_| self.asking == Some(asking))
    }

    /// Takes in the answer, unless something else is asked by now.
    pub(super) fn take(&mut self, asking: Asking, answer: GatesAnswer) {
        if self.asking == Some(asking) {
            self.answer = Some(answer);
        }
    }

    /// Shows how far a gate is.
    pub(super) fn show(&mut self, asking: Asking, view: GateView) {
        if self.asking != Some(asking) {
            return;
        }
        match self.views.iter_mut().find(|known| known.name == view.name) {
            Some(known) => *known = view,
            None => self.views.push(view),
        }
    }
}

impl Conductor {
    /// Asks what the state says is to be asked, and nothing else; `reason` is why, where it is known.
    pub(super) fn follow_gates(&mut self, at: usize, reason: &str) {
        let service = &mut self.services[at];
        let asking = service.state.rollout.as_ref().and_then(|rollout| rollout.asking);
        if service.gating.asking == asking {
            return;
        }
        let Some((asking, rollout)) = asking.zip(service.state.rollout.as_ref()) else {
            // The gates of the last moment stay to be seen.
            service.gating.asking = None;
            service.gating.answer = None;
            service.gating.task = None;
            return;
        };
        let round = Round {
            asking,
            gates: rollout.plan.gates_at(asking.moment.point).cloned().collect(),
            questions: Questions::new(service, rollout, asking, reason),
            keeper: Arc::clone(&self.tools.gates),
            inbox: self.tools.sender.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(round.ask_all()));
        let task = if asking.moment.point.blocks() {
            Some(task)
        } else {
            // The rollout has moved already: who is told of it is told, whatever comes next.
            drop(task.detach());
            None
        };
        service.gating = Gating { asking: Some(asking), answer: None, views: Vec::new(), task };
    }
}

/// What all gates of a moment are asked.
struct Questions {
    service: ServiceName,
    common: GateQuestion,
}

impl Questions {
    fn new(service: &ServiceControl, rollout: &Rollout, asking: Asking, reason: &str) -> Self {
        let state = &service.state;
        let name = service.config.name.clone();
        let moment = asking.moment;
        let step = (moment.point == GatePoint::BeforeStep).then_some(moment.step);
        let weight = step.and_then(|step| rollout.plan.steps.get(step)).map_or(state.weight, |step| step.weight);
        let common = GateQuestion {
            gate: String::new(),
            at: moment.point,
            service: name.clone(),
            pool: rollout.pool.clone(),
            release: rollout.release.clone(),
            live: state.live.clone(),
            weight: weight.percent(),
            step: step.map(|step| step + 1),
            steps: rollout.plan.steps.len(),
            reason: reason.to_owned(),
            id: format!("{name}-{}-{}", rollout.started.as_millisecond(), asking.number),
            asked_at: asked_at(state).unwrap_or_else(Timestamp::now),
        };
        Self { service: name, common }
    }

    fn to(&self, gate: &Gate, number: usize) -> GateQuestion {
        let id = format!("{}-{number}", self.common.id);
        GateQuestion { gate: gate.name.clone(), id, ..self.common.clone() }
    }
}

/// Since when a rollout waits for its gates, also over a restart.
fn asked_at(state: &ServiceState) -> Option<Timestamp> {
    state.held.as_ref().filter(|held| held.by == HeldBy::Gate).map(|held| held.since)
}

/// The gates of one moment on their way.
struct Round {
    asking: Asking,
    gates: Vec<Gate>,
    questions: Questions,
    keeper: Arc<dyn GateKeeper>,
    inbox: mpsc::Sender<Message>,
}

impl Round {
    /// In the order of the file, so that one may prepare what the next one looks at; the first that fails ends it,
    /// unless it may be ignored.
    async fn ask_all(self) {
        let mut passed = Vec::new();
        for (number, gate) in self.gates.iter().enumerate() {
            let question = self.questions.to(gate, number);
            let name = &gate.name;
            match self.ask(gate, &question).await {
                Ok(said) => {
                    self.show(gate, "passed", said.clone()).await;
                    passed.push(format!("{name} passed ({said})"));
                }
                Err(fault) if gate.on_failure == OnGateFailure::Ignore => {
                    self.show(gate, "ignored", fault.to_string()).await;
                    passed.push(format!("{name} failed and is ignored ({fault})"));
                }
                Err(fault) => {
                    self.show(gate, "failed", fault.to_string()).await;
                    let (gate, on_failure) = (name.clone(), gate.on_failure);
                    return self.answer(GatesAnswer::Failed { gate, reason: fault.to_string(), on_failure }).await;
                }
            }
        }
        let reason = format!("{}: {}", self.asking.moment, passed.join("; "));
        self.answer(GatesAnswer::Passed(reason)).await;
    }

    /// Asks one gate until it answers, or its retries are used up.
    async fn ask(&self, gate: &Gate, question: &GateQuestion) -> Result<String, GateFault> {
        let tries = gate.retries.saturating_add(1);
        self.show(gate, "asked", "no answer yet".to_owned()).await;
        let mut tried = 0;
        loop {
            tried += 1;
            let fault = match self.try_once(gate, question).await {
                Err(GateFault::Unanswered(fault)) => fault,
                answered => return answered,
            };
            let told = format!("try {tried} of {tries}: {fault}");
            tracing::warn!(service = %question.service, gate = gate.name, at = %question.at, "{told}");
            if tried >= tries {
                return Err(GateFault::Unanswered(if tries == 1 { fault } else { format!("{fault} ({tries} tries)") }));
            }
            self.show(gate, "asked", told).await;
            tokio::time::sleep(pause(tried)).await;
        }
    }

    async fn try_once(&self, gate: &Gate, question: &GateQuestion) -> Result<String, GateFault> {
        let patience = gate.timeout.get().saturating_add(OVERTIME);
        let late = || GateFault::Unanswered(format!("no answer within {}", gate.timeout));
        tokio::time::timeout(patience, self.keeper.ask(gate, question)).await.unwrap_or_else(|_| Err(late()))
    }

    async fn show(&self, gate: &Gate, state: &str, detail: String) {
        let moment = self.asking.moment;
        let view = GateView {
            name: gate.name.clone(),
            at: moment.point,
            step: (moment.point == GatePoint::BeforeStep).then_some(moment.step),
            state: state.to_owned(),
            detail,
            since: Timestamp::now(),
        };
        self.tell(Notice::Gate { service: self.questions.service.clone(), asking: self.asking, view }).await;
    }

    async fn answer(&self, answer: GatesAnswer) {
        self.tell(Notice::Gates { service: self.questions.service.clone(), asking: self.asking, answer }).await;
    }

    async fn tell(&self, notice: Notice) {
        // Nobody is there to listen only when the router stops.
        let _ = self.inbox.send(Message::Notice(notice)).await;
    }
}

/// After so many tries: twice as long each time, give or take half of it, so that many routers don't come at once.
fn pause(tried: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << (tried - 1).min(16)).min(LONGEST_PAUSE);
    pause.mul_f64(rand::random_range(0.5..1.5))
}
