//! The configuration as a specification: what a file means, and what is said of a faulty one.

mod doors;
mod plans;
mod schema;
mod targets;

use super::*;
use crate::model::{LatencyCheck, Period, PromQlQuestion, StatusRatioCheck, Until, Worse};
use proptest::prelude::*;
use std::path::PathBuf;

/// A service that needs nothing more.
const POOLS: &str = "[service.pool.server0]\ntargets = ['a:1']\n[service.pool.server1]\ntargets = ['b:1']\n";

fn parse(text: &str) -> Result<Parsed, Faults> {
    Config::parse(text, Path::new("/etc/cutover"))
}

fn good(text: &str) -> Config {
    let parsed = parse(text).unwrap_or_else(|faults| panic!("{text}\n{faults}"));
    assert_eq!(parsed.warnings, [], "{text}");
    parsed.config
}

/// A file with one service: `top` before it, `more` after its pools.
fn file(top: &str, more: &str) -> String {
    format!("{top}\n[[service]]\nname = 's'\n{POOLS}{more}\n")
}

/// `LINE: path: message` of each fault.
fn faults(text: &str) -> Vec<String> {
    let line = |fault: &Fault| {
        let line = fault.position.map_or(0, |position| position.line);
        format!("{line}: {}: {}", fault.path, fault.message)
    };
    parse(text).map_or_else(|faults| faults.faults.iter().map(line).collect(), |_| Vec::new())
}

#[track_caller]
fn one_fault(text: &str, path: &str, part: &str) {
    let faults = faults(text);
    assert_eq!(faults.len(), 1, "{text}\n{faults:#?}");
    assert!(faults[0].contains(&format!(": {path}: ")), "{faults:#?} is not at {path}");
    assert!(faults[0].contains(part), "{faults:#?} does not say {part:?}");
}

#[track_caller]
fn one_warning(text: &str, path: &str, part: &str) {
    let warnings = parse(text).unwrap_or_else(|faults| panic!("{text}\n{faults}")).warnings;
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert_eq!(warnings[0].path, path);
    assert!(warnings[0].message.contains(part), "{warnings:#?}");
}

#[test]
fn two_pools_are_enough_and_everything_else_has_a_default() {
    let config = good(&file("", ""));
    assert_eq!(config.server.listen, [Listener::from(std::net::SocketAddr::from(([0, 0, 0, 0], 8080)))]);
    assert_eq!(config.server.timeouts, Timeouts::default());
    assert_eq!(config.admin.listen, AdminListen::Tcp("127.0.0.1:9900".parse().unwrap()));
    assert_eq!(config.state, PathBuf::from("/etc/cutover/cutover.db"));
    assert_eq!(config.server.secret_file, PathBuf::from("/etc/cutover/cutover.secret"));
    let service = &config.services[0];
    assert_eq!(service.hosts, [crate::model::HostPattern::Any]);
    assert_eq!((&service.health, &service.sticky), (&Health::default(), &StickyBy::Cookie));
    assert_eq!(service.rollout, RolloutConfig::default());
    assert_eq!(service.maintenance, Maintenance::default());
}

#[test]
fn pools_keep_the_order_of_the_file_and_the_first_is_live() {
    let config = good(
        "[[service]]\nname = 's'\n[service.pool.zebra]\ntargets = ['a:1']\n[service.pool.ant]\ntargets = ['b:1']\n\
         [service.pool.mole]\ntargets = ['c:1']",
    );
    let names: Vec<_> = config.services[0].pools.iter().map(|pool| pool.name.as_str()).collect();
    assert_eq!(names, ["zebra", "ant", "mole"]);
    assert_eq!(config.services[0].live.as_str(), "zebra");
}

#[test]
fn a_full_service_means_what_it_says() {
    let config = good(&file(
        "[prometheus]\nurl = 'http://[::1]:9090/'\n[access_log]\nformat = 'text'\nsample = 0.25\n\
         [server]\ntrusted_proxies = ['10.1.2.3/8', '::1']\nsecret_file = '/s'\ntimeouts.answer = '5s'",
        "[service.sticky]\nby = 'header:X-User'\n[service.rollout]\nsteps = [{ weight = 0.01, hold = '1s' }]\n\
         max_hold = '1h'\nmin_requests = 1_000\non_inconclusive = 'rollback'\nwatch = '0s'\n\
         [[service.rollout.check]]\nkind = 'promql'\nname = 'jobs'\nquery = 'x{r=\"{{release}}\"}'\nmin = 1\n\
         [service.maintenance]\nunsafe_status = 405\nbypass = ['192.0.2.1']",
    ));
    assert_eq!(config.prometheus.unwrap().url, "http://[::1]:9090");
    assert_eq!(config.access_log, AccessLog { format: LogFormat::Text, sample: 0.25 });
    assert_eq!(config.server.trusted_proxies, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.server.timeouts.answer, Period::from_secs(5));
    let service = &config.services[0];
    assert_eq!(service.sticky, StickyBy::Header("x-user".parse().unwrap()));
    assert_eq!((service.rollout.steps[0].weight.get(), service.rollout.min_requests), (1, 1000));
    assert_eq!(service.rollout.on_inconclusive, OnInconclusive::Rollback);
    assert_eq!(service.maintenance.unsafe_status, UnsafeStatus::MethodNotAllowed);
    let [Check::PromQl(check)] = service.rollout.checks.as_slice() else { panic!("{:?}", service.rollout.checks) };
    let PromQlQuestion::Bounds { max, min, .. } = check.ask else { panic!("{:?}", check.ask) };
    assert_eq!((min, max, check.every, check.failures), (Some(1.0), None, Period::from_secs(15), 3));
}

#[test]
fn checks_mean_what_they_say() {
    let config = good(&file(
        "[prometheus]\nurl = 'http://p'",
        "[[service.rollout.check]]\nkind = 'latency'\nquantile = 0.95\ntolerate = '150%'\n\
         [[service.rollout.check]]\nkind = 'latency'\nuntil = 'end'\ntolerate = 0.25\n\
         [[service.rollout.check]]\nkind = 'status-ratio'\nstatuses = [429]\n\
         [[service.rollout.check]]\nkind = 'promql'\nname = 'queue'\nquery = 'q{p=\"{{pool}}\"}[{{window}}]'\n\
         window = '90s'\ncompare = 'live'\nworse = 'lower'\n\
         [[service.rollout.check]]\nkind = 'promql'\nname = 'jobs'\nbad = 'b{p=\"{{pool}}\"}[{{window}}]'\n\
         total = 't{r=\"{{release}}\"}[{{window}}]'\nevery = '30s'",
    ));
    let [
        Check::Latency(head),
        Check::Latency(end),
        Check::StatusRatio(status),
        Check::PromQl(compare),
        Check::PromQl(pair),
    ] = config.services[0].rollout.checks.as_slice()
    else {
        panic!("{:?}", config.services[0].rollout.checks)
    };
    assert_eq!(*head, LatencyCheck { until: Until::Head, quantiles: vec![0.95], tolerate: 1.5 });
    assert_eq!(*end, LatencyCheck { until: Until::End, quantiles: vec![0.5, 0.9, 0.99], tolerate: 0.25 });
    assert_eq!(*status, StatusRatioCheck { statuses: vec![429], tolerate: 0.01 });
    let query = "q{p=\"{{pool}}\"}[{{window}}]".to_owned();
    assert_eq!(compare.ask, PromQlQuestion::Compare { query, tolerate: 0.1, worse: Worse::Lower });
    assert_eq!((compare.window, compare.every), (Period::from_secs(90), Period::from_secs(15)));
    let PromQlQuestion::Pair { tolerate, .. } = pair.ask else { panic!("{:?}", pair.ask) };
    assert_eq!((pair.every, tolerate.to_string().as_str()), (Period::from_secs(30), "0.001"));
}

#[test]
fn prometheus_is_asked_the_way_it_wants() {
    let config = good(&file(
        "[prometheus]\nurl = 'https://p/prom/'\ntimeout = '2s'\nusername = 'me'\npassword_file = '/etc/passwd'\n\
         ca_file = '/etc/passwd'\nclient_certificate = '/etc/passwd'\nclient_key = '/etc/hosts'\n\
         headers = { X-Scope-OrgID = 'shop' }",
        "",
    ));
    let expected = Prometheus {
        login: PrometheusLogin::Basic { username: "me".to_owned(), password_file: "/etc/passwd".into() },
        ca_file: Some("/etc/passwd".into()),
        client: Some(ClientCertificate { certificate: "/etc/passwd".into(), key: "/etc/hosts".into() }),
        headers: vec![("x-scope-orgid".parse().unwrap(), "shop".parse().unwrap())],
        ..Prometheus::at("https://p/prom".to_owned(), Period::from_secs(2))
    };
    assert_eq!(config.prometheus, Some(expected));
    let token = good(&file("[prometheus]\nurl = 'http://p'\nbearer_token_file = '/etc/passwd'", ""));
    assert_eq!(token.prometheus.unwrap().login, PrometheusLogin::Bearer("/etc/passwd".into()));
    one_warning(
        &file("[prometheus]\nurl = 'http://p'\nbearer_token_file = '/nowhere/token'", ""),
        "prometheus.bearer_token_file",
        "is not there",
    );
}

#[test]
fn the_secret_stays_beside_the_state() {
    let config = good(&file("[state]\npath = '/var/lib/cutover/state.db'", ""));
    assert_eq!(config.server.secret_file, PathBuf::from("/var/lib/cutover/cutover.secret"));
}

#[test]
fn a_faulty_table_says_what_to_do() {
    let prometheus = |keys: &str| format!("[prometheus]\nurl = 'https://p'\n{keys}");
    for (top, path, part) in [
        ("[server]\nlisten = ['8080']", "server.listen[0]", "write ADDRESS:PORT"),
        ("[server]\nlisten = '0.0.0.0:80'", "server.listen", "this is a string; write a list of addresses"),
        ("[server]\nlisten = []", "server.listen", "no address to listen on"),
        ("[server]\nlisten = ['[::]:80', '[::]:80']", "server.listen[1]", "listed twice"),
        ("[server]\nworkers = -1", "server.workers", "from 0 to 1024"),
        ("[server]\nworkers = 2.5", "server.workers", "this is a float; write a whole number"),
        ("[server]\ntrusted_proxies = ['10.0.0.0/33']", "server.trusted_proxies[0]", "is not a network"),
        ("[server]\nsecret_file = ''", "server.secret_file", "this is empty"),
        ("[server.timeouts]\nhead = '0s'", "server.timeouts.head", "write at least 1ms"),
        ("[server.timeouts]\nhead = 5", "server.timeouts.head", "this is an integer; write a duration in quotes"),
        ("[server.timeouts]\nhead = 'soon'", "server.timeouts.head", "is not a duration"),
        ("[state]\netcd = ['http://10.0.0.5:2379']", "state.etcd", "not available in this version"),
        ("state = 'x.db'", "state", "this is a string; write a table"),
        ("[admin]\nlisten = '0.0.0.0:9900'", "admin.listen", "set admin.token_file"),
        ("[admin]\nlisten = 'unix:'", "admin.listen", "no path follows"),
        ("[admin]\nlisten = 'localhost'", "admin.listen", "is not an address"),
        ("[admin]\nlisten = '127.0.0.1:8080'", "admin.listen", "choose another port"),
        ("[prometheus]", "prometheus.url", "write one, such as"),
        ("[prometheus]\nurl = 'p:9090'", "prometheus.url", "is not a server's address"),
        ("[prometheus]\nurl = 'ftp://p'", "prometheus.url", "is not a server's address"),
        ("[prometheus]\nurl = 'http://p/?a=b'", "prometheus.url", "is not a server's address"),
        ("[prometheus]\nurl = 'http://me:secret@p'", "prometheus.url", "write `username` and `password_file`"),
        (&prometheus("username = 'me'"), "prometheus.password_file", "the password is missing"),
        (&prometheus("password_file = '/dev/null'"), "prometheus.username", "the name is missing"),
        (&prometheus("username = 'a:b'\npassword_file = '/etc/passwd'"), "prometheus.username", "without a colon"),
        (
            &prometheus("bearer_token_file = '/etc/passwd'\nusername = 'me'"),
            "prometheus.bearer_token_file",
            "one of them",
        ),
        (&prometheus("client_key = '/etc/passwd'"), "prometheus.client_certificate", "the certificate of the key"),
        (&prometheus("client_certificate = '/etc/passwd'"), "prometheus.client_key", "the key of the certificate"),
        ("[prometheus]\nurl = 'http://p'\nca_file = '/etc/passwd'", "prometheus.ca_file", "https:// in `url`"),
        (
            &prometheus("headers = { Authorization = 'x' }"),
            "prometheus.headers.Authorization",
            "write `bearer_token_file`",
        ),
        (&prometheus("headers = { host = 'x' }"), "prometheus.headers.host", "that of `url`"),
        (&prometheus("headers = { 'a b' = 'x' }"), "prometheus.headers.\"a b\"", "not the name of a header"),
        (&prometheus("headers = { a = \"x\\ny\" }"), "prometheus.headers.a", "on one line"),
        (&prometheus("headers = { a = 1 }"), "prometheus.headers.a", "this is an integer"),
        ("[access_log]\nsample = 2", "access_log.sample", "from 0 (off) to 1 (all)"),
        ("[access_log]\nsample = nan", "access_log.sample", "write a finite number"),
        ("[access_log]\nformat = 'jsn'", "access_log.format", "did you mean \"json\"?"),
        ("[sever]\nworkers = 1", "sever", "did you mean `server`?"),
        ("workers = 1", "workers", "it belongs in [server]"),
    ] {
        one_fault(&file(top, ""), path, part);
    }
}

#[test]
fn a_faulty_service_says_what_to_do() {
    let cases: &[(&str, &str, &str)] = &[
        ("[service.pool.'a b']\ntargets = ['c:1']", "service[0].pool.\"a b\"", "is not usable"),
        ("[service.pool.c]", "service[0].pool.c.targets", "at least one target"),
        ("[service.pool.c]\ntargets = []", "service[0].pool.c.targets", "at least one target"),
        ("[service.pool.c]\ntargets = ['c']", "service[0].pool.c.targets[0]", "write HOST:PORT"),
        ("[service.pool.c]\ntargets = ['c:1', 'c:1']", "service[0].pool.c.targets[1]", "already; take one out"),
        ("[service.pool.c]\ntargets = ['a:1']", "service[0].pool.c.targets[0]", "on line 5 already"),
        ("[service.pool.c]\ntargets = ['127.0.0.1:8080']", "service[0].pool.c.targets[0]", "go in circles"),
        ("[service.pool.c]\ntagets = ['c:1']\ntargets = ['c:1']", "service[0].pool.c.tagets", "`targets`?"),
        ("[service.pool.c]\ntargets = ['c:1']\nlive = 'c'", "service[0].pool.c.live", "it belongs in [[service]]"),
        ("[service.pool.c]\ntargets = ['c:1']\nrelease = 'a b'", "service[0].pool.c.release", "is not usable"),
        ("[service.health]\npath = 'up'", "service[0].health.path", "begins with '/'"),
        ("[service.health]\ninterval = '1ms'", "service[0].health.interval", "write at least 10ms"),
        ("[service.health]\nrise = 0", "service[0].health.rise", "from 1 to"),
        ("[service.sticky]\nby = 'cokie'", "service[0].sticky.by", "did you mean \"cookie\"?"),
        ("[service.sticky]\nby = 'header:a b'", "service[0].sticky.by", "is not the name of a header"),
        ("[service.maintenance]\nunsafe_status = 500", "service[0].maintenance.unsafe_status", "write 503 or 405"),
        ("[service.maintenance]\nretry_after = '0s'", "service[0].maintenance.retry_after", "at least 1s"),
        ("[service.maintenance]\nbypass = ['x']", "service[0].maintenance.bypass[0]", "is not a network"),
        ("[service.maintenance]\nexempt = ['x']", "service[0].maintenance.exempt[0]", "begins with"),
        ("[service.read_only]\nunsafe = '500'", "service[0].read_only.unsafe", "none of the choices"),
        ("[service.read_only]\nexempt = '/a'", "service[0].read_only.exempt", "write a list of path prefixes"),
        ("[service.anonymous]\ncookies = ['a b']", "service[0].anonymous.cookies[0]", "is not the name of a cookie"),
        ("[service.anonymous]\ncookies = ['cutover']", "service[0].anonymous.cookies[0]", "the router's own cookie"),
        ("[service.hold]\nmax_wait = '0s'", "service[0].hold.max_wait", "at least 1ms"),
        ("[service.hold]\nmax_wait = '1h'", "service[0].hold.max_wait", "at most 10m"),
        ("[service.hold]\nmax_requests = 0", "service[0].hold.max_requests", "from 1 to"),
        ("[service.health]\nrelease = 'json:v'", "service[0].health.release", "write a path as well"),
        ("[service.health]\npath = '/up'\nrelease = 'v'", "service[0].health.release", "is no place in an answer"),
    ];
    for (more, path, part) in cases {
        one_fault(&file("", more), path, part);
    }
}

#[test]
fn a_faulty_rollout_says_what_to_do() {
    for (more, key, part) in [
        ("steps = []", "steps", "write at least one"),
        ("steps = [{ hold = '1m' }]", "steps[0].weight", "the weight is missing"),
        ("steps = [{ weight = 1 }]", "steps[0].hold", "the hold is missing"),
        ("steps = [{ weight = 0, hold = '1m' }]", "steps[0].weight", "above 0 and below 100"),
        ("steps = [{ weight = 100, hold = '1m' }]", "steps[0].weight", "above 0 and below 100"),
        ("steps = [{ weight = 0.001, hold = '1m' }]", "steps[0].weight", "in steps of 0.01"),
        ("steps = [{ weight = 5, hold = '0s' }]", "steps[0].hold", "write at least"),
        ("steps = [{ weight = 5, hold = '1s' }, { weight = 5, hold = '1s' }]", "steps[1].weight", "rising order"),
        ("max_hold = '1m'", "max_hold", "is shorter than the hold of 2m at 1%"),
        ("false_alarm = 0", "false_alarm", "between 0 and 1"),
        ("miss = 1", "miss", "between 0 and 1"),
        ("miss = '5%'", "miss", "a number without quotes"),
        ("min_requests = 0", "min_requests", "from 1 to"),
        ("on_inconclusive = 'wait'", "on_inconclusive", "\"hold\", \"promote\", \"rollback\""),
        ("objective = 1", "objective", "between 0 and 1"),
        ("watch = '-1s'", "watch", "is not a duration"),
        ("check = [{}]", "check[0].kind", "the kind is missing"),
        ("check = [{ kind = 'webhook' }]", "check[0].kind", "[[service.rollout.gate]]"),
        ("check = [{ kind = 'latency', quantile = 1 }]", "check[0].quantile", "above 0 and below 1"),
        ("check = [{ kind = 'latency', quantiles = [] }]", "check[0].quantiles", "write 1 to 3 quantiles"),
        ("check = [{ kind = 'latency', quantiles = [0.1, 0.2, 0.3, 0.4] }]", "check[0].quantiles", "1 to 3 quantiles"),
        ("check = [{ kind = 'latency', quantiles = [0.9, 0.5] }]", "check[0].quantiles", "in rising order"),
        ("check = [{ kind = 'latency', quantiles = [0.5, 0.5] }]", "check[0].quantiles", "each once"),
        ("check = [{ kind = 'latency', quantiles = [0.5, '1'] }]", "check[0].quantiles[1]", "a number without quotes"),
        ("check = [{ kind = 'latency', quantile = 0.5, quantiles = [0.5] }]", "check[0].quantile", "one of the two"),
        ("check = [{ kind = 'latency', until = 'tail' }]", "check[0].until", "\"head\", \"end\""),
        ("check = [{ kind = 'latency', tolerate = 10 }]", "check[0].tolerate", "such as \"10%\" or 0.1"),
        ("check = [{ kind = 'latency', tolerate = '10' }]", "check[0].tolerate", "such as \"10%\" or 0.1"),
        ("check = [{ kind = 'latency', tolerate = '-1%' }]", "check[0].tolerate", "write 0% to 1000%"),
        ("check = [{ kind = 'latency', tolerate = 'nan%' }]", "check[0].tolerate", "write 0% to 1000%"),
        (
            "check = [{ kind = 'latency' }, { kind = 'latency', until = 'head' }]",
            "check[1]",
            "a latency check until the head",
        ),
        (
            "check = [{ kind = 'latency', until = 'end' }, { kind = 'latency', until = 'end' }]",
            "check[1]",
            "a latency check until the end",
        ),
        ("check = [{ kind = 'status-ratio', statuses = [] }]", "check[0].statuses", "write at least one"),
        ("check = [{ kind = 'status-ratio', statuses = [500] }]", "check[0].statuses[0]", "from 400 to 499"),
        ("check = [{ kind = 'status-ratio', statuses = [404, 404] }]", "check[0].statuses[1]", "listed twice"),
        ("check = [{ kind = 'status-ratio', tolerate = 2 }]", "check[0].tolerate", "from 0 to 1"),
        ("check = [{ kind = 'status-ratio' }, { kind = 'status-ratio' }]", "check[1]", "a status-ratio check already"),
        ("check = [{ kind = 'error-ratio', tolerate = '10%' }]", "check[0].tolerate", "a number without quotes"),
        ("check = [{ kind = 'error-ratio', tolerate = 1.5 }]", "check[0].tolerate", "from 0 to 1"),
        ("check = [{ kind = 'error-ratio', quantile = 1 }]", "check[0].quantile", "it belongs in a latency check"),
        ("check = [{ kind = 'error-ratio' }, { kind = 'error-ratio' }]", "check[1]", "take one out"),
    ] {
        one_fault(&file("", &format!("[service.rollout]\n{more}")), &format!("service[0].rollout.{key}"), part);
    }
}

#[test]
fn a_faulty_promql_check_says_what_to_do() {
    let sound = "kind = 'promql'\nname = 'n'\nquery = 'q'\n";
    let each = "kind = 'promql'\nname = 'n'\nquery = 'q{r=\"{{release}}\"}'\n";
    let total = "total = 't{p=\"{{pool}}\"}[{{window}}]'";
    let pair = |bad: &str| format!("kind = 'promql'\nname = 'n'\nbad = '{bad}'\n{total}");
    let pair_with = |key: &str| format!("{}\n{key}", pair("b{p=\"{{pool}}\"}[{{window}}]"));
    let check = |keys: &str| file("[prometheus]\nurl = 'http://p:1'", &format!("[[service.rollout.check]]\n{keys}"));
    for (keys, key, part) in [
        ("kind = 'promql'\nquery = 'q'\nmax = 1", ".name", "the name is missing"),
        ("kind = 'promql'\nname = 'n'\nmax = 1", ".query", "the query is missing"),
        ("kind = 'promql'\nname = 'n'\nquery = ' '\nmax = 1", ".query", "the query is empty"),
        ("kind = 'promql'\nname = 'n'\nquery = '{{relase}}'\nmax = 1", ".query", "to fill in for {{relase}}"),
        ("kind = 'promql'\nname = 'n'\nquery = '{{pool'\nmax = 1", ".query", "is not closed"),
        ("kind = 'promql'\nname = 'error-ratio'\nquery = 'q'\nmax = 1", ".name", "choose another"),
        ("kind = 'promql'\nname = 'cut-off'\nquery = 'q'\nmax = 1", ".name", "choose another"),
        (sound, ".max", "write max = … or min = …"),
        (&format!("{sound}max = 1\nmin = 2"), "", "min is above max"),
        (&format!("{sound}max = inf"), ".max", "write a finite number"),
        (&format!("{sound}max = 1\nevery = '500ms'"), ".every", "write at least 1s"),
        (&format!("{sound}max = 1\nfailures = 0"), ".failures", "from 1 to"),
        (&format!("{sound}max = 1\nwindow = '10ms'"), ".window", "write at least 1s"),
        (&format!("{sound}max = 1\nworse = 'lower'"), ".worse", "add compare"),
        (&format!("{sound}max = 1\ntolerate = '10%'"), ".tolerate", "add compare"),
        (&format!("{sound}compare = 'live'"), ".query", "tell them apart by {{pool}} or {{release}}"),
        (&format!("{each}compare = 'others'"), ".compare", "write one of \"live\""),
        (&format!("{each}compare = 'live'\nmax = 1"), ".max", "is a fixed bound"),
        (&format!("{each}compare = 'live'\nworse = 'up'"), ".worse", "\"higher\", \"lower\""),
        (&format!("{each}compare = 'live'\ntolerate = 10"), ".tolerate", "such as \"10%\" or 0.1"),
        ("kind = 'promql'\nname = 'n'\nbad = 'b{p=\"{{pool}}\"}[{{window}}]'", ".total", "the other half of the pair"),
        ("kind = 'promql'\nname = 'n'\ntotal = 'b{p=\"{{pool}}\"}[{{window}}]'", ".bad", "the other half of the pair"),
        (&pair("b[{{window}}]"), ".bad", "tell them apart by {{pool}} or {{release}}"),
        (&pair("b{p=\"{{pool}}\"}[1m]"), ".bad", "write {{window}}"),
        (&pair_with("query = 'q'"), ".query", "take it out of the pair"),
        (&pair_with("window = '1m'"), ".window", "that of a pair reaches back"),
        (&pair_with("failures = 3"), ".failures", "judged by its counts"),
        (&pair_with("tolerate = '1%'"), ".tolerate", "a number without quotes"),
    ] {
        one_fault(&check(keys), &format!("service[0].rollout.check[0]{key}"), part);
    }
    let twice = format!("{sound}max = 1\n[[service.rollout.check]]\n{sound}min = 1");
    one_fault(&check(&twice), "service[0].rollout.check[1].name", "the check on line 11 has this name too");
    let no_server = file("", &format!("[[service.rollout.check]]\n{sound}max = 1"));
    one_fault(&no_server, "service[0].rollout.check[0]", "add [prometheus]");
}

#[test]
fn services_need_pools_a_name_and_a_route_of_their_own() {
    let pools = POOLS;
    one_fault("", "service", "add [[service]]");
    one_fault("service = []", "service", "add [[service]]");
    one_fault(&format!("[service]\nname = 's'\n{pools}"), "service", "write [[service]] in double brackets");
    one_fault("[[service]]\nname = 's'", "service[0].pool", "a service needs two pools");
    one_fault("[[service]]\nname = 's'\n[service.pool.a]\ntargets = ['a:1']", "service[0].pool", "needs two pools");
    one_fault(&format!("[[service]]\n{pools}"), "service[0].name", "the name is missing");
    one_fault(&format!("[[service]]\nname = 's'\nlive = 'x'\n{pools}"), "service[0].live", "one of server0, server1");
    one_fault(&format!("[[service]]\nname = 's'\nhosts = []\n{pools}"), "service[0].hosts", "no hosts");
    one_fault(
        &format!("[[service]]\nname = 's'\nhosts = ['a:80']\n{pools}"),
        "service[0].hosts[0]",
        "without scheme or port",
    );
    one_fault(
        &format!("[[service]]\nname = 's'\npath_prefix = 'x'\n{pools}"),
        "service[0].path_prefix",
        "begins with '/'",
    );
    let two = |first: &str, second: &str| format!("[[service]]\n{first}\n{pools}[[service]]\n{second}\n{pools}");
    one_fault(
        &two("name = 'a'\nhosts = ['h']", "name = 'a'"),
        "service[1].name",
        "the service on line 2 is called that too",
    );
    one_fault(&two("name = 'a'", "name = 'b'"), "service[1]", "every host with path prefix / is taken on line 1");
    let same_host = two("name = 'a'\nhosts = ['h', '*.h']", "name = 'b'\nhosts = ['x', '*.H']");
    one_fault(&same_host, "service[1].hosts[1]", "host *.h with path prefix / is taken on line 3");
    good(&two("name = 'a'", "name = 'b'\npath_prefix = '/b'"));
}

#[test]
fn what_is_probably_not_meant_is_warned_about() {
    let check = "[[service.rollout.check]]\nkind = 'error-ratio'\ntolerate = 0";
    one_warning(&file("", check), "service[0].rollout.check[0].tolerate", "nothing could be promoted by evidence");
    let everything = "[service.read_only]\nexempt = ['/login', '/']";
    one_warning(&file("", everything), "service[0].read_only.exempt", "nothing would be refused");
    let everything = "[service.maintenance]\nexempt = [\"/hooks\", \"/\"]";
    one_warning(&file("", everything), "service[0].maintenance.exempt", "keep nothing out");
    one_warning(&file("", "[service.anonymous]\ncookies = []"), "service[0].anonymous.cookies", "only Authorization");
    let check = "[[service.rollout.check]]\nkind = 'promql'\nname = 'n'\nquery = 'q'\nmax = 1\nwindow = '1m'";
    let unused = file("[prometheus]\nurl = 'http://p'", check);
    one_warning(&unused, "service[0].rollout.check[0].window", "does not mention {{window}}");
    let by_address = "[service.sticky]\nby = 'client-ip'";
    one_warning(&file("", by_address), "service[0].sticky.by", "server.trusted_proxies");
    good(&file("[server]\ntrusted_proxies = ['10.0.0.0/8']", by_address));
    one_warning(&file("[server]\ntrusted_proxies = ['0.0.0.0/0']", ""), "server.trusted_proxies", "any visitor");
    one_warning(
        &file("[admin]\ntoken_file = '/nowhere/token'\nlisten = '0.0.0.0:1'", ""),
        "admin.token_file",
        "make it",
    );
    one_warning(
        &file("", "[service.maintenance]\npage = 'nowhere.html'"),
        "service[0].maintenance.page",
        "/etc/cutover/nowhere.html",
    );
    one_warning(
        &file("", "[service.maintenance]\nfile = '/nowhere/on'"),
        "service[0].maintenance.file",
        "the folder /nowhere",
    );
}

#[test]
fn all_faults_of_a_file_come_at_once_with_their_places() {
    let text = "\
[server]
listen = ['127.0.0.1']
workrs = 2
[admin]
listen = '0.0.0.0:1'
[[service]]
name = 'a shop'
live = 'x'
[service.pool.server0]
targets = ['é', 'b']
[service.health]
rise = 0
[service.rollout]
miss = 2
steps = [{ weight = 5 }]
";
    let faults = parse(text).unwrap_err().in_file(Path::new("shop.toml")).to_string();
    let places: Vec<_> = faults.lines().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = [
        "shop.toml:2:11 server.listen[0]",
        "shop.toml:3:1 server.workrs",
        "shop.toml:5:10 admin.listen",
        "shop.toml:7:8 service[0].name",
        "shop.toml:8:8 service[0].live",
        "shop.toml:9:10 service[0].pool",
        "shop.toml:10:12 service[0].pool.server0.targets[0]",
        "shop.toml:10:17 service[0].pool.server0.targets[1]",
        "shop.toml:12:8 service[0].health.rise",
        "shop.toml:14:8 service[0].rollout.miss",
        "shop.toml:15:10 service[0].rollout.steps[0].hold",
    ];
    assert_eq!(places, expected, "{faults}");
}

#[test]
fn faults_of_the_syntax_come_with_the_others_and_have_no_echo() {
    let text = file("[server]\nworkers = \nlisten = ['x']\nlisten = ['y']", "[service.health]\npath = \"/up\nrise = 0");
    let faults = faults(&text);
    let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["2", "3", "4", "12", "13"], "{faults:#?}");
    assert!(faults.iter().filter(|fault| fault.contains("mend the TOML here")).count() == 3, "{faults:#?}");
}

#[test]
fn a_file_that_is_missing_huge_or_no_text_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let fault = |name: &str| Config::load(&folder.path().join(name)).unwrap_err().to_string();
    assert!(fault("missing.toml").contains("missing.toml: the configuration can't be opened"));
    std::fs::write(folder.path().join("binary.toml"), b"a = 1\n\xff").unwrap();
    assert!(fault("binary.toml").contains("line 2 is not UTF-8"));
    let length = usize::try_from(LARGEST).unwrap() + 1;
    std::fs::write(folder.path().join("huge.toml"), vec![b'#'; length]).unwrap();
    assert!(fault("huge.toml").contains("larger than 4 MiB"));
}

#[test]
fn a_flood_of_faults_is_cut_short() {
    assert!(parse(&"=\n".repeat(5000)).unwrap_err().faults.len() <= 1000);
    let unknown: Vec<String> = (0..5000).map(|index| format!("key{index} = 1\n")).collect();
    let faults = parse(&unknown.concat()).unwrap_err();
    assert_eq!(faults.faults.len(), 1001);
    assert!(faults.to_string().ends_with("there are more faults; mend these first"));
}

fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files = Vec::new();
    for folder in [root.clone(), root.join("examples")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                files.push(path);
            }
        }
    }
    files
}

#[test]
fn every_shipped_configuration_loads() {
    let files = shipped();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let parsed = Config::load(&file).unwrap_or_else(|faults| panic!("{faults}"));
        // They refer to files of the reader's machine; there is nothing else to warn about.
        assert!(
            parsed.warnings.iter().all(|warning| warning.message.contains("is not there")),
            "{:?}",
            parsed.warnings
        );
    }
}

/// The reference with every example line that is behind a `#` switched on.
fn uncommented_reference() -> String {
    let text = include_str!("../../config/cutover.toml");
    let is_content = |line: &str| line.contains(" = ") || line.starts_with(['[', ']']) || line.starts_with("  {");
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(content) if is_content(content) => content,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_shows_every_key_and_true_defaults() {
    let text = uncommented_reference();
    let tree: toml::Table = text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"));
    let service = &tree["service"][0];
    let rollout = &service["rollout"];
    // What all tables of a list show together: some keys rule each other out.
    let together = |list: &toml::Value| {
        let tables = list.as_array().unwrap().iter();
        toml::Value::Table(tables.flat_map(|table| table.as_table().unwrap().clone()).collect())
    };
    let checks_of = |kind: &str| {
        let checks = rollout["check"].as_array().unwrap().iter().filter(|check| check["kind"].as_str() == Some(kind));
        toml::Value::Table(checks.flat_map(|check| check.as_table().unwrap().clone()).collect())
    };
    let tables = [
        (keys::ROOT, &toml::Value::Table(tree.clone())),
        (keys::SERVER, &tree["server"]),
        (keys::LISTENER, &together(&tree["server"]["tls"]["listen"])),
        (keys::TLS, &tree["server"]["tls"]),
        (keys::CERTIFICATE, &together(&tree["server"]["tls"]["certificates"])),
        (keys::TIMEOUTS, &tree["server"]["timeouts"]),
        (keys::SERVER_LIMITS, &tree["server"]["limits"]),
        (keys::ADMIN, &tree["admin"]),
        (keys::STATE, &tree["state"]),
        (keys::PROMETHEUS, &tree["prometheus"]),
        (keys::ACCESS_LOG, &tree["access_log"]),
        (keys::NOTIFY, &together(&tree["notify"])),
        (keys::SERVICE, service),
        (keys::POOL, &service["pool"]["server0"]),
        (keys::POOL_TLS, &service["pool"]["server0"]["tls"]),
        (keys::SERVICE_LIMITS, &service["limits"]),
        (keys::SERVICE_TIMEOUTS, &service["timeouts"]),
        (keys::RETRY, &service["retry"]),
        (keys::EJECTION, &service["ejection"]),
        (keys::HEALTH, &service["health"]),
        (keys::STICKY, &service["sticky"]),
        (keys::ROLLOUT, rollout),
        (keys::GATE, &together(&rollout["gate"])),
        (keys::ERROR_RATIO, &checks_of("error-ratio")),
        (keys::LATENCY, &checks_of("latency")),
        (keys::STATUS_RATIO, &checks_of("status-ratio")),
        (keys::PROMQL, &checks_of("promql")),
        (keys::MAINTENANCE, &service["maintenance"]),
        (keys::READ_ONLY, &service["read_only"]),
        (keys::ANONYMOUS, &service["anonymous"]),
        (keys::HOLD, &service["hold"]),
    ];
    // What a step may ask for besides is shown in words.
    assert_eq!(tables.len() + 1, keys::ALL.len());
    for key in keys::STEP.known {
        assert!(text.contains(&format!("#   {key} ")) || text.contains(&format!("{key} = ")), "{key}");
    }
    for (keys, table) in tables {
        for key in keys.known {
            assert!(table.get(key).is_some(), "config/cutover.toml does not show {key} of {}", keys.header);
        }
    }
    // A token would be another way to log in.
    let text = text.replace("bearer_token_file =", "# bearer_token_file =");
    let config = parse(&text).unwrap_or_else(|faults| panic!("{faults}")).config;
    let plain = good(&file("", ""));
    let tls = config.server.tls.as_ref().unwrap();
    let default = (vec![Listener::from(std::net::SocketAddr::from(([0, 0, 0, 0], 8443)))], TlsVersion::default(), None);
    assert_eq!((tls.listen.clone(), tls.min_version, tls.redirect), default);
    assert_eq!(Server { tls: None, ..config.server }, plain.server);
    assert_eq!(
        (config.admin.listen, config.state, config.access_log),
        (plain.admin.listen, plain.state, plain.access_log)
    );
    let (shown, default) = (&config.services[0], &plain.services[0]);
    let but_checks = RolloutConfig {
        max_hold: None,
        checks: default.rollout.checks.clone(),
        gates: Vec::new(),
        ..shown.rollout.clone()
    };
    assert_eq!(but_checks, default.rollout);
    assert_eq!(shown.rollout.checks[0], default.rollout.checks[0]);
    assert_eq!(shown.rollout.checks[1], Check::Latency(LatencyCheck::default()));
    assert_eq!(shown.rollout.checks[3], Check::StatusRatio(StatusRatioCheck::default()));
    assert_eq!(Health { path: None, release: None, ..shown.health.clone() }, default.health);
    let but_files = Maintenance { page: None, file: None, assets: None, ..shown.maintenance.clone() };
    assert_eq!(but_files, default.maintenance);
    assert_eq!((&shown.read_only, &shown.hold), (&default.read_only, &default.hold));
    assert_eq!((&shown.skew_guard, &shown.caching), (&default.skew_guard, &default.caching));
    let limits = |service: &Service| (service.limits, service.timeouts, service.retry, service.ejection);
    assert_eq!((limits(shown), shown.slow_start), (limits(default), default.slow_start));
    assert_eq!(shown.pools[0].protocol, default.pools[0].protocol);
}

odd_input! {
    fn what_is_written_is_what_is_read(
        port in 10_000..=u16::MAX, weights in prop::collection::btree_set(1..10_000_u16, 1..9), hold in 1..100_000_u64,
        budget in 0.0..=1.0_f64, max_body in 1..=u32::MAX, targets in prop::collection::btree_set("[a-z]{1,5}:[1-9][0-9]{0,3}", 2..6),
        release in "[A-Za-z0-9._+-]{1,20}", host in "(\\*\\.)?[a-z0-9-]{1,6}(\\.[a-z]{1,3}){0,2}", prefix in "/([a-z]{1,3}(/[a-z]{1,3})?)?",
    ) {
        let steps: Vec<_> =
            weights.iter().map(|it| format!("{{ weight = {}, hold = '{hold}s' }}", f64::from(*it) / 100.0)).collect();
        let (first, rest): (Vec<_>, Vec<_>) = targets.iter().enumerate().partition(|(at, _)| at % 2 == 0);
        let list = |targets: &[(usize, &String)]| targets.iter().map(|(_, it)| format!("'{it}'")).collect::<Vec<_>>().join(", ");
        let text = format!(
            "[server]\nlisten = ['127.0.0.1:{port}']\n[[service]]\nname = 's'\nhosts = ['{host}']\npath_prefix = '{prefix}'\n\
             [service.pool.a]\ntargets = [{}]\nrelease = '{release}'\n[service.pool.b]\ntargets = [{}]\n\
             [service.rollout]\nsteps = [{}]\n[service.retry]\nbudget = {budget:?}\n[service.limits]\nmax_body = {max_body}\n",
            list(&first), list(&rest), steps.join(", ")
        );
        let config = parse(&text).map_err(|faults| TestCaseError::fail(format!("{text}\n{faults}")))?.config;
        let service = &config.services[0];
        prop_assert_eq!(config.server.listen[0].address.port(), port);
        prop_assert_eq!(service.hosts[0].to_string(), host);
        prop_assert_eq!(service.path_prefix.as_str(), prefix);
        prop_assert_eq!(service.pools[0].release.as_ref().map(ToString::to_string), Some(release));
        for (pool, targets) in service.pools.iter().zip([&first, &rest]) {
            let read = pool.targets.iter().map(ToString::to_string).collect::<Vec<_>>();
            prop_assert_eq!(read, targets.iter().map(|(_, it)| (*it).clone()).collect::<Vec<_>>());
        }
        prop_assert_eq!(service.rollout.steps.iter().map(|step| step.weight.get()).collect::<Vec<_>>(), weights.into_iter().collect::<Vec<_>>());
        prop_assert!(service.rollout.steps.iter().all(|step| step.hold == Period::from_secs(hold)));
        prop_assert_eq!(service.retry.budget.to_bits(), budget.to_bits());
        prop_assert_eq!(service.limits.max_body, Some(u64::from(max_body)));
    }

    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text);
    }

    fn arbitrary_pieces_of_toml_never_panic(pieces in prop::collection::vec(piece(), 0..40)) {
        let _ = parse(&pieces.concat());
    }

    fn a_good_file_cut_anywhere_never_panics_and_faults_have_places(cut in any::<prop::sample::Index>(), junk in "[\\[\\]{}=\"'.,a-z\n]{0,9}") {
        let text = include_str!("../../config/cutover.toml");
        let cut = (0..=cut.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let text = format!("{}{junk}{}", &text[..cut], &text[cut..]);
        if let Err(faults) = parse(&text) {
            let lines = text.split('\n').count();
            prop_assert!(!faults.faults.is_empty());
            prop_assert!(faults.faults.iter().all(|fault| fault.position.is_some_and(|at| at.line <= lines)));
        }
    }
}

/// What configurations are made of, in any order.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        ".",
        "=",
        ",",
        "\n",
        " ",
        "\"",
        "'",
        "'''",
        "#",
        "0",
        "-1",
        "1.5",
        "inf",
        "nan",
        "0x1f",
        "true",
        "1979-05-27",
        "[[service]]\n",
        "[service.pool.a]\n",
        "[service.rollout]\n",
        "[service]\n",
        "[[service.rollout.check]]\n",
        "[[service.rollout.steps]]\n",
        "[server]\n",
        "[server.timeouts]\n",
        "[server.tls]\n",
        "certificates = [{}]\n",
        "listen = [{ address = '[::]:1' }]\n",
        "redirect = ",
        "[admin]\n",
        "name = 's'\n",
        "targets = ['a:1']\n",
        "kind = 'promql'\n",
        "steps = ",
        "weight",
        "hold",
        "server",
        "service",
        "listen = ",
        "a.b.c = 1\n",
        "é",
        "\u{0}",
        "\r\n",
        "\\u00",
        "pool.a.targets = ['x:1']\n",
        "check = [{}]\n",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}
