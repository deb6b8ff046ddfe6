//! Whatever fails is told as a problem document (RFC 9457).

use crate::control::CommandError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

/// What kind of problem it is. Scripts can rely on its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Invalid,
    Unauthorized,
    ForeignOrigin,
    NoSuchPath,
    UnknownService,
    MethodNotAllowed,
    TooSlow,
    Refused,
    HeldByFile,
    Moved,
    TooLarge,
    NotJson,
    ForeignHost,
    UnknownPool,
    Internal,
    NotStored,
    Stopping,
    Busy,
}

impl Kind {
    /// Status, last part of the `type`, and title.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Invalid => (StatusCode::BAD_REQUEST, "invalid", "The request can't be used"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "A token is needed"),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, "foreign-origin", "The request comes from a foreign page"),
            Self::NoSuchPath => (StatusCode::NOT_FOUND, "no-such-path", "There is nothing at this path"),
            Self::UnknownService => (StatusCode::NOT_FOUND, "unknown-service", "There is no such service"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "The path does not take this method")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The body did not arrive in time"),
            Self::Refused => (StatusCode::CONFLICT, "refused", "The service is not in a state that allows it"),
            Self::HeldByFile => (StatusCode::CONFLICT, "held-by-file", "A file holds the service in maintenance"),
            Self::Moved => (StatusCode::PRECONDITION_FAILED, "moved", "The service has changed meanwhile"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The body is too large"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", "A change needs a JSON content type"),
            Self::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, "foreign-host", "The Host is not a local one"),
            Self::UnknownPool => (StatusCode::UNPROCESSABLE_ENTITY, "unknown-pool", "The service has no such pool"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The router is at fault"),
            Self::NotStored => (StatusCode::SERVICE_UNAVAILABLE, "not-stored", "The state can't be written"),
            Self::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping", "The router is stopping"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "Too much is asked for at once"),
        }
    }
}

/// A problem, as it is told.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    /// What is wrong and what to do.
    pub(super) detail: String,
}

/// Seconds after which a disk, or a busy router, is worth another try.
const COME_BACK: HeaderValue = HeaderValue::from_static("5");

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// A request that can't be used.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.parts();
        let document = serde_json::json!({
            "type": format!("urn:cutover:problem:{name}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, COME_BACK);
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cutover\""));
        }
        response
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let kind = match error {
            CommandError::UnknownService(_) => Kind::UnknownService,
            CommandError::UnknownPool { .. } => Kind::UnknownPool,
            CommandError::Invalid(_) => Kind::Invalid,
            CommandError::Refused(_) => Kind::Refused,
            CommandError::Moved { .. } => Kind::Moved,
            CommandError::HeldByFile { .. } => Kind::HeldByFile,
            CommandError::NotStored(_) => Kind::NotStored,
            CommandError::Stopping => Kind::Stopping,
        };
        Self::new(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn an_error_of_control_becomes_a_problem_document_with_its_status() {
        let service = || "shop".parse().unwrap();
        for (error, status, name, retry_after) in [
            (CommandError::UnknownService("x".to_owned()), 404, "unknown-service", false),
            (
                CommandError::UnknownPool {
                    service: service(),
                    pool: "server9".parse().unwrap(),
                    known: "server0".to_owned(),
                },
                422,
                "unknown-pool",
                false,
            ),
            (CommandError::Invalid("no".to_owned()), 400, "invalid", false),
            (CommandError::Refused("no".to_owned()), 409, "refused", false),
            (CommandError::Moved { service: service(), revision: 3 }, 412, "moved", false),
            (CommandError::HeldByFile { service: service(), file: "on.html".into() }, 409, "held-by-file", false),
            (CommandError::NotStored("the disk is full".to_owned()), 503, "not-stored", true),
            (CommandError::Stopping, 503, "stopping", true),
        ] {
            let detail = error.to_string();
            let response = Problem::from(error).into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
            assert_eq!(response.headers().contains_key(RETRY_AFTER), retry_after);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(document["type"], format!("urn:cutover:problem:{name}"));
            assert_eq!(document["status"], status);
            assert_eq!(document["detail"], detail);
            assert!(document["title"].is_string());
        }
    }
}
