//! The ways out: targets of every form, how they are spoken to, and how much is asked of them.

use super::super::*;
use super::{file, good, one_fault, one_warning, parse};
use crate::model::Period;

fn pool(keys: &str) -> String {
    file("", &format!("[service.pool.c]\n{keys}"))
}

#[test]
fn targets_of_every_form_are_read() {
    let config = good(&pool(
        "targets = ['c:1', 'unix:/run/app.sock', 'https://app.internal', 'http://[::1]:9']\nprotocol = 'h2'\n\
         tls = { ca_file = '/etc/passwd', server_name = 'shop.internal' }",
    ));
    let pool = &config.services[0].pools[2];
    let targets: Vec<String> = pool.targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["c:1", "unix:/run/app.sock", "https://app.internal:443", "[::1]:9"]);
    assert_eq!(pool.protocol, Protocol::H2);
    let expected = PoolTls { ca_file: Some("/etc/passwd".into()), server_name: Some("shop.internal".into()) };
    assert_eq!(pool.tls, expected);
    let plain = &config.services[0].pools[0];
    assert_eq!((plain.protocol, &plain.tls), (Protocol::H1, &PoolTls::default()));
}

#[test]
fn limits_of_a_service_are_read_and_zero_is_none() {
    let config = good(&file(
        "",
        "[service.limits]\nmax_body = 1_000\nmax_in_flight = 50\nqueue = 0\nqueue_wait = '1s'\n\
         [service.retry]\nbudget = 1\nmin_per_second = 0\n[service.ejection]\nerrors = 2\ntime = '5s'",
    ));
    let service = &config.services[0];
    let limits =
        ServiceLimits { max_body: Some(1000), max_in_flight: Some(50), queue: 0, queue_wait: Period::from_secs(1) };
    assert_eq!(service.limits, limits);
    assert_eq!(service.retry, Retry { budget: 1.0, min_per_second: 0 });
    assert_eq!(service.ejection, Ejection { errors: Some(2), time: Period::from_secs(5) });

    let none = good(&file("", "[service.limits]\nmax_body = 0\nmax_in_flight = 0\n[service.ejection]\nerrors = 0"));
    assert_eq!(none.services[0].limits, ServiceLimits::default());
    assert_eq!(none.services[0].ejection.errors, None);

    let service = |keys: &str| good(&format!("[[service]]\nname = 's'\n{keys}\n{}", super::POOLS)).services.remove(0);
    assert_eq!(service("slow_start = '0s'").slow_start, Period::default());
    assert_eq!(service("").slow_start, Period::from_secs(10));
    assert_eq!(service("").retry, Retry { budget: 0.2, min_per_second: 3 });
    assert_eq!(service("").ejection, Ejection { errors: Some(5), time: Period::from_secs(30) });
}

#[test]
fn a_time_out_that_a_service_leaves_out_is_that_of_the_server() {
    let server = "[server.timeouts]\nconnect = '7s'\nanswer = '8s'\nstall = '9s'";
    let timeouts = |more: &str| good(&file(server, more)).services[0].timeouts;
    let (connect, answer, stall) = (Period::from_secs(7), Period::from_secs(8), Period::from_secs(9));
    assert_eq!(timeouts(""), ServiceTimeouts { connect, answer, stall });
    let own = ServiceTimeouts { connect, answer: Period::from_secs(100), stall };
    assert_eq!(timeouts("[service.timeouts]\nanswer = '100s'"), own);
}

#[test]
fn a_faulty_target_says_what_to_do() {
    for (keys, key, part) in [
        ("targets = ['unix:app.sock']", "targets[0]", "write unix:/PATH"),
        ("targets = ['https://unix:/run/app.sock']", "targets[0]", "asks for TLS on a Unix socket"),
        ("targets = ['ftp://a']", "targets[0]", "https://HOST or https://HOST:PORT for TLS"),
        ("targets = ['https://d', 'https://d:443']", "targets[1]", "https://d:443 is a target of this service"),
        ("targets = ['http://a:1']", "targets[0]", "a:1 is a target of this service on line 5 already"),
        ("targets = ['https://127.0.0.1:8080']", "targets[0]", "go in circles"),
        ("targets = ['c:1']\nprotocol = 'h3'", "protocol", "did you mean"),
        ("targets = ['c:1']\nprotocol = 'http'", "protocol", "write one of \"h1\", \"h2\""),
        ("targets = ['https://c']\ntls = true", "tls", "write a table"),
        ("targets = ['https://c']\ntls.server_name = 'https://c'", "tls.server_name", "without scheme or port"),
        ("targets = ['https://c']\ntls.ca = 'x'", "tls.ca", "unknown key"),
    ] {
        one_fault(&pool(keys), &format!("service[0].pool.c.{key}"), part);
    }
}

#[test]
fn a_target_that_is_a_listener_with_tls_is_the_router_itself() {
    let tls = "[server.tls]\nlisten = ['0.0.0.0:8443']\ncertificates = [{ chain = '/etc/passwd', key = '/etc/hosts' }]";
    for target in ["127.0.0.1:8443", "https://127.0.0.1:8443"] {
        let text = file(tls, &format!("[service.pool.c]\ntargets = ['{target}']"));
        one_fault(&text, "service[0].pool.c.targets[0]", "127.0.0.1:8443 is this router itself");
    }
    good(&file(tls, "[service.pool.c]\ntargets = ['https://10.0.0.1:8443']"));
}

#[test]
fn a_faulty_limit_says_what_to_do() {
    for (more, path, part) in [
        ("[service.limits]\nmax_body = -1", "limits.max_body", "from 0 to"),
        ("[service.limits]\nmax_body = '1MB'", "limits.max_body", "write a whole number"),
        ("[service.limits]\nmax_in_flight = -1", "limits.max_in_flight", "from 0 to"),
        ("[service.limits]\nmax_in_flight = 'x'\nqueue = 1", "limits.max_in_flight", "write a whole number"),
        ("[service.limits]\nmax_in_flight = 1\nqueue = -1", "limits.queue", "from 0 to"),
        ("[service.limits]\nmax_in_flight = 1\nqueue_wait = '0s'", "limits.queue_wait", "write at least 1ms"),
        ("[service.limits]\nmax_in_flight = 1\nqueue_wait = '1h'", "limits.queue_wait", "write at most 10m"),
        ("[service.timeouts]\nconnect = '0s'", "timeouts.connect", "write at least 1ms"),
        ("[service.timeouts]\nhead = '1s'", "timeouts.head", "it belongs in [server.timeouts]"),
        ("[service.retry]\nbudget = 1.5", "retry.budget", "from 0 (none but min_per_second) to 1"),
        ("[service.retry]\nbudget = -0.1", "retry.budget", "out of range"),
        ("[service.retry]\nmin_per_second = -1", "retry.min_per_second", "from 0 to"),
        ("[service.ejection]\nerrors = -1", "ejection.errors", "from 0 to"),
        ("[service.ejection]\ntime = '0s'", "ejection.time", "write at least 1ms"),
    ] {
        one_fault(&file("", more), &format!("service[0].{path}"), part);
    }
    let slow = |value: &str| format!("[[service]]\nname = 's'\nslow_start = {value}\n{}", super::POOLS);
    one_fault(&slow("'2h'"), "service[0].slow_start", "write at most 1h");
    one_fault(&slow("5"), "service[0].slow_start", "write a duration in quotes");
}

#[test]
fn what_does_nothing_is_warned_about() {
    let unused = pool("targets = ['c:1', 'unix:/c']\ntls.server_name = 'c'");
    one_warning(&unused, "service[0].pool.c.tls", "no target of this pool speaks TLS");
    let missing = pool("targets = ['https://c']\ntls.ca_file = 'ca.pem'");
    one_warning(&missing, "service[0].pool.c.tls.ca_file", "/etc/cutover/ca.pem is not there");
    for key in ["queue = 5", "queue_wait = '1s'", "queue = 5\nqueue_wait = '1s'", "queue = 5\nmax_in_flight = 0"] {
        let warned = file("", &format!("[service.limits]\n{key}"));
        let path = format!("service[0].limits.{}", key.split(' ').next().unwrap());
        one_warning(&warned, &path, "write max_in_flight as well");
    }
    assert_eq!(parse(&file("", "[service.limits]\nmax_in_flight = 1\nqueue = 5")).unwrap().warnings, []);
}
