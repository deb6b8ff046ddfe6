//! The skew guard: an open page of one release asks for assets that only its own pool has.
//!
//! While two pools are warm (a rollout is on, or its promotion is watched), an asset that the visitor's pool answers
//! with 404 is looked for once in the other one. What comes of it is the visitor's if the other pool has it; else the
//! first answer is, as it was. The evidence of a rollout knows only the first answer.
//!
//! A pool that was taken back is left alone: why it was is not known to be harmless, and whoever repairs it may put
//! anything into its place. A page of it that is still open gets what live has for it, and is live's when it is next loaded.

use super::attempt::{Tried, attempt};
use super::crowd;
use super::outgoing::Outgoing;
use super::record::{Move, Place, Record};
use super::visitor::{Phase, Visitor};
use http::{HeaderValue, StatusCode};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// An asset that takes longer than this is not waited for: without the guard the visitor would have had an answer long
/// ago.
const PATIENCE: Duration = Duration::from_secs(5);

/// Second looks that a worker makes at the same time. A pool that hangs can hold up no more than these.
const MOST_AT_ONCE: u32 = 64;

/// What the requests of a worker are doing here.
#[derive(Debug, Default)]
pub(super) struct SecondLooks(Cell<u32>);

/// One of them.
struct Look<'w>(&'w SecondLooks);

impl SecondLooks {
    fn begin(&self) -> Option<Look<'_>> {
        let under_way = self.0.get();
        (under_way < MOST_AT_ONCE).then(|| {
            self.0.set(under_way + 1);
            Look(self)
        })
    }
}

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}

/// Whether an answer says that there is no such asset.
pub(super) fn is_missing(tried: &Tried) -> bool {
    matches!(tried, Tried::Answered { response, .. } if response.status() == StatusCode::NOT_FOUND)
}

/// Looks for an asset in the other pool, and gives the answer for the visitor: that, or `first`.
pub(super) async fn look(
    visitor: &Rc<Visitor>,
    record: &mut Record,
    outgoing: &mut Outgoing,
    host: &HeaderValue,
    first: Tried,
    connects: &mut u32,
) -> Tried {
    if !asks_for_asset(outgoing) {
        return first;
    }
    let Some(_look) = visitor.worker.second_looks.begin() else { return first };
    let Some(place) = other(visitor, record, host, outgoing) else { return first };
    let second = tokio::time::timeout(PATIENCE, attempt(visitor, Some(&place), outgoing, connects)).await;
    match second {
        Ok(second @ Tried::Answered { .. }) if has_it(&second) => {
            record.moves(place, first.happening(), Move::SkewGuard);
            second
        }
        Ok(_) | Err(_) => {
            // Cut off in the middle, it is still where the attempt was.
            visitor.enter(Phase::Router);
            first
        }
    }
}

fn has_it(tried: &Tried) -> bool {
    match tried {
        Tried::Answered { response, .. } => {
            response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED
        }
        Tried::Failed(_) | Tried::Unsent => false,
    }
}

/// The other pool, by the table that is in force by now. The request is counted there at once.
fn other(visitor: &Rc<Visitor>, record: &Record, host: &HeaderValue, outgoing: &Outgoing) -> Option<Place> {
    let answered = &record.place()?.pool().load;
    let table = visitor.worker.table();
    let (service, route) = table.find(host.to_str().unwrap_or_default(), outgoing.path()?)?;
    // In a hold nothing enters another pool: the one who waits for it to be empty must not be fooled.
    if route.hold {
        return None;
    }
    let index = route.pools.iter().position(|pool| std::sync::Arc::ptr_eq(&pool.load, answered))?;
    let pool = route.beside(index).filter(|pool| !crowd::keeps(&visitor.worker, route, *pool))?;
    Some(Place::take(visitor, Rc::clone(&table), service, pool))
}

/// Whether a request is for a part of a page, and no page, no data and no service worker. Browsers say so; where they
/// don't, the name does.
fn asks_for_asset(outgoing: &Outgoing) -> bool {
    if !outgoing.is_read() || outgoing.header("service-worker").is_some() {
        return false;
    }
    match outgoing.header("sec-fetch-dest") {
        Some(destination) => DESTINATIONS.iter().any(|asset| asset.as_bytes() == destination),
        None => outgoing.path().is_some_and(has_name_of_asset),
    }
}

/// What parts of a page are fetched for (the Fetch standard's request destinations). Not `document`, `iframe` and the
/// like, which are pages; not `empty`, which is what scripts ask for: data, whose 404 means what it says; not
/// `serviceworker`, which would outlive the release that it came from.
const DESTINATIONS: [&str; 14] = [
    "audio",
    "audioworklet",
    "font",
    "image",
    "json",
    "manifest",
    "paintworklet",
    "script",
    "sharedworker",
    "style",
    "track",
    "video",
    "worker",
    "xslt",
];

/// What the files of a built page end with. Not `json` and `xml`, which APIs answer with, and no documents that a visitor
/// opens by themselves.
const EXTENSIONS: [&str; 25] = [
    "avif",
    "bmp",
    "css",
    "cur",
    "eot",
    "gif",
    "ico",
    "jpeg",
    "jpg",
    "js",
    "map",
    "mjs",
    "mp3",
    "mp4",
    "ogg",
    "otf",
    "png",
    "svg",
    "ttf",
    "wasm",
    "webm",
    "webmanifest",
    "webp",
    "woff",
    "woff2",
];

fn has_name_of_asset(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(_, end)| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::body::RequestBody;
    use crate::proxy::client::Told;
    use http::Request;

    fn is_asset(method: &str, path: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        asks_for_asset(&Outgoing::new(head, RequestBody::Empty, false, Told::default()))
    }

    #[test]
    fn a_browser_says_what_it_wants_an_asset_for() {
        for destination in DESTINATIONS {
            assert!(is_asset("GET", "/no-extension", &[("sec-fetch-dest", destination)]), "{destination}");
        }
        for other in
            ["document", "iframe", "frame", "embed", "object", "empty", "report", "serviceworker", "", "SCRIPT "]
        {
            assert!(!is_asset("GET", "/app.js", &[("sec-fetch-dest", other)]), "{other:?}");
        }
    }

    #[test]
    fn without_a_word_of_the_browser_the_name_decides() {
        for path in ["/app.js", "/a/b.3f2c.css", "/x.WOFF2", "/a.b/c.svg", "/i.png?size=2", "/m.webmanifest"] {
            assert!(is_asset("GET", path, &[]) && is_asset("HEAD", path, &[]), "{path}");
        }
        for path in ["/", "/js", "/a.js/", "/data.json", "/feed.xml", "/doc.pdf", "/page.html", "/a.png/view", "/.js2"]
        {
            assert!(!is_asset("GET", path, &[]), "{path}");
        }
    }

    #[test]
    fn a_service_worker_and_a_question_about_options_are_no_assets() {
        assert!(!is_asset("GET", "/sw.js", &[("service-worker", "script")]));
        assert!(!is_asset("GET", "/sw.js", &[("service-worker", "script"), ("sec-fetch-dest", "script")]));
        assert!(!is_asset("OPTIONS", "/app.js", &[]));
    }

    #[test]
    fn second_looks_are_bounded_and_given_back() {
        let looks = SecondLooks::default();
        let under_way: Vec<_> = (0..MOST_AT_ONCE).map(|_| looks.begin().unwrap()).collect();
        assert!(looks.begin().is_none());
        drop(under_way);
        assert!(looks.begin().is_some());
    }
}
