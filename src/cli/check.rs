//! `cutover check`: every fault of a configuration at once.

use super::CliError;
use super::error::USAGE;
use super::output::{complain, plain, say};
use crate::config::{AdminListen, Config, Fault};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(file: &Path) -> Result<ExitCode, CliError> {
    match Config::load(file) {
        Ok(parsed) => {
            warn(file, &parsed.warnings);
            say(&format!("{}: ok: {}", plain(&file.display().to_string()), summary(&parsed.config)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            warn(file, &faults.warnings);
            for fault in &faults.faults {
                complain(&plain(&fault.in_file(Some(file))));
            }
            let count = faults.faults.len();
            complain(&format!("{count} fault{}: this configuration is refused", if count == 1 { "" } else { "s" }));
            Ok(ExitCode::from(USAGE))
        }
    }
}

/// Tells warnings where faults are told.
pub(super) fn warn(file: &Path, warnings: &[Fault]) {
    for warning in warnings {
        let warning = Fault { message: format!("warning: {}", warning.message), ..warning.clone() };
        complain(&plain(&warning.in_file(Some(file))));
    }
}

fn summary(config: &Config) -> String {
    let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let pools: Vec<_> = config.services.iter().flat_map(|service| &service.pools).collect();
    let targets = pools.iter().map(|pool| pool.targets.len()).sum();
    let listen: Vec<String> = config.server.listeners().map(|listener| listener.address.to_string()).collect();
    let admin = match &config.admin.listen {
        AdminListen::Tcp(address) => address.to_string(),
        AdminListen::Unix(path) => format!("unix:{}", plain(&path.display().to_string())),
    };
    format!(
        "{} with {} and {}; visitors at {}, operators at {admin}",
        many(config.services.len(), "service"),
        many(pools.len(), "pool"),
        many(targets, "target"),
        listen.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_configuration_is_summed_up() {
        let parsed = Config::load(Path::new("config/quickstart.toml")).unwrap();
        assert_eq!(
            summary(&parsed.config),
            "1 service with 2 pools and 2 targets; visitors at 0.0.0.0:8080, operators at 127.0.0.1:9900"
        );
    }
}
