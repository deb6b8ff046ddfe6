//! `cutover simulate`: how a plan would have decided, in virtual time, by the product's own judgement.
//!
//! ```text
//! Scenario ─► World ─► Tick ─► analysis::Evidence ─► assess ─► rollout::decide ─► Course     (one run)
//! Course, many of them ─► Summary ─► Report ─► table, terminal chart, SVG, JSON
//! ```

mod chart;
mod course;
mod figures;
mod latency;
mod population;
mod reduced;
mod report;
mod scenario;
mod svg;
mod world;

pub use chart::{chart, legend, seconds};
pub use course::{Course, End, Pace, longest, walk};
pub use figures::{Quantile, Share};
pub use reduced::{BlueGreen, simulated_plan};
pub use report::{Moment, Report, Simulation, Spread, StepSummary, Summary, parallel, seed, simulate};
pub use scenario::{LATENCY_SPREAD, Release, Scenario, Visitors, Weather};
pub use svg::{STYLE, svg};
pub use world::{Ground, World};
