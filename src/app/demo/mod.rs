//! `cutover demo`: the whole story on this machine, with nothing but this program.
//!
//! ```text
//! visitors ──HTTP──▶ Router ──HTTP──▶ applications (server0, server1)
//!    │                  │                  │
//!    └── tally ──┐      │ handle, events   └── what they answered
//!                ▼      ▼                  ▼
//!                story: acts, decisions ─▶ screen (display or plain lines) ─▶ account ─▶ summary, exit code
//! ```

mod account;
mod act;
mod applications;
mod chart;
mod display;
mod plain;
mod ratios;
mod scene;
mod screen;
mod stage;
mod story;
mod summary;
mod tally;
mod visitors;

use crate::app::DemoOptions;
use account::Account;
use act::NEXT;
use anyhow::Context;
use applications::Fault;
use stage::{SERVICE, Stage};
use std::process::ExitCode;
use story::{Interrupted, Signals, Story};

/// As a shell reports a program that Ctrl-C has ended.
const INTERRUPTED: u8 = 130;

/// Tells the story; the exit code is 0 only if it went as told.
///
/// # Errors
/// When something that the story is played on can't be had.
pub fn demo(options: DemoOptions) -> anyhow::Result<ExitCode> {
    // A thread of its own for the control plane: a slow terminal shall not hold it up.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("the control runtime")?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let stage = Stage::set(&runtime)?;
    let told = runtime.block_on(async { Story::new(options.fault, &stage, &mut signals).tell().await });
    let code = match told {
        Ok(account) => {
            plain::say(&summary::text(&account));
            if options.keep {
                keep_up(&stage);
                runtime.block_on(signals.next());
            }
            exit_code(&account)
        }
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => return Err(error),
    };
    stage.strike(&runtime)?;
    Ok(code)
}

fn exit_code(account: &Account) -> ExitCode {
    if account.otherwise().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Deploys one more release to the pool that serves nobody, and says what there is to try with it.
fn keep_up(stage: &Stage) {
    if let Ok(view) = stage.router.handle.service(SERVICE) {
        for pool in view.pools.keys().filter(|pool| **pool != view.live) {
            stage.application(pool.as_str()).deploy(NEXT, Fault::None);
        }
    }
    plain::say(&summary::to_try(stage));
}
