//! `cutover history`: what happened, who or what decided, and why.

use super::arguments::HistoryArguments;
use super::output::{columns, indented, plain};
use super::session::Session;
use super::{CliError, evidence, replay};
use crate::model::Timestamp;
use crate::model::view::{HistoriesView, HistoryView};
use std::process::ExitCode;

pub(super) async fn run(session: &Session, arguments: HistoryArguments) -> Result<ExitCode, CliError> {
    let path = format!("{}/history", session.service_path().await?);
    if let Some(which) = arguments.replay {
        return replay::run(session, &path, which, arguments.limit).await;
    }
    let limit = arguments.limit.map(|limit| ("limit", limit.to_string()));
    let id = arguments.id.map(|id| ("id", id.to_string()));
    let answer = session.client.get(&path, &limit.into_iter().chain(id).collect::<Vec<_>>()).await?;
    session.show(&answer, |answer| {
        let view: HistoriesView = answer.read()?;
        match (arguments.id, view.history.first()) {
            (Some(id), None) => Err(no_entry(id)),
            (Some(_), Some(entry)) => Ok(in_full(entry)),
            (None, _) => Ok(list(&view)),
        }
    })
}

/// The history has no entry of this id.
pub(super) fn no_entry(id: u64) -> CliError {
    CliError::Refused(format!("the history of this service has no decision {id}; `cutover history` lists them"))
}

fn list(view: &HistoriesView) -> String {
    if view.history.is_empty() {
        return "nothing has happened yet".to_owned();
    }
    let heading = ["id", "time", "decision", "by", "weight", "reason"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(view.history.iter().map(row)).collect();
    columns(&rows) + "`cutover history --id ID` tells on which evidence\n"
}

fn row(entry: &HistoryView) -> [String; 6] {
    let weight = entry.candidate.as_ref().map_or_else(|| "-".to_owned(), |_| entry.weight.to_string());
    [entry.id.to_string(), time(entry.at), plain(&entry.decision), plain(&entry.by), weight, plain(&entry.reason)]
}

pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

fn in_full(entry: &HistoryView) -> String {
    let then = match &entry.candidate {
        Some(candidate) => format!("{} is live, {candidate} gets {} ({})", entry.live, entry.weight, entry.phase),
        None => format!("{} is live ({})", entry.live, entry.phase),
    };
    let facts = [
        ["time", &time(entry.at)],
        ["decision", &plain(&entry.decision)],
        ["by", &plain(&entry.by)],
        ["reason", &plain(&entry.reason)],
        ["then", &then],
        ["revision", &entry.revision.to_string()],
    ];
    let mut text =
        format!("decision {}\n{}", entry.id, indented(&columns(&facts.map(|fact| fact.map(str::to_owned))), 2));
    match &entry.evidence {
        None => text.push_str("\nno rollout was under way: there was no evidence\n"),
        Some(view) => {
            let verdict = view.verdict.map(|verdict| format!("  verdict: {verdict}: {}\n", plain(&view.reason)));
            text.push_str("\nevidence at that moment\n");
            text.push_str(&verdict.unwrap_or_default());
            text.push_str(&evidence::full(view));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::model::{BasisPoints, Phase};

    fn entry() -> HistoryView {
        HistoryView {
            id: 7,
            at: "2026-11-22T04:00:00.5Z".parse().unwrap(),
            revision: 2,
            decision: "step".to_owned(),
            by: "error-ratio".to_owned(),
            reason: "no worse\nthan live".to_owned(),
            phase: Phase::Canary,
            live: "server0".parse().unwrap(),
            candidate: Some("server1".parse().unwrap()),
            weight: BasisPoints::from_percent(5.0).unwrap(),
            evidence: None,
            record: None,
        }
    }

    #[test]
    fn each_decision_is_a_line_with_its_reason() {
        let back = HistoryView {
            id: 8,
            candidate: None,
            phase: Phase::RolledBack,
            decision: "rollback".to_owned(),
            ..entry()
        };
        let expected = "\
id  time                  decision  by           weight  reason
7   2026-11-22 04:00:00Z  step      error-ratio  5%      no worse\\nthan live
8   2026-11-22 04:00:00Z  rollback  error-ratio  -       no worse\\nthan live
`cutover history --id ID` tells on which evidence
";
        assert_eq!(list(&HistoriesView { history: vec![entry(), back] }), expected);
        assert_eq!(list(&HistoriesView { history: vec![] }), "nothing has happened yet");
    }

    #[test]
    fn one_decision_is_told_with_its_evidence() {
        let expected = "\
decision 7
  time      2026-11-22 04:00:00Z
  decision  step
  by        error-ratio
  reason    no worse\\nthan live
  then      server0 is live, server1 gets 5% (canary)
  revision  2

no rollout was under way: there was no evidence
";
        assert_eq!(in_full(&entry()), expected);
        let text = in_full(&HistoryView { evidence: Some(samples::evidence()), ..entry() });
        assert!(
            text.contains(
                "\nevidence at that moment\n  verdict: insufficient: not enough evidence yet\n  error-ratio: "
            ),
            "{text}"
        );
    }
}
