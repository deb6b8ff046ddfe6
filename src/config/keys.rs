//! Every key of the file, in one place: what is known, what is promised for later, and what was probably meant.

/// The keys of one table of the file.
pub(super) struct Keys {
    /// How the table is written in the file.
    pub(super) header: &'static str,
    /// Keys that do something.
    pub(super) known: &'static [&'static str],
    /// Keys whose feature does not exist yet: refused by name, so that nobody relies on them in vain.
    pub(super) later: &'static [&'static str],
}

macro_rules! keys {
    ($($name:ident = $header:literal: $known:expr, $later:expr;)*) => {
        $(pub(super) const $name: &Keys = &Keys { header: $header, known: &$known, later: &$later };)*
        /// All tables.
        pub(super) const ALL: &[&Keys] = &[$($name),*];
    };
}

keys! {
    ROOT = "the top level": ["server", "admin", "state", "prometheus", "access_log", "notify", "service"], [];
    SERVER = "[server]":
        ["listen", "tls", "workers", "secret_file", "trusted_proxies", "timeouts", "limits", "dns_refresh", "grace"],
        [];
    LISTENER = "an address to listen on": ["address", "proxy_protocol"], [];
    TLS = "[server.tls]": ["listen", "certificates", "min_version", "redirect"], [];
    CERTIFICATE = "a certificate": ["chain", "key"], [];
    TIMEOUTS = "[server.timeouts]": ["handshake", "head", "idle", "connect", "answer", "stall", "tunnel"], [];
    SERVER_LIMITS = "[server.limits]": ["connections", "connections_per_client", "streams"], [];
    ADMIN = "[admin]": ["listen", "token_file"], [];
    STATE = "[state]": ["path"], ["etcd"];
    PROMETHEUS = "[prometheus]":
        [
            "url", "timeout", "bearer_token_file", "username", "password_file", "ca_file", "client_certificate",
            "client_key", "headers",
        ],
        [];
    ACCESS_LOG = "[access_log]": ["format", "sample"], [];
    NOTIFY = "[[notify]]": ["url", "kind", "secret_file", "events", "services", "link"], [];
    SERVICE = "[[service]]":
        [
            "name", "hosts", "path_prefix", "live", "pool", "health", "sticky", "rollout", "maintenance", "read_only",
            "anonymous", "hold", "skew_guard", "caching", "limits", "timeouts", "retry", "ejection", "slow_start",
        ],
        [];
    POOL = "[service.pool.NAME]": ["targets", "release", "protocol", "tls"], [];
    POOL_TLS = "[service.pool.NAME.tls]": ["ca_file", "server_name"], [];
    SERVICE_LIMITS = "[service.limits]": ["max_body", "max_in_flight", "queue", "queue_wait"], [];
    SERVICE_TIMEOUTS = "[service.timeouts]": ["connect", "answer", "stall"], [];
    RETRY = "[service.retry]": ["budget", "min_per_second"], [];
    EJECTION = "[service.ejection]": ["errors", "time"], [];
    HEALTH = "[service.health]": ["path", "interval", "timeout", "rise", "fall", "release"], [];
    STICKY = "[service.sticky]": ["by"], [];
    ROLLOUT = "[service.rollout]":
        [
            "strategy", "steps", "preview", "approve", "advance", "false_alarm", "miss", "min_requests", "max_hold",
            "on_inconclusive", "watch", "objective", "check", "gate",
        ],
        [];
    STEP = "a step": ["weight", "hold", "min_requests", "checks", "approve"], [];
    GATE = "[[service.rollout.gate]]":
        ["name", "at", "url", "secret_file", "command", "env", "timeout", "retries", "on_failure"],
        [];
    ERROR_RATIO = "an error-ratio check": ["kind", "tolerate"], [];
    LATENCY = "a latency check": ["kind", "until", "quantile", "quantiles", "tolerate"], [];
    STATUS_RATIO = "a status-ratio check": ["kind", "statuses", "tolerate"], [];
    PROMQL = "a promql check":
        ["kind", "name", "query", "max", "min", "compare", "worse", "bad", "total", "tolerate", "window", "every", "failures"],
        [];
    MAINTENANCE = "[service.maintenance]":
        ["page", "file", "retry_after", "unsafe_status", "bypass", "exempt", "assets"],
        [];
    READ_ONLY = "[service.read_only]": ["unsafe", "exempt"], [];
    ANONYMOUS = "[service.anonymous]": ["cookies"], [];
    HOLD = "[service.hold]": ["max_wait", "max_requests", "max_bytes", "restart"], [];
}

impl Keys {
    /// Why `key` is refused; nothing for one that is known.
    pub(super) fn refusal(&self, key: &str) -> Option<String> {
        if self.known.contains(&key) {
            return None;
        }
        if self.later.contains(&key) {
            return Some(NOT_YET.to_owned());
        }
        if let Some(near) = nearest(key, self.known) {
            return Some(format!("unknown key; did you mean `{near}`?"));
        }
        let elsewhere: Vec<_> = ALL.iter().filter(|keys| keys.known.contains(&key)).map(|keys| keys.header).collect();
        if elsewhere.is_empty() {
            Some(format!("unknown key; {} knows {}", self.header, self.known.join(", ")))
        } else {
            Some(format!("unknown key in {}; it belongs in {}", self.header, elsewhere.join(" or ")))
        }
    }
}

/// What is said of a feature that the file may one day ask for.
pub(super) const NOT_YET: &str = "not available in this version; take it out";

/// The candidate that `text` was most likely meant to be, if one is near enough.
pub(super) fn nearest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    // A third of the word may be wrong; more is another word.
    let near = |candidate: &&str| distance(text, candidate) <= candidate.len().div_ceil(3).min(3);
    candidates.iter().copied().filter(near).min_by_key(|candidate| distance(text, candidate))
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    // No key is that long; without the limit a huge one would cost time.
    if a.len() > 64 {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before = vec![0; b.len() + 1];
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut next = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = row[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            next[j] = replaced.min(row[j] + 1).min(next[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                next[j] = next[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_typing_mistakes() {
        for (a, b, mistakes) in [("", "", 0), ("listen", "listne", 1), ("tagets", "targets", 1), ("a", "xyz", 3)] {
            assert_eq!(distance(a, b), mistakes, "{a} {b}");
            assert_eq!(distance(b, a), mistakes, "{b} {a}");
        }
    }

    #[test]
    fn a_near_key_is_offered_and_a_far_one_is_not() {
        assert_eq!(nearest("retry-after", MAINTENANCE.known), Some("retry_after"));
        assert_eq!(nearest("xxxxxx", MAINTENANCE.known), None);
    }

    #[test]
    fn no_key_is_both_known_and_promised() {
        for keys in ALL {
            assert!(keys.known.iter().all(|key| !keys.later.contains(key)), "{}", keys.header);
        }
    }
}
