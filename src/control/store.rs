//! The store's own thread: whatever a disk does, nothing but a write waits for it.

use super::ports::{Store, StoreError};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;
use tokio::sync::oneshot;

type Call = Box<dyn FnOnce(&mut dyn Store) + Send>;

/// Calls of the store, done one after the other in the order in which they were made.
#[derive(Debug, Clone)]
pub struct StoreThread(SyncSender<Call>);

/// Calls that may wait; more are refused.
const WAITING: usize = 4096;

impl StoreThread {
    /// Starts the thread. It ends when the last clone of this is dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(mut store: Box<dyn Store>) -> std::io::Result<Self> {
        let (calls, waiting) = sync_channel::<Call>(WAITING);
        thread::Builder::new().name("store".into()).spawn(move || {
            for call in waiting {
                call(store.as_mut());
            }
        })?;
        Ok(Self(calls))
    }

    /// Makes a call and waits for its result.
    ///
    /// # Errors
    /// When the call fails, or too many wait already.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.0.try_send(Box::new(move |store: &mut dyn Store| {
            // Who no longer waits needs no answer.
            let _ = answer.send(call(store));
        }));
        let refused = |reason: &str| Err(StoreError::Unavailable(reason.to_owned()));
        match sent {
            Ok(()) => answered.await.unwrap_or_else(|_| refused("the store has stopped")),
            Err(TrySendError::Full(_)) => refused("too much waits to be written; is the disk hanging?"),
            Err(TrySendError::Disconnected(_)) => refused("the store has stopped"),
        }
    }
}
