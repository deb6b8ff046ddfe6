//! What the two planes share: the table, the split, the balance, and the counters.
//!
//! A request walks `table` (which service) → `split` (which pool) → `balance` (which target), all on one
//! snapshot; the control plane builds the next [`Table`] and hands it to [`Live`], which swaps it in.
//! Counts flow the other way: a worker alone writes its own [`counters`] and `draws`, anyone may read them.

mod assets;
mod balance;
mod bounds;
mod cookies;
pub mod counters;
mod destination;
mod doors;
mod draws;
mod exempt;
mod hosts;
mod limits;
mod link;
mod live;
mod maintenance;
mod refusals;
mod restriction;
mod seen;
mod sides;
mod sketch;
mod split;
mod table;
mod tick_counts;
mod ticks;
mod times;
mod waiting;
mod writes;

pub use assets::{Asset, Assets, is_reserved};
pub use balance::{Dice, Warming};
pub use bounds::{Bounds, Opening, RetryShare, Room};
pub use cookies::CookieNames;
pub use counters::{PerWorker, WorkerId};
pub use destination::{Asked, Destination, Previewed};
pub use doors::{DoorTally, TurnedAway};
pub use draws::{Dispatch, Draws, LIMITS_AHEAD, Measures, TICK};
pub use exempt::is_exempt;
pub use hosts::HostIndex;
pub use limits::{Limit, Limits};
pub use link::{Link, mentions_preview};
pub use live::{Live, Order, Parting, Reports, Suspected, Suspicion, UnderWay, WorkerEnd};
pub use maintenance::{MaintenanceAnswer, Reason, RetryAfter};
pub use refusals::{REFUSED_STATUSES, Refusals};
pub use restriction::{Passage, ReadOnly, Restriction, Writes};
pub use seen::SeenVisitors;
pub use sides::{ByMoment, BySide, Side};
pub use sketch::Sketch;
pub use split::{Bucketer, Draw, LastVisitor, Secret, Split, VisitorId, VisitorKey};
pub use table::{Pool, Preview, Route, Table, Target};
pub use tick_counts::{BadCounts, SideCounts, TickCounts};
pub use ticks::{OLDEST_TICK, lag, lag_ticks};
pub use times::{AgedTimes, TimeCounts};
pub use waiting::{Gate, Waiting};
pub use writes::{Write, asks_to_write, is_override_header, without_method_fields};
