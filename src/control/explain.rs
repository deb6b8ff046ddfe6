//! Tells where a request would go, by routing it as a worker would.

use super::handle::ExplainRequest;
use crate::config::StickyBy;
use crate::model::view::ExplainView;
use crate::model::{RESERVED_PREFIX, Timestamp};
use crate::routing::{
    Asked, Destination, Draw, LastVisitor, Passage, Previewed, Reason, Route, Secret, Table, VisitorKey, Write,
    asks_to_write, is_exempt,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Where the request would go.
pub(super) fn explain(table: &Table, secret: &Secret, request: &ExplainRequest) -> ExplainView {
    let (path, query) =
        request.path.split_once('?').map_or((request.path.as_str(), None), |(path, query)| (path, Some(query)));
    let last_visitor = &LastVisitor::default();
    let asked = Asked {
        host: &request.host,
        method: &request.method,
        path,
        query,
        headers: &request.headers,
        client: request.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        last_visitor,
        preview_at: Some(Timestamp::now()),
    };
    match table.route(&asked, secret) {
        Destination::NoService => ExplainView {
            service: None,
            pool: None,
            bucket: None,
            why: vec![format!("no service is configured for host {:?} and path {path:?}: 404", request.host)],
            evidence: None,
        },
        Destination::Router => {
            let asset = table.asset(asked.host, path);
            let what = asset.map_or("nothing that it has: 404", |_| "an asset of an operator's page");
            ExplainView {
                service: asset.map(|(route, _)| route.service.clone()),
                pool: None,
                bucket: None,
                why: vec![format!("paths below {RESERVED_PREFIX} are the router's own; {path:?} is {what}")],
                evidence: None,
            }
        }
        Destination::Maintenance { route, answer } => ExplainView {
            service: Some(route.service.clone()),
            pool: None,
            bucket: None,
            why: vec![found(route, &request.host, path), kept_from_pools(route, answer.reason, &asked, secret)],
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
        Destination::Pool { route, pool, draw, failed_over, previewed, passage, .. } => {
            let name = &route.pools[pool].name;
            let mut why = vec![found(route, &request.host, path)];
            if route.hold {
                why.push("requests are held, and the path is exempt".to_owned());
            } else if route.planned.is_some() {
                let who = if is_exempt(&route.exempt, path) {
                    "the path is exempt"
                } else if previewed == Some(Previewed::ByLink) {
                    "the visitor's preview may pass"
                } else {
                    "the visitor's network may pass"
                };
                why.push(format!("it is in maintenance, and {who}"));
            }
            why.push(match (draw, previewed, &route.preview) {
                (Some(draw), _, _) => drawn(route, draw),
                (None, Some(Previewed::ByLink), _) => format!("the cookie of a preview link shows {name}"),
                (None, Some(Previewed::ByNetwork), Some(preview)) => {
                    format!("the visitor's network sees the preview of {}", route.pools[preview.pool].name)
                }
                (None, Some(Previewed::ByNetwork) | None, _) => {
                    let split = if route.split.is_some() { "it takes no part in the split" } else { "no split is on" };
                    format!("{split}: {} is live", route.pools[route.live].name)
                }
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

/// Why a request gets the maintenance response.
fn kept_from_pools(route: &Arc<Route>, reason: Reason, asked: &Asked<'_>, secret: &Secret) -> String {
    match (reason, route.linked(asked, secret)) {
        (Reason::Planned, _) => "it is in maintenance: the visitor gets the maintenance response".to_owned(),
        (Reason::Unplanned, Some(shown)) => format!(
            "the cookie of a preview link shows {}, which can't serve: the visitor gets the maintenance response, and no \
             other pool",
            route.pools[shown].name
        ),
        (Reason::Unplanned, None) => {
            "no pool has a healthy target: the visitor gets the maintenance response".to_owned()
        }
        (Reason::ReadOnly, _) => format!("it is read-only, and {}: it is refused", would_change(asked)),
        (Reason::Hold, _) => {
            "it is in hold, and the request can't wait: the visitor gets the maintenance response".to_owned()
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
