//! Renders the responses of a service that does not serve, or not everything.

use crate::config::{Maintenance, UnsafeStatus};
use crate::model::{ModeSetting, Period, Timestamp};
use crate::routing::{MaintenanceAnswer, Reason, RetryAfter};
use bytes::Bytes;
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;

/// The frame of the built-in page; `{…}` is filled in.
const PAGE: &str = include_str!("maintenance.html");

/// The response of a service, for one reason.
pub(super) fn answer(
    reason: Reason,
    config: &Maintenance,
    setting: &ModeSetting,
    page: Option<&Bytes>,
    now: Timestamp,
) -> MaintenanceAnswer {
    let configured = config.retry_after.get();
    let (retry_after, message) = match reason {
        Reason::Planned | Reason::ReadOnly | Reason::Hold => {
            let otherwise = setting.retry_after.map_or(configured, Period::get);
            // Who says both means the time as the latest: a deploy is over long before its safety net.
            let until = setting.until.filter(|_| setting.retry_after.is_none());
            (RetryAfter { until, otherwise }, setting.message.as_deref())
        }
        Reason::Unplanned => (RetryAfter { until: None, otherwise: configured }, None),
    };
    let Words { title, message: standard, back } = Words::of(reason);
    let message = message.unwrap_or(standard);
    let when = When::of(retry_after, now);
    let status = match (reason, config.unsafe_status) {
        // All who get it asked for an unsafe method.
        (Reason::ReadOnly, UnsafeStatus::MethodNotAllowed) => 405,
        (Reason::Planned | Reason::Unplanned | Reason::Hold | Reason::ReadOnly, _) => 503,
    };
    let mut problem = json!({
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": message,
        "reason": reason.as_str(),
    });
    if let When::At(until) = when {
        problem["until"] = json!(until);
    }
    MaintenanceAnswer {
        reason,
        retry_after,
        unsafe_status: config.unsafe_status,
        bypass: config.bypass.clone().into(),
        // What the operator says on the page is about the whole site; a request that is refused needs words of its own.
        html: page.filter(|_| reason != Reason::ReadOnly).cloned().unwrap_or_else(|| {
            built_in_page(title, message, &format!("{back} {}.", when.as_html()), retry_after.otherwise, when).into()
        }),
        text: format!("{title}\n\n{message}\n{back} {}.\n", when.as_text()).into(),
        json: problem.to_string().into(),
    }
}

/// What is said for a reason.
struct Words {
    title: &'static str,
    /// Where the operator says nothing.
    message: &'static str,
    /// Comes before the time at which it is worth to come back.
    back: &'static str,
}

impl Words {
    fn of(reason: Reason) -> Self {
        match reason {
            Reason::Planned => Self {
                title: "Down for maintenance",
                message: "We are working on this site.",
                back: "We expect to be back",
            },
            Reason::Unplanned => Self {
                title: "Temporarily unavailable",
                message: "This site can't answer right now. We are sorry.",
                back: "Please try again",
            },
            Reason::ReadOnly => Self {
                title: "Read-only for now",
                message: "You can look at everything, but nothing can be changed at the moment: what you sent was not saved.",
                back: "Please send it again",
            },
            Reason::Hold => Self {
                title: "One moment, please",
                message: "This site is busy with a short piece of work. What you sent was not taken in.",
                back: "Please try again",
            },
        }
    }
}

/// When it is worth to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// At this moment.
    At(Timestamp),
    /// After about so long.
    In(Duration),
}

impl When {
    /// A moment that has passed says nothing any more.
    fn of(retry_after: RetryAfter, now: Timestamp) -> Self {
        let until = retry_after.until.filter(|until| *until > now);
        until.map_or(Self::In(retry_after.otherwise), Self::At)
    }

    fn as_text(self) -> String {
        match self {
            Self::At(until) => format!("at {}", moment(until)),
            Self::In(time) => format!("in about {}", roughly(time)),
        }
    }

    fn as_html(self) -> String {
        match self {
            Self::At(until) => format!("at <time datetime=\"{until}\">{}</time>", moment(until)),
            Self::In(time) => format!("in about {}", roughly(time)),
        }
    }
}

/// For people all over the world.
fn moment(at: Timestamp) -> String {
    at.strftime("%H:%M UTC on %-d %B %Y").to_string()
}

/// A length of time in words.
fn roughly(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    let seconds = time.as_secs().max(1);
    // Up to two of a unit are told in the smaller one: "90 minutes" says more than "2 hours".
    let (unit, name) = match seconds {
        ..MINUTE => (1, "second"),
        MINUTE..=7200 => (MINUTE, "minute"),
        _ => (HOUR, "hour"),
    };
    let count = (seconds + unit / 2) / unit;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

fn built_in_page(title: &str, message: &str, back: &str, otherwise: Duration, when: When) -> String {
    // The script looks again after this many seconds where no moment is said.
    let again = match when {
        When::At(_) => String::new(),
        When::In(_) => otherwise.as_secs().max(1).to_string(),
    };
    // What an operator writes is filled in last, so that no braces in it mean anything.
    PAGE.replace("{again}", &again)
        .replace("{title}", &escape(title))
        .replace("{back}", back)
        .replace("{message}", &escape(message))
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, character| {
        match character {
            '<' | '>' | '&' | '"' | '\'' => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            plain => escaped.push(plain),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-29T06:00:00Z".parse().unwrap()
    }

    fn forms(reason: Reason, setting: &ModeSetting) -> (String, String, serde_json::Value) {
        let answer = answer(reason, &Maintenance::default(), setting, None, now());
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        (text(&answer.html), text(&answer.text), serde_json::from_slice(&answer.json).unwrap())
    }

    #[test]
    fn a_message_is_in_all_three_forms_and_can_not_break_out_of_the_page() {
        let setting = ModeSetting { message: Some("<b>\"{back}\" at 5".into()), ..ModeSetting::default() };
        let (html, text, json) = forms(Reason::Planned, &setting);
        assert!(html.contains("&#60;b&#62;&#34;{back}&#34; at 5") && !html.contains("<b>"), "{html}");
        assert!(text.contains("<b>\"{back}\" at 5"), "{text}");
        assert_eq!((&json["status"], &json["detail"]), (&json!(503), &json!("<b>\"{back}\" at 5")));
    }

    #[test]
    fn all_forms_say_until_when_where_it_is_known() {
        let until = "2026-11-30T06:30:00Z";
        let setting = ModeSetting { until: Some(until.parse().unwrap()), ..ModeSetting::default() };
        for reason in [Reason::Planned, Reason::ReadOnly, Reason::Hold] {
            let (html, text, json) = forms(reason, &setting);
            let time = format!("<time datetime=\"{until}\">06:30 UTC on 30 November 2026</time>");
            assert!(html.contains(&time) && html.contains("data-again=\"\""), "{html}");
            assert!(text.ends_with("at 06:30 UTC on 30 November 2026.\n"), "{text}");
            assert_eq!((&json["until"], &json["reason"]), (&json!(until), &json!(reason.as_str())));
        }
        let (html, _, json) = forms(Reason::Unplanned, &setting);
        assert!(!html.contains("<time ") && json["until"].is_null(), "nobody planned its end: {html}");
        let both = ModeSetting { retry_after: Some(Period::from_secs(120)), ..setting };
        let (_, text, json) = forms(Reason::Planned, &both);
        assert!(text.contains("in about 2 minutes") && json["until"].is_null(), "the end is the latest: {text}");
    }

    #[test]
    fn without_a_moment_or_when_it_has_passed_the_page_says_about_how_long_it_takes() {
        let over = ModeSetting { until: Some("2026-11-29T05:59:59Z".parse().unwrap()), ..ModeSetting::default() };
        for setting in [ModeSetting::default(), over] {
            let (html, text, json) = forms(Reason::Planned, &setting);
            assert!(html.contains("We expect to be back in about 2 minutes.") && html.contains("data-again=\"120\""));
            assert!(text.ends_with("\nWe expect to be back in about 2 minutes.\n"), "{text}");
            assert!(!html.contains("<time ") && json["until"].is_null(), "{html}");
        }
    }

    #[test]
    fn every_part_of_the_frame_is_filled_in() {
        for reason in Reason::ALL {
            let (html, ..) = forms(reason, &ModeSetting::default());
            for part in ["{title}", "{message}", "{back}", "{again}"] {
                assert!(PAGE.contains(part) && !html.contains(part), "{part}");
            }
        }
    }

    #[test]
    fn a_time_is_told_roughly() {
        for (seconds, words) in [
            (0, "1 second"),
            (59, "59 seconds"),
            (60, "1 minute"),
            (100, "2 minutes"),
            (5400, "90 minutes"),
            (7200, "120 minutes"),
            (7201, "2 hours"),
            (90_000, "25 hours"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn the_operators_page_goes_before_the_built_in_one_but_not_where_a_change_is_refused() {
        let page = Bytes::from_static(b"own");
        let html = |reason| answer(reason, &Maintenance::default(), &ModeSetting::default(), Some(&page), now()).html;
        for reason in [Reason::Planned, Reason::Unplanned, Reason::Hold] {
            assert_eq!(html(reason), page);
        }
        assert_ne!(html(Reason::ReadOnly), page);
    }
}
