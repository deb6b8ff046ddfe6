//! A drain: requests have a time to end in, tunnels are ended over the last part of it, and what is left is cut.

use super::handle::Handle;
use crate::model::Period;
use crate::model::view::DrainView;
use crate::routing::{Parting, UnderWay};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at a drain.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// How long workers get to acknowledge a table, and to take down what was cut.
const SETTLING: Duration = Duration::from_secs(5);

impl Handle {
    /// Waits until the requests have ended that are under way, and cuts those that are left after `patience`. Tunnels,
    /// which seldom end by themselves, are ended one by one before.
    pub(super) async fn drain(&self, under_way: &UnderWay, table: u64, patience: Duration) -> DrainView {
        let started = Instant::now();
        // A worker's count is whole once it has acknowledged the table.
        while !self.live.acknowledged(table) && started.elapsed() < patience + SETTLING {
            tokio::time::sleep(LOOK).await;
        }
        let waited_for = self.live.count(under_way).await;
        let mut left = waited_for;
        let parting = Arc::new(Parting::of_drain(started, patience));
        let mut parts = false;
        while left > 0 && started.elapsed() < patience {
            if !parts && Instant::now() >= parting.from {
                parts = true;
                self.live.part(under_way, &parting).await;
            }
            tokio::time::sleep(LOOK).await;
            left = self.live.count(under_way).await;
        }
        let mut cut = 0;
        if left > 0 {
            cut = self.live.cut(under_way).await;
            let since = Instant::now();
            while self.live.count(under_way).await > 0 && since.elapsed() < SETTLING {
                tokio::time::sleep(LOOK).await;
            }
        }
        // Nobody reads nanoseconds.
        let took = Period::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        DrainView { waited_for, cut: cut + parting.told(), took }
    }
}
