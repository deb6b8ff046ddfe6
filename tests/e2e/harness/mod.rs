//! What the tests stand on: a router that is the built binary, applications and visitors in this process,
//! a real Prometheus, free ports, and waiting by condition.

mod application;
mod load;
mod ports;
mod prometheus;
mod raw;
mod router;
mod setup;
mod turns;
mod visitor;
mod waiting;

pub use application::{Application, Behaviour};
pub use load::{Load, Tally};
pub use ports::{free_address, free_port};
pub use prometheus::Prometheus;
pub use raw::{RawConnection, RawTarget};
pub use router::{Answered, CommandResult, Router, run_binary};
pub use setup::Setup;
pub use turns::heavy_turn;
pub use visitor::{Answer, Visitor};
pub use waiting::{LONG, SHORT, eventually, until};
