//! What a service keeps from its pools while it is read-only, anonymous, or both.

use super::cookies::CookieNames;
use super::destination::Asked;
use super::exempt::is_plain;
use super::maintenance::MaintenanceAnswer;
use super::writes::asks_to_write;
use crate::model::PathPrefix;
use http::HeaderValue;
use std::sync::Arc;

/// What is kept from the pools of a service.
#[derive(Debug)]
pub struct Restriction {
    /// What becomes of requests that would change something, while the service is read-only.
    pub read_only: Option<ReadOnly>,
    /// The cookies by which visitors are logged in, while everyone is to appear logged out; `Authorization` goes too.
    pub anonymous: Option<CookieNames>,
    /// The value of `X-Cutover-Mode`.
    pub name: HeaderValue,
}

/// How a service is read-only.
#[derive(Debug)]
pub struct ReadOnly {
    /// What becomes of requests that would change something.
    pub writes: Writes,
    /// Path prefixes whose requests pass whatever they do.
    pub exempt: Box<[PathPrefix]>,
}

/// What becomes of requests that would change something.
#[derive(Debug)]
pub enum Writes {
    /// They get this answer.
    Refused(Arc<MaintenanceAnswer>),
    /// They go on as a GET without a body, and ask for no other method.
    AsGet,
}

/// How a request passes a restriction.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'t> {
    /// The restriction.
    pub restriction: &'t Arc<Restriction>,
    /// Whether it goes on as a GET, without a body.
    pub as_get: bool,
}

impl Restriction {
    /// How a request passes, or the answer that it gets instead.
    pub(super) fn passage<'t>(
        self: &'t Arc<Self>,
        asked: &Asked<'_>,
    ) -> Result<Passage<'t>, &'t Arc<MaintenanceAnswer>> {
        let as_get = match &self.read_only {
            None => false,
            Some(read_only) => match (read_only.keeps_out(asked), &read_only.writes) {
                (false, Writes::Refused(_) | Writes::AsGet) => false,
                (true, Writes::Refused(answer)) => return Err(answer),
                (true, Writes::AsGet) => true,
            },
        };
        Ok(Passage { restriction: self, as_get })
    }
}

impl ReadOnly {
    /// Whether a request may not pass as it is.
    fn keeps_out(&self, asked: &Asked<'_>) -> bool {
        asks_to_write(asked.method, asked.headers, asked.query).is_some() && !self.exempts(asked.path)
    }

    /// Whether a raw path passes whatever is done there. One that an application may read as another one does not.
    fn exempts(&self, path: &str) -> bool {
        self.exempt.iter().any(|prefix| prefix.matches(path)) && is_plain(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::LastVisitor;
    use http::{HeaderMap, Method};
    use std::net::{IpAddr, Ipv4Addr};

    fn restriction(writes: Writes) -> Arc<Restriction> {
        Arc::new(Restriction {
            read_only: Some(ReadOnly { writes, exempt: ["/login", "/api/log"].map(|it| it.parse().unwrap()).into() }),
            anonymous: None,
            name: HeaderValue::from_static("read-only"),
        })
    }

    /// Whether a request goes on as a GET; `None` when it is refused.
    fn as_get(restriction: &Arc<Restriction>, method: &Method, path: &str, query: Option<&str>) -> Option<bool> {
        let (headers, client) = (HeaderMap::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let last_visitor = &LastVisitor::default();
        let asked = Asked { host: "a", method, path, query, headers: &headers, client, last_visitor, preview_at: None };
        restriction.passage(&asked).ok().map(|passage| passage.as_get)
    }

    #[test]
    fn what_changes_nothing_passes_as_it_is_and_exempt_paths_pass_whatever_they_do() {
        let restriction = restriction(Writes::AsGet);
        for (method, path, query, expected) in [
            (Method::GET, "/x", None, false),
            (Method::POST, "/x", None, true),
            (Method::GET, "/x", Some("_method=PUT"), true),
            (Method::POST, "/login", None, false),
            (Method::GET, "/login/", Some("_method=PUT"), false),
            (Method::DELETE, "/api/log/7", None, false),
            (Method::DELETE, "/api", None, true),
            (Method::POST, "/logins", None, true),
            (Method::POST, "/login/../admin", None, true),
            (Method::POST, "/login/%2e%2e/admin", None, true),
            (Method::POST, "/.well-known/acme-challenge/x", None, true),
        ] {
            assert_eq!(as_get(&restriction, &method, path, query), Some(expected), "{method} {path} {query:?}");
        }
    }

    #[test]
    fn what_is_no_restriction_of_writes_lets_them_pass() {
        let anonymous = Restriction { read_only: None, anonymous: None, name: HeaderValue::from_static("anonymous") };
        assert_eq!(as_get(&Arc::new(anonymous), &Method::POST, "/x", None), Some(false));
    }
}
