//! What it costs not to serve: the requests that the router answers itself, from the moment at which a service leaves
//! mode serve until it is back.

use super::service::ServiceControl;
use crate::model::{Meanwhile, Mode, Timestamp};
use crate::routing::PerWorker;
use crate::routing::counters::{METHOD_LABELS, ServiceTally};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Requests by method, in the order of [`METHOD_LABELS`].
type Counts = [u64; METHOD_LABELS.len()];

/// The time in which a service does not serve, or the last one.
#[derive(Debug, Clone)]
pub(super) struct Counted {
    /// The mode that was asked for.
    of: Mode,
    since: Timestamp,
    tally: Arc<PerWorker<ServiceTally>>,
    before: Counts,
    end: Option<(Timestamp, Counts)>,
}

fn counts(tally: &PerWorker<ServiceTally>) -> Counts {
    let mut sum = Counts::default();
    for worker in tally.iter() {
        sum.iter_mut().zip(worker.answered()).for_each(|(sum, count)| *sum += count);
    }
    sum
}

impl Counted {
    fn begin(of: Mode, tally: &Arc<PerWorker<ServiceTally>>, now: Timestamp) -> Self {
        Self { of, since: now, before: counts(tally), tally: Arc::clone(tally), end: None }
    }

    /// Whether it goes on.
    pub(super) fn goes_on(&self) -> bool {
        self.end.is_none()
    }

    /// What has come in by now, or by its end.
    pub(super) fn view(&self) -> Meanwhile {
        let (until, after) = match &self.end {
            Some((until, after)) => (Some(*until), *after),
            None => (None, counts(&self.tally)),
        };
        let came = METHOD_LABELS.iter().zip(after).zip(self.before);
        let methods = came.map(|((method, after), before)| ((*method).to_owned(), after.wrapping_sub(before)));
        let methods: BTreeMap<String, u64> = methods.filter(|(_, count)| *count > 0).collect();
        Meanwhile { since: self.since, until, requests: methods.values().sum(), methods }
    }
}

impl ServiceControl {
    /// Begins to count when the service leaves mode serve, whatever the reason, begins anew with each other mode that is
    /// asked for, and ends when it serves again.
    pub(super) fn follow_mode(&mut self, now: Timestamp) {
        let away = self.mode().0 != Mode::Serve;
        let of = self.state.mode.mode;
        if let Some(counted) = self.meanwhile.as_mut().filter(|counted| counted.goes_on()) {
            if away && counted.of == of {
                return;
            }
            counted.end = Some((now, counts(&counted.tally)));
            tracing::info!(service = %self.config.name, mode = %counted.of, meanwhile = %counted.view(), "mode left");
        }
        if away {
            self.meanwhile = Some(Counted::begin(of, &self.tally, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Reason, WorkerId};

    #[test]
    fn only_what_came_in_between_is_told_over_all_workers_and_reasons() {
        let now = |second| Timestamp::from_second(second).unwrap();
        let tally = Arc::new(PerWorker::<ServiceTally>::new(2));
        let answer = |worker, reason, method: http::Method| {
            tally.of(WorkerId(worker)).maintenance_response(reason, &method);
        };
        answer(0, Reason::Planned, http::Method::GET);
        let mut counted = Counted::begin(Mode::Maintenance, &tally, now(1));
        answer(0, Reason::Planned, http::Method::GET);
        answer(1, Reason::Unplanned, http::Method::GET);
        answer(1, Reason::ReadOnly, http::Method::POST);
        assert_eq!(counted.view().requests, 3);
        counted.end = Some((now(2), counts(&tally)));
        answer(1, Reason::Hold, http::Method::POST);
        let view = counted.view();
        assert_eq!((view.since, view.until, view.requests), (now(1), Some(now(2)), 3));
        assert_eq!(view.methods, [("GET".to_owned(), 2), ("POST".to_owned(), 1)].into());
    }
}
