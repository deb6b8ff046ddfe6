//! `cutover history --replay`: decides again what was decided, from what was stored of it, and compares.

use super::arguments::Replay;
use super::history::{no_entry, time};
use super::output::{plain, plain_json, say};
use super::session::Session;
use super::{CliError, error};
use crate::control::{Replayed, replay};
use crate::model::view::{HistoriesView, HistoryView};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;

/// Decisions that are replayed where no number is named: as many as have a record.
const USUAL: u32 = 1_000;

/// What came of all of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    same: u32,
    differ: u32,
    without_record: u32,
}

impl Tally {
    fn count(&mut self, replayed: &Replayed) {
        match replayed {
            Replayed::Same => self.same += 1,
            Replayed::Differs(_) => self.differ += 1,
            Replayed::NoRecord => self.without_record += 1,
        }
    }

    fn summary(self) -> String {
        let mut text = format!("{} the same", self.same);
        if self.differ > 0 {
            let _ = write!(text, ", {} DIFFER", self.differ);
        }
        if self.without_record > 0 {
            let _ = write!(text, ", {} without a record", self.without_record);
        }
        text
    }
}

/// Exit code 0 if nothing differs, else 1; a decision that was asked for by its id has to be the same.
pub(super) async fn run(
    session: &Session,
    path: &str,
    which: Replay,
    limit: Option<u32>,
) -> Result<ExitCode, CliError> {
    let ids = match which {
        Replay::One(id) => vec![id],
        Replay::All => ids(session, path, limit.unwrap_or(USUAL)).await?,
    };
    let mut tally = Tally::default();
    let mut results = Vec::new();
    // One at a time: a record is large, and there may be a thousand.
    for id in ids {
        let query = [("id", id.to_string()), ("record", true.to_string())];
        let view: HistoriesView = session.client.get(path, &query).await?.read()?;
        let Some(entry) = view.history.first() else {
            match which {
                Replay::One(id) => return Err(no_entry(id)),
                // Meanwhile newer ones have taken its place.
                Replay::All => continue,
            }
        };
        let replayed = replay(entry);
        tally.count(&replayed);
        if session.json {
            results.push(as_json(entry, &replayed));
        } else {
            say(&line(entry, &replayed))?;
        }
    }
    if session.json {
        say(&plain_json(&json!({ "replayed": results }).to_string()))?;
    } else if which == Replay::All {
        say(&tally.summary())?;
    }
    let good = match which {
        Replay::All => tally.differ == 0,
        Replay::One(_) => tally.same == 1,
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(error::FAILED) })
}

async fn ids(session: &Session, path: &str, limit: u32) -> Result<Vec<u64>, CliError> {
    let view: HistoriesView = session.client.get(path, &[("limit", limit.to_string())]).await?.read()?;
    Ok(view.history.iter().map(|entry| entry.id).collect())
}

fn line(entry: &HistoryView, replayed: &Replayed) -> String {
    let mut text = format!("{:>5}  {}  {:10}  ", entry.id, time(entry.at), plain(&entry.decision));
    match replayed {
        Replayed::Same => text.push_str("same"),
        Replayed::NoRecord => {
            text.push_str("no record: an older version decided it, or it is too old or too large to be kept");
        }
        Replayed::Differs(differences) => {
            text.push_str("DIFFERS");
            for difference in differences {
                let _ = write!(text, "\n       {}", plain(difference));
            }
        }
    }
    text
}

fn as_json(entry: &HistoryView, replayed: &Replayed) -> Value {
    let (result, differences) = match replayed {
        Replayed::Same => ("same", &[][..]),
        Replayed::Differs(differences) => ("differs", differences.as_slice()),
        Replayed::NoRecord => ("no-record", &[][..]),
    };
    json!({ "id": entry.id, "decision": entry.decision, "result": result, "differences": differences })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_leaves_out_what_did_not_happen() {
        let mut tally = Tally::default();
        tally.count(&Replayed::Same);
        assert_eq!(tally.summary(), "1 the same");
        tally.count(&Replayed::NoRecord);
        tally.count(&Replayed::Differs(Vec::new()));
        assert_eq!(tally.summary(), "1 the same, 1 DIFFER, 1 without a record");
    }
}
