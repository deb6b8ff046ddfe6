//! A configuration for a test, as text: what is not said has the product's default or a quick one.

use super::{Application, free_address};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The ways in, and one service with its pools.
#[derive(Debug, Clone)]
pub struct Setup {
    pub listen: SocketAddr,
    pub admin: SocketAddr,
    /// The service's name.
    pub name: &'static str,
    /// Where the state is; relative to the configuration.
    pub state: String,
    /// Each with its name, targets and release.
    pub pools: Vec<(String, Vec<SocketAddr>, String)>,
    /// Variables of the router's process, beside those of the test's.
    pub environment: Vec<(&'static str, &'static str)>,
    /// The `/etc/hosts` that the router's process sees, in place of this machine's. Takes root to set up.
    pub hosts: Option<PathBuf>,
    server_keys: String,
    pool_keys: String,
    tables: String,
    service_keys: String,
    service_tables: String,
    health: String,
    rollout: String,
}

/// Steps that end as soon as the evidence allows: the quickest rollout that is still judged.
pub const QUICK_ROLLOUT: &str = r#"
[service.rollout]
steps = [ { weight = 5, hold = "1s" }, { weight = 25, hold = "1s" }, { weight = 50, hold = "1s" } ]
min_requests = 20
watch = "1m"
"#;

/// Notices a death soon, and never takes a busy machine for one.
const QUICK_HEALTH: &str = r#"
[service.health]
interval = "250ms"
timeout = "5s"
rise = 1
fall = 2
"#;

impl Setup {
    /// One service in front of these two, `server0` live.
    pub fn before(server0: &Application, server1: &Application) -> Self {
        Self::with_pools(&[("server0", server0.address(), "r0"), ("server1", server1.address(), "r1")])
    }

    /// One service with these pools, the first one live.
    pub fn with_pools(pools: &[(&str, SocketAddr, &str)]) -> Self {
        Self {
            listen: free_address(),
            admin: free_address(),
            name: "shop",
            state: "cutover.db".into(),
            pools: pools
                .iter()
                .map(|(name, target, release)| ((*name).to_owned(), vec![*target], (*release).to_owned()))
                .collect(),
            environment: Vec::new(),
            hosts: None,
            server_keys: "workers = 2\n".into(),
            pool_keys: String::new(),
            tables: String::new(),
            service_keys: String::new(),
            service_tables: String::new(),
            health: QUICK_HEALTH.into(),
            rollout: QUICK_ROLLOUT.into(),
        }
    }

    /// One worker, so that bounds and order are those of the whole router.
    pub fn one_worker(mut self) -> Self {
        self.server_keys = self.server_keys.replace("workers = 2", "workers = 1");
        self
    }

    /// Lines in `[server]`.
    pub fn server(mut self, keys: &str) -> Self {
        writeln!(self.server_keys, "{keys}").unwrap();
        self
    }

    /// Whole tables of the top level, `[server.timeouts]` and the like.
    pub fn tables(mut self, tables: &str) -> Self {
        writeln!(self.tables, "{tables}").unwrap();
        self
    }

    /// Lines in `[service.pool.…]` of each pool.
    pub fn pool_keys(mut self, keys: &str) -> Self {
        writeln!(self.pool_keys, "{keys}").unwrap();
        self
    }

    /// Lines in `[[service]]`.
    pub fn service(mut self, keys: &str) -> Self {
        writeln!(self.service_keys, "{keys}").unwrap();
        self
    }

    /// Tables of the service, `[service.sticky]` and the like.
    pub fn service_tables(mut self, tables: &str) -> Self {
        writeln!(self.service_tables, "{tables}").unwrap();
        self
    }

    /// `[service.health]` and its keys, instead of the quick one.
    pub fn health(mut self, table: &str) -> Self {
        table.clone_into(&mut self.health);
        self
    }

    /// `[service.rollout]`, its keys and its checks, instead of the quick one.
    pub fn rollout(mut self, tables: &str) -> Self {
        tables.clone_into(&mut self.rollout);
        self
    }

    /// Keeps the state at that path.
    pub fn state_at(mut self, path: &Path) -> Self {
        path.to_str().unwrap().clone_into(&mut self.state);
        self
    }

    /// The same ways in, with other targets in a pool.
    pub fn targets(mut self, pool: &str, targets: &[SocketAddr]) -> Self {
        let found = self.pools.iter_mut().find(|(name, ..)| name == pool);
        found.unwrap().1 = targets.to_vec();
        self
    }

    /// The configuration file's text.
    pub fn text(&self) -> String {
        let mut text = format!(
            "[server]\nlisten = [\"{}\"]\n{}\n[admin]\nlisten = \"{}\"\n\n[state]\npath = \"{}\"\n\n{}\n[[service]]\nname = \"{}\"\n{}",
            self.listen, self.server_keys, self.admin, self.state, self.tables, self.name, self.service_keys
        );
        for (name, targets, release) in &self.pools {
            let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
            let keys = &self.pool_keys;
            writeln!(
                text,
                "\n[service.pool.{name}]\ntargets = [{}]\nrelease = \"{release}\"\n{keys}",
                targets.join(", ")
            )
            .unwrap();
        }
        text + &self.health + &self.rollout + &self.service_tables
    }
}
