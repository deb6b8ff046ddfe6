//! Tells where a request would go, by routing it as a worker would.

use super::handle::ExplainRequest;
use crate::config::StickyBy;
use crate::model::view::ExplainView;
use crate::routing::{
    Asked, Destination, Draw, Passage, Reason, Route, Secret, Table, VisitorKey, Write, asks_to_write,
};
use std::net::{IpAddr, Ipv4Addr};

/// Where the request would go.
pub(super) fn explain(table: &Table, secret: &Secret, request: &ExplainRequest) -> ExplainView {
    let (path, query) =
        request.path.split_once('?').map_or((request.path.as_str(), None), |(path, query)| (path, Some(query)));
    let asked = Asked {
        host: &request.host,
        method: &request.method,
        path,
        query,
        headers: &request.headers,
        client: request.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
    };
    match table.route(&asked, secret) {
        Destination::NoService => ExplainView {
            service: None,
            pool: None,
            bucket: None,
            why: vec![format!("no service is configured for host {:?} and path {path:?}: 404", request.host)],
            evidence: None,
        },
        Destination::Maintenance { route, answer } => ExplainView {
            service: Some(route.service.clone()),
            pool: None,
            bucket: None,
            why: vec![
                found(route, &request.host, path),
                match answer.reason {
                    Reason::Planned => "it is in maintenance: the visitor gets the maintenance response".to_owned(),
                    Reason::Unplanned => {
                        "no pool has a healthy target: the visitor gets the maintenance response".to_owned()
                    }
                    Reason::ReadOnly => format!("it is read-only, and {}: it is refused", would_change(&asked)),
                    Reason::Hold => {
                        "it is in hold, and the request can't wait: the visitor gets the maintenance response"
                            .to_owned()
                    }
                },
            ],
            evidence: None,
        },
        Destination::Hold { route } => ExplainView {
            service: Some(route.service.clone()),
            pool: None,
            bucket: None,
            why: vec![
                found(route, &request.host, path),
                "requests are held: it waits, and is routed anew when it is let go".to_owned(),
            ],
            evidence: None,
        },
        Destination::Pool { route, pool, draw, failed_over, passage, .. } => {
            let name = &route.pools[pool].name;
            let mut why = vec![found(route, &request.host, path)];
            if route.planned.is_some() {
                why.push("it is in maintenance, and the visitor's network may pass".to_owned());
            }
            let previewed = route.preview.as_ref().filter(|preview| preview.is_for(asked.client));
            why.push(match (draw, previewed) {
                (Some(draw), _) => drawn(route, draw),
                (None, Some(preview)) => {
                    format!("the visitor's network sees the preview of {}", route.pools[preview.pool].name)
                }
                (None, None) => format!("no split is on: {} is live", route.pools[route.live].name),
            });
            if failed_over {
                why.push(format!("that pool has no healthy target, so {name} serves instead"));
            }
            why.push(format!("{} goes to {name}", request.method));
            why.extend(passage.map(|passage| passes(&asked, passage)).unwrap_or_default());
            ExplainView {
                service: Some(route.service.clone()),
                pool: Some(name.clone()),
                bucket: draw.filter(|draw| draw.key != VisitorKey::Alone).map(|draw| draw.bucket),
                why,
                evidence: None,
            }
        }
    }
}

/// Why a request can't pass a read-only service as it is.
fn would_change(asked: &Asked<'_>) -> String {
    match asks_to_write(asked.method, asked.headers, asked.query) {
        Some(Write::Method) => format!("{} would change something", asked.method),
        Some(Write::Header) => format!("a header asks to treat {} as another method", asked.method),
        Some(Write::Field) => format!("_method in the query asks to treat {} as another method", asked.method),
        None => "the request would change something".to_owned(),
    }
}

/// What becomes of a request on its way past what the service is restricted by.
fn passes(asked: &Asked<'_>, passage: Passage<'_>) -> Vec<String> {
    let mut why = Vec::new();
    if passage.restriction.read_only.is_some() {
        let is_write = asks_to_write(asked.method, asked.headers, asked.query).is_some();
        why.push(match (passage.as_get, is_write) {
            (true, _) => {
                format!("it is read-only, and {}: it goes on as GET, without its body", would_change(asked))
            }
            (false, true) => format!("it is read-only, and {}, but the path is exempt", would_change(asked)),
            (false, false) => "it is read-only, and the request changes nothing".to_owned(),
        });
    }
    if let Some(cookies) = &passage.restriction.anonymous {
        let taken = if cookies.is_empty() { String::new() } else { format!(" and by the cookies {cookies}") };
        why.push(format!("it is anonymous: what says by Authorization{taken} who is logged in is taken off"));
    }
    why
}

fn found(route: &Route, host: &str, path: &str) -> String {
    format!("host {host:?} and path {path:?} belong to service {}", route.service)
}

fn drawn(route: &Route, draw: Draw) -> String {
    let by = match &route.sticky {
        StickyBy::Cookie => "cookie".to_owned(),
        StickyBy::Header(name) => format!("header {name}"),
        StickyBy::ClientIp => "address".to_owned(),
        StickyBy::None => "nothing".to_owned(),
    };
    let weight = route.split.as_ref().map(|split| split.weight).unwrap_or_default();
    let side = if draw.candidate { "in the cohort" } else { "not in the cohort" };
    match draw.key {
        VisitorKey::Sticky(_) => {
            format!("drawn by {by}: bucket {} of 10000 is {side} of {weight}", draw.bucket)
        }
        VisitorKey::Alone => {
            format!("the request has no key ({by}): it is drawn for itself at {weight}, this time {side}")
        }
    }
}
