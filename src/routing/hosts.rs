//! Which service a host and a path belong to.

use crate::model::{HostPattern, PathPrefix};
use std::collections::HashMap;

/// Finds the service of a host and a path.
#[derive(Debug, Default)]
pub struct HostIndex {
    exact: HashMap<Box<str>, Mounts>,
    below: HashMap<Box<str>, Mounts>,
    any: Mounts,
}

/// The services of one host, by path prefix.
#[derive(Debug, Default)]
struct Mounts {
    root: Option<usize>,
    deeper: HashMap<Box<str>, usize>,
    /// The most segments that a prefix has.
    depth: usize,
}

impl Mounts {
    fn add(&mut self, prefix: &PathPrefix, service: usize) {
        match prefix.as_str() {
            "/" => self.root = Some(service),
            prefix => {
                self.depth = self.depth.max(prefix.matches('/').count());
                self.deeper.insert(prefix.into(), service);
            }
        }
    }

    fn all(&self) -> impl Iterator<Item = usize> + use<> {
        let mut deeper: Vec<usize> = self.deeper.values().copied().collect();
        deeper.sort_unstable();
        self.root.into_iter().chain(deeper)
    }

    fn find(&self, path: &str) -> Option<usize> {
        if self.depth > 0 {
            // The ends of the first `depth` segments, the longest first.
            let mut end = path
                .match_indices('/')
                .map(|(at, _)| at)
                .skip(1)
                .chain([path.len()])
                .take(self.depth)
                .last()
                .unwrap_or(path.len());
            while end > 0 {
                if let Some(service) = self.deeper.get(&path[..end]) {
                    return Some(*service);
                }
                end = path[..end].rfind('/').unwrap_or(0);
            }
        }
        self.root
    }
}

impl HostIndex {
    /// Of services by index, with their hosts and the path they are mounted on.
    #[must_use]
    pub fn new<'s>(services: impl Iterator<Item = (&'s [HostPattern], &'s PathPrefix)>) -> Self {
        let mut index = Self::default();
        for (service, (hosts, prefix)) in services.enumerate() {
            for host in hosts {
                let mounts = match host {
                    HostPattern::Any => &mut index.any,
                    HostPattern::Exact(host) => index.exact.entry(host.clone()).or_default(),
                    HostPattern::Below(domain) => index.below.entry(domain.clone()).or_default(),
                };
                mounts.add(prefix, service);
            }
        }
        index
    }

    /// The service of a host, as a request names it, and a raw path: an exact host before the longest wildcard
    /// before any, and the longest prefix.
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<usize> {
        if self.exact.is_empty() && self.below.is_empty() {
            return self.any.find(path);
        }
        let host = without_port(host);
        let mut host = host.strip_suffix('.').unwrap_or(host);
        // A host name has at most 253 characters; a longer one can be configured nowhere.
        let mut buffer;
        if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            buffer = [0; 253];
            let Some(lower) = buffer.get_mut(..host.len()) else { return self.any.find(path) };
            lower.copy_from_slice(host.as_bytes());
            lower.make_ascii_lowercase();
            host = std::str::from_utf8(lower).unwrap_or_default();
        }
        let exact = self.exact.get(host).and_then(|mounts| mounts.find(path));
        exact.or_else(|| self.find_below(host, path)).or_else(|| self.any.find(path))
    }

    /// All services that a host has, whatever the path: those of the exact host, of the longest wildcard and so on, and
    /// those of any host; of each, the one at `/` and then the others in their order.
    #[must_use]
    pub fn all_of(&self, host: &str) -> Vec<usize> {
        let host = without_port(host).to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let below = host.match_indices('.').filter_map(|(at, _)| self.below.get(&host[at + 1..]));
        self.exact.get(host).into_iter().chain(below).chain([&self.any]).flat_map(Mounts::all).collect()
    }

    fn find_below(&self, host: &str, path: &str) -> Option<usize> {
        if self.below.is_empty() {
            return None;
        }
        host.match_indices('.').find_map(|(at, _)| self.below.get(&host[at + 1..])?.find(path))
    }
}

/// The host of an authority. An IPv6 address keeps its brackets.
fn without_port(authority: &str) -> &str {
    match authority.rfind(':') {
        Some(at) if authority[at..].bytes().skip(1).all(|b| b.is_ascii_digit()) && !authority.ends_with("::") => {
            // `[::1]` ends with its bracket, so a colon with digits behind it is outside.
            &authority[..at]
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn index(services: &[(&[&str], &str)]) -> HostIndex {
        let parsed: Vec<(Vec<HostPattern>, PathPrefix)> = services
            .iter()
            .map(|(hosts, prefix)| (hosts.iter().map(|host| host.parse().unwrap()).collect(), prefix.parse().unwrap()))
            .collect();
        HostIndex::new(parsed.iter().map(|(hosts, prefix)| (hosts.as_slice(), prefix)))
    }

    #[test]
    fn an_exact_host_comes_before_a_wildcard_before_any() {
        let index = index(&[
            (&["*"], "/"),
            (&["*.example.com"], "/"),
            (&["shop.example.com"], "/"),
            (&["*.eu.example.com"], "/"),
        ]);
        for (host, service) in [
            ("shop.example.com", 2),
            ("SHOP.example.com:8443", 2),
            ("shop.example.com.", 2),
            ("other.example.com", 1),
            ("a.b.example.com", 1),
            ("shop.eu.example.com", 3),
            ("example.com", 0),
            ("", 0),
            ("[::1]:80", 0),
        ] {
            assert_eq!(index.find(host, "/"), Some(service), "{host}");
        }
        assert_eq!(index.find(&"x".repeat(300), "/"), Some(0));
    }

    #[test]
    fn the_longest_name_is_found_however_it_is_written() {
        let longest = format!("{}{}", "a.".repeat(126), "b");
        let index = index(&[(&["*"], "/"), (&[longest.as_str()], "/")]);
        assert_eq!(longest.len(), 253);
        for written in [longest.clone(), longest.to_uppercase(), format!("{}.:80", longest.to_uppercase())] {
            assert_eq!(index.find(&written, "/"), Some(1), "{written}");
        }
    }

    #[test]
    fn the_longest_prefix_wins_on_segment_boundaries() {
        let index = index(&[(&["*"], "/"), (&["*"], "/api"), (&["*"], "/api/v2"), (&["a"], "/only")]);
        for (host, path, service) in [
            ("a", "/only/x", Some(3)),
            ("a", "/onlyx", Some(0)),
            ("b", "/api", Some(1)),
            ("b", "/api/", Some(1)),
            ("b", "/apis", Some(0)),
            ("b", "/api/v2", Some(2)),
            ("b", "/api/v2/deep/er", Some(2)),
            ("b", "/api/v22", Some(1)),
            ("b", "/", Some(0)),
            ("b", "//api", Some(0)),
            ("b", "*", Some(0)),
            ("b", "", Some(0)),
        ] {
            assert_eq!(index.find(host, path), service, "{host} {path}");
        }
    }

    #[test]
    fn a_path_that_no_service_has_is_found_nowhere() {
        let index = index(&[(&["a"], "/x")]);
        assert_eq!(index.find("a", "/"), None);
        assert_eq!(index.find("b", "/x"), None);
    }

    #[test]
    fn all_services_of_a_host_are_found_whatever_the_path() {
        let index = index(&[
            (&["*"], "/"),
            (&["*.example.com"], "/z"),
            (&["shop.example.com"], "/b"),
            (&["shop.example.com"], "/a"),
            (&["shop.example.com", "other"], "/"),
        ]);
        assert_eq!(index.all_of("SHOP.example.com.:80"), [4, 2, 3, 1, 0]);
        assert_eq!((index.all_of("x.example.com"), index.all_of("")), (vec![1, 0], vec![0]));
    }

    #[test]
    fn a_port_is_taken_off_and_an_address_keeps_its_brackets() {
        for (authority, host) in
            [("a:80", "a"), ("a", "a"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a:b", "a:b"), ("a:", "a")]
        {
            assert_eq!(without_port(authority), host);
        }
    }

    /// What finds the service by looking at all of them, one by one.
    fn looked_for(services: &[(HostPattern, PathPrefix)], host: &str, path: &str) -> Option<usize> {
        let fits = |pattern: &HostPattern| match pattern {
            HostPattern::Any => Some(0),
            HostPattern::Below(domain) => host.ends_with(&format!(".{domain}")).then_some(domain.len()),
            HostPattern::Exact(name) => (**name == *host).then_some(usize::MAX),
        };
        let fitting = services.iter().enumerate().filter(|(_, (_, prefix))| prefix.matches(path));
        let ranked =
            fitting.filter_map(|(service, (pattern, prefix))| Some((fits(pattern)?, prefix.as_str().len(), service)));
        ranked.max().map(|(_, _, service)| service)
    }

    odd_input! {
        fn the_index_finds_what_a_look_at_all_services_finds(
            services in prop::collection::btree_set(("(\\*\\.)?[ab](\\.[ab]){0,2}|\\*|\\[::1\\]", "/([ab]{1,2}(/[ab]{1,2}){0,2})?"), 0..12),
            host in "[ab](\\.[ab]){0,3}|\\[::1\\]|", path in "(/[ab]{0,2}){0,4}", port in "(:[0-9]{0,3})?", dot in "\\.?",
        ) {
            let services: Vec<(HostPattern, PathPrefix)> =
                services.iter().map(|(host, prefix)| (host.parse().unwrap(), prefix.parse().unwrap())).collect();
            let index = HostIndex::new(services.iter().map(|(host, prefix)| (std::slice::from_ref(host), prefix)));
            let expected = looked_for(&services, &host, &path);
            let written = if host.is_empty() { port } else { format!("{}{dot}{port}", host.to_ascii_uppercase()) };
            prop_assert_eq!(index.find(&written, &path), expected, "{}{}", written, path);
            prop_assert!(expected.is_none_or(|service| index.all_of(&written).contains(&service)), "{written}");
        }

        fn no_host_and_no_path_is_too_odd(host in ".{0,40}", path in ".{0,20}") {
            let index = index(&[(&["*"], "/"), (&["a.b"], "/x")]);
            prop_assert!(index.find(&host, &path).is_some());
        }
    }
}
