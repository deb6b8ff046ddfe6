//! The metrics of the product: their names, their labels, and what they mean. All label values come from the
//! configuration, from releases that an operator named, or from this program; none comes from a request.

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count that rises.
    Counter,
    /// A value that moves.
    Gauge,
    /// Counts by bucket.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All metrics, in the order in which they are shown.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO: Gauge "cutover_build_info" ["version"]
        "Always 1; the label says which version runs.";
    CONNECTIONS: Gauge "cutover_connections" []
        "Visitors' connections at this moment.";
    CONNECTIONS_REFUSED: Counter "cutover_connections_refused_total" ["reason"]
        "Connections that were closed before anything was asked: too many of one client, or a PROXY header that nobody trusts or that is none.";
    TLS_HANDSHAKE_FAILURES: Counter "cutover_tls_handshake_failures_total" []
        "TLS handshakes with visitors that failed or took too long.";
    CERTIFICATE_EXPIRY: Gauge "cutover_certificate_expiry_timestamp_seconds" ["certificate"]
        "When the first certificate of the chain in this file ends, in seconds since 1970; of the one that is shown.";
    REQUESTS: Counter "cutover_requests_total" ["service", "pool", "release", "code_class"]
        "Requests that have ended, by the pool that answered; aborted: the visitor hung up before it, or the target broke it off.";
    REQUEST_DURATION: Histogram "cutover_request_duration_seconds" ["service", "pool", "release"]
        "Seconds from the head of a request to the end of its answer.";
    BAD_REQUESTS: Counter "cutover_bad_requests_total" ["status"]
        "Requests that the router refused for a fault of their own (malformed, too large, too slow, not supported), by the status that they got.";
    INFLIGHT_REQUESTS: Gauge "cutover_inflight_requests" ["service", "pool"]
        "Requests in the pool at this moment.";
    TUNNELS: Gauge "cutover_tunnels" ["service"]
        "Connections that were upgraded to another protocol and go on as tunnels, at this moment.";
    RESCUES: Counter "cutover_rescues_total" ["service", "pool"]
        "Safe requests that failed in this pool and were tried once more on another.";
    RETRIES: Counter "cutover_retries_total" ["service", "reason"]
        "Requests that were tried once more in their pool: connect, by another connection where one could not be made; closed, because theirs was closed before an answer; refused, because the target said again that it has not looked at them (HTTP/2).";
    RETRIES_REFUSED: Counter "cutover_retries_refused_total" ["service"]
        "Requests that could have been tried once more, but for the budget of retries.";
    EJECTIONS: Counter "cutover_ejections_total" ["service", "pool", "target"]
        "How often the target was left alone for a time because it failed one request after the other.";
    QUEUED_REQUESTS: Gauge "cutover_queued_requests" ["service", "pool"]
        "Requests that wait at this moment for others of the pool to end, because of its limit.";
    LIMITED_REQUESTS: Counter "cutover_limited_requests_total" ["service", "pool"]
        "Requests that were refused because of the limit of the pool.";
    SKEW_GUARD: Counter "cutover_skew_guard_total" ["service"]
        "Assets that the visitor's pool did not have, and the other warm pool had.";
    MAINTENANCE_RESPONSES: Counter "cutover_maintenance_responses_total" ["service", "reason", "method"]
        "Requests that the router answered instead of a pool: planned maintenance, unplanned because no pool could serve, read-only, or hold.";
    HELD_REQUESTS: Gauge "cutover_held_requests" ["service"]
        "Requests that wait at this moment, in a hold or for a target that restarts.";
    HOLD_DURATION: Histogram "cutover_hold_seconds" ["service"]
        "Seconds that requests waited which had to, until they went on, were refused, or their visitor hung up.";
    MODE: Gauge "cutover_mode" ["service", "mode"]
        "1 for the effective mode of the service, else 0; a service can be read-only and anonymous at once.";
    POOL_WEIGHT: Gauge "cutover_pool_weight" ["service", "pool"]
        "The share of visitors that are drawn to the pool, 0 to 1.";
    TARGET_HEALTHY: Gauge "cutover_target_healthy" ["service", "pool", "target"]
        "1 while requests are sent to the target, else 0.";
    ROLLOUT_PHASE: Gauge "cutover_rollout_phase" ["service", "phase"]
        "1 for the phase that the rollout is in, else 0.";
    ROLLOUT_HELD: Gauge "cutover_rollout_held" ["service", "by"]
        "1 for who or what holds the rollout, else 0.";
    ROLLOUT_HELD_SECONDS: Gauge "cutover_rollout_held_seconds" ["service"]
        "Seconds since the rollout is held; 0 while it is not.";
    ROLLOUT_EVIDENCE: Gauge "cutover_rollout_evidence" ["service", "check"]
        "During a rollout: ln E, the evidence that the candidate is worse than tolerated, of each guaranteed check and of all together.";
    ROLLOUT_EVIDENCE_THRESHOLD: Gauge "cutover_rollout_evidence_threshold" ["service", "check"]
        "During a rollout: the ln E at which the candidate is rolled back, by this check alone or by all together.";
    BURN_RATE: Gauge "cutover_burn_rate" ["service", "side", "window"]
        "How fast the candidate and live spend the errors that the objective allows: 1 spends exactly those.";
    BURN_RATE_THRESHOLD: Gauge "cutover_burn_rate_threshold" ["service", "window"]
        "The burn rate at which the absolute guard fires, if the other window of the pair burns too.";
    GUARD_FIRING: Gauge "cutover_guard_firing" ["service"]
        "1 while the absolute guard says that something is broken, else 0.";
    DECISIONS: Counter "cutover_decisions_total" ["service", "decision", "check"]
        "Decisions since the start of this process, by what decided.";
    TABLE_SWAPS: Counter "cutover_table_swaps_total" []
        "Routing tables put in force since the start of this process.";
    STATE_DURABLE: Gauge "cutover_state_durable" ["service"]
        "1 while the store holds the state of the service, 0 while it waits to be written.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for metric in ALL {
            assert!(metric.name.starts_with("cutover_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            for label in metric.labels {
                assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
            }
        }
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
