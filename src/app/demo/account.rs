//! How the story went, and whether it went as told.

use super::act::{Act, BAD, HEALTHY};
use super::tally::Counts;
use crate::app::DemoFault;
use crate::model::view::HistoryView;
use crate::model::{Phase, Timestamp};
use std::time::Duration;

/// A rollback that takes longer after the first failure is not what was promised. It takes a second or less on a
/// machine that is not overloaded.
const LONGEST_TO_ROLLBACK: Duration = Duration::from_secs(5);
/// The same of a release that is slow from its first visitor on: there are few of them in the first step.
const LONGEST_UNTIL_SLOW: Duration = Duration::from_secs(14);
/// GETs that may fail for visitors because of the bad release. A rescue makes up for a failing answer, but nothing can
/// make up for one that is cut off in its body.
const MOST_BAD_GETS: u64 = 3;

/// How it went.
#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) fault: DemoFault,
    pub(super) took: Duration,
    pub(super) started_at: Timestamp,
    /// What visitors met, act by act.
    pub(super) counts: [Counts; Act::ALL.len()],
    /// How the rollout of the healthy release ended.
    pub(super) healthy: Phase,
    /// How that of the second ended; None where it never began.
    pub(super) bad: Option<Phase>,
    /// From the first failure to the rollback in force.
    pub(super) to_rollback: Option<Duration>,
    pub(super) rescues: u64,
    pub(super) decisions: Vec<HistoryView>,
}

impl Account {
    /// What went otherwise than told, a sentence each; nothing when it went as told.
    pub(super) fn otherwise(&self) -> Vec<String> {
        let mut otherwise = Vec::new();
        if self.healthy != Phase::Promoted {
            otherwise.push(format!("release {HEALTHY} was to be promoted, and is {}", self.healthy));
        }
        for act in Act::ALL {
            let broken = self.counts[act.index()].broken_gets + self.counts[act.index()].broken_posts;
            if act != Act::Bad && broken > 0 {
                otherwise.push(format!("{broken} connections broke in act {}, without a fault", act.index() + 1));
            }
        }
        if let Some(bad) = self.bad {
            match self.fault {
                DemoFault::Errors | DemoFault::Latency | DemoFault::Crash => {
                    self.bad_release_otherwise(bad, &mut otherwise);
                }
                DemoFault::None if bad != Phase::Promoted => {
                    otherwise.push(format!("release {BAD} was to be promoted, and is {bad}"));
                }
                DemoFault::None => {}
            }
        }
        otherwise
    }

    fn longest_to_rollback(&self) -> Duration {
        if self.fault == DemoFault::Latency { LONGEST_UNTIL_SLOW } else { LONGEST_TO_ROLLBACK }
    }

    fn bad_release_otherwise(&self, bad: Phase, otherwise: &mut Vec<String>) {
        if bad != Phase::RolledBack {
            otherwise.push(format!("release {BAD} was to be rolled back, and is {bad}"));
        }
        match self.to_rollback {
            Some(time) if time > self.longest_to_rollback() => {
                let limit = self.longest_to_rollback().as_secs();
                otherwise.push(format!("the rollback took {:.1} s, more than {limit}", time.as_secs_f64()));
            }
            Some(_) => {}
            None => otherwise.push(format!("release {BAD} never failed, or never was taken back")),
        }
        let counts = &self.counts[Act::Bad.index()];
        let bad_gets = counts.bad_gets + counts.broken_gets;
        if bad_gets > MOST_BAD_GETS {
            otherwise.push(format!("{bad_gets} GETs failed for visitors because of release {BAD}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(fault: DemoFault, bad: Phase) -> Account {
        Account {
            fault,
            took: Duration::from_secs(40),
            started_at: Timestamp::UNIX_EPOCH,
            counts: [Counts { requests: 1000, usual_errors: 2, ..Counts::default() }; 3],
            healthy: Phase::Promoted,
            bad: Some(bad),
            to_rollback: Some(Duration::from_millis(600)),
            rescues: 12,
            decisions: Vec::new(),
        }
    }

    #[test]
    fn what_was_told_is_fine() {
        for (fault, bad) in [
            (DemoFault::Errors, Phase::RolledBack),
            (DemoFault::Latency, Phase::RolledBack),
            (DemoFault::Crash, Phase::RolledBack),
            (DemoFault::None, Phase::Promoted),
        ] {
            assert_eq!(account(fault, bad).otherwise(), Vec::<String>::new(), "{fault:?}");
        }
    }

    #[test]
    fn each_thing_that_went_otherwise_is_told() {
        let told = |change: fn(&mut Account)| {
            let mut account = account(DemoFault::Errors, Phase::RolledBack);
            change(&mut account);
            account.otherwise().join("; ")
        };
        assert!(told(|account| account.healthy = Phase::Canary).contains("1.1 was to be promoted, and is canary"));
        assert!(told(|account| account.bad = Some(Phase::Promoted)).contains("1.2 was to be rolled back"));
        assert!(told(|account| account.to_rollback = None).contains("never failed"));
        assert!(told(|account| account.to_rollback = Some(Duration::from_secs(6))).contains("took 6.0 s"));
        assert!(told(|account| account.counts[2].bad_gets = 4).contains("4 GETs failed"));
        assert!(told(|account| account.counts[1].broken_posts = 1).contains("1 connections broke in act 2"));
        assert!(told(|account| account.counts[2].bad_posts = 9).is_empty(), "nobody sends a POST twice");
        let promoted = account(DemoFault::None, Phase::RolledBack).otherwise();
        assert_eq!(promoted, ["release 1.2 was to be promoted, and is rolled_back"]);
    }
}
