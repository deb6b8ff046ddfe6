//! Renders the maintenance response.

use crate::config::{Hold, Maintenance};
use crate::model::ModeSetting;
use crate::routing::{MaintenanceAnswer, Reason, RetryAfter};
use bytes::Bytes;
use serde_json::json;
use std::fmt::Write;

/// The response of a service, for one reason.
pub(super) fn answer(
    reason: Reason,
    config: &Maintenance,
    hold: &Hold,
    setting: &ModeSetting,
    page: Option<&Bytes>,
) -> MaintenanceAnswer {
    let (retry_after, message) = match reason {
        Reason::Planned => {
            let otherwise = setting.retry_after.unwrap_or(config.retry_after).get();
            (RetryAfter { until: setting.until, otherwise }, setting.message.as_deref())
        }
        Reason::Unplanned => (RetryAfter { until: None, otherwise: config.retry_after.get() }, None),
        // As long as a request would have waited at most.
        Reason::Hold => (
            RetryAfter { until: setting.until, otherwise: setting.retry_after.unwrap_or(hold.max_wait).get() },
            setting.message.as_deref(),
        ),
    };
    let (title, standard) = match reason {
        Reason::Planned => ("Down for maintenance", "We are working on this site. Please come back in a little while."),
        Reason::Unplanned | Reason::Hold => {
            ("Temporarily unavailable", "This site can't answer right now. Please try again soon.")
        }
    };
    let message = message.unwrap_or(standard);
    MaintenanceAnswer {
        reason,
        retry_after,
        unsafe_status: config.unsafe_status,
        bypass: config.bypass.clone().into(),
        html: page.cloned().unwrap_or_else(|| built_in_page(title, message).into()),
        text: format!("{title}\n\n{message}\n").into(),
        json: json!({
            "type": "about:blank",
            "title": title,
            "status": 503,
            "detail": message,
            "reason": reason.as_str(),
        })
        .to_string()
        .into(),
    }
}

fn built_in_page(title: &str, message: &str) -> String {
    let (title, message) = (escape(title), escape(message));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>\n\
         :root {{ color-scheme: light dark; }}\n\
         body {{ display: grid; place-content: center; min-height: 100vh; margin: 0; padding: 1.5rem; \
         box-sizing: border-box; font: 1.1rem/1.5 system-ui, sans-serif; text-align: center; \
         color: light-dark(#1f2933, #e4e7eb); background: light-dark(#f5f7fa, #12181f); }}\n\
         h1 {{ margin: 0 0 .5em; font-size: 1.8rem; }}\np {{ margin: 0; max-width: 34rem; white-space: pre-line; }}\n\
         </style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{message}</p>\n</main>\n</body>\n</html>\n"
    )
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

    #[test]
    fn a_message_is_in_all_three_forms_and_can_not_break_out_of_the_page() {
        let setting = ModeSetting { message: Some("<b>\"Back\" at 5".into()), ..ModeSetting::default() };
        let answer = answer(Reason::Planned, &Maintenance::default(), &Hold::default(), &setting, None);
        let html = std::str::from_utf8(&answer.html).unwrap();
        assert!(html.contains("&#60;b&#62;&#34;Back&#34; at 5") && !html.contains("<b>"));
        assert!(std::str::from_utf8(&answer.text).unwrap().contains("<b>\"Back\" at 5"));
        let json: serde_json::Value = serde_json::from_slice(&answer.json).unwrap();
        assert_eq!((&json["status"], &json["detail"]), (&json!(503), &json!("<b>\"Back\" at 5")));
    }

    #[test]
    fn the_operators_page_goes_before_the_built_in_one() {
        let page = Bytes::from_static(b"own");
        let answer =
            answer(Reason::Unplanned, &Maintenance::default(), &Hold::default(), &ModeSetting::default(), Some(&page));
        assert_eq!(answer.html, page);
    }
}
