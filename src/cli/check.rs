//! `cutover check`: every fault of a configuration at once.

use super::CliError;
use super::error::USAGE;
use super::output::{complain, plain, say};
use crate::config::{AdminListen, Config, Fault, Parsed};
use crate::model::Timestamp;
use crate::transport::{Certificate, CertificatePart, Means};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn run(file: &Path) -> Result<ExitCode, CliError> {
    match Config::load(file) {
        Ok(parsed) => {
            let (faults, warnings) = of_certificates(&parsed);
            warn(file, &parsed.warnings);
            warn(file, &warnings);
            let faults: Vec<_> = faults.into_iter().chain(of_targets(&parsed)).collect();
            if !faults.is_empty() {
                return Ok(refuse(file, &faults));
            }
            say(&format!("{}: ok: {}", plain(&file.display().to_string()), summary(&parsed.config)))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            warn(file, &faults.warnings);
            Ok(refuse(file, &faults.faults))
        }
    }
}

fn refuse(file: &Path, faults: &[Fault]) -> ExitCode {
    for fault in faults {
        complain(&plain(&fault.in_file(Some(file))));
    }
    let count = faults.len();
    complain(&format!("{count} fault{}: this configuration is refused", if count == 1 { "" } else { "s" }));
    ExitCode::from(USAGE)
}

/// Faults and warnings of the files that visitors' TLS goes by.
fn of_certificates(parsed: &Parsed) -> (Vec<Fault>, Vec<Fault>) {
    let now = Timestamp::now();
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    let certificates = parsed.config.server.tls.iter().flat_map(|tls| &tls.certificates);
    for (index, files) in certificates.enumerate() {
        let told = |part, message| {
            let key = match part {
                CertificatePart::Chain => "chain",
                CertificatePart::Key => "key",
            };
            parsed.fault_of_file(format!("server.tls.certificates[{index}].{key}"), message)
        };
        let read = Certificate::read(files);
        match read.and_then(|certificate| certificate.fault_at(now).map_or(Ok(certificate), Err)) {
            // That was warned about already.
            Err(fault) if fault.is_missing => {}
            Err(fault) => faults.push(told(fault.part, fault.to_string())),
            Ok(certificate) => {
                warnings.extend(certificate.warning_at(now).map(|message| told(CertificatePart::Chain, message)));
            }
        }
    }
    (faults, warnings)
}

/// Faults of the files that targets are verified by. One that is missing was warned about already.
fn of_targets(parsed: &Parsed) -> impl Iterator<Item = Fault> {
    let services = &parsed.config.services;
    Means::faults_of(&parsed.config).into_iter().filter_map(|fault| {
        let index = services.iter().position(|service| service.name == fault.service)?;
        let file = services[index].pool(&fault.pool)?.tls.ca_file.as_ref();
        let key = format!("service[{index}].pool.{}.tls.ca_file", fault.pool);
        file.is_none_or(|file| file.exists()).then(|| parsed.fault_of_file(key, fault.reason))
    })
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
