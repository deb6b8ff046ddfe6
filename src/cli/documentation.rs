//! `cutover completions` and `cutover man`: what shells and manuals know of the command line, made from its definition.

use super::arguments::Cli;
use super::{CliError, output};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Prints the script by which a shell completes commands and options.
pub(super) fn completions(shell: Shell) -> Result<ExitCode, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cutover", &mut script);
    print(&script)
}

/// Prints the manual page, or writes it and those of all commands into a folder.
pub(super) fn man(folder: Option<&Path>) -> Result<ExitCode, CliError> {
    if let Some(folder) = folder {
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
        written.map_err(|error| CliError::Output(told(error)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut page).map_err(CliError::Output)?;
    print(&page)
}

fn print(text: &[u8]) -> Result<ExitCode, CliError> {
    output::say(&String::from_utf8_lossy(text))?;
    Ok(ExitCode::SUCCESS)
}
