//! Which form of a response a visitor wants, by `Accept` (RFC 9110 §12.5.1).

use super::headers::tokens;
use http::HeaderValue;

/// The forms that the router's own responses have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A page, for browsers.
    Html,
    /// For people on a terminal.
    Text,
    /// An RFC 9457 problem document, for API clients.
    Json,
}

impl Form {
    /// The form's `Content-Type`.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/problem+json",
        })
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Html => &["text/html", "application/xhtml+xml"],
            Self::Text => &["text/plain"],
            Self::Json => &["application/json", "application/problem+json"],
        }
    }
}

/// How exactly an `Accept` item names a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Any,
    Family,
    Exact,
}

/// The form that is wanted most. Who names none gets a page, and who takes anything gets text: browsers always say
/// what they want, command lines never do.
pub(super) fn preferred(accept: Option<&HeaderValue>) -> Form {
    let Some(accept) = accept else { return Form::Text };
    let wish = |form: Form| {
        let fits = tokens(accept).filter_map(|item| fit(item, form));
        // The most exact item decides on a form, whatever its weight.
        fits.max_by_key(|(fit, _)| *fit).filter(|(_, weight)| *weight > 0).map(|(fit, weight)| (weight, fit))
    };
    let forms = [Form::Html, Form::Json, Form::Text];
    // Of equals the last one wins, so text goes before what is not asked for by name.
    let wishes = forms.into_iter().filter_map(|form| wish(form).map(|wish| (wish, form)));
    let best = wishes.reduce(|best, next| {
        let tie = next.0 == best.0 && next.0.1 != Fit::Exact;
        if next.0 > best.0 || tie { next } else { best }
    });
    best.map_or(Form::Text, |(_, form)| form)
}

/// How well an item of `Accept` fits a form, and its weight in thousandths.
fn fit(item: &str, form: Form) -> Option<(Fit, u16)> {
    let mut parts = item.split(';').map(str::trim_ascii);
    let range = parts.next()?.to_ascii_lowercase();
    let fit = match range.as_str() {
        "*/*" => Fit::Any,
        range if form.names().contains(&range) => Fit::Exact,
        range => {
            let family = range.strip_suffix("/*")?;
            form.names().iter().find(|name| name.split('/').next() == Some(family))?;
            Fit::Family
        }
    };
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((fit, weight.map_or(1000, thousandths)))
}

/// A weight from 0 to 1 with at most three digits behind the dot; one that can't be read weighs nothing.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let fraction = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => fraction,
        "1" if fraction == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn everyone_gets_the_form_they_ask_for() {
        for (accept, form) in [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", Form::Html),
            ("*/*", Form::Text),
            ("", Form::Text),
            ("text/plain", Form::Text),
            ("text/*", Form::Text),
            ("application/json", Form::Json),
            ("application/problem+json", Form::Json),
            ("Application/JSON; charset=utf-8", Form::Json),
            ("application/*", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("text/plain;q=0.5, application/json;q=0.4", Form::Text),
            ("text/plain;q=0.5, application/json;q=0.6", Form::Json),
            ("text/html;q=0, */*;q=0.1", Form::Text),
            ("text/html;q=0.1, */*;q=0", Form::Html),
            ("text/plain, text/html", Form::Html),
            ("image/png", Form::Text),
            ("image/*;q=0.9", Form::Text),
            ("text/html;q=2, application/json;q=0.1", Form::Json),
            ("text/html;level=1;q=0.3, application/json;q=0.2", Form::Html),
            (";;;,,/,q=1", Form::Text),
        ] {
            assert_eq!(preferred(Some(&HeaderValue::from_static(accept))), form, "{accept}");
        }
        assert_eq!(preferred(None), Form::Text);
    }

    #[test]
    fn weights_are_read_as_the_standard_writes_them() {
        for (text, weight) in
            [("1", 1000), ("1.000", 1000), ("0.5", 500), ("0.05", 50), ("0", 0), ("1.1", 0), ("x", 0), ("0.1234", 0)]
        {
            assert_eq!(thousandths(text), weight, "{text}");
        }
    }

    odd_input! {
        fn a_weight_is_a_decimal_from_0_to_1(text in prop_oneof!["[01](\\.[0-9]{0,4})?", "[0-9.+e-]{0,5}", ".{0,4}"]) {
            let begins = text == "0" || text == "1" || text.starts_with("0.") || text.starts_with("1.");
            let is_decimal = begins && text.len() <= 5 && text.bytes().skip(2).all(|byte| byte.is_ascii_digit());
            let number: f64 = text.trim_end_matches('.').parse().unwrap_or_default();
            let expected = if is_decimal && number <= 1.0 { number * 1000.0 } else { 0.0 };
            prop_assert!((f64::from(thousandths(&text)) - expected).abs() < 1e-6, "{text}");
        }

        fn neither_case_nor_space_changes_a_wish(
            accept in "((text|application|\\*|image)/(html|plain|json|\\*|xhtml\\+xml)(;q=[01](\\.[0-9]{1,4})?|;level=1)?,){0,4}|[ -~]{0,20}",
        ) {
            let form = |text: &str| preferred(Some(&HeaderValue::from_str(text).unwrap()));
            let spaced = accept.replace(',', "\t, ").replace(';', " ;\t");
            prop_assert_eq!(form(&accept), form(&accept.to_ascii_uppercase()));
            prop_assert_eq!(form(&accept), form(&spaced));
            prop_assert_eq!(form(&accept), form(&format!(",{accept},,")));
        }

        fn the_only_form_that_is_named_is_given(at in 0..3_usize, weight in 1..=1000_u16, company in "(,image/png|,a/b;q=1|,x){0,3}") {
            let form = [Form::Html, Form::Text, Form::Json][at];
            for name in form.names() {
                let accept = format!("{name};q={}{company}", f64::from(weight) / 1000.0);
                prop_assert_eq!(preferred(Some(&HeaderValue::from_str(&accept).unwrap())), form, "{}", accept);
            }
        }
    }
}
