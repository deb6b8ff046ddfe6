//! A request on its way out: itself until it was sent, and then a copy of it, if it may be sent again.

use super::body::RequestBody;
use super::headers::name_pool;
use crate::routing::Pool;
use http::header::UPGRADE;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use hyper::body::Body;

/// A request that is to be sent, perhaps more than once.
pub(super) struct Outgoing {
    unsent: Option<Request<RequestBody>>,
    left: Left,
}

/// What is left of a request once it was sent.
enum Left {
    Nothing,
    /// All of it.
    Copy(Copy),
    /// The protocols that it asked for, instead of an ordinary answer. It changes something: a connection.
    Asked(HeaderValue),
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
    /// A request that was not sent yet. It may be sent again if it changes nothing and has no body. What it `asks` for, if
    /// it does, is in its `Upgrade`.
    pub(super) fn new(head: Parts, body: RequestBody, asks: bool) -> Self {
        let left = if let Some(asked) = asks.then(|| head.headers.get(UPGRADE)).flatten() {
            Left::Asked(asked.clone())
        } else {
            let changes_nothing = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
            let copy = (changes_nothing && body.is_end_stream()).then(|| Copy::of(&head)).flatten();
            copy.map_or(Left::Nothing, Left::Copy)
        };
        Self { unsent: Some(Request::from_parts(head, body)), left }
    }

    /// Whether it may be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        matches!(self.left, Left::Copy(_))
    }

    /// The protocols that it asks for, if it does.
    pub(super) fn asked(&self) -> Option<&HeaderValue> {
        match &self.left {
            Left::Asked(asked) => Some(asked),
            Left::Nothing | Left::Copy(_) => None,
        }
    }

    /// The path that it asks for, while it can still be sent.
    pub(super) fn path(&self) -> Option<&str> {
        match (&self.unsent, &self.left) {
            (Some(request), _) => Some(request.uri().path()),
            (None, Left::Copy(copy)) => Some(copy.path()),
            (None, Left::Nothing | Left::Asked(_)) => None,
        }
    }

    /// A header of a request that was sent and may be again, or was not sent yet.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        match (&self.unsent, &self.left) {
            (Some(request), _) => request.headers().get(name).map(HeaderValue::as_bytes),
            (None, Left::Copy(copy)) => copy.header(name),
            (None, Left::Nothing | Left::Asked(_)) => None,
        }
    }

    /// The method of a request that may be sent again.
    pub(super) fn repeatable_method(&self) -> Option<&Method> {
        self.copy().map(|copy| &copy.method)
    }

    fn copy(&self) -> Option<&Copy> {
        match &self.left {
            Left::Copy(copy) => Some(copy),
            Left::Nothing | Left::Asked(_) => None,
        }
    }

    /// The request, to be sent to a pool; `None` when it was sent and may not be again.
    pub(super) fn take(&mut self, pool: &Pool) -> Option<Request<RequestBody>> {
        if self.unsent.is_none() {
            self.unsent = self.copy().and_then(Copy::request);
        }
        name_pool(self.unsent.as_mut()?.headers_mut(), pool);
        self.unsent.take()
    }

    /// The request itself, if it can still be sent.
    pub(super) fn turn_back(&mut self) -> Option<Request<RequestBody>> {
        self.unsent.take().or_else(|| self.copy()?.request())
    }

    /// The request was not sent after all.
    pub(super) fn give_back(&mut self, request: Request<RequestBody>) {
        self.unsent = Some(request);
    }
}

impl Copy {
    fn of(head: &Parts) -> Option<Self> {
        let mut texts = Vec::with_capacity(USUAL);
        let mut add = |text: &[u8]| {
            let length = u16::try_from(text.len()).ok()?;
            texts.extend_from_slice(&length.to_ne_bytes());
            texts.extend_from_slice(text);
            Some(())
        };
        add(head.uri.path_and_query()?.as_str().as_bytes())?;
        for (name, value) in &head.headers {
            add(name.as_str().as_bytes())?;
            add(value.as_bytes())?;
        }
        Some(Self { method: head.method.clone(), texts })
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

    fn header(&self, wanted: &str) -> Option<&[u8]> {
        let (_, mut rest) = next(&self.texts)?;
        while !rest.is_empty() {
            let (name, after) = next(rest)?;
            let (value, after) = next(after)?;
            if name == wanted.as_bytes() {
                return Some(value);
            }
            rest = after;
        }
        None
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
    use proptest::prelude::*;

    fn request(method: &str) -> Request<RequestBody> {
        let builder = Request::builder().method(method).uri("/a%20b?c=d?e").header("host", "a").header("x", "1");
        builder.header("x", "").header("x", b"\xff".as_slice()).body(RequestBody::Empty).unwrap()
    }

    fn outgoing(request: Request<RequestBody>, asks: bool) -> Outgoing {
        let (head, body) = request.into_parts();
        Outgoing::new(head, body, asks)
    }

    #[test]
    fn a_copy_is_the_same_request() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let outgoing = outgoing(request(method), false);
            let (original, copy) = (request(method), outgoing.copy().unwrap().request().unwrap());
            assert_eq!((original.method(), original.uri()), (copy.method(), copy.uri()));
            assert_eq!(original.headers(), copy.headers());
            assert_eq!((outgoing.path(), outgoing.copy().unwrap().path()), (Some("/a%20b"), "/a%20b"));
            for (name, value) in [("host", Some(&b"a"[..])), ("x", Some(b"1")), ("y", None)] {
                assert_eq!((outgoing.header(name), outgoing.copy().unwrap().header(name)), (value, value));
            }
        }
        let star = Request::builder().method("OPTIONS").uri("*").body(RequestBody::Empty).unwrap();
        assert_eq!(Copy::of(&star.into_parts().0).unwrap().request().unwrap().uri(), "*");
    }

    #[test]
    fn what_may_change_something_is_sent_once() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            assert!(!outgoing(request(method), false).is_repeatable(), "{method}");
        }
    }

    #[test]
    fn what_asks_for_another_protocol_is_sent_once_and_remembered() {
        let mut asking = request("GET");
        asking.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        let mut outgoing = outgoing(asking, true);
        assert!(!outgoing.is_repeatable() && outgoing.turn_back().is_some() && outgoing.turn_back().is_none());
        assert_eq!(outgoing.asked().unwrap(), "websocket");
        assert_eq!(outgoing(request("GET"), true).asked(), None);
    }

    odd_input! {
        fn a_copy_has_every_byte_of_a_head(
            target in "/[a-z%/]{0,9}(\\?[a-z=&?]{0,9})?",
            fields in prop::collection::vec(("[a-z-]{1,9}", prop::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..20)), 0..12),
        ) {
            let mut request = Request::builder().uri(&target).body(RequestBody::Empty).unwrap();
            for (name, value) in &fields {
                request.headers_mut().append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
            }
            let (head, body) = request.into_parts();
            let copy = Copy::of(&head).unwrap();
            let request = Request::from_parts(head, body);
            let again = copy.request().unwrap();
            prop_assert_eq!((again.method(), again.uri(), again.headers()), (request.method(), request.uri(), request.headers()));
            prop_assert_eq!(copy.path(), request.uri().path());
            for name in request.headers().keys() {
                prop_assert_eq!(copy.header(name.as_str()), request.headers().get(name).map(HeaderValue::as_bytes));
            }
        }
    }
}
