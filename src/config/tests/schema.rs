//! The shipped JSON schema says what the reader accepts: the same keys, and no shipped file is at fault by it.

use super::super::keys::{self, Keys};
use std::path::Path;

fn schema() -> serde_json::Value {
    serde_json::from_str(include_str!("../../../config/cutover.schema.json")).unwrap()
}

fn keys_of(definition: &serde_json::Value) -> Vec<&str> {
    definition["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn it_has_the_keys_of_every_table() {
    let schema = schema();
    let tables: &[(&Keys, &str)] = &[
        (keys::SERVER, "server"),
        (keys::LISTENER, "listener"),
        (keys::TLS, "tls"),
        (keys::CERTIFICATE, "certificate"),
        (keys::TIMEOUTS, "timeouts"),
        (keys::SERVER_LIMITS, "server-limits"),
        (keys::ADMIN, "admin"),
        (keys::STATE, "state"),
        (keys::PROMETHEUS, "prometheus"),
        (keys::ACCESS_LOG, "access_log"),
        (keys::NOTIFY, "notify"),
        (keys::SERVICE, "service"),
        (keys::POOL, "pool"),
        (keys::POOL_TLS, "pool-tls"),
        (keys::SERVICE_LIMITS, "service-limits"),
        (keys::SERVICE_TIMEOUTS, "service-timeouts"),
        (keys::RETRY, "retry"),
        (keys::EJECTION, "ejection"),
        (keys::HEALTH, "health"),
        (keys::STICKY, "sticky"),
        (keys::ROLLOUT, "rollout"),
        (keys::STEP, "step"),
        (keys::GATE, "gate"),
        (keys::ERROR_RATIO, "error-ratio"),
        (keys::LATENCY, "latency"),
        (keys::STATUS_RATIO, "status-ratio"),
        (keys::PROMQL, "promql"),
        (keys::MAINTENANCE, "maintenance"),
        (keys::READ_ONLY, "read_only"),
        (keys::ANONYMOUS, "anonymous"),
        (keys::HOLD, "hold"),
    ];
    assert_eq!(tables.len() + 1, keys::ALL.len(), "all but the top level");
    let definition = |name: &str| schema["definitions"][name].clone();
    let all = tables.iter().map(|(keys, name)| (*keys, definition(name))).chain([(keys::ROOT, schema.clone())]);
    for (keys, definition) in all {
        let (mut known, mut shown) = (keys.known.to_vec(), keys_of(&definition));
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(known, shown, "{}", keys.header);
        assert_eq!(definition["additionalProperties"], false, "{}", keys.header);
    }
}

#[test]
fn no_shipped_file_is_at_fault_by_it() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    let mut folders = vec![shipped];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.is_dir() {
                folders.push(file);
                continue;
            }
            if file.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            let tree: serde_json::Value = toml::from_str(&text).unwrap();
            let faults: Vec<String> =
                validator.iter_errors(&tree).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
            assert_eq!(faults, Vec::<String>::new(), "{}", file.display());
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn what_the_reader_refuses_for_its_form_is_at_fault_by_it() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let good = super::file("", "");
    assert!(validator.is_valid(&toml::from_str(&good).unwrap()), "{good}");
    for (top, more) in [
        ("", "[service.rollout]\nmin_requests = 0"),
        ("", "[service.rollout]\nsteps = []"),
        ("", "[service.rollout]\nfalse_alarm = 1"),
        ("", "[[service.rollout.check]]\nkind = 'nose'"),
        ("", "[[service.rollout.check]]\nkind = 'latency'\ntolerate = 'much'"),
        ("", "[service.hold]\nmax_requests = 0"),
        ("", "[service.read_only]\nunsafe = '500'"),
        ("", "[service.maintenance]\nunsafe_status = 500"),
        ("", "[service.sticky]\nby = 'cokie'"),
        ("", "[service.health]\nrelease = 'version'"),
        ("[sever]", ""),
        ("[server]\nworkers = -1", ""),
        ("[server]\nlisten = [8080]", ""),
        ("[server]\nlisten = [{ proxy_protocol = false }]", ""),
        ("[server.tls]\nmin_version = '1.3'", ""),
        ("[server.tls]\ncertificates = []", ""),
        ("[server.tls]\ncertificates = [{ chain = 'a' }]", ""),
        ("[server.tls]\ncertificates = [{ chain = 'a', key = 'b' }]\nredirect = 'yes'", ""),
        ("[server.limits]\nconnections = 0", ""),
        ("", "[service.pool.c]\ntargets = ['unix:app.sock']"),
        ("", "[service.pool.c]\ntargets = ['c:1']\nprotocol = 'h3'"),
        ("", "[service.retry]\nbudget = 2"),
        ("", "[service.limits]\nqueue = -1"),
    ] {
        let text = super::file(top, more);
        assert!(super::parse(&text).is_err(), "{text}");
        assert!(!validator.is_valid(&toml::from_str(&text).unwrap()), "{text}");
    }
}
