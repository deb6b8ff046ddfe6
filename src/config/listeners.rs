//! Where visitors connect: `server.listen` and `[server.tls]`.

use super::keys;
use super::model::{CertificateFiles, Listener, Tls, TlsVersion};
use super::reader::{Node, Table};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where visitors connect if the file does not say.
pub(super) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Where they connect with TLS, if there is any and the file does not say.
const DEFAULT_TLS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8443);
/// The port of `https://` that goes without saying.
const HTTPS_PORT: u16 = 443;
const NO_CERTIFICATE: &str =
    "TLS needs a certificate; write certificates = [{ chain = \"site.pem\", key = \"site.key\" }]";

/// The listeners of a file, as they are read.
pub(super) struct Listeners {
    /// Whether any proxy may send a PROXY header.
    pub(super) has_trusted_proxies: bool,
    /// The addresses so far, with their lines; none for a default.
    taken: Vec<(SocketAddr, Option<usize>)>,
}

impl Listeners {
    pub(super) fn new(has_trusted_proxies: bool) -> Self {
        Self { has_trusted_proxies, taken: Vec::new() }
    }

    /// `server.listen`; may be empty where there is TLS.
    pub(super) fn plain(&mut self, server: &Table) -> Vec<Listener> {
        let has_tls = server.get("tls").is_some();
        self.all(server, "0.0.0.0:8080", has_tls, DEFAULT_LISTEN)
    }

    /// `[server.tls]`, given where visitors connect without it.
    pub(super) fn tls(&mut self, node: &Node, plain: &[Listener]) -> Option<Tls> {
        let table = node.table(keys::TLS)?;
        let versions = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
        let listen = self.all(&table, "0.0.0.0:8443", false, DEFAULT_TLS_LISTEN);
        let certificates = table.required("certificates", NO_CERTIFICATE, certificates);
        let min_version = table.read("min_version", |node| node.choice(&versions, &[])).unwrap_or_default();
        let redirect = table.read("redirect", |node| redirect(node, plain));
        Some(Tls { listen, certificates: certificates?, min_version, redirect })
    }

    fn all(&mut self, table: &Table, example: &str, may_be_empty: bool, default: SocketAddr) -> Vec<Listener> {
        let Some(node) = table.get("listen") else {
            if let Some((other, line)) = self.clash(default) {
                let advice = format!(
                    "it is {default} where it is left out, which is {other}{} already; write another address",
                    on_line(line)
                );
                table.missing("listen", &advice);
            }
            self.taken.push((default, None));
            return vec![default.into()];
        };
        let Some(items) = node.list(&format!("a list of addresses such as \"{example}\"")) else {
            return vec![default.into()];
        };
        if items.is_empty() && !may_be_empty {
            node.fault(format!("no address to listen on; write one, such as \"{example}\", or leave the key out"));
        }
        items.iter().filter_map(|item| self.listener(item)).collect()
    }

    /// An address in quotes, or a table with one.
    fn listener(&mut self, node: &Node) -> Option<Listener> {
        if !node.is_table() {
            return Some(self.address(node)?.into());
        }
        let table = node.table(keys::LISTENER)?;
        let advice = "the address is missing; write one, such as address = \"0.0.0.0:8080\"";
        let address = table.required("address", advice, |node| self.address(node));
        let proxy_protocol = table.read("proxy_protocol", |node| {
            let is_on = node.yes_or_no()?;
            if is_on && !self.has_trusted_proxies {
                node.fault(
                    "a PROXY header says who a visitor is, and nobody is trusted to send one; \
                     name the proxies' networks in server.trusted_proxies",
                );
            }
            Some(is_on)
        });
        Some(Listener { address: address?, proxy_protocol: proxy_protocol.unwrap_or_default() })
    }

    fn address(&mut self, node: &Node) -> Option<SocketAddr> {
        let text = node.text()?;
        let Ok(address) = text.parse() else {
            node.fault(format!(
                "{text:?} is not an address to listen on; write ADDRESS:PORT, such as \"0.0.0.0:8080\" or \"[::]:8080\""
            ));
            return None;
        };
        match self.clash(address) {
            Some((other, line)) if other == address => {
                node.fault(format!("{address} is listed twice: it is taken{} already; take one out", on_line(line)));
            }
            Some((other, line)) => {
                node.fault(format!("{address} is a part of {other}{}; choose another port", on_line(line)));
            }
            None => {}
        }
        self.taken.push((address, Some(node.line())));
        Some(address)
    }

    /// What the same port of the same address is taken by.
    fn clash(&self, address: SocketAddr) -> Option<(SocketAddr, Option<usize>)> {
        let is_same = |other: SocketAddr| other.is_ipv4() == address.is_ipv4() && overlap(other, address);
        self.taken.iter().copied().find(|(other, _)| is_same(*other))
    }
}

fn on_line(line: Option<usize>) -> String {
    line.map_or_else(|| " by the default of server.listen".to_owned(), |line| format!(" on line {line}"))
}

/// Whether a connection to one could end up at the other.
pub(super) fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 is another free port each time.
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn certificates(node: &Node) -> Option<Vec<CertificateFiles>> {
    let items = node.list("a list of certificates such as { chain = \"site.pem\", key = \"site.key\" }")?;
    if items.is_empty() {
        node.fault(NO_CERTIFICATE);
    }
    Some(items.iter().filter_map(certificate).collect())
}

fn certificate(node: &Node) -> Option<CertificateFiles> {
    let table = node.table(keys::CERTIFICATE)?;
    let chain = "the certificate is missing; write the file that holds it and those between it and its root";
    let chain = table.required("chain", chain, Node::file);
    let key = "the key of the certificate is missing; write the file that holds it";
    let key = table.required("key", key, Node::file);
    Some(CertificateFiles { chain: chain?, key: key? })
}

/// `true`, `false` or the port that visitors are sent to.
fn redirect(node: &Node, plain: &[Listener]) -> Option<u16> {
    let port = match node.yes_or_no_if_any() {
        Some(true) => HTTPS_PORT,
        Some(false) => return None,
        None if node.text_if_any().is_some() => {
            node.fault("write true, false or a port, without quotes");
            return None;
        }
        None => u16::try_from(node.integer(1..=u16::MAX.into())?).ok()?,
    };
    if plain.is_empty() {
        node.fault("nobody connects without TLS, so there is nobody to redirect; add an address to server.listen");
    }
    Some(port)
}
