//! Preview links on their way in: the token of a URL becomes a cookie, and neither goes any further.
//!
//! A link is opened with its token in the query. The router answers with the cookie and the same URL without the token,
//! so that it stays in no history, no bookmark and no `Referer`; requests with the cookie are routed by it
//! ([`crate::routing::Link`]), and reach the application without it.

use super::accept::Form;
use super::answers::Wanted;
use super::body::AnswerBody;
use super::client::Client;
use super::record::Record;
use crate::model::{Happening, PREVIEW_COOKIE_NAME, Timestamp};
use crate::routing::{Link, Secret, Table, mentions_preview};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};

/// The pool that a preview link shows, so that whoever looks at it can tell.
const X_CUTOVER_PREVIEW: HeaderName = HeaderName::from_static("x-cutover-preview");

/// The token that ends a preview.
const OFF: &[u8] = b"off";

/// Whether a request's query may have a token in it.
pub(super) fn is_in_query(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| mentions_preview(query.as_bytes()))
}

/// Takes a token out of a request's query, and answers a request for a page with what comes of it: the cookie and the
/// way to the page, or why there is none.
#[allow(clippy::result_large_err)] // both are on their way to the same place
pub(super) fn enter(
    record: Record,
    wanted: &Wanted,
    head: &mut Parts,
    host: &HeaderValue,
    client: Client,
    (table, secret): (&Table, &Secret),
) -> Result<Record, Response<AnswerBody>> {
    let Some((token, rest)) = head.uri.path_and_query().and_then(|target| without_token(target.as_str())) else {
        return Ok(record);
    };
    let Some((_, route)) = table.find(host.to_str().unwrap_or_default(), head.uri.path()) else { return Ok(record) };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        // What changes something is not sent twice; it goes on as if the token were not there.
        if let Ok(target) = PathAndQuery::try_from(rest) {
            head.uri = Uri::from(target);
        }
        return Ok(record);
    }
    if token.as_bytes() == OFF {
        return Err(redirect(record, &rest, &cookie("", 0, client.secure)));
    }
    let link = Link::from_token(token.as_bytes()).filter(|link| route.shown_by(link, secret).is_some());
    let now = Timestamp::now();
    Err(match link {
        Some(link) if !link.is_over(now) => {
            let left = link.expires().as_second() - now.as_second();
            redirect(record, &rest, &cookie(token, left.max(1), client.secure))
        }
        Some(_) => refusal(record, wanted, &rest, StatusCode::GONE, "This preview link has expired"),
        None => refusal(record, wanted, &rest, StatusCode::FORBIDDEN, "This preview link is not valid"),
    })
}

/// A path and its query without the preview's parameter, wherever it stands, and the parameter's first value.
/// `None` where there is none.
fn without_token(target: &str) -> Option<(&str, String)> {
    let (path, query) = target.split_once('?')?;
    let value = |part: &'_ str| -> Option<usize> {
        let rest = part.strip_prefix(PREVIEW_COOKIE_NAME)?;
        (rest.is_empty() || rest.starts_with('=')).then_some(PREVIEW_COOKIE_NAME.len() + 1)
    };
    let token = query.split('&').find_map(|part| Some(part.get(value(part)?..).unwrap_or_default()))?;
    let mut rest = path.to_owned();
    for (index, part) in query.split('&').filter(|part| value(part).is_none()).enumerate() {
        rest.push(if index == 0 { '?' } else { '&' });
        rest.push_str(part);
    }
    Some((token, rest))
}

/// A path and its query as the access log shows it.
pub(super) fn loggable(target: &str) -> Option<String> {
    without_token(target).map(|(_, rest)| rest)
}

/// The path of the same host, whatever it begins with: browsers read `//name` and `/\name` as another host, which a dot
/// segment prevents and leaves no trace of (RFC 3986 §5.2.4).
fn on_this_host(target: &str) -> String {
    let misleads = target.as_bytes().get(1).is_some_and(|second| matches!(second, b'/' | b'\\'));
    if misleads { format!("/.{target}") } else { target.to_owned() }
}

fn cookie(token: &str, seconds: i64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{PREVIEW_COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

fn redirect(record: Record, rest: &str, cookie: &str) -> Response<AnswerBody> {
    let mut response = respond(record, StatusCode::SEE_OTHER, Bytes::new());
    let headers = response.headers_mut();
    // Both are made of what came in a head, or of this file's own text.
    if let (Ok(location), Ok(cookie)) = (HeaderValue::from_str(&on_this_host(rest)), HeaderValue::from_str(cookie)) {
        headers.insert(LOCATION, location);
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// Says that a link leads nowhere, and the way to what everyone sees.
fn refusal(record: Record, wanted: &Wanted, rest: &str, status: StatusCode, title: &str) -> Response<AnswerBody> {
    let detail = "Ask for a new one, or go on without it.";
    let form = wanted.form();
    let body = match form {
        Form::Html => page(title, detail, &on_this_host(rest)),
        Form::Text => format!("{title}. {detail}\n"),
        Form::Json => {
            let title = title.to_owned();
            serde_json::json!({"title": title, "status": status.as_u16(), "detail": detail}).to_string()
        }
    };
    let mut response = respond(record, status, body.into());
    response.headers_mut().insert(CONTENT_TYPE, form.content_type());
    response
}

fn respond(mut record: Record, status: StatusCode, body: Bytes) -> Response<AnswerBody> {
    record.answers(Happening::ByRouter(status.as_u16()), status.as_u16());
    let mut response = Response::new(AnswerBody::whole(body, record));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn page(title: &str, detail: &str, target: &str) -> String {
    let target: String = target.chars().map(escaped).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"robots\" content=\"noindex\">\n<title>{title}</title>\n<style>\n\
         :root {{ color-scheme: light dark; }}\n\
         body {{ margin: 20vh auto; max-width: 34rem; padding: 0 1.5rem; font: 1.1rem/1.5 system-ui, sans-serif; }}\n\
         </style>\n</head>\n<body>\n<h1>{title}</h1>\n<p>{detail}</p>\n<p><a href=\"{target}\">Go on</a></p>\n\
         </body>\n</html>\n"
    )
}

/// A character of a URL as it can stand in an attribute.
fn escaped(character: char) -> String {
    match character {
        '<' | '>' | '&' | '"' | '\'' => format!("&#{};", u32::from(character)),
        plain => plain.to_string(),
    }
}

/// Whether a request's cookies may have a token among them.
pub(super) fn is_in_cookies(headers: &HeaderMap) -> bool {
    headers.get_all(COOKIE).iter().any(|line| mentions_preview(line.as_bytes()))
}

/// Takes the preview's cookie out of a request's head; all others stay as they are, byte for byte.
pub(super) fn strip_cookie(headers: &mut HeaderMap) {
    let lines: Vec<HeaderValue> = headers.get_all(COOKIE).iter().filter_map(without_cookie).collect();
    headers.remove(COOKIE);
    for line in lines {
        headers.append(COOKIE, line);
    }
}

/// `None` where nothing is left.
fn without_cookie(line: &HeaderValue) -> Option<HeaderValue> {
    let is_preview = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        name.trim_ascii() == PREVIEW_COOKIE_NAME.as_bytes()
    };
    let others: Vec<&[u8]> = line.as_bytes().split(|byte| *byte == b';').filter(|pair| !is_preview(pair)).collect();
    let left = others.join(&b';');
    let left = left.trim_ascii();
    (!left.is_empty()).then(|| HeaderValue::from_bytes(left).ok()).flatten()
}

/// Says in an answer which pool is shown.
pub(super) fn name_shown(headers: &mut HeaderMap, pool: &HeaderValue) {
    headers.insert(X_CUTOVER_PREVIEW, pool.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_token_is_taken_out_of_a_query_and_the_rest_stays_as_it_is() {
        for (target, token, rest) in [
            ("/?cutover-preview=abc", "abc", "/"),
            ("/a?x=1&cutover-preview=abc&y=%20&y=", "abc", "/a?x=1&y=%20&y="),
            ("/a?cutover-preview=abc&x", "abc", "/a?x"),
            ("/a?x&cutover-preview=one&cutover-preview=two", "one", "/a?x"),
            ("/a?cutover-preview", "", "/a"),
            ("/a?cutover-preview=a=b", "a=b", "/a"),
            ("/a?cutover-preview=abc?x", "abc?x", "/a"),
            ("/a?&&cutover-preview=abc&&", "abc", "/a?&&&"),
        ] {
            assert_eq!(without_token(target), Some((token, rest.to_owned())), "{target}");
        }
        for target in ["/cutover-preview=abc", "/?x=cutover-preview=abc", "/?cutover-previews=abc", "/?", "/", "*"] {
            assert_eq!(without_token(target), None, "{target}");
        }
    }

    #[test]
    fn the_way_back_stays_on_the_host() {
        for (target, location) in [
            ("/a//b", "/a//b"),
            ("/", "/"),
            ("//evil.example/x", "/.//evil.example/x"),
            ("/\\evil.example", "/./\\evil.example"),
            ("/.//evil.example", "/.//evil.example"),
        ] {
            assert_eq!(on_this_host(target), location);
        }
    }

    #[test]
    fn other_cookies_stay_as_they_are() {
        let stripped = |lines: &[&[u8]]| -> Vec<Vec<u8>> {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            strip_cookie(&mut headers);
            headers.get_all(COOKIE).iter().map(|line| line.as_bytes().to_vec()).collect()
        };
        for (line, left) in [
            (&b"a=b; cutover-preview=x; c=d"[..], &b"a=b; c=d"[..]),
            (b"cutover-preview=x; a=\"q;uo\xffted\"", b"a=\"q;uo\xffted\""),
            (b"a=b;cutover-preview=x", b"a=b"),
            (b"a=cutover-preview=x", b"a=cutover-preview=x"),
            (b"cutover=1; cutover-preview2=3", b"cutover=1; cutover-preview2=3"),
        ] {
            assert_eq!(stripped(&[line]), [left.to_vec()], "{}", String::from_utf8_lossy(line));
        }
        assert!(stripped(&[b"cutover-preview=x"]).is_empty());
        assert!(stripped(&[b"cutover-preview=x; cutover-preview=y", b" cutover-preview "]).is_empty());
        assert_eq!(stripped(&[b"a=b", b"cutover-preview=x", b"c=d"]), [b"a=b".to_vec(), b"c=d".to_vec()]);
    }

    #[test]
    fn a_target_can_t_break_out_of_the_page() {
        let page = page("Title", "Detail.", "/\"><script>'&");
        assert!(page.contains("href=\"/&#34;&#62;&#60;script&#62;&#39;&#38;\""), "{page}");
    }

    odd_input! {
        fn what_is_left_of_a_query_mentions_no_token(parts in proptest::collection::vec("[a-z=&?%-]{0,12}|cutover-preview(=[a-z]{0,4})?", 0..6)) {
            let target = format!("/p?{}", parts.join("&"));
            if let Some((_, rest)) = without_token(&target) {
                prop_assert_eq!(without_token(&rest), None);
                prop_assert!(rest.len() < target.len());
            }
        }

        fn exactly_the_previews_cookie_goes(
            pieces in proptest::collection::vec("[ \t]{0,2}(a|cutover-preview|cutover|cutover-preview2)[ \t]?(=[!-:<-~]{0,5})?", 1..6),
        ) {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, pieces.join(";").parse().unwrap());
            strip_cookie(&mut headers);
            let is_kept = |piece: &&String| piece.split('=').next().unwrap().trim() != PREVIEW_COOKIE_NAME;
            let kept = pieces.iter().filter(is_kept).cloned().collect::<Vec<_>>().join(";");
            let left = headers.get(COOKIE).map_or("", |line| line.to_str().unwrap());
            prop_assert_eq!(left, kept.trim());
        }

        fn no_target_breaks_out_of_an_attribute(target in ".{0,20}") {
            let escaped: String = target.chars().map(escaped).collect();
            prop_assert!(!escaped.contains(['<', '>', '"', '\'']), "{escaped}");
        }

        fn a_location_never_names_another_host(path in "[/\\\\.a-z]{0,12}") {
            let location = on_this_host(&format!("/{path}"));
            let base: reqwest::Url = "http://shop.example.com/here".parse().unwrap();
            let opened = base.join(&location).unwrap();
            prop_assert_eq!(opened.host_str(), Some("shop.example.com"));
        }
    }
}
