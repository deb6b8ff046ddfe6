//! `cutover run`: what to serve, from a file or from the arguments.

use super::CliError;
use super::arguments::{DEFAULT_CONFIG, RunArguments};
use super::check::warn;
use crate::app::RunOptions;
use crate::config::Config;
use std::path::Path;

pub(super) fn options(arguments: &RunArguments) -> Result<RunOptions, CliError> {
    let file = match &arguments.config {
        Some(file) => file.as_path(),
        None if arguments.pools.is_empty() => Path::new(DEFAULT_CONFIG),
        None => {
            let config = Config::quick(&arguments.listen, &arguments.pools, arguments.state.clone())?;
            return Ok(RunOptions { config, file: None, grace: arguments.grace });
        }
    };
    if arguments.config.is_none() && !file.exists() {
        return Err(CliError::NothingToServe(DEFAULT_CONFIG));
    }
    let parsed = Config::load(file)?;
    warn(file, &parsed.warnings);
    Ok(RunOptions { config: parsed.config, file: Some(file.to_owned()), grace: arguments.grace })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(config: Option<&str>, pools: &[&str]) -> RunArguments {
        RunArguments {
            config: config.map(Into::into),
            listen: "127.0.0.1:0".to_owned(),
            pools: pools.iter().map(ToString::to_string).collect(),
            state: None,
            grace: None,
        }
    }

    #[test]
    fn arguments_or_a_file_say_what_to_serve() {
        let quick = options(&arguments(None, &["a=x:1", "b=y:1"])).unwrap();
        assert_eq!((quick.config.services.len(), quick.file), (1, None));
        let file = options(&arguments(Some("config/quickstart.toml"), &[])).unwrap();
        assert_eq!(file.file.unwrap(), Path::new("config/quickstart.toml"));
        let nothing = options(&arguments(None, &[])).unwrap_err();
        assert!(nothing.to_string().contains("name a file with --config"), "{nothing}");
        assert_eq!(nothing.exit_code(), 2);
        assert_eq!(options(&arguments(None, &["a=x:1"])).unwrap_err().exit_code(), 2);
    }
}
