//! A configuration without a file, from the arguments of `cutover run`.

use super::fault::{Fault, Faults};
use super::model::{
    AccessLog, Admin, AdminListen, Anonymous, Caching, Config, Ejection, Health, Hold, Maintenance, Pool, PoolTls,
    Protocol, ReadOnly, Retry, RolloutConfig, Server, Service, ServiceLimits, ServiceTimeouts, StickyBy,
};
use super::server::{DEFAULT_ADMIN, DEFAULT_STATE, secret_beside};
use crate::model::{HostPattern, PathPrefix, PoolName, ServiceName, TargetAddress};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a service is called that nobody named.
const SERVICE: &str = "default";

impl Config {
    /// One service named `default` for every host, from `--listen ADDRESS:PORT` and one
    /// `--pool NAME=HOST:PORT[,HOST:PORT]…` for each pool. The first pool is live.
    ///
    /// # Errors
    /// All faults of the arguments at once.
    pub fn quick(listen: &str, pools: &[String], state: Option<PathBuf>) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let listen = noted(listen.parse::<SocketAddr>(), &mut faults, || {
            Fault::of_the_whole(
                "--listen",
                format!("{listen:?} is not an address to listen on; write ADDRESS:PORT, such as 0.0.0.0:8080"),
            )
        });
        let pools = read_pools(pools, &mut faults);
        let name = noted(SERVICE.parse::<ServiceName>(), &mut faults, || Fault::of_the_whole("", SERVICE));
        let live = pools.first().map(|pool| pool.name.clone());
        match (listen, name, live) {
            (Some(listen), Some(name), Some(live)) if faults.is_empty() => {
                Ok(router(listen, service(name, live, pools), state))
            }
            _ => Err(Faults::new(faults, Vec::new())),
        }
    }
}

fn noted<T, E>(result: Result<T, E>, faults: &mut Vec<Fault>, fault: impl FnOnce() -> Fault) -> Option<T> {
    if result.is_err() {
        faults.push(fault());
    }
    result.ok()
}

fn read_pools(arguments: &[String], faults: &mut Vec<Fault>) -> Vec<Pool> {
    if arguments.len() < 2 {
        let message = "a router needs two pools to choose from; \
                       write --pool server0=HOST:PORT --pool server1=HOST:PORT, or name a file with --config";
        faults.push(Fault::of_the_whole("--pool", message));
    }
    let mut seen = HashSet::new();
    let mut pools: Vec<Pool> = Vec::new();
    for argument in arguments {
        let mut refuse = |message: String| {
            faults.push(Fault::of_the_whole(&format!("--pool {argument}"), message));
        };
        let Some((name, targets)) = argument.split_once('=') else {
            refuse("the name is missing; write NAME=HOST:PORT".to_owned());
            continue;
        };
        let name = name.parse::<PoolName>().map_err(|error| refuse(error.to_string())).ok();
        let targets: Vec<TargetAddress> = targets
            .split(',')
            .filter_map(|target| target.parse().map_err(|error| refuse(format!("{error}"))).ok())
            .collect();
        for target in &targets {
            if !seen.insert(target.clone()) {
                refuse(format!("{target} is given twice; take one out"));
            }
        }
        let Some(name) = name else { continue };
        if pools.iter().any(|pool| pool.name == name) {
            refuse("a pool of this name is given already; choose another name".to_owned());
        }
        pools.push(Pool { name, targets, release: None, protocol: Protocol::default(), tls: PoolTls::default() });
    }
    pools
}

fn service(name: ServiceName, live: PoolName, pools: Vec<Pool>) -> Service {
    Service {
        name,
        hosts: vec![HostPattern::Any],
        path_prefix: PathPrefix::default(),
        live,
        pools,
        health: Health::default(),
        sticky: StickyBy::default(),
        rollout: RolloutConfig::default(),
        maintenance: Maintenance::default(),
        read_only: ReadOnly::default(),
        anonymous: Anonymous::default(),
        hold: Hold::default(),
        skew_guard: true,
        caching: Caching::default(),
        limits: ServiceLimits::default(),
        timeouts: ServiceTimeouts::default(),
        retry: Retry::default(),
        ejection: Ejection::default(),
        slow_start: Service::SLOW_START,
    }
}

fn router(listen: SocketAddr, service: Service, state: Option<PathBuf>) -> Config {
    let state = state.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE));
    Config {
        server: Server::at(vec![listen.into()], secret_beside(&state)),
        admin: Admin { listen: AdminListen::Tcp(DEFAULT_ADMIN), token_file: None },
        notify: Vec::new(),
        state,
        prometheus: None,
        access_log: AccessLog::default(),
        services: vec![service],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quick(listen: &str, pools: &[&str]) -> Result<Config, Faults> {
        Config::quick(
            listen,
            &pools.iter().map(ToString::to_string).collect::<Vec<_>>(),
            Some("/run/x/state.db".into()),
        )
    }

    #[test]
    fn two_pools_make_a_router_and_the_first_is_live() {
        let config = quick("127.0.0.1:0", &["green=127.0.0.1:1,127.0.0.1:2", "blue=app:80"]).unwrap();
        let service = &config.services[0];
        assert_eq!((service.name.as_str(), service.live.as_str()), ("default", "green"));
        assert_eq!(service.pools[0].targets.len(), 2);
        assert_eq!(config.server.secret_file, PathBuf::from("/run/x/cutover.secret"));
    }

    #[test]
    fn all_faults_of_the_arguments_come_at_once() {
        let faults = quick("8080", &["127.0.0.1:1", "a=1", "b c=x:1,x:1", "d=y:1", "d=z:1"]).unwrap_err();
        let paths: Vec<_> = faults.faults.iter().map(|fault| fault.path.as_str()).collect();
        let expected = [
            "--listen",
            "--pool 127.0.0.1:1",
            "--pool a=1",
            "--pool b c=x:1,x:1",
            "--pool b c=x:1,x:1",
            "--pool d=z:1",
        ];
        assert_eq!(paths, expected, "{faults}");
        assert!(quick("127.0.0.1:0", &["a=x:1"]).unwrap_err().to_string().starts_with("--pool: a router needs two"));
    }

    odd_input! {
        fn pools_are_what_the_arguments_say(
            given in prop::collection::vec(("[a-c]{1,2}", prop::collection::vec("[a-z]{1,3}:[1-9]|unix:/[a-z]{1,3}|https://[a-z]{1,3}", 1..3)), 0..4),
        ) {
            let arguments: Vec<String> = given.iter().map(|(name, targets)| format!("{name}={}", targets.join(","))).collect();
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let names: HashSet<_> = given.iter().map(|(name, _)| name).collect();
            let parsed: Vec<Vec<TargetAddress>> = given.iter().map(|(_, targets)| targets.iter().map(|it| it.parse().unwrap()).collect()).collect();
            let targets: HashSet<_> = parsed.iter().flatten().collect();
            let is_good = given.len() >= 2 && names.len() == given.len() && targets.len() == parsed.concat().len();
            match quick("127.0.0.1:0", &arguments) {
                Ok(config) => {
                    prop_assert!(is_good);
                    let pools = config.services[0].pools.iter().map(|pool| (pool.name.to_string(), pool.targets.clone()));
                    let expected = given.into_iter().map(|(name, _)| name).zip(parsed);
                    prop_assert_eq!(pools.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
                }
                Err(faults) => prop_assert!(!is_good && !faults.faults.is_empty()),
            }
        }

        fn no_argument_is_too_odd(listen in "[0-9.:\\[\\]]{0,12}|.{0,6}", pools in prop::collection::vec("[a-z=:,/.0-9]{0,12}|.{0,6}", 0..4)) {
            let pools: Vec<&str> = pools.iter().map(String::as_str).collect();
            if let Err(faults) = quick(&listen, &pools) {
                prop_assert!(!faults.faults.is_empty());
            }
        }
    }
}
