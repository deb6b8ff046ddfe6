//! What `simulate` is asked.

use super::values;
use crate::app::simulate::Weather;
use crate::model::Period;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(in crate::cli) struct SimulateArguments {
    /// The share of live's answers that are errors: 0.001 or 0.1%
    #[arg(long, value_name = "RATIO", default_value = "0.1%", value_parser = values::ratio)]
    pub(in crate::cli) live_error: f64,
    /// The share of the candidate's answers that are errors
    #[arg(long, value_name = "RATIO", default_value = "1%", value_parser = values::ratio)]
    pub(in crate::cli) candidate_error: f64,
    /// Requests per second, for both pools together
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = values::rate)]
    pub(in crate::cli) rps: f64,
    /// A configuration, for the plan of its service; without it the default plan
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) plan: Option<PathBuf>,
    /// Sticky visitors; where neither this nor the requests of each are given, each request is drawn for itself
    #[arg(long, value_name = "NUMBER", value_parser = values::visitors, conflicts_with = "requests_per_visitor")]
    pub(in crate::cli) visitors: Option<usize>,
    /// Requests of one sticky visitor during the holds of the plan
    #[arg(long, value_name = "NUMBER", value_parser = values::at_least_one)]
    pub(in crate::cli) requests_per_visitor: Option<f64>,
    /// How unevenly busy the visitors are: the standard deviation of the logarithm of their requests, 0 to 3
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = values::activity_spread)]
    pub(in crate::cli) activity_spread: f64,
    /// The share of visitors that fail a fifth of their requests whichever release answers
    #[arg(long, value_name = "RATIO", default_value = "0%", value_parser = values::ratio)]
    pub(in crate::cli) unlucky: f64,
    /// Live's median time to answer
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = values::some_time)]
    pub(in crate::cli) live_latency: Period,
    /// The candidate's median time to answer; live's where it is left out
    #[arg(long, value_name = "DURATION", value_parser = values::some_time)]
    pub(in crate::cli) candidate_latency: Option<Period>,
    /// Until then the candidate is as good as live
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    pub(in crate::cli) fault_after: Period,
    /// What both pools go through
    #[arg(long, value_enum, default_value_t = Weather::Steady)]
    pub(in crate::cli) weather: Weather,
    /// Runs of each release; the more there are, the surer the figures
    #[arg(long, value_name = "NUMBER", default_value = "200", value_parser = values::runs)]
    pub(in crate::cli) runs: usize,
    /// Where chance begins: the same seed gives the same answer
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    pub(in crate::cli) seed: u64,
    /// Write a chart to this file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) svg: Option<PathBuf>,
}
