//! The maintenance response, as the table carries it, to one visitor.

use super::accept::Form;
use super::answers::{Wanted, refusal};
use super::body::AnswerBody;
use super::record::{Place, Record};
use crate::config::UnsafeStatus;
use crate::model::{Happening, Timestamp};
use crate::routing::{MaintenanceAnswer, Reason, Route};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};

const X_CUTOVER_MAINTENANCE: HeaderName = HeaderName::from_static("x-cutover-maintenance");

/// Answers a request that no pool serves.
pub(super) fn response(
    mut record: Record,
    wanted: &Wanted,
    route: &Route,
    maintenance: &MaintenanceAnswer,
) -> Response<AnswerBody> {
    let status = status(maintenance, &wanted.method);
    record.in_maintenance(route, maintenance.reason, &wanted.method);
    let form = wanted.form();
    let content = match form {
        Form::Html => &maintenance.html,
        Form::Text => &maintenance.text,
        Form::Json => &maintenance.json,
    };
    let retry_after = maintenance.retry_after.seconds(Timestamp::now(), record.dice());
    record.answers(Happening::Maintenance(status.as_u16()), status.as_u16());
    let mut response = Response::new(AnswerBody::whole(content.clone(), record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.content_type());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(RETRY_AFTER, retry_after.into());
    headers.insert(X_CUTOVER_MAINTENANCE, HeaderValue::from_static(maintenance.reason.as_str()));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Answers a request whose pools all turned out to be out of reach.
pub(super) fn unplanned(record: Record, wanted: &Wanted) -> Response<AnswerBody> {
    let Some(route) = record.place().map(Place::shared_route) else {
        return refusal(record, wanted, Happening::NoService);
    };
    response(record, wanted, &route, &route.unplanned)
}

/// An answer to what nobody asked for is no refusal of the method.
fn status(maintenance: &MaintenanceAnswer, method: &Method) -> StatusCode {
    match (maintenance.reason, maintenance.unsafe_status) {
        (Reason::Planned, UnsafeStatus::MethodNotAllowed) if !method.is_safe() => StatusCode::METHOD_NOT_ALLOWED,
        // What is refused asks for an unsafe method, even if its own is a safe one.
        (Reason::ReadOnly, UnsafeStatus::MethodNotAllowed) => StatusCode::METHOD_NOT_ALLOWED,
        (
            Reason::Planned | Reason::Unplanned | Reason::ReadOnly | Reason::Hold,
            UnsafeStatus::ServiceUnavailable | UnsafeStatus::MethodNotAllowed,
        ) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
