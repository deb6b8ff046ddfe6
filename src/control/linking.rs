//! Makes preview links.

use super::command::CommandError;
use super::handle::{Handle, Published};
use crate::model::view::PreviewLinkView;
use crate::model::{HostPattern, PREVIEW_COOKIE_NAME, PathPrefix, Period, PoolName, Timestamp, host_of};
use crate::routing::{Link, Table};
use http::uri::PathAndQuery;

/// A link that somebody keeps for longer has been forgotten.
const LONGEST: Period = Period::from_secs(30 * 24 * 3600);
/// Long enough for a talk about what it shows.
const USUAL: Period = Period::from_secs(3600);
/// What is shorter is over before it is opened.
const SHORTEST: Period = Period::from_secs(1);

/// A preview link that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRequest {
    /// The pool that it shows.
    pub pool: PoolName,
    /// How long it does; an hour where it is left out, thirty days at most.
    pub ttl: Option<Period>,
    /// The path that it opens, which may have a query; the one that the service is mounted on where it is left out.
    pub path: Option<String>,
    /// The host that it opens, which may have a port and begin with `http://` or `https://`; the service's only one where
    /// it is left out.
    pub host: Option<String>,
}

/// The hosts and the path that a service is mounted on.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) hosts: Vec<HostPattern>,
    pub(super) path_prefix: PathPrefix,
}

/// Where a link leads, beside its pool.
struct Address {
    scheme: &'static str,
    host: Option<String>,
    path: String,
}

impl Handle {
    /// Makes a link that shows a pool of a service, signed by the router's secret.
    ///
    /// # Errors
    /// When there is no such service or pool, or the link would lead nowhere.
    pub fn preview_link(&self, service: &str, request: &LinkRequest) -> Result<PreviewLinkView, CommandError> {
        let published = self.find(service)?;
        let service = &published.service;
        if !service.pools.contains_key(&request.pool) {
            let known: Vec<_> = service.pools.keys().map(PoolName::as_str).collect();
            return Err(CommandError::UnknownPool {
                service: service.name.clone(),
                pool: request.pool.clone(),
                known: known.join(", "),
            });
        }
        let ttl = request.ttl.unwrap_or(USUAL);
        if !(SHORTEST..=LONGEST).contains(&ttl) {
            return Err(CommandError::Invalid(format!("a preview link lasts from {SHORTEST} to {LONGEST}, not {ttl}")));
        }
        let address = address(&published, &self.live.table(), request)?;
        let link = Link::to(&service.name, &request.pool, Timestamp::now() + ttl.get(), &self.secret);
        let (token, expires) = (link.token(), link.expires());
        let Address { scheme, host, path } = address;
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{joint}{PREVIEW_COOKIE_NAME}={token}");
        // Who made it, and the token itself, are not for the log.
        tracing::info!(service = %service.name, pool = %request.pool, %expires, "a preview link was made");
        Ok(PreviewLinkView {
            service: service.name.clone(),
            pool: request.pool.clone(),
            url: host.map(|host| format!("{scheme}://{host}{path}")),
            path,
            cookie: PREVIEW_COOKIE_NAME.to_owned(),
            token,
            expires,
        })
    }
}

fn address(published: &Published, table: &Table, request: &LinkRequest) -> Result<Address, CommandError> {
    let name = &published.service.name;
    let path = match &request.path {
        Some(path) => usable_path(path)?,
        None => published.mount.path_prefix.as_str().to_owned(),
    };
    let bare = path.split('?').next().unwrap_or_default();
    if let Some(given) = &request.host {
        let (scheme, host) = usable_host(given)?;
        let found = table.find(host, bare).map(|(_, route)| &route.service);
        if found != Some(name) {
            let whose = found.map_or_else(|| "no service".to_owned(), |found| format!("service {found}"));
            return Err(CommandError::Invalid(format!(
                "host {host:?} and path {bare:?} belong to {whose}, not to {name}"
            )));
        }
        return Ok(Address { scheme, host: Some(host.to_owned()), path });
    }
    let host = match published.mount.hosts.as_slice() {
        [HostPattern::Exact(host)] => Some(host.to_string()),
        _ => None,
    };
    let known = host.as_deref().and_then(|host| table.find(host, bare)).map(|(_, route)| &route.service);
    if host.is_some() && known != Some(name) {
        return Err(CommandError::Invalid(format!("path {bare:?} does not belong to service {name}")));
    }
    Ok(Address { scheme: host.as_deref().map_or("https", usual_scheme), host, path })
}

/// A path, perhaps with a query, that can stand in a URL as it is.
fn usable_path(path: &str) -> Result<String, CommandError> {
    let written = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed.as_str() == path);
    if written && !path.contains(PREVIEW_COOKIE_NAME) {
        return Ok(path.to_owned());
    }
    Err(CommandError::Invalid(format!(
        "{path:?} is not a path to open; write one that begins with '/', such as \"/shop\""
    )))
}

/// The scheme and the host, with its port, of what was given.
fn usable_host(given: &str) -> Result<(&'static str, &str), CommandError> {
    let (scheme, host) = match given.split_once("://") {
        Some(("http", host)) => (Some("http"), host),
        Some(("https", host)) => (Some("https"), host),
        Some(_) => (None, ""),
        None => (None, given),
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    if host_of(host).is_some() && !host.ends_with(':') {
        return Ok((scheme.unwrap_or(usual_scheme(host)), host));
    }
    Err(CommandError::Invalid(format!(
        "{given:?} is not a host; write one such as \"shop.example.com\" or \"http://localhost:8080\""
    )))
}

/// Sites have TLS, which may well end before this router; what runs on the own machine has none.
fn usual_scheme(host: &str) -> &'static str {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "[::1]") || name.starts_with("127.") { "http" } else { "https" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::uri::Authority;
    use proptest::prelude::*;

    #[test]
    fn a_host_may_have_a_scheme_and_a_port() {
        for (given, scheme, host) in [
            ("shop.example.com", "https", "shop.example.com"),
            ("shop.example.com:8443", "https", "shop.example.com:8443"),
            ("http://shop.example.com/", "http", "shop.example.com"),
            ("https://localhost", "https", "localhost"),
            ("localhost:8080", "http", "localhost:8080"),
            ("127.0.0.1:8080", "http", "127.0.0.1:8080"),
            ("[::1]:8080", "http", "[::1]:8080"),
        ] {
            assert_eq!(usable_host(given), Ok((scheme, host)));
        }
        for bad in ["", "http://", "ftp://a", "a/b", "http://a/b", "a b", "me@a", "ä", "[]", "a:b", "a:70000", "a:"] {
            assert!(usable_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_path_can_stand_in_a_url_as_it_is() {
        for path in ["/", "/a?b=c", "/%C3%A4", "/a//b"] {
            assert_eq!(usable_path(path), Ok(path.to_owned()));
        }
        for bad in ["", "a", "/a#b", "/a b", "http://a/", "/?cutover-preview=off"] {
            assert!(usable_path(bad).is_err(), "{bad}");
        }
    }

    odd_input! {
        fn an_address_that_is_taken_can_be_opened(
            given in prop_oneof!["(https?://)?[a-zA-Z0-9._-]{1,8}(:[0-9]{0,6})?/?", "(http://)?\\[[0-9a-f:.]{0,9}\\](:[0-9]{0,3})?", "[ -~]{0,12}", ".{0,8}"],
            path in prop_oneof!["/[a-z%/.]{0,8}(\\?[a-z=&?]{0,8})?", "/[ -~]{0,8}", ".{0,8}"],
        ) {
            if let (Ok((scheme, host)), Ok(path)) = (usable_host(&given), usable_path(&path)) {
                let address = format!("{scheme}://{host}{path}");
                let uri: http::Uri = address.parse().unwrap();
                prop_assert_eq!((uri.scheme_str(), uri.authority().map(Authority::as_str)), (Some(scheme), Some(host)));
                prop_assert_eq!(uri.path_and_query().map(PathAndQuery::as_str), Some(path.as_str()));
                // What is no host name to a browser leads nowhere, and addresses it writes in its own way.
                let is_name = host.starts_with(char::is_alphabetic) && !host.contains(|c: char| c.is_ascii_digit());
                if let Some(opened) = address.parse::<reqwest::Url>().ok().filter(|_| is_name) {
                    prop_assert_eq!(opened.host_str().map(str::to_owned), Some(host.to_ascii_lowercase()));
                }
            }
        }
    }
}
