//! A drain: requests have a time to end in, tunnels are ended over the last part of it, and what is left is cut. It is over
//! at once, and cuts nothing, when what it is for is: an operator may have changed their mind.

use super::command::CommandError;
use super::handle::Handle;
use crate::model::view::DrainView;
use crate::model::{Mode, Period, ServiceName};
use crate::routing::{Parting, UnderWay};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at a drain.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// How long workers get to acknowledge a table, and to take down what was cut.
const SETTLING: Duration = Duration::from_secs(5);

/// What a drain is for.
pub(super) enum Purpose<'s> {
    /// The pools that lose their traffic are left alone from now on.
    Leave,
    /// The service has this mode.
    Mode(&'s ServiceName, Mode),
    /// Requests of the service wait for a switch.
    Hold(&'s ServiceName),
}

impl Handle {
    /// Waits until the requests have ended that are under way, and cuts those that are left after `patience`. Tunnels,
    /// which seldom end by themselves, are ended one by one before. `table` is the first that sends none of them there.
    ///
    /// # Errors
    /// When it is for nothing any more; nothing is cut then.
    pub(super) async fn drain(
        &self,
        under_way: &UnderWay,
        table: u64,
        patience: Duration,
        purpose: Purpose<'_>,
    ) -> Result<DrainView, CommandError> {
        let started = Instant::now();
        // A worker's count is whole once it has acknowledged the table.
        while !self.live.acknowledged(table) && started.elapsed() < patience + SETTLING {
            tokio::time::sleep(LOOK).await;
        }
        let waited_for = self.live.count(under_way).await;
        let mut left = waited_for;
        let parting = Arc::new(Parting::of_drain(started, patience));
        let mut parts = false;
        // Should a pool be used again just now, what comes to it is none of this drain's.
        let older = UnderWay { pools: Arc::clone(&under_way.pools), before: Some(table) };
        while left > 0 && started.elapsed() < patience {
            self.still_serves(&purpose, under_way)?;
            if !parts && Instant::now() >= parting.from {
                parts = true;
                self.live.part(&older, &parting).await;
            }
            tokio::time::sleep(LOOK).await;
            left = self.live.count(under_way).await;
        }
        let mut cut = 0;
        if left > 0 {
            self.still_serves(&purpose, under_way)?;
            cut = self.live.cut(&older).await;
            let since = Instant::now();
            while self.live.count(under_way).await > 0 && since.elapsed() < SETTLING {
                tokio::time::sleep(LOOK).await;
            }
        }
        // Nobody reads nanoseconds.
        let took = Period::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        Ok(DrainView { waited_for, cut: cut + parting.told(), took })
    }

    /// Whether a drain is still for what it was begun for; if not, why.
    fn still_serves(&self, purpose: &Purpose<'_>, under_way: &UnderWay) -> Result<(), CommandError> {
        let table = self.live.table();
        let mut pools = table.services.iter().flat_map(|route| &route.pools);
        let reason = match purpose {
            Purpose::Leave => {
                let is_used = |load| under_way.pools.iter().any(|drained| Arc::ptr_eq(drained, load));
                let used = pools.find(|pool| !pool.drained && is_used(&pool.load));
                used.map(|pool| format!("{} is in use again", pool.name))
            }
            Purpose::Mode(service, mode) => {
                let now = self.find(service.as_str())?.service.mode_setting.mode;
                (now != *mode).then(|| format!("{service} is no longer in mode {mode}"))
            }
            Purpose::Hold(service) => {
                let held = table.services.iter().any(|route| route.service == **service && route.hold);
                (!held).then(|| format!("the requests of {service} wait no longer"))
            }
        };
        let refused = |reason| CommandError::Refused(format!("{reason}, so the drain has ended and cuts nothing"));
        reason.map_or(Ok(()), |reason| Err(refused(reason)))
    }
}
