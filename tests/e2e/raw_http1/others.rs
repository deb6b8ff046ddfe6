//! The same bytes against other proxies, for comparison. A case is safe when it is refused, or passes in a form that can
//! be read in one way only, without what is barred.

use super::answers::{self, Answering};
use super::requests::{self, Case};
use super::unsafe_because;
use super::wire::{Recorder, exchange};
use crate::harness::{Router, SHORT, Setup, free_address, until};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// How long a proxy may be silent before it counts as one that waits for more.
const PATIENCE: Duration = Duration::from_secs(2);

/// A proxy that is not ours, ended with the test.
struct Other(Child);

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// HAProxy as it comes, and with the client's address told as an edge does.
fn haproxy(folder: &Path, listen: SocketAddr, target: SocketAddr) -> Command {
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "defaults\n  mode http\n  option forwardfor\n  timeout client 5s\n  timeout connect 2s\n  timeout server 5s\n\
         listen site\n  bind {listen}\n  server origin {target}\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(config);
    command
}

/// Envoy as its documentation has it for an edge: the client's address is its own finding, names with underscores are
/// refused.
fn envoy(folder: &Path, listen: SocketAddr, target: SocketAddr) -> Command {
    let config = folder.join("envoy.json");
    let address = |at: SocketAddr| serde_json::json!({"socket_address": {"address": at.ip().to_string(), "port_value": at.port()}});
    let manager = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "site",
        "use_remote_address": true,
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "route_config": {"virtual_hosts": [{
            "name": "site", "domains": ["*"],
            "routes": [{"match": {"prefix": ""}, "route": {"cluster": "origin"}}],
        }]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
    });
    let text = serde_json::json!({"static_resources": {
        "listeners": [{"address": address(listen), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [{"name": "origin", "type": "STATIC", "connect_timeout": "2s", "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(target)}}]}]}}],
    }});
    std::fs::write(&config, text.to_string()).unwrap();
    let program = std::env::var("ENVOY").unwrap_or_else(|_| "envoy".into());
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]).arg(config);
    command
}

async fn start(mut command: Command, listen: SocketAddr) -> Other {
    let other = Other(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the other proxy listens", SHORT, async || tokio::net::TcpStream::connect(listen).await.is_ok()).await;
    other
}

/// Safe cases and all of them, by class.
type Counts = BTreeMap<String, [u32; 2]>;

fn count(counts: &mut Counts, class: String, safe: bool) {
    let [good, all] = counts.entry(class).or_default();
    *good += u32::from(safe);
    *all += 1;
}

async fn of_requests(proxy: &str, address: SocketAddr, origin: &Recorder, counts: &mut Counts) {
    for case in &requests::corpus() {
        let Case { want, bytes, class, .. } = case;
        // One more than is wanted: whoever sends it is seen.
        exchange(address, bytes, want.statuses().len(), &want.heads(), PATIENCE).await;
        let why = unsafe_because(case, &origin.settled().await);
        if let Some(why) = &why {
            println!("{proxy}: {class}: {}: {why}", case.name);
        }
        count(counts, format!("requests: {class}"), why.is_none());
    }
}

async fn of_answers(proxy: &str, address: SocketAddr, counts: &mut Counts) {
    for (number, case) in answers::corpus().iter().enumerate() {
        let why = answers::fault(address, number, case, false).await;
        if let Some(why) = &why {
            println!("{proxy}: answers: {}: {}: {why}", case.class, case.name());
        }
        count(counts, format!("answers: {}", case.class), why.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a comparison, run by benches/strictness"]
async fn safe_cases_of_each_proxy() {
    let folder = tempfile::tempdir().unwrap();
    let mut table: Vec<(&str, Counts)> = Vec::new();
    for proxy in ["cutover", "HAProxy", "Envoy"] {
        let mut counts = Counts::new();
        let origin = Recorder::start().await;
        let answering = Answering::start(Arc::from(answers::corpus())).await;
        for (target, recorder) in [(origin.address, Some(&origin)), (answering.address, None)] {
            let listen = free_address();
            let setup = Setup::with_pools(&[("server0", target, "r0"), ("server1", free_address(), "r1")]).one_worker();
            let (router, other, address) = match proxy {
                "cutover" => {
                    let router = Router::start(setup).await;
                    let address = router.address();
                    (Some(router), None, address)
                }
                "HAProxy" => (None, Some(start(haproxy(folder.path(), listen, target), listen).await), listen),
                _ => (None, Some(start(envoy(folder.path(), listen, target), listen).await), listen),
            };
            match recorder {
                Some(origin) => of_requests(proxy, address, origin, &mut counts).await,
                None => of_answers(proxy, address, &mut counts).await,
            }
            drop((router, other));
        }
        table.push((proxy, counts));
    }
    let mut text = String::from("| safe / all |");
    for (proxy, _) in &table {
        write!(text, " {proxy} |").unwrap();
    }
    text += "\n|---|---|---|---|\n";
    let classes: Vec<&String> = table[0].1.keys().collect();
    for class in classes {
        write!(text, "| {class} |").unwrap();
        for (_, counts) in &table {
            write!(text, " {} / {} |", counts[class][0], counts[class][1]).unwrap();
        }
        text += "\n";
    }
    text += "| **all** |";
    for (_, counts) in &table {
        let [good, all] = counts.values().fold([0, 0], |[good, all], [more, of]| [good + more, all + of]);
        write!(text, " **{good} / {all}** |").unwrap();
    }
    println!("{text}");
}
