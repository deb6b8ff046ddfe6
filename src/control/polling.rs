//! Asks the PromQL checks of a rollout: one task per check.

use super::message::{Message, Notice};
use super::ports::MetricsSource;
use super::question::{Question, Side};
use super::service::ServiceControl;
use crate::model::{Check, Timestamp};
use crate::rollout::Rollout;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;

/// Tells the answers for one rollout from those for another.
pub(super) fn generation(rollout: Option<&Rollout>) -> Option<u64> {
    rollout.and_then(|rollout| u64::try_from(rollout.started.as_millisecond()).ok())
}

/// Starts a task for each PromQL check of the rollout that is under way. They end when they are dropped.
pub(super) fn start(
    service: &ServiceControl,
    rollout: &Rollout,
    metrics: Option<&Arc<dyn MetricsSource>>,
    inbox: &mpsc::Sender<Message>,
) -> Vec<AbortOnDropHandle<()>> {
    let Some(generation) = generation(Some(rollout)) else { return Vec::new() };
    let candidate = Side { pool: rollout.pool.clone(), release: Some(rollout.release.clone()) };
    let live = Side { pool: rollout.previous_live.clone(), release: service.release(&rollout.previous_live).cloned() };
    let promql = rollout.plan.checks.iter().filter_map(Check::as_promql);
    promql
        .map(|check| {
            let question = Question {
                check: check.clone(),
                service: service.config.name.clone(),
                candidate: candidate.clone(),
                live: live.clone(),
                started: rollout.started,
            };
            AbortOnDropHandle::new(tokio::spawn(poll(question, generation, metrics.cloned(), inbox.clone())))
        })
        .collect()
}

/// The first query comes within this part of the interval, so that many checks, services or routers that start at the
/// same moment don't all ask at once.
const FIRST: f64 = 0.1;
/// By so much each interval differs from the configured one, for the same reason.
const JITTER: f64 = 0.1;

async fn poll(question: Question, rollout: u64, metrics: Option<Arc<dyn MetricsSource>>, inbox: mpsc::Sender<Message>) {
    let every = question.check.every.get();
    sleep(part(every, rand::random_range(0.0..FIRST))).await;
    loop {
        let next = Instant::now() + part(every, rand::random_range(1.0 - JITTER..=1.0 + JITTER));
        let asked = question.ask(metrics.as_deref(), Timestamp::now()).await;
        let notice = Notice::Answer {
            service: question.service.clone(),
            rollout,
            check: question.check.name.clone(),
            report: asked.into(),
        };
        if inbox.send(Message::Notice(notice)).await.is_err() {
            return;
        }
        sleep_until(next).await;
    }
}

fn part(of: Duration, part: f64) -> Duration {
    Duration::try_from_secs_f64(of.as_secs_f64() * part).unwrap_or(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_never_far_from_the_configured_one() {
        let every = Duration::from_secs(10);
        assert_eq!(part(every, 0.5), Duration::from_secs(5));
        assert_eq!(part(Duration::MAX, 1.1), Duration::MAX);
    }
}
