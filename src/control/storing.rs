//! The conductor and the store: what is written before it comes into force, what after, and what is done when the
//! store does not take it.

use super::command::CommandError;
use super::conductor::Conductor;
use super::deciding::Decided;
use super::gathering::change_evidence;
use super::message::{Message, Reply};
use super::ports::{Record, StoreError};
use super::writing::{PATIENCE, Written};
use crate::analysis::Evidence;
use crate::model::view::HistoryView;
use crate::model::{PoolName, ServiceName, Timestamp};
use crate::rollout::{EvidenceChange, ServiceState};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Evidence is given to the store at least this often.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// How long an operator waits for a protective change to be durable before it is answered as not yet durable.
const DURABLE_PATIENCE: Duration = Duration::from_secs(1);
/// Decisions that may wait for the store; the oldest are dropped, loudly.
const UNWRITTEN: usize = 10_000;
/// Of those, so many keep what they were made of: it is far larger than the decision.
const UNWRITTEN_RECORDS: usize = 100;

impl Conductor {
    /// Gives a planned change to the store; it comes into force when the store has it.
    pub(super) fn plan(&mut self, at: usize, decided: Decided, reply: Option<Reply>) {
        let service = &self.services[at];
        let mut history = service.unwritten.clone();
        history.push(decided.entry(service));
        let transition = decided.transition;
        let evidence = match (transition.evidence, &transition.state.rollout, &service.gathering) {
            (EvidenceChange::End, _, _) => None,
            (EvidenceChange::Watch, Some(rollout), Some(gathering)) => {
                let mut evidence = gathering.evidence.clone();
                evidence.begin_watch(service.guarding.watch(rollout, Timestamp::now()));
                Some(evidence)
            }
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
    pub(super) fn protect(&mut self, at: usize, decided: Decided) {
        let entry = decided.entry(&self.services[at]);
        let transition = decided.transition;
        if let Some(reply) = self.services[at].writing.give_up() {
            let reason = format!("{} came first: {}", transition.decision.name, transition.decision.reason);
            let _ = reply.send(Err(CommandError::Refused(reason)));
        }
        let service = &mut self.services[at];
        if let Some(old) = service.unwritten.len().checked_sub(UNWRITTEN_RECORDS) {
            service.unwritten[old].record = None;
        }
        if service.unwritten.len() >= UNWRITTEN {
            tracing::error!(service = %service.config.name, "a decision could not be written for too long and is lost");
            service.unwritten.remove(0);
        }
        service.unwritten.push(entry);
        self.adopt(at, transition);
        self.flush(at);
    }

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
    pub(super) fn flush(&mut self, at: usize) {
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

    pub(super) fn written(&mut self, service: &ServiceName, sequence: u64, result: Result<(), StoreError>) {
        let Some(at) = self.position(service) else { return };
        let service_control = &mut self.services[at];
        if let (Err(_), Some(gathering)) = (&result, &mut service_control.gathering) {
            // The evidence that went with it is not stored either.
            gathering.unsaved = true;
        }
        let writing = &mut service_control.writing;
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
                // First, so that who is refused sees the reason in the status too.
                self.show(at, true);
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
        self.take_waiting(at);
        self.flush(at);
        self.show(at, true);
    }

    /// Takes up the commands that waited for the store, until one of them writes: those that are refused write nothing,
    /// so that no answer of the store would come to take up the next.
    fn take_waiting(&mut self, at: usize) {
        while self.services[at].writing.current.is_none() {
            let Some((since, request)) = self.services[at].writing.waiting.pop_front() else { return };
            self.request(request, since);
        }
    }

    /// Answers those who asked for a protective change, once it is durable or that takes too long.
    pub(super) fn answer_durable(&mut self, at: usize) {
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
    pub(super) fn lose_patience(&mut self, at: usize) {
        let writing = &mut self.services[at].writing;
        let refused =
            || Err(CommandError::NotStored(format!("the store has not answered for {}s", PATIENCE.as_secs())));
        if writing.current.as_ref().is_some_and(|write| write.since.elapsed() >= PATIENCE) {
            if let Some(reply) = writing.give_up() {
                let _ = reply.send(refused());
            }
            let fault = Some(format!("the store has not answered for {}s", PATIENCE.as_secs()));
            if std::mem::replace(&mut writing.fault, fault.clone()) != fault {
                self.show(at, true);
            }
        }
        let writing = &mut self.services[at].writing;
        while writing.waiting.front().is_some_and(|(since, _)| since.elapsed() >= PATIENCE) {
            if let Some((_, request)) = writing.waiting.pop_front() {
                let _ = request.reply.send(refused());
            }
        }
    }

    /// At the end: gives what is not durable to the store, and waits for it a little.
    pub(super) async fn write_out(&mut self, inbox: &mut mpsc::Receiver<Message>) {
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
}
