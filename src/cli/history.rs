//! `cutover history`: what happened, who or what decided, and why.

use super::CliError;
use super::output::{columns, plain};
use super::session::Session;
use crate::model::view::{HistoriesView, HistoryView};
use std::process::ExitCode;

pub(super) async fn run(session: &Session) -> Result<ExitCode, CliError> {
    let path = format!("{}/history", session.service_path().await?);
    let answer = session.client.get(&path, &[]).await?;
    session.show(&answer, |answer| answer.read().map(|view| text(&view)))
}

fn text(view: &HistoriesView) -> String {
    if view.history.is_empty() {
        return "nothing has happened yet".to_owned();
    }
    let heading = ["time", "decision", "by", "then", "reason"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(view.history.iter().map(row)).collect();
    columns(&rows)
}

fn row(entry: &HistoryView) -> [String; 5] {
    let time = entry.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    let then = match &entry.candidate {
        Some(candidate) => format!("{} live, {candidate} {} ({})", entry.live, entry.weight, entry.phase),
        None => format!("{} live ({})", entry.live, entry.phase),
    };
    [time, plain(&entry.decision), plain(&entry.by), then, plain(&entry.reason)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BasisPoints, Phase};

    #[test]
    fn each_decision_is_a_line_with_its_reason() {
        let entry = HistoryView {
            id: 1,
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
        };
        let back =
            HistoryView { candidate: None, phase: Phase::RolledBack, decision: "rollback".to_owned(), ..entry.clone() };
        let expected = "\
time                  decision  by           then                               reason
2026-11-22 04:00:00Z  step      error-ratio  server0 live, server1 5% (canary)  no worse\\nthan live
2026-11-22 04:00:00Z  rollback  error-ratio  server0 live (rolled_back)         no worse\\nthan live
";
        assert_eq!(text(&HistoriesView { history: vec![entry, back] }), expected);
        assert_eq!(text(&HistoriesView { history: vec![] }), "nothing has happened yet");
    }
}
