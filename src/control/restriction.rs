//! What a mode keeps from the pools, as the table carries it; and the answer that a read-only service gives.

use super::command::CommandError;
use super::maintenance;
use crate::config::{Maintenance, Service, UnsafeRequests, UnsafeStatus};
use crate::model::{Mode, ModeSetting, Timestamp};
use crate::routing::{CookieNames, MaintenanceAnswer, ReadOnly, Reason, Restriction, Writes};
use http::HeaderValue;
use std::sync::Arc;

/// What is kept from the pools of a service in this mode. It goes by the mode that was asked for: who passes by while a
/// flag file has put the service into maintenance finds it as restricted as before.
pub(super) fn of(config: &Service, setting: &ModeSetting) -> Option<Restriction> {
    let (read_only, name) = match (setting.mode, setting.is_anonymous()) {
        (Mode::Serve | Mode::Hold | Mode::Maintenance, _) => return None,
        (Mode::Anonymous, _) => (false, "anonymous"),
        (Mode::ReadOnly, false) => (true, "read-only"),
        (Mode::ReadOnly, true) => (true, "read-only, anonymous"),
    };
    let cookies = config.anonymous.cookies.as_deref().unwrap_or_default();
    Some(Restriction {
        read_only: read_only.then(|| self::read_only(config, setting)),
        anonymous: setting.is_anonymous().then(|| CookieNames::new(cookies.iter().map(String::as_str))),
        name: HeaderValue::from_static(name),
    })
}

fn read_only(config: &Service, setting: &ModeSetting) -> ReadOnly {
    let refused = |status| Writes::Refused(Arc::new(answer(config, setting, status)));
    ReadOnly {
        writes: match config.read_only.unsafe_requests {
            UnsafeRequests::ServiceUnavailable => refused(UnsafeStatus::ServiceUnavailable),
            UnsafeRequests::MethodNotAllowed => refused(UnsafeStatus::MethodNotAllowed),
            UnsafeRequests::AsGet => Writes::AsGet,
        },
        exempt: config.read_only.exempt.clone().into(),
    }
}

fn answer(config: &Service, setting: &ModeSetting, unsafe_status: UnsafeStatus) -> MaintenanceAnswer {
    let words = Maintenance {
        unsafe_status,
        // Nobody passes by: what must not be written must not be written by anyone.
        bypass: Vec::new(),
        ..config.maintenance.clone()
    };
    maintenance::answer(Reason::ReadOnly, &words, setting, None, Timestamp::now())
}

/// Why everyone would not appear logged out in this mode.
pub(super) fn fault(config: &Service, setting: &ModeSetting) -> Option<String> {
    let said_nothing = setting.is_anonymous() && config.anonymous.cookies.is_none();
    said_nothing.then(|| {
        format!(
            "nothing says by which cookies the application of service {} knows who is logged in, so that visitors would \
             stay logged in; write their names into the configuration, such as cookies = [\"sessionid\"] in \
             [service.anonymous], or cookies = [] where only Authorization says it",
            config.name
        )
    })
}

/// Refuses such a mode.
pub(super) fn check(config: &Service, setting: &ModeSetting) -> Result<(), CommandError> {
    fault(config, setting).map_or(Ok(()), |fault| Err(CommandError::Refused(fault)))
}
