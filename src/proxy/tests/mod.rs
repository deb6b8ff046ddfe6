//! The data plane as a whole, against origins and visitors that speak over real sockets.

mod answers;
mod closing;
mod counting;
mod faults;
mod multiplexed;
mod passing;
mod split;
mod time;
mod waiting;
mod wire;
mod world;
