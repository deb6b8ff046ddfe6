//! What the story is played on: a folder of its own, two applications, a router between them and the visitors.

use super::act::FIRST;
use super::applications::{Application, Applications, HEALTH_PATH};
use super::visitors::Visitors;
use crate::app::Router;
use crate::config::{AdminListen, Config};
use anyhow::{Context, anyhow};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Runtime;

/// The service of the story.
pub(super) const SERVICE: &str = "shop";

/// A folder that is removed with everything in it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("cutover-demo-{:08x}", rand::random::<u32>()));
        // It will hold a secret.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("the folder {} can't be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Everything that plays a part. What is dropped last is what the others stand on.
pub(super) struct Stage {
    pub(super) visitors: Visitors,
    pub(super) router: Router,
    pub(super) applications: Applications,
    folder: Folder,
}

impl Stage {
    /// Sets everything up; from now on visitors come. Not to be called within a runtime.
    pub(super) fn set(runtime: &Runtime) -> anyhow::Result<Self> {
        let folder = Folder::new()?;
        let applications = Applications::start(FIRST)?;
        let config = configuration(&folder.0, &applications)?;
        let router = runtime.block_on(Router::start(config, None))?;
        let address = *router.listen.first().context("the router has no address for visitors")?;
        let visitors = Visitors::start(address)?;
        Ok(Self { visitors, router, applications, folder })
    }

    /// Takes everything down. Not to be called within a runtime.
    pub(super) fn strike(mut self, runtime: &Runtime) -> anyhow::Result<()> {
        self.visitors.leave();
        runtime.block_on(self.router.stop())
    }

    /// The application of a pool.
    pub(super) fn application(&self, pool: &str) -> &Arc<Application> {
        if pool == "server0" { &self.applications.server0 } else { &self.applications.server1 }
    }

    /// Where visitors connect.
    pub(super) fn site(&self) -> String {
        self.router.listen.first().map_or_else(String::new, |address| format!("http://{address}/"))
    }

    /// Where operators connect.
    pub(super) fn admin(&self) -> String {
        match &self.router.admin {
            AdminListen::Tcp(address) => format!("http://{address}"),
            AdminListen::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Safe requests that failed in the bad release and were tried on the other.
    pub(super) fn rescues(&self) -> u64 {
        let table = self.router.handle.table();
        let pools = table.services.iter().flat_map(|service| service.pools.iter());
        pools.map(|pool| pool.load.sum(|load| load.rescues.get())).sum()
    }

    /// The folder with the configuration and the state.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }
}

/// The configuration of the story, which is left in its folder to be looked at.
fn configuration(folder: &Path, applications: &Applications) -> anyhow::Result<Config> {
    let text = configuration_text(&applications.server0, &applications.server1);
    fs::write(folder.join("cutover.toml"), &text).context("the configuration can't be written")?;
    let parsed = Config::parse(&text, folder).map_err(|faults| anyhow!("the configuration of the demo: {faults}"))?;
    Ok(parsed.config)
}

fn configuration_text(server0: &Application, server1: &Application) -> String {
    format!(
        r#"# The configuration of the demo: steps of seconds, where a real site takes minutes.
[server]
listen = ["127.0.0.1:0"]
workers = 2

[admin]
listen = "127.0.0.1:0"

[[service]]
name = "{SERVICE}"
[service.pool.server0]
targets = ["{}"]
release = "{FIRST}"
[service.pool.server1]
targets = ["{}"]
[service.health]
path = "{HEALTH_PATH}"
timeout = "2s"          # a busy machine is not a sick application
[service.rollout]
steps = [{{ weight = 5, hold = "4s" }}, {{ weight = 25, hold = "4s" }}, {{ weight = 50, hold = "4s" }}]
min_requests = 80       # about 4 s of a 5% share of 400 requests per second
false_alarm = 0.001     # a demo that takes a good release back, be it once in a hundred times, tells the wrong story
[[service.rollout.check]]
kind = "error-ratio"
[[service.rollout.check]]
kind = "latency"
tolerate = "50%"        # a machine that shows a demo is busy with other things
"#,
        server0.address, server1.address
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_the_demo_has_neither_faults_nor_warnings() {
        let applications = Applications::start(FIRST).unwrap();
        let text = configuration_text(&applications.server0, &applications.server1);
        let parsed = Config::parse(&text, Path::new("/nowhere")).unwrap();
        assert_eq!(parsed.warnings, []);
    }

    #[test]
    fn the_folder_is_its_owners_and_is_gone_in_the_end() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new().unwrap();
        let path = folder.0.clone();
        fs::write(path.join("x"), "x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(folder);
        assert!(!path.exists());
    }
}
