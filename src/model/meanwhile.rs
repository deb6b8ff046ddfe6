//! What the router answered itself while a service did not serve everything.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The requests that no application answered, from the moment at which a service left mode serve for another, or for
/// want of a pool, until it was back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meanwhile {
    /// From when on they are counted: the mode's begin, or the start of the router if that came later.
    pub since: Timestamp,
    /// When it ended; null while it lasts.
    pub until: Option<Timestamp>,
    /// All of them.
    pub requests: u64,
    /// By method, the most frequent ones by name and all others as `other`; a method that nobody used is left out.
    pub methods: BTreeMap<String, u64>,
}

impl fmt::Display for Meanwhile {
    /// Such as `12 requests were answered by the router itself (10 GET, 2 POST)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.requests {
            0 => return f.write_str("no request was answered by the router itself"),
            1 => f.write_str("1 request was answered by the router itself (")?,
            many => write!(f, "{many} requests were answered by the router itself (")?,
        }
        for (number, (method, count)) in self.methods.iter().enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}{count} {method}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_cost_is_told_in_words() {
        let of = |methods: &[(&str, u64)]| {
            let methods: BTreeMap<_, _> = methods.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
            let requests = methods.values().sum();
            Meanwhile { since: Timestamp::UNIX_EPOCH, until: None, requests, methods }.to_string()
        };
        assert_eq!(of(&[]), "no request was answered by the router itself");
        assert_eq!(of(&[("GET", 1)]), "1 request was answered by the router itself (1 GET)");
        assert_eq!(of(&[("POST", 2), ("GET", 10)]), "12 requests were answered by the router itself (10 GET, 2 POST)");
    }
}
