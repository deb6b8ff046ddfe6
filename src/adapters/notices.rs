//! Tells people what was decided: Slack, what is compatible with it, and any other webhook.
//!
//! Each address has a task and a bounded queue of its own, so that one that is down holds up neither a decision nor
//! another address.

use super::webhook::{Address, Letter, NoClient, Webhooks};
use crate::config::{Notify, NotifyKind};
use crate::control::ports::Notifier;
use crate::model::view::{HistoryView, ServiceView};
use crate::rollout::{DecisionName, GATES};
use serde_json::json;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Notices that may wait for one address; more are given up.
const WAITING: usize = 256;
/// Of one try.
const PATIENCE: Duration = Duration::from_secs(10);
/// Before each further try, give or take half of it.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(60)];

/// Everyone who is told.
#[derive(Debug)]
pub struct Notices {
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    notify: Notify,
    queue: mpsc::Sender<Notice>,
    _task: AbortOnDropHandle<()>,
}

/// A notice on its way.
#[derive(Debug)]
struct Notice {
    event: String,
    delivery: String,
    body: String,
}

impl Notices {
    /// Starts a task for each address on the current runtime. They end when this is dropped.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn start(notify: &[Notify]) -> Result<Self, NoClient> {
        let webhooks = Webhooks::new()?;
        let start = |(number, notify): (usize, &Notify)| {
            let (queue, waiting) = mpsc::channel(WAITING);
            let task = tokio::spawn(deliver(webhooks.clone(), notify.clone(), number, waiting));
            Told { notify: notify.clone(), queue, _task: AbortOnDropHandle::new(task) }
        };
        Ok(Self { told: notify.iter().enumerate().map(start).collect() })
    }
}

impl Notifier for Notices {
    fn tell(&self, decision: &HistoryView, service: &ServiceView) {
        for (number, told) in self.told.iter().enumerate() {
            if !wants(&told.notify, decision, service) {
                continue;
            }
            let notice = Notice {
                event: decision.decision.clone(),
                delivery: format!("{}-{}", service.name, decision.revision),
                body: body(&told.notify, decision, service),
            };
            if told.queue.try_send(notice).is_err() {
                given_up(number, &decision.decision, "too many notices wait for it");
            }
        }
    }
}

fn given_up(number: usize, event: &str, reason: &str) {
    // By its number: the address may be a secret.
    tracing::error!(notify = number + 1, event, reason, "a notice is given up");
}

fn wants(notify: &Notify, decision: &HistoryView, service: &ServiceView) -> bool {
    let gate_failed = is_gate(decision) && decision.by != GATES;
    let wanted = |event: &String| *event == decision.decision || gate_failed && event == Notify::GATE_FAILURE;
    let of_service = notify.services.as_ref().is_none_or(|services| services.contains(&service.name));
    of_service && notify.events.iter().any(wanted)
}

fn is_gate(decision: &HistoryView) -> bool {
    decision.decision == DecisionName::Gate.as_str()
}

fn body(notify: &Notify, decision: &HistoryView, service: &ServiceView) -> String {
    let link = notify.link.as_ref().map(|link| link.replace("{{service}}", service.name.as_str()));
    match notify.kind {
        NotifyKind::Slack => json!({ "text": slack_text(decision, service, link.as_deref()) }).to_string(),
        NotifyKind::Webhook => json!({ "decision": decision, "service": service, "link": link }).to_string(),
    }
}

fn slack_text(decision: &HistoryView, service: &ServiceView, link: Option<&str>) -> String {
    let mut lines = vec![format!(
        "*{}*: *{}* by {}: {}",
        service.name,
        decision.decision,
        escaped(&decision.by),
        escaped(&decision.reason)
    )];
    let stands = match &decision.candidate {
        Some(candidate) => format!("{} is live, {candidate} gets {}", decision.live, decision.weight),
        None => format!("{} is live", decision.live),
    };
    let held = service.held.as_ref().map(|held| format!("; held by {}", held.by)).unwrap_or_default();
    lines.push(format!("{stands}{held}"));
    lines.extend(link.map(|link| format!("<{}|Details>", escaped(link))));
    lines.join("\n")
}

/// As Slack asks for: these three begin its mark-up, and nothing else does.
/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn deliver(webhooks: Webhooks, notify: Notify, number: usize, mut waiting: mpsc::Receiver<Notice>) {
    let to = Address { url: &notify.url, secret_file: notify.secret_file.as_deref() };
    while let Some(notice) = waiting.recv().await {
        let letter = Letter { event: &notice.event, delivery: &notice.delivery, body: &notice.body };
        let mut pauses = PAUSES.iter();
        loop {
            let fault = match webhooks.post(to, letter, PATIENCE).await {
                Ok((status, _)) if status.is_success() => break,
                Ok((status, _)) => format!("HTTP {}", status.as_u16()),
                Err(fault) => fault,
            };
            let Some(pause) = pauses.next() else {
                given_up(number, &notice.event, &fault);
                break;
            };
            tracing::warn!(notify = number + 1, event = notice.event, fault, "a notice could not be delivered yet");
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
        }
    }
}
