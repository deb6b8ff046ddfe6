//! The words of the product: small values that are made once, at the edge, and are right from then on.
//!
//! Nothing here knows a clock, a socket or a file. Every other module may import this one.

mod address;
mod basis_points;
mod deploy;
mod indicator;
mod meanwhile;
mod mode;
mod names;
mod outcome;
mod pattern;
mod period;
mod phase;
mod plan;
pub mod view;

pub use address::{Endpoint, InvalidAddress, TargetAddress, host_of, is_host_name};
pub use basis_points::{BasisPoints, InvalidWeight};
pub use deploy::{Deploy, DeployEnd, DeployGuard, DeployStep};
pub use indicator::Indicator;
pub use meanwhile::Meanwhile;
pub use mode::{Mode, ModeSetting, ModeSource};
pub use names::{COOKIE_NAME, InvalidName, PREVIEW_COOKIE_NAME, PoolName, RESERVED_PREFIX, ReleaseId, ServiceName};
pub use outcome::{Happening, Owner, Ruling, grpc_status_fails};
pub use pattern::{HostPattern, InvalidPattern, PathPrefix};
pub use period::{InvalidPeriod, Period};
pub use phase::{Held, HeldBy, Judgement, Phase, Verdict};
pub use plan::{
    Advance, Check, ErrorRatioCheck, Gate, GateAsk, GateMoment, GatePoint, LatencyCheck, OnGateFailure, OnInconclusive,
    Plan, PromQlCheck, PromQlQuestion, StatusRatioCheck, Step, Strategy, Until, Worse,
};

pub use jiff::Timestamp;
