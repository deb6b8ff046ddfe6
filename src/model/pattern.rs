//! What a service is found by: host patterns and path prefixes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The hosts that a service answers for. Always lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Every host.
    Any,
    /// This one.
    Exact(Box<str>),
    /// Every host below this domain, at any depth, but not the domain itself: `*.example.com`.
    Below(Box<str>),
}

/// A path that a service is mounted on: begins with `/`, and ends without one unless it is `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(Box<str>);

/// A text that is no host pattern or path prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Not a host name, an address or `*.` and a domain.
    #[error(
        "{0:?} is not a host: write a name such as \"shop.example.com\", or \"*.example.com\", without scheme or port"
    )]
    Host(String),
    /// Not an absolute path.
    #[error("{0:?} is not a path prefix: it begins with '/' and has no '?', '#', space or empty segment")]
    Path(String),
}

impl FromStr for HostPattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let lower = text.to_ascii_lowercase();
        let is_domain = |host: &str| {
            !host.is_empty()
                && host.len() <= 253
                && host.split('.').all(|label| {
                    !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
                })
        };
        let is_bracketed = |host: &str| {
            host.strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
        };
        match lower.as_str() {
            "*" => Ok(Self::Any),
            host if is_domain(host) || is_bracketed(host) => Ok(Self::Exact(host.into())),
            host => match host.strip_prefix("*.") {
                Some(domain) if is_domain(domain) => Ok(Self::Below(domain.into())),
                _ => Err(InvalidPattern::Host(text.chars().take(300).collect())),
            },
        }
    }
}

impl PathPrefix {
    /// The prefix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `path` lies under the prefix, on a segment boundary.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if self.0.len() == 1 {
            return true;
        }
        path.strip_prefix(&*self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Default for PathPrefix {
    fn default() -> Self {
        Self("/".into())
    }
}

impl FromStr for PathPrefix {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let trimmed = match text.strip_suffix('/') {
            Some(rest) if !rest.is_empty() && !rest.ends_with('/') => rest,
            Some(_) | None => text,
        };
        let usable = trimmed == "/"
            || (trimmed.starts_with('/')
                && trimmed[1..].split('/').all(|segment| !segment.is_empty())
                && trimmed.bytes().all(|b| b.is_ascii_graphic() && !b"?#".contains(&b)));
        if usable { Ok(Self(trimmed.into())) } else { Err(InvalidPattern::Path(text.chars().take(300).collect())) }
    }
}

macro_rules! by_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = InvalidPattern;
            fn try_from(text: String) -> Result<Self, InvalidPattern> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.to_string()
            }
        }
    };
}
by_text!(HostPattern);
by_text!(PathPrefix);

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_exact_wildcard_or_any() {
        assert_eq!("Shop.Example.com".parse(), Ok(HostPattern::Exact("shop.example.com".into())));
        assert_eq!("*.example.com".parse(), Ok(HostPattern::Below("example.com".into())));
        assert_eq!("*".parse(), Ok(HostPattern::Any));
        assert_eq!("[::1]".parse(), Ok(HostPattern::Exact("[::1]".into())));
        for bad in ["", "a b", "http://a", "a:80", "*.*.com", "a..b", "*."] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_matches_on_segment_boundaries() {
        let api: PathPrefix = "/api/".parse().unwrap();
        assert_eq!(api.as_str(), "/api");
        assert!(api.matches("/api") && api.matches("/api/v1"));
        assert!(!api.matches("/apis") && !api.matches("/"));
        assert!(PathPrefix::default().matches("/anything"));
        for bad in ["", "api", "//", "/a//b", "/a?b", "/a b"] {
            assert!(bad.parse::<PathPrefix>().is_err(), "{bad}");
        }
    }

    odd_input! {
        fn a_host_pattern_is_written_as_it_was_read(
            text in prop_oneof!["(\\*\\.)?[a-zA-Z0-9_-]{1,4}(\\.[a-z]{1,3}){0,3}", "[a-zA-Z0-9*.:\\[\\]_-]{0,16}", "\\[[0-9a-f:.]{0,12}\\]", ".{0,8}"],
        ) {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                let written = pattern.to_string();
                prop_assert_eq!(&written, &text.to_ascii_lowercase());
                prop_assert_eq!(written.parse(), Ok(pattern));
                let bare = written.strip_prefix("*.").unwrap_or(&written);
                prop_assert!(bare == "*" || bare.parse::<http::uri::Authority>().is_ok_and(|it| it.host() == bare), "{text}");
            }
        }

        fn a_path_prefix_matches_whole_segments(
            text in prop_oneof!["(/[a-z.%]{0,2}){0,3}", "[a-z/?# %]{0,8}", ".{0,6}"], path in "(/[a-z.%]{0,2}){0,4}",
        ) {
            if let Ok(prefix) = text.parse::<PathPrefix>() {
                prop_assert_eq!(prefix.as_str().parse(), Ok(prefix.clone()));
                let segments = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
                let wanted = segments(prefix.as_str().trim_end_matches('/'));
                prop_assert_eq!(prefix.matches(&path), prefix.as_str() == "/" || segments(&path).starts_with(&wanted));
            }
        }
    }
}
