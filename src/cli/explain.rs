//! `cutover explain`: where a request would go, and why.

use super::arguments::ExplainArguments;
use super::output::plain;
use super::session::Session;
use super::{CliError, evidence};
use crate::model::view::ExplainView;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) async fn run(session: &Session, request: ExplainArguments) -> Result<ExitCode, CliError> {
    let mut query = vec![("host", request.host), ("path", request.path), ("method", request.method)];
    query.extend(request.client_ip.map(|address| ("client_ip", address.to_string())));
    query.extend(request.headers.into_iter().map(|header| ("header", header)));
    let path = match session.service_path().await {
        // The host and the path say which service it is; any of them is asked.
        Err(CliError::SeveralServices(names)) => {
            names.first().map(|name| format!("/services/{name}")).ok_or(CliError::NoService)?
        }
        path => path?,
    };
    let answer = session.client.get(&format!("{path}/explain"), &query).await?;
    session.show(&answer, |answer| answer.read().map(|view| text(&view)))
}

fn text(view: &ExplainView) -> String {
    let mut text = match (&view.service, &view.pool) {
        (None, _) => "no service is configured for this request".to_owned(),
        (Some(service), None) => format!("service {service}: no pool, the router answers by itself"),
        (Some(service), Some(pool)) => format!("service {service}: pool {pool}"),
    };
    if let Some(bucket) = view.bucket {
        let _ = write!(text, ", bucket {bucket} of 10,000");
    }
    for (index, reason) in view.why.iter().enumerate() {
        let _ = write!(text, "\n  {}. {}", index + 1, plain(reason));
    }
    if let Some(evidence) = &view.evidence {
        let _ = write!(text, "\nwhat the rollout goes by:\n{}", evidence::full(evidence).trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn an_explanation_names_the_pool_and_each_step() {
        let view = ExplainView {
            service: Some("shop".parse().unwrap()),
            pool: Some("server1".parse().unwrap()),
            bucket: Some(17),
            why: vec!["host matches".to_owned(), "bucket 17 is below 500".to_owned()],
            evidence: None,
        };
        let expected =
            "service shop: pool server1, bucket 17 of 10,000\n  1. host matches\n  2. bucket 17 is below 500";
        assert_eq!(text(&view), expected);
        let nobody = ExplainView { service: None, pool: None, bucket: None, why: Vec::new(), evidence: None };
        assert_eq!(text(&nobody), "no service is configured for this request");
        let judged = text(&ExplainView { evidence: Some(samples::evidence()), ..view });
        assert!(judged.starts_with(expected) && judged.contains("what the rollout goes by:"), "{judged}");
        assert!(judged.contains("error-ratio: insufficient"), "{judged}");
    }
}
