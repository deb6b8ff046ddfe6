//! `cutover run`.

use super::{Router, reload};
use crate::app::RunOptions;
use crate::telemetry;
use anyhow::Context;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Serves until a signal ends it: SIGTERM or SIGINT lets requests in flight end, a second one does not.
///
/// # Errors
/// When the router can't be started; the message says what to do.
pub fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    telemetry::set_up_log()?;
    // One thread: the control plane waits most of its time, and the cores are the workers'.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the control runtime")?;
    runtime.block_on(serve(options))
}

async fn serve(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Before anything else can be hung up on: without a file to read again, SIGHUP is not for this process.
    let mut hangup = signal(SignalKind::hangup())?;
    let router = Router::start(options.config.clone()).await?;
    for address in &router.listen {
        tracing::info!(%address, "serving");
    }
    tracing::info!(admin = %router.admin, "ready");
    let follow = options.file.clone().map(|file| reload::follow(file, router.handle.clone()));
    tokio::select! {
        ended = follow_or_wait(follow, &mut hangup) => ended?,
        () = stopped(&mut interrupt, &mut terminate) => {}
    }
    tracing::info!("stopping; requests in flight may end, a second signal does not wait for them");
    tokio::select! {
        stopped = router.stop() => stopped.map(|()| ExitCode::SUCCESS),
        () = stopped(&mut interrupt, &mut terminate) => Ok(ExitCode::FAILURE),
    }
}

async fn follow_or_wait(
    follow: Option<impl Future<Output = anyhow::Result<()>>>,
    hangup: &mut Signal,
) -> anyhow::Result<()> {
    if let Some(follow) = follow {
        return follow.await;
    }
    loop {
        hangup.recv().await;
        tracing::warn!("there is no configuration file that could be read again");
    }
}

async fn stopped(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
