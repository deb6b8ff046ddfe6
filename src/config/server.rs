//! The tables that concern the router as a whole: `[server]`, `[admin]`, `[state]`, `[access_log]`.

use super::keys;
use super::limits::{server_limits, timeouts};
use super::listeners::{DEFAULT_LISTEN, Listeners, overlap};
use super::model::{AccessLog, Admin, AdminListen, LogFormat, Server};
use super::reader::{Node, Table};
use crate::model::Period;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where operators connect if the file does not say.
pub(super) const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
/// The state's file, beside the configuration.
pub(super) const DEFAULT_STATE: &str = "cutover.db";
/// More workers than any machine has cores would be a slip of the finger.
const MOST_WORKERS: u64 = 1024;
/// More often would be load on the name server, not a refresh.
const LEAST_DNS_REFRESH: Period = Period::from_secs(1);

/// The file that signs cookies, beside the state, so that the two are kept and moved together.
pub(super) fn secret_beside(state: &Path) -> PathBuf {
    state.with_file_name("cutover.secret")
}

pub(super) fn server(root: &Table, state: &Path) -> Server {
    let default = Server::at(vec![DEFAULT_LISTEN.into()], secret_beside(state));
    let Some(table) = root.read("server", |node| node.table(keys::SERVER)) else { return default };
    let trusted_proxies = table.read("trusted_proxies", trusted_proxies).unwrap_or_default();
    let mut listeners = Listeners::new(!trusted_proxies.is_empty());
    let listen = listeners.plain(&table);
    let tls = table.read("tls", |node| listeners.tls(node, &listen));
    let workers = table.read("workers", |node| node.integer(0..=MOST_WORKERS));
    let dns_refresh = table.read("dns_refresh", |node| node.period_of_at_least(LEAST_DNS_REFRESH));
    Server {
        listen,
        tls,
        workers: workers.and_then(|workers| usize::try_from(workers).ok()).unwrap_or(default.workers),
        secret_file: table.read("secret_file", Node::path).unwrap_or(default.secret_file),
        trusted_proxies,
        timeouts: table.read("timeouts", timeouts).unwrap_or_default(),
        limits: table.read("limits", server_limits).unwrap_or_default(),
        dns_refresh: dns_refresh.unwrap_or(default.dns_refresh),
        grace: table.read("grace", Node::period).unwrap_or(default.grace),
    }
}

fn trusted_proxies(node: &Node) -> Option<Vec<ipnet::IpNet>> {
    let networks = node.networks()?;
    if networks.iter().any(|network| network.prefix_len() == 0) {
        node.warn("every address is trusted, so any visitor can claim to be another; name the proxies' networks");
    }
    Some(networks)
}

pub(super) fn admin(root: &Table, server: &Server) -> Admin {
    let default = Admin { listen: AdminListen::Tcp(DEFAULT_ADMIN), token_file: None };
    let visitors: Vec<_> = server.listeners().map(|listener| listener.address).collect();
    let is_taken = visitors.iter().any(|visitor| overlap(*visitor, DEFAULT_ADMIN));
    let advice =
        format!("without admin.listen operators connect to {DEFAULT_ADMIN}, where visitors do; write another address");
    let Some(node) = root.get("admin") else {
        if is_taken {
            root.missing("admin", &advice);
        }
        return default;
    };
    let Some(table) = node.table(keys::ADMIN) else { return default };
    if is_taken && table.get("listen").is_none() {
        table.missing("listen", &advice);
    }
    let has_token = table.get("token_file").is_some();
    Admin {
        token_file: table.read("token_file", Node::file),
        listen: table.read("listen", |node| admin_listen(node, has_token, &visitors)).unwrap_or(default.listen),
    }
}

fn admin_listen(node: &Node, has_token: bool, visitors: &[SocketAddr]) -> Option<AdminListen> {
    let text = node.text()?;
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            node.fault("no path follows `unix:`; write one, such as \"unix:/run/cutover.sock\"");
        }
        return Some(AdminListen::Unix(node.beside(path)));
    }
    let Ok(address) = text.parse::<SocketAddr>() else {
        node.fault(format!("{text:?} is not an address; write \"127.0.0.1:9900\" or \"unix:/run/cutover.sock\""));
        return None;
    };
    if !address.ip().to_canonical().is_loopback() && !has_token {
        node.fault(format!(
            "{address} can be reached from other machines, and whoever reaches it decides what is live; \
             set admin.token_file, or listen on 127.0.0.1"
        ));
    }
    if visitors.iter().any(|visitor| overlap(*visitor, address)) {
        node.fault(format!("visitors connect to port {} already; choose another port", address.port()));
    }
    Some(AdminListen::Tcp(address))
}

pub(super) fn state(root: &Table, base: &Path) -> PathBuf {
    let path = root.read("state", |node| node.table(keys::STATE)?.read("path", Node::path));
    path.unwrap_or_else(|| base.join(DEFAULT_STATE))
}

pub(super) fn access_log(root: &Table) -> AccessLog {
    let default = AccessLog::default();
    let Some(table) = root.read("access_log", |node| node.table(keys::ACCESS_LOG)) else { return default };
    let formats = [("json", LogFormat::Json), ("text", LogFormat::Text)];
    let format = table.read("format", |node| node.choice(&formats, &[])).unwrap_or(default.format);
    let share = |node: &Node| node.number_that("from 0 (off) to 1 (all)", |share| (0.0..=1.0).contains(&share));
    AccessLog { format, sample: table.read("sample", share).unwrap_or(default.sample) }
}
