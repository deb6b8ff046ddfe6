//! Whether the script of a deploy is alive, as far as it has been heard of: so that two runs of the same deploy don't migrate
//! one database at the same time, and one that is run again after the first has died goes on.

use super::command::{Command, CommandError};
use super::service::ServiceControl;
use crate::rollout::{DeployAct, Refusal};
use std::time::{Duration, Instant};

/// A script that has said nothing for so long is taken for dead. It speaks every two seconds.
const SILENCE: Duration = Duration::from_secs(6);

/// The script that was heard of last.
#[derive(Debug)]
pub(super) struct Heard {
    by: String,
    at: Instant,
}

impl ServiceControl {
    /// Notes that the script of a deploy has spoken; refuses another run of the same deploy while it is alive.
    pub(super) fn hear(&mut self, command: &Command, now: Instant) -> Result<(), CommandError> {
        let Command::Deploy { pool, release, by, act } = command else { return Ok(()) };
        let deploy = self.state.deploy.as_ref().filter(|deploy| deploy.is_under_way());
        let Some(other) = deploy.filter(|deploy| deploy.by != *by) else {
            self.heard = Some(Heard { by: by.clone(), at: now });
            return Ok(());
        };
        let is_alive = |heard: &Heard| heard.by == other.by && now.duration_since(heard.at) < SILENCE;
        // A rollout that is under way may be waited for by any number.
        let is_joined = self.state.candidate.as_ref() == Some(pool);
        let goes_on =
            matches!(act, DeployAct::Begin { take_over: false, .. }) && other.is_of(pool, release) && !is_joined;
        if goes_on && self.heard.as_ref().is_some_and(is_alive) {
            return Err(CommandError::Refused(Refusal::OtherDeploy(Box::new(other.clone())).to_string()));
        }
        Ok(())
    }
}
