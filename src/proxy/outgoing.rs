//! A request on its way out: itself until it was sent, and then a copy of it, if it may be sent again.

use super::body::RequestBody;
use super::client::Told;
use super::headers::{add_line, is_said_at_sending, of_pool};
use crate::routing::Pool;
use http::header::UPGRADE;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use hyper::body::Body;
use memchr::memmem;

/// A request that is to be sent, perhaps more than once.
pub(super) struct Outgoing {
    unsent: Option<Request<RequestBody>>,
    /// What the target is told of whose it is.
    told: Told,
    /// Whether it changes nothing and has no body.
    repeatable: bool,
    left: Left,
}

/// What is left of a request once it was sent.
enum Left {
    Nothing,
    /// All of it.
    Text(Text),
    /// The protocols that it asked for, instead of an ordinary answer. It changes something: a connection.
    Asked(HeaderValue),
}

/// The head of a request as HTTP/1.1 writes it. Where it was sent so, it costs nothing to keep it.
#[derive(Debug)]
pub(super) struct Text(Vec<u8>);

/// Room for the text of an ordinary request.
const USUAL: usize = 768;

impl Outgoing {
    /// A request that was not sent yet. It may be sent again if it changes nothing and has no body. What it `asks` for, if
    /// it does, is in its `Upgrade`.
    pub(super) fn new(head: Parts, body: RequestBody, asks: bool, told: Told) -> Self {
        let asked = asks.then(|| head.headers.get(UPGRADE)).flatten().cloned();
        let changes_nothing = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let repeatable = asked.is_none() && changes_nothing && body.is_end_stream();
        let left = asked.map_or(Left::Nothing, Left::Asked);
        Self { unsent: Some(Request::from_parts(head, body)), told, repeatable, left }
    }

    /// Whether it may be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.repeatable && (self.unsent.is_some() || self.text().is_some())
    }

    /// The protocols that it asks for, if it does.
    pub(super) fn asked(&self) -> Option<&HeaderValue> {
        match &self.left {
            Left::Asked(asked) => Some(asked),
            Left::Nothing | Left::Text(_) => None,
        }
    }

    /// The path that it asks for, while it can still be sent.
    pub(super) fn path(&self) -> Option<&str> {
        match &self.unsent {
            Some(request) => Some(request.uri().path()),
            None => self.text().map(Text::path),
        }
    }

    /// A header of a request that was sent and may be again, or was not sent yet.
    pub(super) fn header(&self, name: &str) -> Option<&[u8]> {
        match &self.unsent {
            Some(request) => request.headers().get(name).map(HeaderValue::as_bytes),
            None => self.text()?.fields().find(|(of, _)| *of == name.as_bytes()).map(|(_, value)| value),
        }
    }

    /// Whether it only asks for what there is, and may be sent again.
    pub(super) fn is_read(&self) -> bool {
        let reads = |method: &[u8]| matches!(method, b"GET" | b"HEAD");
        self.repeatable
            && match &self.unsent {
                Some(request) => reads(request.method().as_str().as_bytes()),
                None => self.text().is_some_and(|text| reads(text.line().0)),
            }
    }

    fn text(&self) -> Option<&Text> {
        match &self.left {
            Left::Text(text) => Some(text),
            Left::Nothing | Left::Asked(_) => None,
        }
    }

    /// The request, to be sent; `None` when it was sent and may not be again. If it may be, it is to be told
    /// [what was sent](Self::was_sent). What it does not have in its head is [said](Self::said) when it is sent.
    pub(super) fn take(&mut self) -> Option<Request<RequestBody>> {
        self.unsent.take().or_else(|| self.text()?.request())
    }

    /// What is said besides its head to a target of a pool.
    pub(super) fn said<'o>(&'o self, pool: &'o Pool) -> Said<'o> {
        Said { told: &self.told, pool }
    }

    /// The request itself, if it can still be sent, and what is told of whose it is.
    pub(super) fn turn_back(&mut self) -> Option<(Request<RequestBody>, Told)> {
        let request = self.take()?;
        Some((request, std::mem::take(&mut self.told)))
    }

    /// The request was not sent after all.
    pub(super) fn give_back(&mut self, request: Request<RequestBody>) {
        self.unsent = Some(request);
    }

    /// This is what was sent of it, where it can be sent again.
    pub(super) fn was_sent(&mut self, text: Text) {
        if self.repeatable {
            self.left = Left::Text(text);
        }
    }
}

/// What is said to a target besides the head of a request.
#[derive(Clone, Copy)]
pub(super) struct Said<'o> {
    told: &'o Told,
    pool: &'o Pool,
}

impl Said<'_> {
    /// Says it in headers.
    pub(super) fn put(self, headers: &mut HeaderMap) {
        for (name, value) in fields(self.told.lines()) {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                headers.insert(name, value);
            }
        }
        for (name, value) in of_pool(self.pool) {
            headers.insert(name, value.clone());
        }
    }
}

impl Text {
    /// Of a head, and of what is said besides.
    pub(super) fn of(head: &Parts, said: Option<Said<'_>>) -> Self {
        let mut text = Vec::with_capacity(USUAL);
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        for part in [head.method.as_str(), " ", target, " HTTP/1.1\r\n"] {
            text.extend_from_slice(part.as_bytes());
        }
        for (name, value) in &head.headers {
            add_line(&mut text, name, value);
        }
        if let Some(Said { told, pool }) = said {
            text.extend_from_slice(told.lines());
            for (name, value) in of_pool(pool) {
                add_line(&mut text, name, value);
            }
        }
        text.extend_from_slice(b"\r\n");
        Self(text)
    }

    /// Of what was made of it before.
    pub(super) fn of_written(head: Vec<u8>) -> Self {
        Self(head)
    }

    /// What goes out.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Its method and its target.
    fn line(&self) -> (&[u8], &[u8]) {
        let mut words = self.0.split(|byte| *byte == b' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The fields of its head.
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        fields(after_line(&self.0).map_or(&[][..], |(_, rest)| rest))
    }

    /// The request, without a body and without what is said besides.
    pub(super) fn request(&self) -> Option<Request<RequestBody>> {
        let (method, target) = self.line();
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = Method::from_bytes(method).ok()?;
        *request.uri_mut() = Uri::try_from(target).ok()?;
        for (name, value) in self.fields() {
            let name = HeaderName::from_bytes(name).ok()?;
            if !is_said_at_sending(&name) {
                request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
            }
        }
        Some(request)
    }

    fn path(&self) -> &str {
        let target = std::str::from_utf8(self.line().1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }
}

/// The fields of these lines.
fn fields(mut lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (line, rest) = after_line(lines)?;
        lines = rest;
        let name = memchr::memchr(b':', line)?;
        Some((line.get(..name)?, line.get(name + 2..)?))
    })
}

/// The first of these lines, and the others. No value has a line's end in it.
fn after_line(lines: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memmem::find(lines, b"\r\n")?;
    Some((lines.get(..end)?, lines.get(end + 2..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(method: &str) -> Request<RequestBody> {
        let builder = Request::builder().method(method).uri("/a%20b?c=d?e").header("host", "a").header("x", "1");
        builder.header("x", "").header("x", b"\xff".as_slice()).body(RequestBody::Empty).unwrap()
    }

    fn going_out(request: Request<RequestBody>, asks: bool) -> Outgoing {
        let (head, body) = request.into_parts();
        Outgoing::new(head, body, asks, Told::default())
    }

    /// Sends a request as HTTP/2 does.
    fn sent(outgoing: &mut Outgoing) {
        let (head, _) = outgoing.take().unwrap().into_parts();
        outgoing.was_sent(Text::of(&head, None));
    }

    #[test]
    fn a_copy_is_the_same_request() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let mut outgoing = going_out(request(method), false);
            for is_sent in [false, true] {
                if is_sent {
                    sent(&mut outgoing);
                }
                assert!(outgoing.is_repeatable());
                assert_eq!((outgoing.path(), outgoing.is_read()), (Some("/a%20b"), method != "OPTIONS"));
                for (name, value) in [("host", Some(&b"a"[..])), ("x", Some(b"1")), ("y", None)] {
                    assert_eq!(outgoing.header(name), value);
                }
            }
            let (original, copy) = (request(method), outgoing.take().unwrap());
            assert_eq!((original.method(), original.uri()), (copy.method(), copy.uri()));
            assert_eq!(original.headers(), copy.headers());
        }
        let star = Request::builder().method("OPTIONS").uri("*").body(RequestBody::Empty).unwrap();
        assert_eq!(Text::of(&star.into_parts().0, None).request().unwrap().uri(), "*");
    }

    #[test]
    fn what_may_change_something_is_sent_once() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            assert!(!going_out(request(method), false).is_repeatable(), "{method}");
        }
    }

    #[test]
    fn what_is_not_known_any_more_is_not_sent_again() {
        let mut outgoing = going_out(request("GET"), false);
        assert!(outgoing.take().is_some());
        assert!(!outgoing.is_repeatable() && !outgoing.is_read() && outgoing.take().is_none());
    }

    #[test]
    fn what_asks_for_another_protocol_is_sent_once_and_remembered() {
        let mut asking = request("GET");
        asking.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        let mut outgoing = going_out(asking, true);
        assert!(!outgoing.is_repeatable() && outgoing.take().is_some() && outgoing.take().is_none());
        assert_eq!(outgoing.asked().unwrap(), "websocket");
        assert_eq!(going_out(request("GET"), true).asked(), None);
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
            let copy = Text::of(&head, None);
            let request = Request::from_parts(head, body);
            let again = copy.request().unwrap();
            prop_assert_eq!((again.method(), again.uri(), again.headers()), (request.method(), request.uri(), request.headers()));
            prop_assert_eq!(copy.path(), request.uri().path());
            for name in request.headers().keys() {
                let value = copy.fields().find(|(of, _)| *of == name.as_str().as_bytes()).map(|(_, value)| value);
                prop_assert_eq!(value, request.headers().get(name).map(HeaderValue::as_bytes));
            }
        }
    }
}
