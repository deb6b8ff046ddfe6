//! `cutover status`: everything at a glance, once or each second.

use super::CliError;
use super::output::{complain, for_people, plain_json, say};
use super::overview::{Extent, overview};
use super::session::Session;
use crate::model::Timestamp;
use crate::model::view::{EvidenceView, ServiceView};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

const REDRAW: Duration = Duration::from_secs(1);
/// Cursor to the top left, and everything below it cleared.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) async fn run(session: &Session, watch: bool) -> Result<ExitCode, CliError> {
    if !watch {
        say(&shown(session, Extent::Service).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let clear = if std::io::stdout().is_terminal() && !session.json { CLEAR } else { "" };
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        tokio::select! {
            _ = &mut interrupt => return Ok(ExitCode::SUCCESS),
            drawn = draw(session, clear) => drawn?,
        }
    }
}

/// Draws once, and waits until it is time to draw again.
async fn draw(session: &Session, clear: &str) -> Result<(), CliError> {
    match shown(session, Extent::Service).await {
        Ok(text) => say(&format!("{clear}{text}"))?,
        // A router that restarts comes back.
        Err(error) if error.may_pass() => complain(&format!("{clear}{error}")),
        Err(error) => return Err(error),
    }
    tokio::time::sleep(REDRAW).await;
    Ok(())
}

/// The service that is meant; all of them where none is named and the answer is for people.
pub(super) async fn shown(session: &Session, extent: Extent) -> Result<String, CliError> {
    if session.json {
        let answer = session.client.get(&session.service_path().await?, &[]).await?;
        return Ok(plain_json(&answer.json));
    }
    let views = match &session.service {
        Some(name) => vec![session.client.get(&format!("/services/{name}"), &[]).await?.read()?],
        None => session.services().await?,
    };
    let mut texts = Vec::new();
    for view in &views {
        texts.push(with_evidence(session, view, extent).await?);
    }
    if texts.is_empty() { Err(CliError::NoService) } else { Ok(for_people(texts.join("\n"))) }
}

async fn with_evidence(session: &Session, view: &ServiceView, extent: Extent) -> Result<String, CliError> {
    let path = format!("/services/{}/evidence", view.name);
    let evidence: EvidenceView = session.client.get(&path, &[]).await?.read()?;
    Ok(overview(view, Some(&evidence), extent, Timestamp::now()))
}
