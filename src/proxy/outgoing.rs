//! A request on its way out: itself until it was sent, and then a copy of it, if it may be sent again.

use super::body::RequestBody;
use super::headers::name_pool;
use crate::routing::Pool;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use hyper::body::Body;

/// A request that is to be sent, perhaps more than once.
pub(super) struct Outgoing {
    unsent: Option<Request<RequestBody>>,
    copy: Option<Copy>,
}

/// A request without a body, packed: each of its texts with its length before it. One block of memory for a copy that is
/// hardly ever used.
struct Copy {
    method: Method,
    texts: Vec<u8>,
}

/// Room for the texts of an ordinary request.
const USUAL: usize = 768;

impl Outgoing {
    /// A request that was not sent yet. It may be sent again if it changes nothing and has no body.
    pub(super) fn new(request: Request<RequestBody>) -> Self {
        let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let copy = (changes_nothing && request.body().is_end_stream()).then(|| Copy::of(&request)).flatten();
        Self { unsent: Some(request), copy }
    }

    /// Whether it may be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.copy.is_some()
    }

    /// The path that it asks for, while it can still be sent.
    pub(super) fn path(&self) -> Option<&str> {
        match (&self.unsent, &self.copy) {
            (Some(request), _) => Some(request.uri().path()),
            (None, Some(copy)) => Some(copy.path()),
            (None, None) => None,
        }
    }

    /// The request, to be sent to a pool; `None` when it was sent and may not be again.
    pub(super) fn take(&mut self, pool: &Pool) -> Option<Request<RequestBody>> {
        let mut request = self.unsent.take().or_else(|| self.copy.as_ref()?.request())?;
        name_pool(request.headers_mut(), pool);
        Some(request)
    }

    /// The request itself, if it can still be sent.
    pub(super) fn turn_back(&mut self) -> Option<Request<RequestBody>> {
        self.unsent.take().or_else(|| self.copy.as_ref()?.request())
    }

    /// The request was not sent after all.
    pub(super) fn give_back(&mut self, request: Request<RequestBody>) {
        self.unsent = Some(request);
    }
}

impl Copy {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let mut texts = Vec::with_capacity(USUAL);
        let mut add = |text: &[u8]| {
            let length = u16::try_from(text.len()).ok()?;
            texts.extend_from_slice(&length.to_ne_bytes());
            texts.extend_from_slice(text);
            Some(())
        };
        add(request.uri().path_and_query()?.as_str().as_bytes())?;
        for (name, value) in request.headers() {
            add(name.as_str().as_bytes())?;
            add(value.as_bytes())?;
        }
        Some(Self { method: request.method().clone(), texts })
    }

    fn request(&self) -> Option<Request<RequestBody>> {
        let (target, mut rest) = next(&self.texts)?;
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::try_from(target).ok()?;
        while !rest.is_empty() {
            let (name, after) = next(rest)?;
            let (value, after) = next(after)?;
            request.headers_mut().append(HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?);
            rest = after;
        }
        Some(request)
    }

    fn path(&self) -> &str {
        let target = next(&self.texts).and_then(|(target, _)| std::str::from_utf8(target).ok()).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }
}

/// The first of the texts, and the others.
fn next(texts: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = texts.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_ne_bytes(*length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str) -> Request<RequestBody> {
        let builder = Request::builder().method(method).uri("/a%20b?c=d?e").header("host", "a").header("x", "1");
        builder.header("x", "").header("x", b"\xff".as_slice()).body(RequestBody::Empty).unwrap()
    }

    #[test]
    fn a_copy_is_the_same_request() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let outgoing = Outgoing::new(request(method));
            let (original, copy) = (request(method), outgoing.copy.as_ref().unwrap().request().unwrap());
            assert_eq!((original.method(), original.uri()), (copy.method(), copy.uri()));
            assert_eq!(original.headers(), copy.headers());
            assert_eq!((outgoing.path(), outgoing.copy.as_ref().unwrap().path()), (Some("/a%20b"), "/a%20b"));
        }
        let star = Request::builder().method("OPTIONS").uri("*").body(RequestBody::Empty).unwrap();
        assert_eq!(Copy::of(&star).unwrap().request().unwrap().uri(), "*");
    }

    #[test]
    fn what_may_change_something_is_sent_once() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            assert!(!Outgoing::new(request(method)).is_repeatable(), "{method}");
        }
    }
}
