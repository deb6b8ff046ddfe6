//! All paths of the admin address.

use super::access::{self, Access};
use super::problem::{Kind, Problem};
use super::{commands, deploys, events, questions};
use crate::control::Handle;
use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Uri;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) handle: Handle,
    pub(super) subscribers: Arc<Semaphore>,
    pub(super) stopping: CancellationToken,
}

/// A method of a path, and who handles it.
struct Entry {
    #[cfg_attr(not(test), expect(dead_code, reason = "a test compares it with the description"))]
    method: MethodFilter,
    path: &'static str,
    handler: MethodRouter<Api>,
}

fn entry<H: Handler<T, Api>, T: 'static>(method: MethodFilter, path: &'static str, handler: H) -> Entry {
    Entry { method, path, handler: on(method, handler) }
}

fn entries() -> Vec<Entry> {
    use MethodFilter as M;
    vec![
        entry(M::GET, "/api/v1/services", questions::services),
        entry(M::GET, "/api/v1/services/{service}", questions::service),
        entry(M::GET, "/api/v1/services/{service}/evidence", questions::evidence),
        entry(M::GET, "/api/v1/services/{service}/history", questions::history),
        entry(M::GET, "/api/v1/services/{service}/explain", questions::explain),
        entry(M::POST, "/api/v1/services/{service}/switch", commands::switch),
        entry(M::POST, "/api/v1/services/{service}/rollout", commands::start),
        entry(M::POST, "/api/v1/services/{service}/rollout/pause", commands::pause),
        entry(M::POST, "/api/v1/services/{service}/rollout/resume", commands::resume),
        entry(M::POST, "/api/v1/services/{service}/rollout/approve", commands::approve),
        entry(M::POST, "/api/v1/services/{service}/rollout/promote", commands::promote),
        entry(M::POST, "/api/v1/services/{service}/rollout/rollback", commands::rollback),
        entry(M::PUT, "/api/v1/services/{service}/rollout/weight", commands::weight),
        entry(M::PUT, "/api/v1/services/{service}/mode", commands::mode),
        entry(M::POST, "/api/v1/services/{service}/preview-link", commands::preview_link),
        entry(M::PUT, "/api/v1/services/{service}/deploy", deploys::deploy),
        entry(M::POST, "/api/v1/backup", commands::backup),
        entry(M::GET, "/api/v1/events", events::events),
        entry(M::GET, "/openapi.json", questions::openapi),
        entry(M::GET, "/livez", questions::livez),
        entry(M::GET, "/readyz", questions::readyz),
        entry(M::GET, "/metrics", questions::metrics),
    ]
}

/// Everything that the admin address answers.
pub(super) fn router(handle: Handle, access: Access, stopping: CancellationToken) -> Router {
    let api = Api { handle, subscribers: events::subscribers(), stopping };
    entries()
        .into_iter()
        .fold(Router::new(), |router, entry| router.route(entry.path, entry.handler))
        .fallback(no_such_path)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::new(access), access::guard))
        .with_state(api)
}

async fn no_such_path(uri: Uri) -> Problem {
    Problem::new(Kind::NoSuchPath, format!("there is nothing at {:?}; /openapi.json lists what there is", uri.path()))
}

async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "the header Allow names the methods of this path")
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::model::{DeployEnd, DeployStep, GatePoint, HeldBy, Phase};
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn described() -> Value {
        serde_json::from_str(questions::OPENAPI).unwrap()
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    #[test]
    fn every_route_is_described_and_everything_described_is_a_route() {
        let routes: BTreeSet<_> = entries()
            .iter()
            .map(|entry| {
                let method = [(MethodFilter::GET, "get"), (MethodFilter::POST, "post"), (MethodFilter::PUT, "put")]
                    .into_iter()
                    .find_map(|(filter, name)| (filter == entry.method).then_some(name));
                format!("{} {}", method.unwrap(), entry.path)
            })
            .collect();
        let document = described();
        let mut written = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = keys(methods).into_iter().filter(|method| method != "parameters");
            written.extend(methods.map(|method| format!("{method} {path}")));
        }
        assert_eq!(routes, written);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_description_names_every_field_of_the_answers() {
        let document = described();
        let properties = |schema: &str| keys(&document["components"]["schemas"][schema]["properties"]);
        let fields = |value: Value| keys(&value);
        let service = serde_json::to_value(samples::service()).unwrap();
        assert_eq!(fields(service["rollout"].clone()), properties("Rollout"));
        assert_eq!(fields(service["rollout"]["steps"][0].clone()), properties("Step"));
        assert_eq!(fields(service["rollout"]["gates"][0].clone()), properties("Gate"));
        assert_eq!(fields(service["held"].clone()), properties("Held"));
        assert_eq!(fields(service["mode_setting"].clone()), properties("ModeSetting"));
        assert_eq!(fields(service["pools"]["server0"].clone()), properties("Pool"));
        assert_eq!(fields(service["pools"]["server0"]["targets"][0].clone()), properties("Target"));
        assert_eq!(fields(service["deploy"].clone()), properties("Deploy"));
        assert_eq!(fields(service["deploy"]["guard"].clone()), properties("DeployGuard"));
        assert_eq!(fields(service), properties("Service"));
        let link = serde_json::to_value(samples::preview_link()).unwrap();
        assert_eq!(fields(link), properties("PreviewLink"));
        let entry = serde_json::to_value(samples::history()).unwrap();
        assert_eq!(fields(entry["evidence"].clone()), properties("Evidence"));
        assert_eq!(fields(entry["evidence"]["checks"][0].clone()), properties("Check"));
        let check = &entry["evidence"]["checks"][0];
        assert_eq!(fields(check["step"].clone()), properties("Counts"));
        assert_eq!(fields(check["ratios"].clone()), properties("Ratios"));
        assert_eq!(fields(check["ratios"]["live"].clone()), properties("Ratio"));
        assert_eq!(fields(check["quantiles"][0].clone()), properties("Quantile"));
        assert_eq!(fields(check["queries"][0].clone()), properties("Query"));
        assert_eq!(fields(entry["evidence"]["guard"].clone()), properties("Guard"));
        assert_eq!(fields(entry["evidence"]["guard"]["windows"][0].clone()), properties("Burn"));
        assert_eq!(fields(entry), properties("HistoryEntry"));
    }

    #[test]
    fn the_description_names_every_word_of_holds_phases_and_gates() {
        let document = described();
        let described = |place: &str| document.pointer(&format!("/components/schemas/{place}/enum")).unwrap().clone();
        assert_eq!(described("Held/properties/by"), serde_json::json!(HeldBy::ALL));
        assert_eq!(described("Phase"), serde_json::json!(Phase::ALL));
        assert_eq!(described("Gate/properties/at"), serde_json::json!(GatePoint::ALL));
        assert_eq!(described("Deploy/properties/done/items"), serde_json::json!(DeployStep::ALL));
        assert_eq!(described("Deploy/properties/ended"), serde_json::json!(DeployEnd::ALL));
    }

    #[test]
    fn every_reference_of_the_description_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(fields) => {
                    found.extend(fields.get("$ref").map(|target| target.as_str().unwrap().to_owned()));
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(values) => values.iter().for_each(|value| references(value, found)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        let document = described();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
    }
}
