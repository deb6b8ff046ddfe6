//! `[prometheus]`: where PromQL checks are asked, and how the router says who it is.

use super::keys;
use super::model::{ClientCertificate, Prometheus, PrometheusLogin};
use super::reader::{Node, Table};
use crate::model::Period;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderName, HeaderValue, Uri};

const TIMEOUT: Period = Period::from_secs(5);
/// More would be no configuration of a client.
const MOST_HEADERS: usize = 20;

pub(super) fn prometheus(root: &Table) -> Option<Prometheus> {
    let table = root.read("prometheus", |node| node.table(keys::PROMETHEUS))?;
    let timeout = table.read("timeout", Node::positive_period).unwrap_or(TIMEOUT);
    let advice = "the server's address is missing; write one, such as url = \"http://127.0.0.1:9090\"";
    let url = table.required("url", advice, url);
    let login = login(&table);
    let ca_file = table.read("ca_file", Node::file);
    let client = client(&table);
    let headers = table.read("headers", headers).unwrap_or_default();
    if url.as_ref().is_some_and(|url| url.starts_with("http:")) {
        for key in ["ca_file", "client_certificate", "client_key"] {
            if let Some(node) = table.get(key) {
                node.fault("an http:// server has no use for it; take it out, or write https:// in `url`");
            }
        }
    }
    Some(Prometheus { url: url?, timeout, login: login?, ca_file, client, headers })
}

fn url(node: &Node) -> Option<String> {
    let text = node.text()?;
    let uri = text.parse::<Uri>().ok();
    let usable = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.query().is_none()
            && !text.contains('#')
    });
    match usable {
        Some(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            // The address is not repeated: it may hold a password.
            node.fault("take the name and the password out of the address; write `username` and `password_file`");
            None
        }
        Some(_) => Some(text.trim_end_matches('/').to_owned()),
        None if text.contains('@') => {
            node.fault("this is not a server's address; write one such as \"http://127.0.0.1:9090\"");
            None
        }
        None => {
            node.fault(format!("{text:?} is not a server's address; write one such as \"http://127.0.0.1:9090\""));
            None
        }
    }
}

fn login(table: &Table) -> Option<PrometheusLogin> {
    let token = table.get("bearer_token_file");
    let (name, password) = (table.get("username"), table.get("password_file"));
    match (token, name, password) {
        (None, None, None) => Some(PrometheusLogin::None),
        (Some(token), None, None) => Some(PrometheusLogin::Bearer(token.file()?)),
        (None, Some(name), Some(password)) => {
            let (username, password_file) = (username(&name), password.file());
            Some(PrometheusLogin::Basic { username: username?, password_file: password_file? })
        }
        (Some(token), _, _) => {
            token.fault("a token and a name are two ways to log in; write one of them");
            None
        }
        (None, Some(_), None) => {
            table.missing("password_file", "the password is missing; write the file that holds it");
            None
        }
        (None, None, Some(_)) => {
            table.missing("username", "the name is missing that the password belongs to");
            None
        }
    }
}

fn username(node: &Node) -> Option<String> {
    let name = node.text()?;
    if name.is_empty() || name.contains(':') || name.contains(char::is_control) {
        node.fault("write a name without a colon, on one line");
        return None;
    }
    Some(name.to_owned())
}

fn client(table: &Table) -> Option<ClientCertificate> {
    let (certificate, key) = (table.read("client_certificate", Node::file), table.read("client_key", Node::file));
    if table.get("client_certificate").is_some() && table.get("client_key").is_none() {
        table.missing("client_key", "the key of the certificate is missing; write the file that holds it");
    }
    if table.get("client_key").is_some() && table.get("client_certificate").is_none() {
        table.missing("client_certificate", "the certificate of the key is missing; write the file that holds it");
    }
    Some(ClientCertificate { certificate: certificate?, key: key? })
}

fn headers(node: &Node) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let entries = node.table_of_names()?.entries();
    if entries.len() > MOST_HEADERS {
        node.fault(format!("write at most {MOST_HEADERS} headers"));
        return None;
    }
    Some(entries.into_iter().filter_map(|(name, value)| header(name, &value)).collect())
}

fn header(name: &str, node: &Node) -> Option<(HeaderName, HeaderValue)> {
    let Ok(name) = name.parse::<HeaderName>() else {
        node.fault(format!("{name:?} is not the name of a header"));
        return None;
    };
    if name == AUTHORIZATION {
        node.fault(
            "a secret does not belong in this file; write `bearer_token_file`, or `username` and `password_file`",
        );
        return None;
    }
    if name == HOST {
        node.fault("the server's name is that of `url`; take this out");
        return None;
    }
    let value = HeaderValue::from_str(node.text()?).ok();
    if value.is_none() {
        node.fault("a header's value is text on one line");
    }
    Some((name, value?))
}
