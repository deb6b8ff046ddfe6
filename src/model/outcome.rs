//! The one table of outcomes: what happened to a request decides what the visitor gets, whose fault it was,
//! whether it counts against the pool, and whether a safe request may be tried again.

use std::fmt;

/// What happened to a request, as far as it matters to anyone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Happening {
    /// The target answered with this status, and it was passed on.
    Answered(u16),
    /// No connection to the target: refused, timed out, or its name did not resolve.
    ConnectFailed,
    /// The target reset or closed the connection before the head of an answer.
    ClosedBeforeHead,
    /// The target's head was malformed, framed in two ways, or a 101 that nobody asked for.
    MalformedHead,
    /// The target sent no head within the time-out.
    HeadTimeout,
    /// The target answered with this HTTP status and a gRPC status in its head that says it failed.
    GrpcFailedInHead(u16),
    /// As `GrpcFailedInHead`, but the gRPC status came in the trailers.
    GrpcFailedInTrailers(u16),
    /// The answer broke off after its head, which had this status.
    CutAfterHead(u16),
    /// The visitor's request was malformed, too large or too slow, or its body broke; with the status that says so.
    BadRequest(u16),
    /// The visitor hung up.
    VisitorGone,
    /// A limit of the router itself was reached.
    RouterLimit,
    /// No pool has a healthy target, or the service is in maintenance; with the status of the response.
    Maintenance(u16),
    /// No service is configured for this host and path.
    NoService,
    /// The router has an answer of its own for this request, with this status.
    ByRouter(u16),
}

/// Whose an outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The application behind the router.
    Target,
    /// Who sent the request.
    Visitor,
    /// The router, or its operator.
    Router,
    /// Nobody is to blame: it went well.
    Nobody,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "target",
            Self::Visitor => "visitor",
            Self::Router => "router",
            Self::Nobody => "nobody",
        })
    }
}

/// What follows from a happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ruling {
    /// The status that the visitor sees, or 499 for one who is gone (log only).
    pub status: u16,
    /// Whose fault it was.
    pub owner: Owner,
    /// Whether it counts as a failure of the pool in the error ratio.
    pub counts: bool,
    /// Whether a safe request that met it may be tried once more.
    pub rescue: bool,
}

/// Whether a gRPC status code says that the target failed: unknown, deadline exceeded, internal, unavailable,
/// data loss.
#[must_use]
pub fn grpc_status_fails(code: &[u8]) -> bool {
    matches!(code, b"2" | b"4" | b"13" | b"14" | b"15")
}

impl Happening {
    /// Whether it says something of the target: it answered, or failed to.
    #[must_use]
    pub fn is_of_target(self) -> bool {
        match self {
            Self::Answered(_)
            | Self::ConnectFailed
            | Self::ClosedBeforeHead
            | Self::MalformedHead
            | Self::HeadTimeout
            | Self::GrpcFailedInHead(_)
            | Self::GrpcFailedInTrailers(_)
            | Self::CutAfterHead(_) => true,
            Self::BadRequest(_)
            | Self::VisitorGone
            | Self::RouterLimit
            | Self::Maintenance(_)
            | Self::NoService
            | Self::ByRouter(_) => false,
        }
    }

    /// The row of the table for this happening.
    #[must_use]
    pub fn ruling(self) -> Ruling {
        let row = |status, owner, counts, rescue| Ruling { status, owner, counts, rescue };
        match self {
            // 501 and 505 say that the request asked for something the target never does.
            Self::Answered(status @ (501 | 505)) => row(status, Owner::Nobody, false, false),
            Self::Answered(status) if status >= 500 => row(status, Owner::Target, true, true),
            Self::Answered(status) | Self::ByRouter(status) if status >= 400 => {
                row(status, Owner::Visitor, false, false)
            }
            Self::Answered(status) | Self::ByRouter(status) => row(status, Owner::Nobody, false, false),
            Self::ConnectFailed | Self::ClosedBeforeHead | Self::MalformedHead => row(502, Owner::Target, true, true),
            Self::HeadTimeout => row(504, Owner::Target, true, true),
            Self::GrpcFailedInHead(status) => row(status, Owner::Target, true, true),
            Self::GrpcFailedInTrailers(status) => row(status, Owner::Target, true, false),
            // The cut is a check of its own.
            Self::CutAfterHead(status) => row(status, Owner::Target, false, false),
            Self::BadRequest(status) => row(status, Owner::Visitor, false, false),
            Self::VisitorGone => row(499, Owner::Visitor, false, false),
            Self::RouterLimit => row(503, Owner::Router, false, false),
            Self::Maintenance(status) => row(status, Owner::Router, false, false),
            Self::NoService => row(404, Owner::Visitor, false, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(happening: Happening, status: u16, owner: Owner, counts: bool, rescue: bool) {
        assert_eq!(happening.ruling(), Ruling { status, owner, counts, rescue }, "{happening:?}");
    }

    #[test]
    fn a_5xx_of_the_target_passes_counts_and_is_rescued() {
        for status in [500, 502, 503, 504, 599] {
            check(Happening::Answered(status), status, Owner::Target, true, true);
        }
    }

    #[test]
    fn a_501_or_505_of_the_target_is_no_failure() {
        for status in [501, 505] {
            check(Happening::Answered(status), status, Owner::Nobody, false, false);
        }
    }

    #[test]
    fn a_failing_grpc_status_counts_and_is_rescued_only_in_the_head() {
        check(Happening::GrpcFailedInHead(200), 200, Owner::Target, true, true);
        check(Happening::GrpcFailedInTrailers(200), 200, Owner::Target, true, false);
        for code in ["2", "4", "13", "14", "15"] {
            assert!(grpc_status_fails(code.as_bytes()), "{code}");
        }
        for code in ["0", "1", "3", "5", "7", "12", "16", "", "02"] {
            assert!(!grpc_status_fails(code.as_bytes()), "{code}");
        }
    }

    #[test]
    fn a_failed_connection_is_a_502_of_the_target() {
        check(Happening::ConnectFailed, 502, Owner::Target, true, true);
    }

    #[test]
    fn a_close_before_the_head_is_a_502_of_the_target() {
        check(Happening::ClosedBeforeHead, 502, Owner::Target, true, true);
    }

    #[test]
    fn a_malformed_head_is_a_502_of_the_target() {
        check(Happening::MalformedHead, 502, Owner::Target, true, true);
    }

    #[test]
    fn no_head_in_time_is_a_504_of_the_target() {
        check(Happening::HeadTimeout, 504, Owner::Target, true, true);
    }

    #[test]
    fn a_cut_after_the_head_is_the_targets_but_not_in_the_error_ratio() {
        check(Happening::CutAfterHead(200), 200, Owner::Target, false, false);
    }

    #[test]
    fn a_4xx_of_the_target_is_the_visitors() {
        for status in [400, 401, 403, 404, 429, 499] {
            check(Happening::Answered(status), status, Owner::Visitor, false, false);
        }
    }

    #[test]
    fn a_bad_request_is_the_visitors_with_its_own_status() {
        for status in [400, 408, 413, 414, 417, 431, 501, 505] {
            check(Happening::BadRequest(status), status, Owner::Visitor, false, false);
        }
    }

    #[test]
    fn a_visitor_who_hung_up_is_a_499_in_the_log() {
        check(Happening::VisitorGone, 499, Owner::Visitor, false, false);
    }

    #[test]
    fn a_limit_is_a_503_of_the_router() {
        check(Happening::RouterLimit, 503, Owner::Router, false, false);
    }

    #[test]
    fn maintenance_is_the_routers_with_503_or_405() {
        check(Happening::Maintenance(503), 503, Owner::Router, false, false);
        check(Happening::Maintenance(405), 405, Owner::Router, false, false);
    }

    #[test]
    fn an_ordinary_answer_is_nobodys_fault() {
        for status in [200, 204, 301, 304] {
            check(Happening::Answered(status), status, Owner::Nobody, false, false);
        }
    }
}
