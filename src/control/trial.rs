//! Every PromQL check is asked once before a rollout starts, so that a fault is told to whoever starts it, and not to
//! nobody an hour later.

use super::command::CommandError;
use super::handle::{Handle, Published};
use super::ports::MetricsFault;
use super::question::{Question, Side};
use crate::model::{PoolName, ReleaseId, Timestamp};
use futures_util::future::join_all;

impl Handle {
    /// Asks each check of the service once, all at the same time; what gave no answer is told in a sentence each.
    ///
    /// # Errors
    /// When a query can never give one.
    pub(super) async fn try_checks(
        &self,
        published: &Published,
        pool: &PoolName,
        release: Option<&ReleaseId>,
    ) -> Result<Vec<String>, CommandError> {
        let service = &published.service;
        // A start that is refused for another reason needs no trial.
        let Some(candidate) = service.pools.get(pool).filter(|_| service.candidate.is_none()) else {
            return Ok(Vec::new());
        };
        let now = Timestamp::now();
        let release_of = |name: &PoolName| service.pools.get(name).and_then(|pool| pool.release.clone());
        // The release that a start makes up is not known yet; what matters here is that there will be one.
        let release = release.or(candidate.release.as_ref()).cloned().or_else(|| pool.as_str().parse().ok());
        let asked = published.promql.iter().map(async |check| {
            let question = Question {
                check: check.clone(),
                service: service.name.clone(),
                candidate: Side { pool: pool.clone(), release: release.clone() },
                live: Side { pool: service.live.clone(), release: release_of(&service.live) },
                started: now,
            };
            (check.name.clone(), question.ask(self.metrics.as_deref(), now).await.answer)
        });
        let (mut faults, mut warnings) = (Vec::new(), Vec::new());
        for (check, answer) in join_all(asked).await {
            match answer {
                Ok(_) => {}
                Err(MetricsFault::Query(fault)) => faults.push(format!("check {check:?}: {fault}")),
                Err(MetricsFault::Unanswered(fault)) => {
                    warnings
                        .push(format!("check {check:?} has no answer yet, and none is passed without one: {fault}"));
                }
            }
        }
        if faults.is_empty() {
            return Ok(warnings);
        }
        let faults = faults.join("; ");
        Err(CommandError::Refused(format!("{faults}; mend the query in the configuration, then start the rollout")))
    }
}
