//! `cutover simulate`: how a plan would have decided.

use super::arguments::{Global, SimulateArguments};
use super::check::warn;
use super::error::CliError;
use super::output::{columns, grouped, plain, say};
use crate::app::simulate::{
    Release, Report, Scenario, Share, Simulation, Spread, Summary, Visitors, chart, legend, seconds, simulate,
    simulated_plan, svg,
};
use crate::config::Config;
use crate::model::{Check, Plan, ServiceName};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(global: &Global, arguments: &SimulateArguments) -> Result<ExitCode, CliError> {
    let plan = match &arguments.plan {
        Some(file) => plan_of(file, global.service.as_ref())?,
        None => Plan::default(),
    };
    let (plan, mut notes) = simulated_plan(&plan).map_err(|error| CliError::Simulation(error.to_string()))?;
    for note in &mut notes {
        *note = format!("left out: {note}");
    }
    let scenario = scenario(arguments, &plan)?;
    if arguments.candidate_latency.is_some_and(|latency| latency != arguments.live_latency)
        && !plan.checks.iter().any(|check| matches!(check, Check::Latency(_)))
    {
        notes.push("the plan has no latency check, so that slower answers speak against nobody".to_owned());
    }
    let simulation = Simulation { scenario, plan, runs: arguments.runs, seed: arguments.seed };
    let report = simulate(&simulation).map_err(|refusal| CliError::Simulation(refusal.to_string()))?;
    if let Some(file) = &arguments.svg {
        let failed = |error: std::io::Error| CliError::Path { file: file.clone(), reason: error.to_string() };
        std::fs::write(file, svg(&report)).map_err(failed)?;
    }
    if global.json {
        let notes: Vec<&String> = notes.iter().collect();
        let whole = json!({ "simulated": given(&simulation), "notes": notes, "report": report });
        say(&serde_json::to_string_pretty(&whole).unwrap_or_default())?;
    } else {
        say(&text(&simulation, &report, &notes))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The plan of the service that is meant.
fn plan_of(file: &Path, service: Option<&ServiceName>) -> Result<Plan, CliError> {
    let parsed = Config::load(file)?;
    warn(file, &parsed.warnings);
    let mut services = parsed.config.services;
    let names: Vec<ServiceName> = services.iter().map(|service| service.name.clone()).collect();
    match service {
        Some(name) => {
            let missing = || CliError::NoSuchService { name: name.clone(), there: names };
            let found = services.into_iter().find(|service| service.name == *name);
            found.map(|service| service.rollout).ok_or_else(missing)
        }
        None if services.len() > 1 => Err(CliError::SeveralServices(names)),
        None => services.pop().map(|service| service.rollout).ok_or(CliError::NoService),
    }
}

fn scenario(arguments: &SimulateArguments, plan: &Plan) -> Result<Scenario, CliError> {
    let live_latency = arguments.live_latency.get().as_secs_f64();
    let candidate_latency = arguments.candidate_latency.map_or(live_latency, |median| median.get().as_secs_f64());
    let number = match (arguments.visitors, arguments.requests_per_visitor) {
        (Some(visitors), _) => Some(visitors),
        (None, Some(each)) => {
            let time: f64 = plan.steps.iter().map(|step| step.hold.get().as_secs_f64()).sum();
            let number = (arguments.rps * time / each).ceil();
            if number > MOST_VISITORS {
                return Err(CliError::Simulation(format!(
                    "{number:.0} visitors are more than the {MOST_VISITORS:.0} that can be simulated: with so many, \
                     leave --requests-per-visitor out, which draws each request for itself"
                )));
            }
            // In range by the test above, and at least 1.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Some((number as usize).max(1))
        }
        (None, None) => None,
    };
    let visitors = number.map(|number| Visitors {
        number,
        activity_spread: arguments.activity_spread,
        unlucky: arguments.unlucky,
        unlucky_ratio: UNLUCKY_RATIO,
    });
    Ok(Scenario {
        requests_per_second: arguments.rps,
        live: Release { error_ratio: arguments.live_error, latency_median: live_latency },
        candidate: Release { error_ratio: arguments.candidate_error, latency_median: candidate_latency },
        fault_after: arguments.fault_after.get(),
        visitors,
        weather: arguments.weather,
    })
}

/// How many of the requests of an unlucky visitor fail, whichever release answers.
const UNLUCKY_RATIO: f64 = 0.2;
#[allow(clippy::cast_precision_loss)] // a constant far below 2^52
const MOST_VISITORS: f64 = Visitors::MOST as f64;

/// What was simulated, for the JSON.
fn given(simulation: &Simulation) -> serde_json::Value {
    let scenario = &simulation.scenario;
    let release =
        |release: Release| json!({ "error_ratio": release.error_ratio, "latency_median": release.latency_median });
    json!({
        "requests_per_second": scenario.requests_per_second,
        "live": release(scenario.live),
        "candidate": release(scenario.candidate),
        "fault_after_seconds": scenario.fault_after.as_secs_f64(),
        "visitors": scenario.visitors.map(|visitors| visitors.number),
        "plan": simulation.plan,
    })
}

fn text(simulation: &Simulation, report: &Report, notes: &[String]) -> String {
    let scenario = &simulation.scenario;
    let mut out = format!(
        "{} runs each at {} requests/s, live failing {}: a candidate as good, and one failing {}\n\n",
        grouped(report.runs as u64),
        scenario.requests_per_second,
        percent(scenario.live.error_ratio),
        percent(scenario.candidate.error_ratio),
    );
    out.push_str(&columns(&outcomes(report)));
    out.push('\n');
    out.push_str(&columns(&steps(report)));
    for (title, summary) in [("as good as live", &report.faultless), ("as given", &report.candidate)] {
        // Writing to a string does not fail.
        let _ = write!(out, "\n  {title}: {}\n{}", legend(), chart(summary));
    }
    for note in notes {
        let _ = write!(out, "\n{}", plain(note));
    }
    let _ = write!(
        out,
        "\nIn brackets: where the figure lies in 95 of 100 simulations of this size (--runs, --seed {}).",
        report.seed
    );
    out
}

fn outcomes(report: &Report) -> Vec<[String; 3]> {
    let row =
        |name: &str, of: &dyn Fn(&Summary) -> String| [name.to_owned(), of(&report.faultless), of(&report.candidate)];
    vec![
        [String::new(), "as good as live".to_owned(), "as given".to_owned()],
        row("promoted", &|summary| share(summary.promoted)),
        row("rolled back", &|summary| share(summary.rolled_back)),
        row("held for an operator", &|summary| share(summary.held)),
        row("still going on", &|summary| share(summary.going)),
        row("time to roll back, median · 90%", &|summary| spread(summary.seconds_to_rollback, seconds)),
        row("time to promote, median · 90%", &|summary| spread(summary.seconds_to_promotion, seconds)),
        row("requests failed by the candidate's fault", &|summary| {
            spread(summary.failed_requests, |number| format!("{number:.0}"))
        }),
    ]
}

fn steps(report: &Report) -> Vec<[String; 3]> {
    let mut rows = vec![["step".to_owned(), "passed after".to_owned(), "passed after".to_owned()]];
    for (faultless, candidate) in report.faultless.steps.iter().zip(&report.candidate.steps) {
        let cell = |step: &crate::app::simulate::StepSummary| match step.seconds {
            Some(_) => format!("{} · by {} of runs", spread(step.seconds, seconds), percent(step.passed.share)),
            None => "never".to_owned(),
        };
        rows.push([format!("{}%", faultless.weight), cell(faultless), cell(candidate)]);
    }
    rows
}

fn percent(ratio: f64) -> String {
    // To a hundredth of a percent, without zeros that say nothing.
    format!("{}%", (ratio * 10_000.0).round() / 100.0)
}

fn share(share: Share) -> String {
    format!("{} ({}–{})", percent(share.share), percent(share.low), percent(share.high))
}

fn spread(spread: Option<Spread>, format: impl Fn(f64) -> String) -> String {
    spread.map_or("–".to_owned(), |spread| {
        let [median, low, high, ninety] =
            [spread.median.value, spread.median.low, spread.median.high, spread.ninety.value].map(&format);
        if low == high { format!("{median} · {ninety}") } else { format!("{median} ({low}–{high}) · {ninety}") }
    })
}
