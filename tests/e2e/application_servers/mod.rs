//! The servers that applications are run by, each with its own habits of closing connections: every request is answered,
//! and what changes something arrives once.

use crate::harness::{Application, LONG, Router, Setup, Visitor, free_address, until};
use bytes::Bytes;
use http::Method;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Where `tests/run` has installed the servers in Python.
const PROGRAMS: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/python-clients/bin");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/application_servers");

/// How long visitors come.
const VISIT: Duration = Duration::from_secs(5);
const VISITORS: usize = 8;

/// Between a visitor's requests: at once, within the second for which the servers keep a connection, and beyond it.
const PAUSES: [u64; 12] = [0, 0, 2, 0, 30, 5, 250, 0, 1300, 1, 600, 10];

/// A running server. It, and all that it has started, ends with it.
struct Server {
    address: SocketAddr,
    folder: TempDir,
    process: Child,
}

impl Server {
    /// Runs a program; `{}` in its arguments stands for the address, and `{port}` for the port.
    async fn start(program: &Path, arguments: &[&str]) -> Self {
        let (address, folder) = (free_address(), TempDir::new().unwrap());
        let filled = |argument: &&str| {
            argument.replace("{}", &address.to_string()).replace("{port}", &address.port().to_string())
        };
        let process = Command::new(program)
            .args(arguments.iter().map(filled))
            .current_dir(FOLDER)
            .env("NOTES", folder.path().join("notes"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run tests/run once", program.display()));
        let server = Self { address, folder, process };
        until("the server listens", LONG, async || TcpStream::connect(address).is_ok()).await;
        server
    }

    async fn of_python(program: &str, arguments: &[&str]) -> Self {
        Self::start(&Path::new(PROGRAMS).join(program), arguments).await
    }

    /// A router before it.
    async fn router(&self, protocol: &str) -> (Router, Application) {
        let other = Application::start("server1").await;
        let setup = Setup::with_pools(&[("server0", self.address, "r0"), ("server1", other.address(), "r1")]);
        (Router::start(setup.pool_keys(&format!("protocol = \"{protocol}\""))).await, other)
    }

    /// How often each POST has arrived, by its id.
    fn arrived(&self) -> HashMap<String, usize> {
        let notes = std::fs::read_to_string(self.folder.path().join("notes")).unwrap_or_default();
        let mut arrived = HashMap::new();
        for id in notes.lines() {
            *arrived.entry(id.to_owned()).or_default() += 1;
        }
        arrived
    }

    /// As operators do it: new workers with the new code, and the old ones end when they have answered.
    fn reload(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.process.id())]).status();
        let _ = self.process.wait();
    }
}

/// What came of the visitors' requests.
#[derive(Debug, Default)]
struct Tally {
    gets: usize,
    /// The ids of those that were answered by 200.
    posts: Vec<String>,
    failed_gets: Vec<String>,
    failed_posts: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.gets += other.gets;
        self.posts.extend(other.posts);
        self.failed_gets.extend(other.failed_gets);
        self.failed_posts.extend(other.failed_posts);
    }
}

/// One visitor, who gets a page and posts something in turns.
async fn visit(address: SocketAddr, number: usize) -> Tally {
    let (mut visitor, mut tally, end) = (Visitor::new(address), Tally::default(), Instant::now() + VISIT);
    for turn in 0.. {
        if Instant::now() > end {
            break;
        }
        let (method, id) =
            if turn % 2 == 0 { (Method::GET, String::new()) } else { (Method::POST, format!("{number}-{turn}")) };
        let answer = visitor.ask(method.clone(), "/", &[], Bytes::from(id.clone())).await;
        let failure = match answer {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(answer.status.to_string()),
            Err(error) => Some(error),
        };
        match (method, failure) {
            (Method::GET, None) => tally.gets += 1,
            (Method::GET, Some(failure)) => tally.failed_gets.push(failure),
            (_, None) => tally.posts.push(id),
            (_, Some(failure)) => tally.failed_posts.push(failure),
        }
        tokio::time::sleep(Duration::from_millis(PAUSES[(turn + 5 * number) % PAUSES.len()])).await;
    }
    tally
}

async fn visits(address: SocketAddr) -> Tally {
    let mut visitors: JoinSet<_> = (0..VISITORS).map(|number| visit(address, number)).collect();
    let mut tally = Tally::default();
    while let Some(visited) = visitors.join_next().await {
        tally.add(visited.unwrap());
    }
    tally
}

/// Nothing is lost that was answered, and nothing comes twice.
fn assert_arrived_once(server: &Server, tally: &Tally) {
    let arrived = server.arrived();
    let twice: Vec<_> = arrived.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let lost: Vec<_> = tally.posts.iter().filter(|id| !arrived.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert!(tally.gets > VISITORS && tally.posts.len() > VISITORS, "{tally:?}");
}

async fn assert_serves_all(name: &str, server: Server, protocol: &str) {
    let (router, _other) = server.router(protocol).await;
    let tally = visits(router.address()).await;
    println!("{name}: {} GET, {} POST", tally.gets, tally.posts.len());
    assert!(tally.failed_gets.is_empty() && tally.failed_posts.is_empty(), "{name}: {tally:?}");
    assert_arrived_once(&server, &tally);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gunicorn_that_closes_after_each_answer_loses_nothing() {
    let arguments = ["--bind", "{}", "--worker-class", "sync", "--workers", "2", "app:wsgi"];
    assert_serves_all("gunicorn sync", Server::of_python("gunicorn", &arguments).await, "h1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gunicorn_that_keeps_connections_for_a_second_loses_nothing() {
    let workers = ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--keep-alive", "1"];
    let arguments = [&["--bind", "{}"], &workers[..], &["app:wsgi"]].concat();
    assert_serves_all("gunicorn gthread", Server::of_python("gunicorn", &arguments).await, "h1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gunicorn_that_is_reloaded_again_and_again_doubles_nothing_and_loses_no_get() {
    let workers = ["--worker-class", "gthread", "--workers", "2", "--threads", "8", "--keep-alive", "2"];
    let arguments = [&["--bind", "{}"], &workers[..], &["app:wsgi"]].concat();
    let server = Server::of_python("gunicorn", &arguments).await;
    let (router, _other) = server.router("h1").await;
    let visiting = tokio::spawn(visits(router.address()));
    let mut reloads = 0;
    while !visiting.is_finished() {
        server.reload();
        reloads += 1;
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let tally = visiting.await.unwrap();
    let (answered, failed) = (tally.posts.len(), &tally.failed_posts);
    println!("{reloads} reloads: {} GET, {answered} POST and {failed:?}", tally.gets);
    assert!(tally.failed_gets.is_empty(), "{:?}", tally.failed_gets);
    assert_arrived_once(&server, &tally);
    // What comes just while a worker closes a connection is reset with it, and nobody can tell whether it was read.
    assert!(failed.len() <= 2 && failed.iter().all(|failure| failure == "502"), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uvicorn_loses_nothing() {
    let arguments = ["--host", "127.0.0.1", "--port", "{port}", "--timeout-keep-alive", "1", "app:asgi"];
    assert_serves_all("uvicorn", Server::of_python("uvicorn", &arguments).await, "h1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hypercorn_loses_nothing_by_either_protocol() {
    let arguments = ["--bind", "{}", "--workers", "0", "--keep-alive", "1", "app:asgi"];
    let by = async |protocol| {
        let server = Server::of_python("hypercorn", &arguments).await;
        assert_serves_all(&format!("hypercorn by {protocol}"), server, protocol).await;
    };
    tokio::join!(by("h1"), by("h2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_loses_nothing() {
    let server = Server::start(Path::new("node"), &["server.js", "{port}"]).await;
    assert_serves_all("node", server, "h1").await;
}
