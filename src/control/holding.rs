//! A switch that lets requests wait meanwhile: hold, wait for the requests under way to end, switch, let go.
//!
//! The hold is this process's own and in no state: whatever ends it in the middle leaves the old pool live. It ends with
//! the command, however that ends, and at the latest when the first that waits has waited for as long as it may.

use super::command::{Command, CommandError};
use super::conductor::Conductor;
use super::draining::{LOOK, Purpose};
use super::handle::Handle;
use super::message::{Done, Message};
use crate::config::Hold;
use crate::model::view::{DrainView, SwitchView};
use crate::model::{Mode, Period, PoolName, ServiceName};
use crate::routing::{MaintenanceAnswer, UnderWay, Waiting};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// A hold of a service.
#[derive(Debug)]
pub(super) struct Holding {
    /// Tells it from others before and after it.
    number: u64,
    /// When it ends by itself.
    until: Instant,
    /// The pool that is switched to.
    pool: PoolName,
    /// Where traffic went when it began.
    live: PoolName,
    candidate: Option<PoolName>,
}

/// A hold that has begun.
#[derive(Debug)]
pub(super) struct Begun {
    number: u64,
    /// The service, the table that holds, and the pools that lose traffic.
    done: Done,
    /// How long their requests have to end.
    patience: Duration,
}

/// What comes of asking for a hold.
pub(super) type HoldReply = oneshot::Sender<Result<Option<Begun>, CommandError>>;

/// How requests of a service wait, with a worker's share of the bounds.
pub(super) fn waiting(hold: &Hold, refusal: Arc<MaintenanceAnswer>, workers: usize) -> Waiting {
    let share = |whole: u64| (whole / workers.max(1) as u64).max(1);
    Waiting {
        max_wait: hold.max_wait.get(),
        max_requests: share(hold.max_requests),
        max_bytes: share(hold.max_bytes),
        restart: hold.restart.get(),
        refusal,
    }
}

/// The longest drain under a hold. What is left of the longest wait is for the switch itself, and for the queue to go on.
fn longest_drain(hold: &Hold) -> Period {
    (hold.max_wait.get() * 3 / 4).into()
}

/// What is told of a switch whose hold has ended.
fn over() -> CommandError {
    let reason = "the hold came to its end before the switch could be made";
    CommandError::Refused(format!("{reason}; nothing was switched"))
}

impl Holding {
    /// For whoever looks meanwhile.
    pub(super) fn warning(&self) -> String {
        format!("requests wait while all traffic is switched to {}", self.pool)
    }
}

impl Conductor {
    /// Begins the hold of a switch, if that would be carried out now. `None` where requests are held already.
    pub(super) fn hold(
        &mut self,
        service: &ServiceName,
        command: &Command,
        if_match: Option<u64>,
    ) -> Result<Option<Begun>, CommandError> {
        let Some(at) = self.position(service) else {
            return Err(CommandError::UnknownService(service.to_string()));
        };
        let Command::Switch { pool, drain, .. } = command else { return Ok(None) };
        self.decision_on(at, command, if_match)?;
        let service = &mut self.services[at];
        if service.state.mode.mode == Mode::Hold {
            return Ok(None);
        }
        if let Some(holding) = &service.holding {
            let reason = format!("a switch to {} is under way; repeat the command when it is over", holding.pool);
            return Err(CommandError::Refused(reason));
        }
        let hold = &service.config.hold;
        let longest = longest_drain(hold);
        if drain.is_some_and(|drain| drain > longest) {
            let reason = format!(
                "requests that are held wait for the drain too, and at most {} in all (`hold.max_wait`); give a drain of \
                 at most {longest}",
                hold.max_wait
            );
            return Err(CommandError::Invalid(reason));
        }
        let patience = drain.map_or(hold.max_wait.get() / 2, Period::get);
        let number = self.version;
        service.holding = Some(Holding {
            number,
            until: Instant::now() + hold.max_wait.get(),
            pool: pool.clone(),
            live: service.state.live.clone(),
            candidate: service.state.candidate.clone(),
        });
        let left: Vec<PoolName> =
            service.pools.iter().map(|pool| pool.name.clone()).filter(|name| name != pool).collect();
        tracing::info!(service = %service.config.name, %pool, "requests are held for a switch");
        self.publish(at);
        Ok(Some(Begun { number, done: self.done(at, &left), patience }))
    }

    /// Why a switch under a hold can't be made any more, if it can't.
    pub(super) fn hold_fault(&self, at: usize, number: u64) -> Option<CommandError> {
        let service = &self.services[at];
        match service.holding.as_ref().filter(|holding| holding.number == number) {
            None => Some(over()),
            Some(Holding { live, candidate, .. })
                if *live != service.state.live || *candidate != service.state.candidate =>
            {
                let reason = "the service was changed while requests were held: `cutover history` tells";
                Some(CommandError::Refused(format!("{reason}; nothing was switched")))
            }
            Some(_) => None,
        }
    }

    /// Ends a hold; nothing where it has ended already.
    pub(super) fn let_go(&mut self, service: &ServiceName, number: u64) {
        let Some(at) = self.position(service) else { return };
        if self.services[at].holding.take_if(|holding| holding.number == number).is_some() {
            tracing::info!(%service, "the requests that were held go on");
            self.publish(at);
        }
    }

    /// Ends a hold that has lasted for too long.
    pub(super) fn end_overdue_hold(&mut self, at: usize) {
        let control = &mut self.services[at];
        let overdue = control.holding.as_ref().filter(|holding| Instant::now() >= holding.until);
        if let Some(Holding { number, pool, live, .. }) = overdue {
            let (number, is_written) =
                (*number, control.writing.planned().is_some_and(|to| to.live == *pool && pool != live));
            if is_written && let Some(reply) = control.writing.give_up() {
                // Who waited goes to the old pool now, so the switch must not follow.
                let _ = reply.send(Err(over()));
            }
            let service = self.services[at].config.name.clone();
            tracing::warn!(%service, "a switch has held requests for as long as they may wait");
            self.let_go(&service, number);
        }
    }
}

/// Ends the hold when it is dropped.
struct LetGo<'h> {
    handle: &'h Handle,
    service: &'h ServiceName,
    number: u64,
}

impl LetGo<'_> {
    async fn now(self) {
        let (reply, replied) = oneshot::channel();
        let message = Message::LetGo { service: self.service.clone(), number: self.number, reply: Some(reply) };
        if self.handle.inbox.send(message).await.is_ok() {
            // When the router stops, nobody waits any longer.
            let _ = replied.await;
        }
    }
}

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        let message = Message::LetGo { service: self.service.clone(), number: self.number, reply: None };
        // If the inbox is full, the conductor ends the hold by itself when it is overdue.
        let _ = self.handle.inbox.try_send(message);
    }
}

impl Handle {
    /// Carries out a switch while requests wait.
    pub(super) async fn switch_under_hold(
        &self,
        service: &ServiceName,
        command: Command,
        if_match: Option<u64>,
    ) -> Result<SwitchView, CommandError> {
        let cut = matches!(command, Command::Switch { drain: Some(_), .. });
        let (reply, replied) = oneshot::channel();
        let message = Message::Hold { service: service.clone(), command: command.clone(), if_match, reply };
        self.inbox.send(message).await.map_err(|_| CommandError::Stopping)?;
        let Some(begun) = replied.await.map_err(|_| CommandError::Stopping)?? else {
            return self.carry_out(service, command, if_match).await;
        };
        let hold = LetGo { handle: self, service, number: begun.number };
        // What comes after the hold has begun is let through on purpose, and may go on for ever.
        let under_way = UnderWay { pools: begun.done.draining.into(), before: Some(begun.done.table) };
        let drain = if cut {
            self.drain(&under_way, begun.done.table, begun.patience, Purpose::Hold(service)).await?
        } else {
            self.wait_for_the_end(&under_way, begun.done.table, begun.patience).await?
        };
        // The revision was the one that was meant when the hold began.
        self.ask(service, command, None, Some(begun.number)).await?;
        hold.now().await;
        Ok(SwitchView { service: self.service(service.as_str())?, drain: Some(drain) })
    }

    /// Waits until the requests have ended that are under way; an error when that takes too long.
    async fn wait_for_the_end(
        &self,
        under_way: &UnderWay,
        table: u64,
        patience: Duration,
    ) -> Result<DrainView, CommandError> {
        let started = Instant::now();
        // A worker's count is whole once it has acknowledged the table.
        while !self.live.acknowledged(table) && started.elapsed() < patience {
            tokio::time::sleep(LOOK).await;
        }
        let waited_for = self.live.count(under_way).await;
        let mut left = waited_for;
        while left > 0 || !self.live.acknowledged(table) {
            if started.elapsed() >= patience {
                let left = match left {
                    1 => "1 request is".to_owned(),
                    left => format!("{left} requests are"),
                };
                return Err(CommandError::Refused(format!(
                    "{left} still under way after {}, so nothing was switched; give `--drain` a time after which they are \
                     cut, or try again when they have ended",
                    Period::from(patience)
                )));
            }
            tokio::time::sleep(LOOK).await;
            left = self.live.count(under_way).await;
        }
        let took = Period::from_millis(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
        Ok(DrainView { waited_for, cut: 0, took })
    }
}
