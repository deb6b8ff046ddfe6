//! Text to model: the configuration file, its faults, and the types that the rest of the product reads.
//!
//! ```text
//! text ─▶ toml (spanned tree, syntax faults) ─▶ reader (types, unknown keys) ─▶ server, listeners, service, routes,
//!                                                               pools, limits, modes, rollout, checks, gates, notices
//!      ─▶ Config with warnings, or every fault with its line, column and path
//! ```
//!
//! The walk never stops at a fault: it notes it and goes on, so that all of them are told at once.

mod checks;
mod fault;
mod gates;
mod keys;
mod limits;
mod listeners;
mod model;
mod modes;
mod notices;
mod pools;
mod prometheus;
mod promql;
mod quick;
mod reader;
mod rollout;
mod routes;
mod server;
mod service;
#[cfg(test)]
mod tests;

pub use fault::{Fault, Faults, Position};
pub use model::{
    AccessLog, Admin, AdminListen, Anonymous, Caching, CertificateFiles, Check, ClientCertificate, Config, Ejection,
    ErrorRatioCheck, Health, Hold, Listener, LogFormat, Maintenance, Notify, NotifyKind, OnInconclusive, Pool, PoolTls,
    PromQlCheck, Prometheus, PrometheusLogin, Protocol, ReadOnly, ReleaseSource, Retry, RolloutConfig, Server,
    ServerLimits, Service, ServiceLimits, ServiceTimeouts, StepConfig, StickyBy, Timeouts, Tls, TlsVersion,
    UnsafeRequests, UnsafeStatus,
};

use reader::{Source, Table};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Ten thousand services fit in it; junk that was named by mistake does not fill the memory.
const LARGEST: u64 = 4 * 1024 * 1024;

/// A configuration that can be used, and what its operator should know about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The configuration.
    pub config: Config,
    /// What is not wrong but probably not meant, in the order of the file.
    pub warnings: Vec<Fault>,
}

impl Config {
    /// Reads a configuration from text; relative paths in it begin at `base`.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn parse(text: &str, base: &Path) -> Result<Parsed, Faults> {
        let (tree, errors) = DeTable::parse_recoverable(text);
        let tree = Spanned::new(0..0, DeValue::Table(tree.into_inner()));
        let source = Source::new(text, base, &errors);
        let config = Table::root(&source, &tree, keys::ROOT).map(|root| read(&root, base));
        let (faults, warnings) = source.into_findings();
        match config {
            Some(config) if faults.is_empty() => Ok(Parsed { config, warnings }),
            _ => Err(Faults::new(faults, warnings)),
        }
    }

    /// Reads a configuration file; relative paths in it begin at its folder.
    ///
    /// # Errors
    /// When it can't be read, or every fault in it at once.
    pub fn load(path: &Path) -> Result<Parsed, Faults> {
        let text = read_text(path).map_err(|faults| faults.in_file(path))?;
        Self::parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(|faults| faults.in_file(path))
    }
}

fn read(root: &Table, base: &Path) -> Config {
    let state = server::state(root, base);
    let server = server::server(root, &state);
    let admin = server::admin(root, &server);
    let prometheus = prometheus::prometheus(root);
    let access_log = server::access_log(root);
    // A faulty section is still a section: the checks that need it are not at fault.
    let has_prometheus = root.get("prometheus").is_some();
    let services = service::services(root, &service::Surroundings { server: &server, has_prometheus });
    let names: Vec<_> = services.iter().map(|service| &service.name).collect();
    let notify = notices::notices(root, &names);
    Config { server, admin, state, prometheus, access_log, notify, services }
}

fn read_text(path: &Path) -> Result<String, Faults> {
    let whole = |message: String| Faults::of_the_whole("", message);
    let file = File::open(path).map_err(|error| whole(format!("the configuration can't be opened: {error}")))?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| whole(format!("the configuration can't be read: {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(whole(format!("the file is larger than {} MiB; is it a configuration?", LARGEST / 1024 / 1024)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let line = good.map_or(0, |good| good.matches('\n').count()) + 1;
        whole(format!("line {line} is not UTF-8 text; write the file in UTF-8"))
    })
}
