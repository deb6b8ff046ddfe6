//! The outside world behind ports: the embedded store and the Prometheus server.
