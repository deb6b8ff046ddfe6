//! What the tests stand on: a router that is the built binary, applications and visitors in this process,
//! a real Prometheus, free ports, and waiting by condition.

mod application;
mod between;
mod browser;
mod certificates;
mod django;
pub mod frames;
mod load;
mod logger;
mod ports;
mod postgres;
mod prometheus;
mod raw;
mod receiver;
mod router;
mod setup;
mod sockets;
mod turns;
mod visitor;
mod waiting;
mod walkthrough;

pub use application::Application;
pub use between::{Between, Manner};
pub use browser::Browser;
pub use certificates::Issuer;
pub use django::{Person, Site, USER};
pub use load::Load;
pub use logger::Logger;
pub use ports::{free_address, free_port};
pub use postgres::{Postgres, run};
pub use prometheus::Prometheus;
pub use raw::{RawConnection, RawTarget};
pub use receiver::{Receiver, Reply};
pub use router::{Answered, CommandResult, Router, answered, run_binary};
pub use setup::Setup;
pub use sockets::{Echo, SocketServer, Sockets, talk, talk_by_tls};
pub use turns::heavy_turn;
pub use visitor::{Answer, Visitor};
pub use waiting::{LONG, SHORT, eventually, until};
pub use walkthrough::Walkthrough;
