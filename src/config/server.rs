//! The tables that concern the router as a whole: `[server]`, `[admin]`, `[state]`, `[access_log]`.

use super::keys;
use super::model::{AccessLog, Admin, AdminListen, LogFormat, Server, Timeouts};
use super::reader::{Node, Table};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Where visitors connect if the file does not say.
pub(super) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Where operators connect if the file does not say.
pub(super) const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
/// The state's file, beside the configuration.
pub(super) const DEFAULT_STATE: &str = "cutover.db";
/// More workers than any machine has cores would be a slip of the finger.
const MOST_WORKERS: u64 = 1024;

/// The file that signs cookies, beside the state, so that the two are kept and moved together.
pub(super) fn secret_beside(state: &Path) -> PathBuf {
    state.with_file_name("cutover.secret")
}

pub(super) fn server(root: &Table, state: &Path) -> Server {
    let mut server = Server {
        listen: vec![DEFAULT_LISTEN],
        workers: 0,
        secret_file: secret_beside(state),
        trusted_proxies: Vec::new(),
        timeouts: Timeouts::default(),
        grace: Server::GRACE,
    };
    let Some(table) = root.read("server", |node| node.table(keys::SERVER)) else { return server };
    if let Some(listen) = table.read("listen", listen) {
        server.listen = listen;
    }
    let workers = table.read("workers", |node| node.integer(0..=MOST_WORKERS));
    server.workers = workers.and_then(|workers| usize::try_from(workers).ok()).unwrap_or(server.workers);
    server.secret_file = table.read("secret_file", Node::path).unwrap_or(server.secret_file);
    server.trusted_proxies = table.read("trusted_proxies", trusted_proxies).unwrap_or_default();
    server.grace = table.read("grace", Node::period).unwrap_or(server.grace);
    server.timeouts = table.read("timeouts", timeouts).unwrap_or_default();
    server
}

fn listen(node: &Node) -> Option<Vec<SocketAddr>> {
    let items = node.list("a list of addresses such as \"0.0.0.0:8080\"")?;
    if items.is_empty() {
        node.fault("no address to listen on; write one, such as \"0.0.0.0:8080\", or leave the key out");
    }
    let mut addresses = Vec::new();
    for item in items {
        let Some(address) = socket_address(&item) else { continue };
        // Port 0 is another free port each time.
        if address.port() != 0 && addresses.contains(&address) {
            item.fault(format!("{address} is listed twice; take one out"));
        }
        addresses.push(address);
    }
    Some(addresses)
}

fn socket_address(node: &Node) -> Option<SocketAddr> {
    let text = node.text()?;
    let address = text.parse().ok();
    if address.is_none() {
        node.fault(format!(
            "{text:?} is not an address to listen on; write ADDRESS:PORT, such as \"0.0.0.0:8080\" or \"[::]:8080\""
        ));
    }
    address
}

fn trusted_proxies(node: &Node) -> Option<Vec<ipnet::IpNet>> {
    let networks = node.networks()?;
    if networks.iter().any(|network| network.prefix_len() == 0) {
        node.warn("every address is trusted, so any visitor can claim to be another; name the proxies' networks");
    }
    Some(networks)
}

fn timeouts(node: &Node) -> Option<Timeouts> {
    let table = node.table(keys::TIMEOUTS)?;
    let default = Timeouts::default();
    let period = |key, default| table.read(key, Node::positive_period).unwrap_or(default);
    Some(Timeouts {
        head: period("head", default.head),
        idle: period("idle", default.idle),
        connect: period("connect", default.connect),
        answer: period("answer", default.answer),
        stall: period("stall", default.stall),
        tunnel: period("tunnel", default.tunnel),
    })
}

pub(super) fn admin(root: &Table, visitors: &[SocketAddr]) -> Admin {
    let mut admin = Admin { listen: AdminListen::Tcp(DEFAULT_ADMIN), token_file: None };
    let Some(table) = root.read("admin", |node| node.table(keys::ADMIN)) else { return admin };
    admin.token_file = table.read("token_file", Node::file);
    let has_token = table.get("token_file").is_some();
    if let Some(listen) = table.read("listen", |node| admin_listen(node, has_token, visitors)) {
        admin.listen = listen;
    }
    admin
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

/// Whether a connection to one could end up at the other.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
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
