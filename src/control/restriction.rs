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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Anonymous, Config};

    fn service(unsafe_requests: UnsafeRequests, cookies: Option<&[&str]>) -> Service {
        let pools = ["server0=127.0.0.1:1".to_owned(), "server1=127.0.0.1:2".to_owned()];
        let mut service = Config::quick("127.0.0.1:0", &pools, None).unwrap().services.remove(0);
        service.read_only.unsafe_requests = unsafe_requests;
        service.maintenance.bypass = vec!["10.0.0.0/8".parse().unwrap()];
        service.anonymous = Anonymous { cookies: cookies.map(|names| names.iter().map(ToString::to_string).collect()) };
        service
    }

    #[test]
    fn each_mode_keeps_from_the_pools_what_its_name_says() {
        let service = service(UnsafeRequests::AsGet, Some(&["sessionid"]));
        let anonymous_too = ModeSetting { anonymous: true, ..ModeSetting::of(Mode::ReadOnly) };
        for (setting, expected) in [
            (ModeSetting::of(Mode::Serve), None),
            (ModeSetting::of(Mode::Hold), None),
            (ModeSetting::of(Mode::Maintenance), None),
            (ModeSetting::of(Mode::Anonymous), Some((false, true, "anonymous"))),
            (ModeSetting::of(Mode::ReadOnly), Some((true, false, "read-only"))),
            (anonymous_too, Some((true, true, "read-only, anonymous"))),
        ] {
            let restriction = of(&service, &setting);
            let found = restriction
                .as_ref()
                .map(|it| (it.read_only.is_some(), it.anonymous.is_some(), it.name.to_str().unwrap()));
            assert_eq!(found, expected, "{setting:?}");
        }
    }

    #[test]
    fn a_refusal_says_its_own_status_and_nobody_passes_by() {
        for (unsafe_requests, status) in
            [(UnsafeRequests::ServiceUnavailable, 503), (UnsafeRequests::MethodNotAllowed, 405)]
        {
            let read_only = read_only(&service(unsafe_requests, None), &ModeSetting::of(Mode::ReadOnly));
            let Writes::Refused(answer) = read_only.writes else { panic!("{read_only:?}") };
            let json: serde_json::Value = serde_json::from_slice(&answer.json).unwrap();
            assert_eq!((json["status"].as_u64(), json["reason"].as_str()), (Some(status), Some("read-only")));
            assert!(answer.bypass.is_empty());
        }
    }

    #[test]
    fn anonymous_without_a_word_on_cookies_is_a_fault_and_with_an_empty_list_it_is_not() {
        let anonymous = ModeSetting::of(Mode::Anonymous);
        let told = fault(&service(UnsafeRequests::default(), None), &anonymous).unwrap();
        assert!(told.contains("cookies = [\"sessionid\"] in [service.anonymous]"), "{told}");
        assert_eq!(fault(&service(UnsafeRequests::default(), Some(&[])), &anonymous), None);
        assert_eq!(fault(&service(UnsafeRequests::default(), None), &ModeSetting::of(Mode::ReadOnly)), None);
    }
}
