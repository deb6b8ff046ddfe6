//! Text to model: the configuration file, its faults, and the types that the rest of the product reads.

mod model;

pub use model::{
    AccessLog, Admin, AdminListen, Check, Config, ErrorRatioCheck, Health, LogFormat, Maintenance, OnInconclusive,
    Pool, PromQlCheck, Prometheus, RolloutConfig, Server, Service, StepConfig, StickyBy, Timeouts, UnsafeStatus,
};
