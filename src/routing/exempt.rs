//! Paths that neither maintenance nor hold keeps from the application.

use crate::model::PathPrefix;

/// Where a certificate authority asks whether a host is ours (RFC 8555 §8.3): a certificate must not expire because of
/// maintenance.
const ACME_CHALLENGES: &str = "/.well-known/acme-challenge/";

/// Whether a raw path is below one of these prefixes, or an ACME challenge. A path that an application may read as
/// another one is below none: what looks exempt here must not become something else there.
#[must_use]
pub fn is_exempt(prefixes: &[PathPrefix], path: &str) -> bool {
    let below = path.starts_with(ACME_CHALLENGES) || prefixes.iter().any(|prefix| prefix.matches(path));
    below && is_plain(path)
}

/// Whether a path means the same to everybody: no empty or dotted segment, and nothing of what could make one encoded.
pub(super) fn is_plain(path: &str) -> bool {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let encoded = |code: &str| {
        path.match_indices('%')
            .any(|(at, _)| path.get(at + 1..at + 3).is_some_and(|found| found.eq_ignore_ascii_case(code)))
    };
    let segments = inner.is_empty() || inner.split('/').all(|segment| !matches!(segment, "" | "." | ".."));
    // A dot, both slashes, the percent sign of a second encoding, and `;`, behind which some see parameters; the end of a
    // text in C, what begins an overlong form of a character, and what begins a form of its own of some servers.
    let odd = ["2e", "2f", "5c", "25", "3b", "00", "c0", "c1", "u0"];
    segments && !path.contains(['\\', ';']) && !odd.into_iter().any(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn exempt(path: &str) -> bool {
        is_exempt(&["/hooks".parse().unwrap(), "/api/status".parse().unwrap()], path)
    }

    #[test]
    fn a_path_is_exempt_on_segment_boundaries_and_a_challenge_always() {
        for path in ["/hooks", "/hooks/", "/hooks/a.b/..c", "/api/status/deep", "/hooks/%C3%A4"] {
            assert!(exempt(path), "{path}");
        }
        for path in ["/", "/hooked", "/api", "/x/hooks", "hooks", ""] {
            assert!(!exempt(path), "{path}");
        }
        assert!(is_exempt(&[], "/.well-known/acme-challenge/LoqXcYV8-x_y"));
        for path in ["/.well-known/acme-challenge", "/.well-known/acme-challenges/x", "/.well-known/security.txt"] {
            assert!(!is_exempt(&[], path), "{path}");
        }
        assert!(is_exempt(&["/".parse().unwrap()], "/") && is_exempt(&["/".parse().unwrap()], "/anything"));
    }

    #[test]
    fn what_an_application_may_read_as_another_path_is_not_exempt() {
        for path in [
            "/hooks/../admin",
            "/hooks/./x",
            "/hooks//x",
            "/hooks//",
            "/hooks/..",
            "/hooks/%2e%2e/admin",
            "/hooks/.%2E/admin",
            "/hooks%2F..%2Fadmin",
            "/hooks/%2f../admin",
            "/hooks/..\\admin",
            "/hooks/%5c../admin",
            "/hooks/%252e%252e/admin",
            "/hooks/..;/admin",
            "/hooks/..%3b/admin",
            "/hooks/..%00/admin",
            "/hooks/%C0%AE%c0%ae/admin",
            "/hooks/%u002e%u002e/admin",
            "/.well-known/acme-challenge/../../admin",
        ] {
            assert!(!exempt(path), "{path}");
        }
    }

    /// Where a path leads once it is decoded and its dots are followed, as an application may do.
    fn followed(path: &str, times: usize) -> String {
        let decoded =
            (0..times).fold(path.as_bytes().to_vec(), |path, _| percent_encoding::percent_decode(&path).collect());
        let text = String::from_utf8_lossy(&decoded).replace('\\', "/");
        let mut segments: Vec<&str> = Vec::new();
        for segment in text.split('/') {
            match segment.split(';').next().unwrap_or_default() {
                "" | "." => {}
                ".." => drop(segments.pop()),
                plain => segments.push(plain),
            }
        }
        format!("/{}", segments.join("/"))
    }

    odd_input! {
        fn what_is_exempt_stays_below_its_prefix_however_it_is_read(
            path in "/(hooks|x)?(/|[.;\\\\a]|%2e|%2F|%5c|%25|%252e|%252F|%3b|%2|\\.\\.){0,9}",
        ) {
            if exempt(&path) {
                let prefix: PathPrefix = "/hooks".parse().unwrap();
                for times in 0..3 {
                    prop_assert!(prefix.matches(&followed(&path, times)), "{path} is {}", followed(&path, times));
                }
            }
        }
    }
}
