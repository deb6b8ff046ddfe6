//! `/api/v1/events`: each change of a service as a server-sent event.

use super::problem::{Kind, Problem};
use super::routes::Api;
use crate::control::Handle;
use crate::model::view::ServiceView;
use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{Stream, unfold};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Who may listen at once: dashboards and `--watch`, each of which holds a connection.
pub(super) const SUBSCRIBERS: usize = 32;
/// Below the idle time-out of common proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(api): State<Api>,
) -> Result<Sse<impl Stream<Item = Result<Event, axum::Error>>>, Problem> {
    let seat = Arc::clone(&api.subscribers).try_acquire_owned().map_err(|_| {
        Problem::new(Kind::Busy, format!("{SUBSCRIBERS} programs listen to events already; close one of them"))
    })?;
    let stream = unfold(Subscription::new(api.handle, api.stopping, seat), |mut subscription| async {
        let view = subscription.next().await?;
        Some((event(&view), subscription))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// A place for each that may listen.
pub(super) fn subscribers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SUBSCRIBERS))
}

fn event(view: &ServiceView) -> Result<Event, axum::Error> {
    Event::default().event("service").id(view.revision.to_string()).json_data(view)
}

/// One that listens.
struct Subscription {
    handle: Handle,
    changes: Receiver<ServiceView>,
    /// What is to be told before further changes: at first, how everything stands.
    waiting: VecDeque<ServiceView>,
    stopping: CancellationToken,
    _seat: OwnedSemaphorePermit,
}

impl Subscription {
    fn new(handle: Handle, stopping: CancellationToken, seat: OwnedSemaphorePermit) -> Self {
        // Subscribed before looking, so that no change falls in between.
        let changes = handle.subscribe();
        let waiting = handle.services().into();
        Self { handle, changes, waiting, stopping, _seat: seat }
    }

    async fn next(&mut self) -> Option<ServiceView> {
        loop {
            if let Some(view) = self.waiting.pop_front() {
                return Some(view);
            }
            tokio::select! {
                () = self.stopping.cancelled() => return None,
                change = self.changes.recv() => match change {
                    Ok(view) => return Some(view),
                    // Who reads too slowly misses steps in between, but never how it stands in the end.
                    Err(RecvError::Lagged(_)) => self.waiting = self.handle.services().into(),
                    Err(RecvError::Closed) => return None,
                },
            }
        }
    }
}
