//! `cutover preview-link`: a link that shows a pool to whoever has it.

use super::CliError;
use super::arguments::PreviewLinkArguments;
use super::session::Session;
use crate::model::view::PreviewLinkView;
use reqwest::Method;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

pub(super) async fn run(session: &Session, arguments: PreviewLinkArguments) -> Result<ExitCode, CliError> {
    let PreviewLinkArguments { pool, ttl, path, host } = arguments;
    let body = json!({ "pool": pool, "ttl": ttl, "path": path, "host": host });
    let answer = session.change(Method::POST, "/preview-link", &body, Duration::ZERO).await?;
    session.show(&answer, |answer| answer.read().map(|view| text(&view)))
}

/// The link alone in the first line, so that it can be copied, or cut out by a script.
fn text(link: &PreviewLinkView) -> String {
    let PreviewLinkView { service, pool, url, path, expires, .. } = link;
    let whole = match url {
        Some(url) => url.clone(),
        None => format!("{path}\n  behind the address of the site; --host completes it"),
    };
    format!("{whole}\n  shows {pool} of {service} until {expires}; ?cutover-preview=off leaves it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_stands_alone_in_the_first_line() {
        let mut link = PreviewLinkView {
            service: "shop".parse().unwrap(),
            pool: "server1".parse().unwrap(),
            url: Some("https://a/?cutover-preview=AQ".into()),
            path: "/?cutover-preview=AQ".into(),
            cookie: "cutover-preview".into(),
            token: "AQ".into(),
            expires: "2026-11-20T12:00:00Z".parse().unwrap(),
        };
        assert_eq!(
            text(&link),
            "https://a/?cutover-preview=AQ\n  shows server1 of shop until 2026-11-20T12:00:00Z; \
             ?cutover-preview=off leaves it"
        );
        link.url = None;
        assert!(text(&link).starts_with("/?cutover-preview=AQ\n  behind the address of the site; --host"));
    }
}
