//! gRPC through the router, with the real client and server of grpcio.

use crate::harness::{Application, LONG, Router, Setup, free_address};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where `tests/run` has installed grpcio.
const PYTHON: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/grpc-environment/bin/python");
const CALLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/grpc/calls.py");

/// A gRPC server; ended with it.
struct Server {
    address: SocketAddr,
    process: Child,
}

impl Server {
    fn start() -> Self {
        assert!(Path::new(PYTHON).exists(), "run tests/run: it installs grpcio");
        let address = free_address();
        let mut process =
            Command::new(PYTHON).args([CALLS, "serve", &address.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { address, process }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_call_passes_with_its_status_and_trailers() {
    let server = Server::start();
    let other = Application::start("server1").await;
    let setup = Setup::with_pools(&[("server0", server.address, "r0"), ("server1", other.address(), "r1")]);
    let router = Router::start(setup.pool_keys("protocol = \"h2\"")).await;
    let mut command = tokio::process::Command::new(PYTHON);
    command.args([CALLS, "call", &router.address().to_string()]).kill_on_drop(true);
    let output = tokio::time::timeout(2 * LONG, command.output()).await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(
        lines,
        [
            "unary hello yes OK",
            "large True",
            "server stream True",
            "client stream 1000000",
            "both cba fed ihg [] OK",
            "status FAILED_PRECONDITION as asked for asked-for",
            "deadline DEADLINE_EXCEEDED",
            "cancelled yes",
            "internal INTERNAL",
        ],
        "{err}"
    );
}
