//! The product from outside: the built binary on free ports, real applications behind it, real visitors before it.
//!
//! Every test finds its own ports, waits for what it expects under a deadline, and ends only what it started.
//! `tests/run` installs the other programs that some of them need (Prometheus, PostgreSQL, Chromium, Django and so on).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test stops at the first thing that is not as it should be, and a test binary exports nothing"
)]

mod harness;
mod incidents;

mod admin_access;
mod application_servers;
mod architecture;
mod bodies;
mod caching;
mod commands;
mod comparisons;
mod configuration;
mod dashboards;
mod demo;
mod deploys;
mod django;
mod django_browser;
mod django_modes;
mod django_releases;
mod doors;
mod endings;
mod forwarding;
mod gates;
mod grpc;
mod history;
mod holding;
mod http2_floods;
mod http2_frames;
mod http2_visitors;
mod maintenance;
mod maintenance_page;
mod metrics;
mod mode_ends;
mod previews;
mod prometheus_checks;
mod prometheus_login;
mod prometheus_pairs;
mod protocols;
mod raw_http1;
mod raw_http2;
mod restarts;
mod restarts_in_place;
mod resting;
mod restrictions;
mod rollouts;
mod shipped_files;
mod simulations;
mod skew;
mod sockets_browser;
mod splitting;
mod stopping;
mod storage_faults;
mod streams;
mod strictness;
mod switching;
mod target_faults;
mod targets;
mod thin_evidence;
mod timeouts;
mod tls;
mod trouble;
mod tunnels;
mod walkthroughs;
