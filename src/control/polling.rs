//! Asks the PromQL checks of a rollout: one task per check.

use super::message::{Message, Notice};
use super::ports::MetricsSource;
use crate::analysis::{PromQlAnswer, PromQlReport};
use crate::model::view::QueryView;
use crate::model::{Check, PoolName, PromQlCheck, PromQlQuestion, ReleaseId, ServiceName, Timestamp};
use crate::rollout::Rollout;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Tells the answers for one rollout from those for another.
pub(super) fn generation(rollout: Option<&Rollout>) -> Option<u64> {
    rollout.and_then(|rollout| u64::try_from(rollout.started.as_millisecond()).ok())
}

/// Fills in the names that a query may mention.
pub(super) fn resolve(query: &str, service: &ServiceName, pool: &PoolName, release: &ReleaseId) -> String {
    // None of these names has a quote, a backslash or a brace, so none can change the query around it.
    query
        .replace("{{service}}", service.as_str())
        .replace("{{pool}}", pool.as_str())
        .replace("{{release}}", release.as_str())
}

/// Starts a task for each PromQL check of a rollout. They end when they are dropped.
pub(super) fn start(
    service: &ServiceName,
    rollout: &Rollout,
    metrics: Option<&Arc<dyn MetricsSource>>,
    inbox: &mpsc::Sender<Message>,
) -> Vec<AbortOnDropHandle<()>> {
    let promql = rollout.plan.checks.iter().filter_map(|check| match check {
        Check::PromQl(check) => Some(check),
        Check::ErrorRatio(_) | Check::Latency(_) | Check::StatusRatio(_) => None,
    });
    promql
        .enumerate()
        .filter_map(|(number, check)| {
            let PromQlQuestion::Bounds { query, .. } = &check.ask else { return None };
            let question = Question {
                service: service.clone(),
                rollout: generation(Some(rollout))?,
                query: resolve(query, service, &rollout.pool, &rollout.release),
                // Spread, so that many checks don't arrive at once.
                offset: FIRST_QUERY * u32::try_from(number % 10).unwrap_or_default(),
                check: check.clone(),
            };
            Some(AbortOnDropHandle::new(tokio::spawn(ask(question, metrics.cloned(), inbox.clone()))))
        })
        .collect()
}

/// Between the first queries of two checks.
const FIRST_QUERY: Duration = Duration::from_millis(97);

struct Question {
    service: ServiceName,
    rollout: u64,
    query: String,
    offset: Duration,
    check: PromQlCheck,
}

async fn ask(question: Question, metrics: Option<Arc<dyn MetricsSource>>, inbox: mpsc::Sender<Message>) {
    tokio::time::sleep(question.offset).await;
    let mut times = tokio::time::interval(question.check.every.get());
    times.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let answer = match &metrics {
            Some(metrics) => metrics.query(&question.query, Timestamp::now()).await,
            None => Err("no [prometheus] section says where to ask".to_owned()),
        };
        let value = answer.as_ref().ok().copied();
        let query = QueryView { what: "value".to_owned(), pool: None, query: question.query.clone(), value };
        let report = PromQlReport { queries: vec![query], answer: answer.map(PromQlAnswer::Value) };
        let notice = Notice::Answer {
            service: question.service.clone(),
            rollout: question.rollout,
            check: question.check.name.clone(),
            report,
        };
        if inbox.send(Message::Notice(notice)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_into_a_query() {
        let query = r#"rate(failed{release="{{release}}",pool="{{pool}}",service="{{service}}"}[1m])"#;
        let resolved = resolve(query, &"shop".parse().unwrap(), &"server1".parse().unwrap(), &"v2".parse().unwrap());
        assert_eq!(resolved, r#"rate(failed{release="v2",pool="server1",service="shop"}[1m])"#);
    }
}
