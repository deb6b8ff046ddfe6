//! A store that stops taking writes: routing and protection go on.

use crate::harness::{Application, LONG, Load, Router, SHORT, Setup, eventually, heavy_turn, until};
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A small file system of its own, that a test can fill.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None where this machine lets nobody mount; the test then says so and ends.
    fn mount() -> Option<Self> {
        let folder = TempDir::with_prefix("cutover-disk-").unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(folder.path()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(folder));
        }
        eprintln!("SKIPPED: no file system can be mounted here, so a full one can't be tested");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Writes until nothing more fits.
    fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [64 * 1024, 4096, 512, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the router that had files open there is gone, or about to go.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_full_disk_routing_and_protection_go_on_and_planned_changes_are_refused() {
    let _turn = heavy_turn().await;
    let Some(disk) = SmallDisk::mount() else { return };
    let (server0, server1) = Application::pair().await;
    let rollout = "[service.rollout]\nsteps = [ { weight = 20, hold = \"10m\" } ]\n";
    let setup = Setup::before(&server0, &server1).state_at(&disk.path().join("cutover.db")).rollout(rollout);
    let router = Router::start(setup).await;
    let load = Load::on(router.address()).rate(150.0).visitors(4000).without_posts().start();
    router.command(&["rollout", "start", "server1"]).await.ok();
    until("the candidate serves", SHORT, async || load.so_far().answered_by("server1") > 5).await;
    disk.fill();

    let refused = eventually("a planned change is refused", LONG, async || {
        let answer = router.api("PUT", "/rollout/weight", Some(json!({"weight": 30}))).await;
        (answer.status >= 400).then_some(answer)
    })
    .await;
    println!("refused: {}", refused.text);
    assert!(refused.status >= 500, "{refused:?}");
    refused.problem(refused.status);
    let weight = router.view().await["weight"].clone();
    for (method, path, body) in
        [("POST", "/switch", json!({"pool": "server1"})), ("POST", "/rollout/promote", json!({}))]
    {
        router.api(method, path, Some(body)).await.problem(refused.status);
    }
    let view = router.view().await;
    assert_eq!((&view["live"], &view["weight"]), (&json!("server0"), &weight), "nothing planned became visible");
    let ready = router.readiness().await;
    assert_eq!(ready.status, 200, "it can route: {}", ready.text);
    assert!(ready.text.contains("warnings"), "{}", ready.text);
    let warned = eventually("/readyz warns", SHORT, async || {
        let ready = router.readiness().await.json();
        ready["warnings"].as_array().filter(|warnings| !warnings.is_empty()).cloned()
    })
    .await;
    println!("warned: {warned:?}");

    // Protection: a candidate that fails is taken back all the same, at once.
    server1.behave(|behaviour| behaviour.fail = 1.0);
    let view = router.phase("rolled_back", LONG).await;
    assert_eq!(view["durable"], false, "shown as not yet durable");
    router.command(&["mode", "maintenance"]).await.ok();
    assert_eq!(router.visitor().get("/").await.status, 503);
    let serve = router.command(&["mode", "serve"]).await;
    assert_eq!((serve.code, serve.err.contains("full")), (1, true), "to end it is planned: {serve:?}");

    disk.free();
    router.view_when("written when it can be", LONG, |view| view["durable"] == true).await;
    eventually("/readyz has nothing to warn of", SHORT, async || {
        let ready = router.readiness().await.json();
        ready["warnings"].as_array().is_none_or(Vec::is_empty).then_some(())
    })
    .await;
    router.command(&["mode", "serve"]).await.ok();
    assert_eq!(router.visitor().get("/").await.by(), "server0");
    router.kill();
    drop(load);
    router.start_again().await;
    let view = router.view().await;
    assert_eq!(json!([view["phase"], view["live"], view["mode"]]), json!(["rolled_back", "server0", "serve"]));
    let rollback = router.decided("rollback").await;
    assert_eq!(rollback["by"], "error-ratio", "the history has it too: {rollback}");
    router.command(&["switch", "server1"]).await.ok();
}
