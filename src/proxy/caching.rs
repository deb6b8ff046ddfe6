//! What caches are told of answers that are not for everyone.
//!
//! While a split is on, one URL has two contents, and which of them a visitor gets depends on a cookie that caches know
//! nothing of. A shared cache (a CDN, a company's proxy) that keeps the candidate's page would hand it to everyone; one
//! that keeps live's would take the cohort apart, and both would spoil the comparison.

use crate::config::{Caching, StickyBy};
use crate::routing::Route;
use http::header::{CACHE_CONTROL, COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// nginx takes this for the time that it keeps an answer, and Akamai that; both go before `Cache-Control`.
const OF_OTHERS: [HeaderName; 3] = [
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("edge-control"),
];

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Everyone.
    Everyone,
    /// One side of a split.
    Cohort,
    /// One side of a split, and it asked for the script of a service worker.
    CohortWorker,
    /// Those whose network sees a candidate that others don't.
    Network,
    /// Who is shown a pool by a preview link, whatever others get.
    Link,
}

/// Says to caches what they need to know of an answer for this audience; `marked` if the answer carries the cookie of a
/// new visitor.
pub(super) fn limit(headers: &mut HeaderMap, status: StatusCode, audience: Audience, route: &Route, marked: bool) {
    match audience {
        Audience::Everyone => {}
        // Not even the browser's own cache: when the preview is over, the page is to be that of everyone again.
        Audience::Network | Audience::Link => forbid(headers),
        Audience::Cohort | Audience::CohortWorker if route.caching == Caching::AsIs => {}
        Audience::CohortWorker => {
            keep_private(headers);
            // A worker outlives the page: the browser has to ask whether a release that was taken back left it there.
            add_directive(headers, "no-cache");
        }
        Audience::Cohort => limit_drawn(headers, status, route, marked),
    }
}

fn limit_drawn(headers: &mut HeaderMap, status: StatusCode, route: &Route, marked: bool) {
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        // The other side may have it: a cache that remembers otherwise breaks the pages of that side.
        return forbid(headers);
    }
    // Whoever says `immutable` says that this URL never has another content, whichever pool is asked: an asset with a
    // fingerprint in its name. It may be kept by anyone, or each rollout would empty the caches of a site.
    if status.is_success() && has_directive(headers, "immutable") && !marked {
        return;
    }
    let by = match &route.sticky {
        StickyBy::Cookie => Some(&COOKIE),
        StickyBy::Header(name) => Some(name),
        StickyBy::ClientIp | StickyBy::None => None,
    };
    match (route.caching, by) {
        // An answer that names a new visitor is for nobody else, whatever else varies.
        (Caching::Vary, Some(by)) if !marked => vary(headers, by),
        (Caching::Private | Caching::Vary | Caching::AsIs, _) => keep_private(headers),
    }
}

/// No cache keeps it.
fn forbid(headers: &mut HeaderMap) {
    remove_targeted(headers);
    headers.insert(CACHE_CONTROL, NO_STORE);
}

/// No shared cache keeps it; what else the application says of it stays.
fn keep_private(headers: &mut HeaderMap) {
    remove_targeted(headers);
    if has_directive(headers, "no-store") || has_directive(headers, "private") && !has_directive(headers, "public") {
        return;
    }
    let mut value = b"private".to_vec();
    for directive in directives(headers).filter(|directive| !is_for_shared(name_of(directive))) {
        value.extend_from_slice(b", ");
        value.extend_from_slice(directive.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(CACHE_CONTROL, value);
    }
}

/// RFC 9213: what is meant for one kind of cache goes before `Cache-Control` there.
fn remove_targeted(headers: &mut HeaderMap) {
    let targeted: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().ends_with("cdn-cache-control") || OF_OTHERS.contains(name))
        .cloned()
        .collect();
    for name in targeted {
        headers.remove(name);
    }
}

/// Says only something to shared caches, or is replaced by `private`.
fn is_for_shared(directive: &str) -> bool {
    ["public", "private", "s-maxage", "proxy-revalidate"].iter().any(|shared| shared.eq_ignore_ascii_case(directive))
}

fn add_directive(headers: &mut HeaderMap, directive: &str) {
    if has_directive(headers, directive) || has_directive(headers, "no-store") {
        return;
    }
    let mut value = Vec::new();
    for known in directives(headers) {
        value.extend_from_slice(known.as_bytes());
        value.extend_from_slice(b", ");
    }
    value.extend_from_slice(directive.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(CACHE_CONTROL, value);
    }
}

fn has_directive(headers: &HeaderMap, directive: &str) -> bool {
    directives(headers).any(|known| known.eq_ignore_ascii_case(directive))
}

fn name_of(directive: &str) -> &str {
    directive.split('=').next().unwrap_or_default().trim_ascii()
}

/// The directives of all `Cache-Control` lines. A comma within quotes does not end one.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CACHE_CONTROL)
        .iter()
        .flat_map(|line| {
            let mut quoted = false;
            line.to_str().unwrap_or_default().split(move |character: char| {
                quoted ^= character == '"';
                character == ',' && !quoted
            })
        })
        .map(str::trim_ascii)
        .filter(|directive| !directive.is_empty())
}

fn vary(headers: &mut HeaderMap, by: &HeaderName) {
    let named = headers.get_all(VARY).iter().flat_map(super::headers::tokens);
    let known = named.into_iter().any(|name| name == "*" || name.eq_ignore_ascii_case(by.as_str()));
    if !known {
        headers.append(VARY, HeaderValue::from_name(by.clone()));
    }
}
