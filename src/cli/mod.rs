//! The command line: one small file per subcommand.
//!
//! ```text
//! arguments ─▶ run, demo            ─▶ app
//!          ├─▶ check                ─▶ config
//!          ├─▶ simulate             ─▶ app::simulate
//!          ├─▶ completions, man     ─▶ documentation
//!          └─▶ every other command  ─▶ session: client ─▶ admin API ─▶ answer as text, or as it is with --json
//! ```
//!
//! Exit codes: 0 it went well; 1 it did not, and standard error says why and what to do; 2 the command line or the
//! configuration is faulty; and of `rollout start --wait` and `deploy`: 3 rolled back, 4 held.

mod arguments;
mod backup;
mod check;
mod client;
mod deploy;
mod documentation;
mod error;
mod evidence;
mod explain;
mod history;
mod mode;
mod moment;
mod output;
mod overview;
mod preview_link;
mod progress;
mod replay;
mod rollout;
mod run;
#[cfg(test)]
mod samples;
mod session;
mod simulate;
mod status;
mod switch;
mod wait;

pub use error::CliError;

use crate::app::DemoOptions;
use arguments::{Cli, Command, Remote};
use clap::Parser;
use session::Session;
use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command of these arguments, the program's name first, and answers with the exit code.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output and is no fault; nothing can be done where neither can be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(error::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            output::complain(&format!("cutover: {error}"));
            ExitCode::from(error.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, CliError> {
    match cli.command {
        Command::Run(arguments) => Ok(crate::app::run(&run::options(&arguments)?)?),
        Command::Demo { fault, keep } => Ok(crate::app::demo(DemoOptions { fault, keep })?),
        Command::Check { config } => check::run(&config),
        Command::Simulate(arguments) => simulate::run(&cli.global, &arguments),
        Command::Completions { shell } => documentation::completions(shell),
        Command::Man { folder } => documentation::man(folder.as_deref()),
        Command::Remote(command) => {
            let session = Session::open(&cli.global)?;
            // One thread is enough for one request at a time.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| CliError::Start(error.to_string()))?.block_on(remote(&session, command))
        }
    }
}

async fn remote(session: &Session, command: Remote) -> Result<ExitCode, CliError> {
    match command {
        Remote::Status { watch } => status::run(session, watch).await,
        Remote::Switch { pool, drain, hold } => switch::run(session, pool, drain, hold).await,
        Remote::Rollout(command) => rollout::run(session, command).await,
        Remote::Mode(command) => mode::run(session, command).await,
        Remote::Deploy(arguments) => deploy::run(session, *arguments).await,
        Remote::History(arguments) => history::run(session, arguments).await,
        Remote::PreviewLink(arguments) => preview_link::run(session, arguments).await,
        Remote::Explain(request) => explain::run(session, request).await,
        Remote::Backup { file } => backup::run(session, file).await,
    }
}
