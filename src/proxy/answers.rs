//! The answers that the router makes itself when a request can't be passed on, and the visitor's cookie.
//!
//! They say what happened in general terms and name nothing of what is behind the router.

use super::accept::{Form, preferred};
use super::body::AnswerBody;
use super::record::Record;
use super::visitor::Visitor;
use crate::model::{COOKIE_NAME, Happening};
use crate::routing::{Secret, VisitorId};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header::ACCEPT, request::Parts};

/// What the router's own answers go by; taken from a request before it goes on.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) method: Method,
    accept: Option<HeaderValue>,
}

impl Wanted {
    /// Of a request's head.
    pub(super) fn by(head: &Parts) -> Self {
        Self { method: head.method.clone(), accept: head.headers.get(ACCEPT).cloned() }
    }

    /// The form that is wanted.
    pub(super) fn form(&self) -> Form {
        preferred(self.accept.as_ref())
    }
}

/// Says that the connection will be closed behind this answer, where the request's body has not come to its end: who
/// is not told sends the next request into nothing.
pub(super) fn announce_close(visitor: &Visitor, answer: &mut Response<AnswerBody>) {
    if visitor.is_body_due() {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Answers a request that could not be passed on, or failed.
pub(super) fn refusal(mut record: Record, wanted: &Wanted, happening: Happening) -> Response<AnswerBody> {
    let status = StatusCode::from_u16(happening.ruling().status).unwrap_or(StatusCode::BAD_GATEWAY);
    let title = status.canonical_reason().unwrap_or("Error");
    let detail = detail(status);
    let (form, text) = match wanted.form() {
        Form::Html | Form::Text => (Form::Text, format!("{} {title}: {detail}\n", status.as_u16())),
        Form::Json => {
            let json = serde_json::json!({"title": title, "status": status.as_u16(), "detail": detail});
            (Form::Json, json.to_string())
        }
    };
    record.answers(happening, status.as_u16());
    let mut response = Response::new(AnswerBody::whole(Bytes::from(text), record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, form.content_type());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn detail(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "the request is malformed.",
        404 => "nothing is served under this address.",
        405 => "what is under this address can only be read.",
        408 => "the request took too long to arrive.",
        413 => "the request's body is too large.",
        501 => "the request asks for something that is not supported here.",
        502 => "the application did not give a usable answer.",
        503 => "too many requests are under way; try again in a moment.",
        504 => "the application did not answer in time.",
        _ => "the request can't be answered.",
    }
}

/// Gives a new visitor the cookie that keeps it in its cohort.
pub(super) fn add_cookie(headers: &mut HeaderMap, visitor: VisitorId, secret: &Secret, secure: bool) {
    let value = visitor.cookie_value(secret);
    let secure = if secure { "; Secure" } else { "" };
    let cookie = [COOKIE_NAME, "=", &value, "; Path=/; HttpOnly; SameSite=Lax", secure].concat();
    if let Ok(cookie) = HeaderValue::from_maybe_shared(Bytes::from(cookie)) {
        headers.append(SET_COOKIE, cookie);
    }
}
