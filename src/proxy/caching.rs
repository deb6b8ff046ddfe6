//! What caches are told of answers that are not for everyone.
//!
//! While a split is on, one URL has two contents, and which of them a visitor gets depends on a cookie that caches know
//! nothing of. A shared cache (a CDN, a company's proxy) that keeps the candidate's page would hand it to everyone; one
//! that keeps live's would take the cohort apart, and both would spoil the comparison.

use crate::config::{Caching, StickyBy};
use crate::routing::Previewed;
use http::header::{CACHE_CONTROL, COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const PRIVATE: HeaderValue = HeaderValue::from_static("private");

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
    /// Those whose network sees a candidate that others don't, or the application while others get maintenance.
    Network,
    /// Who is shown a pool by a preview link, whatever others get.
    Link,
}

impl Audience {
    /// Of a request that is a preview, or was drawn, or neither.
    pub(super) fn of(previewed: Option<Previewed>, drawn: bool, service_worker: bool) -> Self {
        match previewed {
            Some(Previewed::ByNetwork) => Self::Network,
            Some(Previewed::ByLink) => Self::Link,
            None if !drawn => Self::Everyone,
            None if service_worker => Self::CohortWorker,
            None => Self::Cohort,
        }
    }
}

/// What a service says of caching, and what its visitors are drawn by.
pub(super) type Rule<'r> = (Caching, &'r StickyBy);

/// Says to caches what they need to know of an answer for this audience; `marked` if the answer carries the cookie of a
/// new visitor.
pub(super) fn limit(headers: &mut HeaderMap, status: StatusCode, audience: Audience, rule: Rule<'_>, marked: bool) {
    match (audience, rule.0) {
        (Audience::Everyone, _) | (Audience::Cohort | Audience::CohortWorker, Caching::AsIs) => {}
        // Not even the browser's own cache: when the preview is over, the page is to be that of everyone again.
        (Audience::Network | Audience::Link, _) => forbid(headers),
        (Audience::CohortWorker, Caching::Private | Caching::Vary) => {
            keep_private(headers);
            // A worker outlives the page: the browser has to ask whether a release that was taken back left it there.
            add_directive(headers, "no-cache");
        }
        // The other side may have it: a cache that remembers otherwise breaks the pages of that side.
        (Audience::Cohort, _) if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) => forbid(headers),
        (Audience::Cohort, _) if never_changes(headers, status) => {}
        (Audience::Cohort, Caching::Private) => keep_private(headers),
        (Audience::Cohort, Caching::Vary) => match rule.1 {
            // An answer that names a new visitor is for nobody else, whatever it varies by.
            _ if marked => keep_private(headers),
            StickyBy::Cookie => vary(headers, &COOKIE),
            StickyBy::Header(name) => vary(headers, name),
            // No header tells a cache which side a visitor is on.
            StickyBy::ClientIp | StickyBy::None => keep_private(headers),
        },
    }
}

/// Says it of an answer that says nothing of caching itself, as most pages.
pub(super) fn limit_silent(
    headers: &mut HeaderMap,
    status: StatusCode,
    audience: Audience,
    rule: Rule<'_>,
    marked: bool,
) {
    match (audience, rule.0, status) {
        (_, _, StatusCode::NOT_FOUND | StatusCode::GONE) => limit(headers, status, audience, rule, marked),
        (Audience::Cohort, Caching::Private, _) => drop(headers.insert(CACHE_CONTROL, PRIVATE)),
        (_, Caching::Private | Caching::Vary | Caching::AsIs, _) => limit(headers, status, audience, rule, marked),
    }
}

/// Whether an answer may be kept by anyone, even while a split is on. Whoever says `immutable` says that this URL never
/// has another content, whichever pool is asked: an asset with a fingerprint in its name. Were it not, each rollout would
/// empty the caches of a site.
pub(super) fn never_changes(headers: &HeaderMap, status: StatusCode) -> bool {
    (status.is_success() || status == StatusCode::NOT_MODIFIED) && has_directive(headers, "immutable")
}

/// No cache keeps it.
fn forbid(headers: &mut HeaderMap) {
    remove_targeted(headers);
    headers.insert(CACHE_CONTROL, NO_STORE);
}

/// No shared cache keeps it; what else the application says of it stays.
fn keep_private(headers: &mut HeaderMap) {
    remove_targeted(headers);
    let suffices =
        has_directive(headers, "no-store") || has_directive(headers, "private") && !has_directive(headers, "public");
    if suffices && is_clear(headers) {
        return;
    }
    let mut value = b"private".to_vec();
    let kept = |directive: &&str| is_whole(directive) && !is_for_shared(name_of(directive));
    for directive in directives(headers).filter(kept) {
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

/// Whether every reader takes the same directives out of the lines, be they joined or not.
fn is_clear(headers: &HeaderMap) -> bool {
    headers.get_all(CACHE_CONTROL).iter().all(|line| line.to_str().is_ok_and(is_whole))
}

/// Whether what is quoted ends in it, as far as one can tell without knowing what a `\` is taken for.
fn is_whole(text: &str) -> bool {
    text.matches('"').count().is_multiple_of(2) && !text.contains('\\')
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_that_says_nothing_of_caching_is_told_the_same_by_the_short_way() {
        use Audience::{Cohort, CohortWorker, Everyone, Link, Network};
        let by = [StickyBy::Cookie, StickyBy::Header(HeaderName::from_static("x-user")), StickyBy::None];
        for audience in [Everyone, Cohort, CohortWorker, Network, Link] {
            for caching in [Caching::Private, Caching::Vary, Caching::AsIs] {
                for (sticky, status, marked) in by.iter().flat_map(|sticky| {
                    [200, 304, 404, 410, 500].into_iter().flat_map(move |it| [(sticky, it, false), (sticky, it, true)])
                }) {
                    let status = StatusCode::from_u16(status).unwrap();
                    let mut silent = HeaderMap::new();
                    silent.insert(VARY, HeaderValue::from_static("accept"));
                    let mut whole = silent.clone();
                    limit_silent(&mut silent, status, audience, (caching, sticky), marked);
                    limit(&mut whole, status, audience, (caching, sticky), marked);
                    assert_eq!(silent, whole, "{audience:?} {caching:?} {sticky:?} {status} {marked}");
                }
            }
        }
    }

    fn told(headers: &HeaderMap, name: &str) -> String {
        headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect::<Vec<_>>().join(", ")
    }

    /// What becomes of a head, given as lines of `name: value`.
    fn limited(lines: &[&str], status: u16, audience: Audience, rule: Rule<'_>, marked: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        limit(&mut headers, status.try_into().unwrap(), audience, rule, marked);
        headers
    }

    fn cache_control(lines: &[&str], status: u16) -> String {
        let rule = (Caching::Private, &StickyBy::Cookie);
        told(&limited(lines, status, Audience::Cohort, rule, false), "cache-control")
    }

    #[test]
    fn what_everyone_could_be_handed_becomes_private_and_keeps_the_rest() {
        for (said, becomes) in [
            (&[][..], "private"),
            (&["cache-control: public, max-age=60"], "private, max-age=60"),
            (&["cache-control: max-age=60, s-maxage=600"], "private, max-age=60"),
            (&["cache-control: S-MaxAge=600 ,Public", "cache-control: must-revalidate"], "private, must-revalidate"),
            (&["cache-control: proxy-revalidate, no-transform"], "private, no-transform"),
            (&["cache-control: private=\"set-cookie, x-a\", max-age=5"], "private, max-age=5"),
            (&["cache-control: public, private"], "private"),
            (&["cache-control: ,, no-cache"], "private, no-cache"),
            (&["cache-control: \u{e9}"], "private"),
            (&["cache-control: \"", "cache-control: \",public\""], "private, \",public\""),
            (&["cache-control: \"", "cache-control: private, max-age=5"], "private, max-age=5"),
            (&["cache-control: private", "cache-control: public, \u{e9}"], "private"),
            (&["cache-control: x=\"\\\"", "cache-control: private, y=\"\\\""], "private"),
            (&["cache-control: no-store", "cache-control: \""], "private, no-store"),
            (&["cache-control: private, max-age=5"], "private, max-age=5"),
            (&["cache-control: no-store, max-age=0"], "no-store, max-age=0"),
        ] {
            assert_eq!(cache_control(said, 200), becomes, "{said:?}");
        }
    }

    #[test]
    fn what_is_said_to_one_kind_of_cache_alone_is_taken_back() {
        let lines = [
            "cdn-cache-control: max-age=60",
            "cloudflare-cdn-cache-control: max-age=60",
            "surrogate-control: max-age=60",
            "x-accel-expires: 60",
            "edge-control: max-age=60",
            "x-kept: 1",
        ];
        let rule = (Caching::Private, &StickyBy::Cookie);
        let headers = limited(&lines, 200, Audience::Cohort, rule, false);
        assert_eq!((headers.len(), told(&headers, "x-kept")), (2, "1".to_owned()), "{headers:?}");
    }

    #[test]
    fn an_asset_that_never_changes_stays_as_it_is_and_one_that_is_not_there_is_kept_by_nobody() {
        let immutable = &["cache-control: public, max-age=31536000, immutable"][..];
        assert_eq!(cache_control(immutable, 200), "public, max-age=31536000, immutable");
        assert_eq!(cache_control(immutable, 301), "private, max-age=31536000, immutable");
        for status in [404, 410] {
            assert_eq!(cache_control(immutable, status), "no-store");
            assert_eq!(cache_control(&[], status), "no-store");
        }
    }

    #[test]
    fn vary_names_what_visitors_are_drawn_by_and_is_no_answer_where_no_header_tells() {
        let by_header = StickyBy::Header(HeaderName::from_static("x-user"));
        for (sticky, said, vary, cache_control) in [
            (StickyBy::Cookie, "vary: Accept", "Accept, cookie", "public"),
            (StickyBy::Cookie, "vary: Accept, COOKIE", "Accept, COOKIE", "public"),
            (StickyBy::Cookie, "vary: *", "*", "public"),
            (by_header, "x: y", "x-user", "public"),
            (StickyBy::ClientIp, "x: y", "", "private"),
            (StickyBy::None, "x: y", "", "private"),
        ] {
            let rule = (Caching::Vary, &sticky);
            let headers = limited(&[said, "cache-control: public"], 200, Audience::Cohort, rule, false);
            let is = (told(&headers, "vary"), told(&headers, "cache-control"));
            assert_eq!(is, (vary.to_owned(), cache_control.to_owned()), "{sticky:?} {said}");
        }
    }

    #[test]
    fn an_answer_that_names_a_new_visitor_is_for_that_one_alone() {
        for caching in [Caching::Private, Caching::Vary] {
            let rule = (caching, &StickyBy::Cookie);
            let headers = limited(&["cache-control: public, max-age=9"], 200, Audience::Cohort, rule, true);
            assert_eq!(told(&headers, "cache-control"), "private, max-age=9", "{caching:?}");
        }
    }

    #[test]
    fn as_is_means_as_the_application_says() {
        let rule = (Caching::AsIs, &StickyBy::Cookie);
        for audience in [Audience::Cohort, Audience::CohortWorker] {
            let headers = limited(&["cache-control: public", "cdn-cache-control: x"], 404, audience, rule, true);
            assert_eq!((told(&headers, "cache-control"), headers.len()), ("public".to_owned(), 2));
        }
    }

    #[test]
    fn a_service_worker_is_asked_for_again_each_time() {
        let rule = (Caching::Vary, &StickyBy::Cookie);
        for (said, becomes) in [
            ("public, max-age=60", "private, max-age=60, no-cache"),
            ("no-cache", "private, no-cache"),
            ("no-store", "no-store"),
            ("public, immutable", "private, immutable, no-cache"),
        ] {
            let headers = limited(&[&format!("cache-control: {said}")], 200, Audience::CohortWorker, rule, false);
            assert_eq!(told(&headers, "cache-control"), becomes);
        }
    }

    #[test]
    fn a_preview_is_kept_nowhere_and_what_is_for_everyone_is_left_alone() {
        let rule = (Caching::AsIs, &StickyBy::Cookie);
        let lines = ["cache-control: public, immutable", "surrogate-control: max-age=60"];
        for audience in [Audience::Link, Audience::Network] {
            let headers = limited(&lines, 200, audience, rule, false);
            assert_eq!((told(&headers, "cache-control"), headers.len()), ("no-store".to_owned(), 1));
        }
        let headers = limited(&lines, 404, Audience::Everyone, rule, true);
        assert_eq!((told(&headers, "cache-control"), headers.len()), ("public, immutable".to_owned(), 2));
    }

    odd_input! {
        fn no_shared_cache_may_keep_what_was_drawn(
            lines in proptest::collection::vec("(public|private|s-maxage=9|max-age=9|no-cache|\"|,|=| |x=\"a,b\"){0,6}", 0..3),
            marked in any::<bool>(),
        ) {
            let rule = (Caching::Private, &StickyBy::Cookie);
            let lines: Vec<_> = lines.iter().map(|line| format!("cache-control: {line}")).collect();
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let headers = limited(&lines, 200, Audience::Cohort, rule, marked);
            prop_assert!(has_directive(&headers, "private"), "{headers:?}");
            prop_assert!(!has_directive(&headers, "public"), "{headers:?}");
        }
    }
}
