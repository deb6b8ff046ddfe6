//! What a service keeps from its pools while it is read-only, anonymous, or both.

use super::cookies::CookieNames;
use super::maintenance::MaintenanceAnswer;
use super::table::Asked;
use super::writes::{asks_to_write, decoded};
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
        asks_to_write(asked.method, asked.headers, asked.query).is_some() && !is_exempt(&self.exempt, asked.path)
    }
}

/// Whether a raw path lies under one of the prefixes, whatever the application makes of it: a path that might be read as
/// another one lies under none.
#[must_use]
pub(super) fn is_exempt(prefixes: &[PathPrefix], path: &str) -> bool {
    prefixes.iter().any(|prefix| prefix.matches(path)) && has_one_reading(path)
}

/// Whether every application reads the same segments in a path: none that is empty, but the last, none that leads
/// elsewhere, and nothing that could be a separator or a dot in disguise, or be decoded a second time.
fn has_one_reading(path: &str) -> bool {
    let Some(path) = path.strip_prefix('/') else { return false };
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        // Servlet containers cut off what follows a `;` first.
        let leads_elsewhere = segment.starts_with("..") || segment == "." || segment.starts_with(".;");
        if leads_elsewhere || (segment.is_empty() && !is_last) || segment.starts_with(';') || has_disguise(segment) {
            return false;
        }
    }
    true
}

fn has_disguise(segment: &str) -> bool {
    let encoded = |at: usize| decoded(segment.get(at..at + 3).unwrap_or_default()).first().copied();
    // A byte from 0xC0 begins what is no ASCII character; two of them begin only overlong forms of one.
    let suspect = |byte: u8| matches!(byte, b'.' | b'/' | b'\\' | b'%' | b';' | 0xC0 | 0xC1) || byte.is_ascii_control();
    segment.contains('\\') || segment.match_indices('%').any(|(at, _)| encoded(at).is_none_or(suspect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_exempt_on_segment_boundaries() {
        let prefixes = ["/login", "/api/log"].map(|prefix| prefix.parse().unwrap());
        for path in ["/login", "/login/", "/login/a.b/c", "/api/log/7", "/login/%61", "/login/%C3%A9"] {
            assert!(is_exempt(&prefixes, path), "{path}");
        }
        for path in ["/", "/logins", "/api", "/api/logs", "/Login", "/%6cogin", "/x/login", "*", ""] {
            assert!(!is_exempt(&prefixes, path), "{path}");
        }
    }

    #[test]
    fn what_an_application_might_read_as_another_path_is_not_exempt() {
        let prefixes = ["/login".parse().unwrap()];
        for path in [
            "/login/../admin",
            "/login/..",
            "/login/./x",
            "/login//x",
            "//login",
            "/login//",
            "/login/%2e%2e/admin",
            "/login/.%2E/admin",
            "/login/..%2fadmin",
            "/login%2f..%2fadmin",
            "/login/%2Fadmin",
            "/login/..\\admin",
            "/login/%5c..%5cadmin",
            "/login/%252e%252e/admin",
            "/login/..;/admin",
            "/login/..;a=b/admin",
            "/login/.;/x",
            "/login/;/../admin",
            "/login/..%3b/admin",
            "/login/%00",
            "/login/%0a",
            "/login/%c0%ae%c0%ae/admin",
            "/login/%",
            "/login/%zz",
        ] {
            assert!(!is_exempt(&prefixes, path), "{path}");
        }
        assert!(!is_exempt(&["/".parse().unwrap()], "/a/../b"));
        assert!(is_exempt(&["/".parse().unwrap()], "/a/b"));
    }
}
