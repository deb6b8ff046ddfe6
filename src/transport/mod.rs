//! Byte streams between machines, without any HTTP: what a visitor's connection and one to a target are made of.

mod stream;
mod target;

pub use stream::{TargetStream, VisitorStream};
pub use target::connect;
