//! `cutover run`.

use super::Router;
use super::certificates::FollowedCertificates;
use super::reload::Followed;
use crate::app::RunOptions;
use crate::control::Handle;
use crate::telemetry;
use crate::transport::Certificates;
use anyhow::Context;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves until a signal ends it: SIGTERM or SIGINT lets requests in flight end, a second one does not.
///
/// # Errors
/// When the router can't be started; the message says what to do.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    telemetry::set_up_log()?;
    allow_files();
    // One thread: the control plane waits most of its time, and the cores are the workers'.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the control runtime")?;
    let ended = runtime.block_on(serve(options));
    // A look at a file may be stuck in a file system that hangs.
    runtime.shutdown_background();
    ended
}

/// The most files that are asked for to be open at once. The programs that are started here inherit the limit, and old ones
/// close each file that there may be.
const MOST_FILES: u64 = 1 << 20;

/// Raises the limit of open files as far as may be. Most systems begin with 1,024, for the sake of programs that use
/// `select`; a router has more visitors than that.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MOST_FILES, |maximum| maximum.min(MOST_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "can't raise the limit of open files (LimitNOFILE)");
        }
    }
}

async fn serve(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // A SIGHUP that comes during the start is kept until there is something to reload.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut hangup_of_certificates = signal(SignalKind::hangup())?;
    let followed = options.file.clone().map(Followed::new);
    let router = tokio::select! {
        // Once it serves, whoever has come is served before it stops.
        biased;
        router = Router::start(options.config.clone(), options.grace) => router?,
        // No visitor has come yet whom it would have to wait for.
        () = stopped(&mut interrupt, &mut terminate) => return Ok(ExitCode::SUCCESS),
    };
    for address in &router.listen {
        tracing::info!(%address, "serving");
    }
    for address in &router.listen_tls {
        tracing::info!(%address, "serving TLS");
    }
    tracing::info!(admin = %router.admin, "ready");
    tokio::select! {
        () = follow_or_wait(followed, &mut hangup, &router.handle) => {}
        () = follow_certificates(router.certificates.clone(), &mut hangup_of_certificates) => {}
        () = stopped(&mut interrupt, &mut terminate) => {}
    }
    tracing::info!("stopping; requests in flight may end, a second signal does not wait for them");
    tokio::select! {
        stopped = router.stop() => stopped.map(|()| ExitCode::SUCCESS),
        () = stopped(&mut interrupt, &mut terminate) => Ok(ExitCode::FAILURE),
    }
}

async fn follow_or_wait(followed: Option<Followed>, hangup: &mut Signal, handle: &Handle) {
    if let Some(followed) = followed {
        return followed.follow(hangup, handle).await;
    }
    loop {
        hangup.recv().await;
        tracing::warn!("there is no configuration file that could be read again");
    }
}

async fn follow_certificates(certificates: Option<Arc<Certificates>>, hangup: &mut Signal) {
    match certificates {
        Some(certificates) => FollowedCertificates::new(certificates).follow(hangup).await,
        None => std::future::pending().await,
    }
}

async fn stopped(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
