//! `/metrics`: gathered when it is asked for, from the counters of the workers and the state of the services.

use crate::control::{DecisionCount, Handle};
use crate::model::view::{EvidenceView, GuardView, ServiceView};
use crate::model::{HeldBy, Mode, Phase, Timestamp};
use crate::routing::counters::{CodeClass, DURATION_BOUNDS, Durations, METHOD_LABELS, RetryReason};
use crate::routing::{Pool, Reason, Route, Table, TurnedAway};
use crate::telemetry::names::{self, Kind, Metric};
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};
use std::collections::{BTreeMap, HashMap};

/// All metrics at this moment, in the text format of Prometheus.
///
/// # Errors
/// Never for what this module gathers; the registry or the encoder may find a fault in a family.
pub(super) fn text(handle: &Handle) -> Result<String, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(RouterMetrics::new(handle.clone())?))?;
    TextEncoder::new().encode_to_string(&registry.gather())
}

/// The router as the prometheus crate collects from it.
struct RouterMetrics {
    handle: Handle,
    descriptions: Vec<Desc>,
}

impl RouterMetrics {
    fn new(handle: Handle) -> Result<Self, prometheus::Error> {
        let describe = |metric: &Metric| {
            let labels = metric.labels.iter().map(ToString::to_string).collect();
            Desc::new(metric.name.to_owned(), metric.help.to_owned(), labels, HashMap::new())
        };
        Ok(Self { handle, descriptions: names::ALL.iter().map(describe).collect::<Result<_, _>>()? })
    }
}

impl Collector for RouterMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut gathered = Gathered::default();
        gathered.gauge(&names::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        gathered.doors(&self.handle);
        gathered.table(&self.handle.table());
        for (service, tunnels) in self.handle.tunnels() {
            gathered.gauge(&names::TUNNELS, &[service.as_str()], float(tunnels));
        }
        for (status, count) in self.handle.refusals() {
            gathered.counter(&names::BAD_REQUESTS, &[&status.to_string()], count);
        }
        for (service, evidence) in self.handle.services_with_evidence() {
            gathered.service(&service, &evidence, Timestamp::now());
        }
        gathered.decisions(&self.handle.decisions());
        gathered.families()
    }
}

/// The label of the evidence of all guaranteed checks together.
const ALL_CHECKS: &str = "all";

/// Samples by metric.
#[derive(Default)]
struct Gathered(HashMap<&'static str, Vec<prometheus::proto::Metric>>);

/// Counts are exact as floats up to 2^53, which no counter reaches.
#[allow(clippy::cast_precision_loss)]
fn float(count: u64) -> f64 {
    count as f64
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

impl Gathered {
    fn sample(&mut self, metric: &Metric, values: &[&str]) -> &mut prometheus::proto::Metric {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let labels = metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        let sample = prometheus::proto::Metric::from_label(labels.collect());
        let samples = self.0.entry(metric.name).or_default();
        samples.push(sample);
        let last = samples.len() - 1;
        &mut samples[last]
    }

    fn counter(&mut self, metric: &Metric, labels: &[&str], count: u64) {
        let mut counter = Counter::default();
        counter.set_value(float(count));
        self.sample(metric, labels).set_counter(counter);
    }

    fn gauge(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.sample(metric, labels).set_gauge(gauge);
    }

    /// Visitors' connections, and what they are shown.
    fn doors(&mut self, handle: &Handle) {
        self.gauge(&names::CONNECTIONS, &[], float(handle.doors(|tally| tally.connections.get())));
        for reason in TurnedAway::ALL {
            let count = handle.doors(|tally| tally.turned_away(reason));
            self.counter(&names::CONNECTIONS_REFUSED, &[reason.as_str()], count);
        }
        let failures = handle.doors(|tally| tally.handshake_failures.get());
        self.counter(&names::TLS_HANDSHAKE_FAILURES, &[], failures);
        // One that is named twice would make the whole page unreadable for Prometheus.
        let expiries: BTreeMap<_, _> =
            handle.certificate_expiries().into_iter().map(|expiry| (expiry.certificate, expiry.ends)).collect();
        for (certificate, ends) in expiries {
            // Seconds are exact as floats for longer than any certificate lasts.
            #[allow(clippy::cast_precision_loss)]
            self.gauge(&names::CERTIFICATE_EXPIRY, &[&certificate], ends.as_second() as f64);
        }
    }

    /// What the workers count, and what the table says.
    fn table(&mut self, table: &Table) {
        self.counter(&names::TABLE_SWAPS, &[], table.version);
        for route in &table.services {
            self.maintenance(route);
            let guarded = route.tally.sum(|tally| tally.skew_guarded.get());
            self.counter(&names::SKEW_GUARD, &[route.service.as_str()], guarded);
            self.held(route);
            self.retries(route);
            for (index, pool) in route.pools.iter().enumerate() {
                let (service, name) = (route.service.as_str(), pool.name.as_str());
                self.gauge(&names::POOL_WEIGHT, &[service, name], weight(route, index));
                self.gauge(&names::INFLIGHT_REQUESTS, &[service, name], float(pool.load.sum(|l| l.in_flight.get())));
                self.counter(&names::RESCUES, &[service, name], pool.load.sum(|load| load.rescues.get()));
                self.gauge(&names::QUEUED_REQUESTS, &[service, name], float(pool.load.sum(|l| l.queued.get())));
                self.counter(&names::LIMITED_REQUESTS, &[service, name], pool.load.sum(|load| load.refused.get()));
                self.requests(service, pool);
                self.targets(service, pool);
            }
        }
    }

    fn maintenance(&mut self, route: &Route) {
        for reason in Reason::ALL {
            let mut counts = [0; METHOD_LABELS.len()];
            for tally in route.tally.iter() {
                counts.iter_mut().zip(tally.maintenance(reason)).for_each(|(sum, count)| *sum += count);
            }
            for (method, count) in METHOD_LABELS.iter().zip(counts) {
                let labels = [route.service.as_str(), reason.as_str(), method];
                self.counter(&names::MAINTENANCE_RESPONSES, &labels, count);
            }
        }
    }

    fn held(&mut self, route: &Route) {
        let labels = [route.service.as_str()];
        self.gauge(&names::HELD_REQUESTS, &labels, float(route.tally.sum(|tally| tally.held.get())));
        self.sample(&names::HOLD_DURATION, &labels)
            .set_histogram(durations(route.tally.iter().map(|tally| &tally.waits)));
    }

    fn retries(&mut self, route: &Route) {
        let service = route.service.as_str();
        for reason in RetryReason::ALL {
            let count = route.tally.sum(|tally| tally.retries[reason.index()].get());
            self.counter(&names::RETRIES, &[service, reason.as_str()], count);
        }
        let refused = route.tally.sum(|tally| tally.retries_refused.get());
        self.counter(&names::RETRIES_REFUSED, &[service], refused);
    }

    fn requests(&mut self, service: &str, pool: &Pool) {
        let release = pool.release.as_ref().map_or("", |release| release.as_str());
        let mut classes = [0; CodeClass::LABELS.len()];
        for tally in pool.tally.iter() {
            classes.iter_mut().zip(tally.by_class()).for_each(|(sum, count)| *sum += count);
        }
        for (class, count) in CodeClass::LABELS.iter().zip(classes) {
            self.counter(&names::REQUESTS, &[service, pool.name.as_str(), release, class], count);
        }
        let labels = [service, pool.name.as_str(), release];
        self.sample(&names::REQUEST_DURATION, &labels)
            .set_histogram(durations(pool.tally.iter().map(|tally| &tally.durations)));
    }

    fn targets(&mut self, service: &str, pool: &Pool) {
        for (index, target) in pool.targets.iter().enumerate() {
            let labels = [service, pool.name.as_str(), &target.reach.address().to_string()];
            self.gauge(&names::TARGET_HEALTHY, &labels, truth(pool.healthy.contains(&index)));
            self.counter(&names::EJECTIONS, &labels, target.load.ejections.get());
        }
    }

    fn service(&mut self, service: &ServiceView, evidence: &EvidenceView, now: Timestamp) {
        let name = service.name.as_str();
        self.gauge(&names::STATE_DURABLE, &[name], truth(service.durable));
        for mode in Mode::ALL {
            let besides = mode == Mode::Anonymous && service.mode == Mode::ReadOnly && service.mode_setting.anonymous;
            self.gauge(&names::MODE, &[name, mode.as_str()], truth(service.mode == mode || besides));
        }
        for phase in Phase::ALL {
            self.gauge(&names::ROLLOUT_PHASE, &[name, phase.as_str()], truth(service.phase == phase));
        }
        for by in HeldBy::ALL {
            let holds = service.held.as_ref().is_some_and(|held| held.by == by);
            self.gauge(&names::ROLLOUT_HELD, &[name, &by.to_string()], truth(holds));
        }
        let held = service.held.as_ref().map_or(0.0, |held| now.duration_since(held.since).as_secs_f64().max(0.0));
        self.gauge(&names::ROLLOUT_HELD_SECONDS, &[name], held);
        self.evidence(name, ALL_CHECKS, evidence.ln_rollback, evidence.ln_rollback_threshold);
        // A check of that name would make the whole page unreadable for Prometheus.
        for check in evidence.checks.iter().filter(|check| check.guaranteed && check.name != ALL_CHECKS) {
            self.evidence(name, &check.name, check.ln_rollback, check.ln_rollback_threshold);
        }
        if let Some(guard) = &evidence.guard {
            self.guard(name, guard);
        }
    }

    fn evidence(&mut self, service: &str, check: &str, evidence: Option<f64>, threshold: Option<f64>) {
        if let Some(evidence) = evidence {
            self.gauge(&names::ROLLOUT_EVIDENCE, &[service, check], evidence);
        }
        if let Some(threshold) = threshold {
            self.gauge(&names::ROLLOUT_EVIDENCE_THRESHOLD, &[service, check], threshold);
        }
    }

    fn guard(&mut self, service: &str, guard: &GuardView) {
        self.gauge(&names::GUARD_FIRING, &[service], truth(guard.firing));
        for burn in &guard.windows {
            let window = burn.window.to_string();
            self.gauge(&names::BURN_RATE_THRESHOLD, &[service, &window], burn.threshold);
            for (side, rate) in [("candidate", burn.candidate), ("live", burn.live)] {
                if let Some(rate) = rate {
                    self.gauge(&names::BURN_RATE, &[service, side, &window], rate);
                }
            }
        }
    }

    fn decisions(&mut self, decisions: &[DecisionCount]) {
        for decision in decisions {
            let labels = [decision.service.as_str(), &decision.decision, &decision.check];
            self.counter(&names::DECISIONS, &labels, decision.count);
        }
    }

    /// In the order of [`names::ALL`]. A metric without samples is left out.
    fn families(mut self) -> Vec<MetricFamily> {
        let sampled = names::ALL.iter().filter_map(|metric| Some((metric, self.0.remove(metric.name)?)));
        sampled.map(|(metric, samples)| family(metric, samples)).collect()
    }
}

fn family(metric: &Metric, samples: Vec<prometheus::proto::Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(samples);
    family
}

/// The share of visitors that are drawn to a pool, 0 to 1.
fn weight(route: &Route, pool: usize) -> f64 {
    match &route.split {
        Some(split) if split.candidate == pool => split.weight.ratio(),
        Some(split) if route.live == pool => 1.0 - split.weight.ratio(),
        None if route.live == pool => 1.0,
        Some(_) | None => 0.0,
    }
}

fn durations<'d>(workers: impl Iterator<Item = &'d Durations>) -> Histogram {
    let mut buckets = [0; DURATION_BOUNDS.len() + 1];
    let mut seconds = 0.0;
    for worker in workers {
        buckets.iter_mut().zip(worker.buckets()).for_each(|(sum, count)| *sum += count);
        seconds += worker.total().as_secs_f64();
    }
    let mut below = 0;
    let cumulated = DURATION_BOUNDS.iter().zip(buckets).map(|(bound, count)| {
        below += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(cumulated.collect());
    histogram.set_sample_count(buckets.iter().sum());
    histogram.set_sample_sum(seconds);
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Protocol;
    use crate::model::view::CheckView;
    use crate::model::{BasisPoints, Verdict};
    use crate::routing::counters::{PoolLoad, PoolTally, ServiceTally, TargetLoad};
    use crate::routing::{
        Bucketer, Draws, MaintenanceAnswer, Measures, PerWorker, RetryAfter, Secret, Split, Target, Waiting, WorkerId,
    };
    use crate::transport::{Means, Reach};
    use std::sync::Arc;
    use std::time::Duration;

    fn pool(name: &str) -> Pool {
        let reach = Reach::new("127.0.0.1:9000".parse().unwrap(), &Means::default());
        Pool {
            name: name.parse().unwrap(),
            release: Some("v1".parse().unwrap()),
            name_header: name.parse().unwrap(),
            release_header: None,
            targets: [Target { reach: reach.into(), load: Arc::new(TargetLoad::new(2)) }].into(),
            healthy: [0].into(),
            protocol: Protocol::H1,
            warming: [].into(),
            drained: false,
            load: Arc::new(PerWorker::<PoolLoad>::new(2)),
            tally: Arc::new(PerWorker::<PoolTally>::new(2)),
        }
    }

    fn route() -> Route {
        let answer = MaintenanceAnswer {
            reason: Reason::Unplanned,
            retry_after: RetryAfter { until: None, otherwise: Duration::from_secs(1) },
            unsafe_status: crate::config::UnsafeStatus::default(),
            bypass: [].into(),
            html: bytes::Bytes::new(),
            text: bytes::Bytes::new(),
            json: bytes::Bytes::new(),
        };
        let service = "shop".parse().unwrap();
        let bucketer = Bucketer::new(&Secret::new(b"secret"), &service, &"v2".parse().unwrap());
        Route {
            pools: [pool("server0"), pool("server1"), pool("server2")].into(),
            live: 0,
            split: Some(Split {
                candidate: 1,
                weight: BasisPoints::from_percent(12.5).unwrap(),
                bucketer,
                draws: Arc::new(Draws::new(2, std::time::Instant::now(), Measures::default())),
                seen: Arc::default(),
            }),
            sticky: crate::config::StickyBy::default(),
            caching: crate::config::Caching::default(),
            skew: None,
            preview: None,
            exempt: [].into(),
            assets: None,
            planned: None,
            restriction: None,
            unplanned: Arc::new(answer.clone()),
            hold: false,
            waiting: Arc::new(Waiting {
                max_wait: Duration::ZERO,
                max_requests: 1,
                max_bytes: 1,
                restart: Duration::ZERO,
                refusal: Arc::new(answer),
            }),
            outage: None,
            bounds: Arc::default(),
            tally: Arc::new(PerWorker::<ServiceTally>::new(2)),
            service,
        }
    }

    fn shown(fill: impl FnOnce(&mut Gathered)) -> String {
        let mut gathered = Gathered::default();
        fill(&mut gathered);
        TextEncoder::new().encode_to_string(&gathered.families()).unwrap()
    }

    #[track_caller]
    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in:\n{text}");
    }

    #[test]
    fn counts_of_all_workers_are_summed() {
        let route = route();
        for (worker, micros) in [(0, 900), (1, 400_000), (1, 60_000_000)] {
            let ended = CodeClass::Status(200);
            route.pools[0].tally.of(WorkerId(worker)).ended(ended, Duration::from_micros(micros));
            route.pools[0].load.of(WorkerId(worker)).in_flight.enter();
        }
        route.tally.of(WorkerId(0)).skew_guarded.add(3);
        route.tally.of(WorkerId(1)).skew_guarded.add(4);
        route.tally.of(WorkerId(1)).maintenance_response(Reason::Planned, &http::Method::POST);
        let table = Table { version: 7, services: [Arc::new(route)].into(), ..Table::empty() };
        let text = shown(|gathered| gathered.table(&table));
        has(&text, "cutover_table_swaps_total 7");
        has(&text, r#"cutover_requests_total{service="shop",pool="server0",release="v1",code_class="2xx"} 3"#);
        has(&text, r#"cutover_requests_total{service="shop",pool="server1",release="v1",code_class="5xx"} 0"#);
        has(&text, r#"cutover_inflight_requests{service="shop",pool="server0"} 3"#);
        has(&text, r#"cutover_maintenance_responses_total{service="shop",reason="planned",method="POST"} 1"#);
        has(&text, r#"cutover_skew_guard_total{service="shop"} 7"#);
        has(&text, r#"cutover_pool_weight{service="shop",pool="server0"} 0.875"#);
        has(&text, r#"cutover_pool_weight{service="shop",pool="server1"} 0.125"#);
        has(&text, r#"cutover_pool_weight{service="shop",pool="server2"} 0"#);
        has(&text, r#"cutover_target_healthy{service="shop",pool="server0",target="127.0.0.1:9000"} 1"#);
        let duration = r#"cutover_request_duration_seconds_bucket{service="shop",pool="server0",release="v1",le="#;
        for (bound, count) in [("0.001", 1), ("0.25", 1), ("0.5", 2), ("30", 2), ("+Inf", 3)] {
            has(&text, &format!("{duration}\"{bound}\"}} {count}"));
        }
        has(&text, r#"cutover_request_duration_seconds_sum{service="shop",pool="server0",release="v1"} 60.4009"#);
        has(&text, "# TYPE cutover_request_duration_seconds histogram");
    }

    #[test]
    fn evidence_is_shown_by_check_and_may_be_minus_infinity() {
        let check = |name: &str, ln_rollback| CheckView {
            guaranteed: true,
            ln_rollback,
            ln_rollback_threshold: ln_rollback.map(|_| 4.5),
            ..CheckView::new(name, "error-ratio", Verdict::Insufficient, String::new())
        };
        let checks = vec![
            check("error-ratio", Some(f64::NEG_INFINITY)),
            check("failed \"jobs\"", None),
            CheckView { guaranteed: false, ..check("a guess", Some(7.0)) },
            check(ALL_CHECKS, Some(7.0)),
        ];
        let view = super::super::samples::service();
        let held = view.held.as_ref().unwrap().since + std::time::Duration::from_secs(90);
        let evidence = EvidenceView { checks, ..super::super::samples::evidence() };
        let text = shown(|gathered| gathered.service(&view, &evidence, held));
        has(&text, "cutover_rollout_held_seconds{service=\"shop\"} 90");
        has(&text, r#"cutover_rollout_evidence{service="shop",check="all"} -0.5"#);
        has(&text, r#"cutover_rollout_evidence_threshold{service="shop",check="all"} 4.6"#);
        has(&text, r#"cutover_burn_rate{service="shop",side="candidate",window="5m"} 2.5"#);
        has(&text, r#"cutover_burn_rate{service="shop",side="live",window="5m"} 0.5"#);
        has(&text, r#"cutover_burn_rate_threshold{service="shop",window="5m"} 14.4"#);
        has(&text, r#"cutover_guard_firing{service="shop"} 0"#);
        assert!(!text.contains("a guess") && !text.contains(r#"check="all"} 7"#), "{text}");
        has(&text, r#"cutover_rollout_evidence{service="shop",check="error-ratio"} -inf"#);
        has(&text, r#"cutover_rollout_evidence_threshold{service="shop",check="error-ratio"} 4.5"#);
        has(&text, r#"cutover_mode{service="shop",mode="maintenance"} 1"#);
        has(&text, r#"cutover_mode{service="shop",mode="anonymous"} 0"#);
        has(&text, r#"cutover_rollout_phase{service="shop",phase="canary"} 1"#);
        has(&text, r#"cutover_rollout_phase{service="shop",phase="idle"} 0"#);
        has(&text, r#"cutover_rollout_held{service="shop",by="operator"} 1"#);
        has(&text, r#"cutover_state_durable{service="shop"} 1"#);
        assert!(!text.contains("jobs"), "{text}");
    }
}
