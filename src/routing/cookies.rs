//! Takes session cookies out of requests and answers, and leaves all others as they are.
//!
//! Applications read cookies in different ways: at commas and blanks too, or percent-decoded. Whatever some application
//! might take for one of the names is taken out. Names are case-sensitive, as in RFC 6265.

use super::writes::decoded;
use bytes::Bytes;
use http::header::{COOKIE, HeaderMap, SET_COOKIE};
use http::{HeaderName, HeaderValue, header::Entry};
use std::fmt;

/// An answer that asks for all cookies to be forgotten.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// Names of cookies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieNames(Box<[Box<str>]>);

impl fmt::Display for CookieNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl CookieNames {
    /// These names, as written.
    #[must_use]
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().filter(|name| !name.is_empty()).map(Into::into).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the cookies of these names out of a request.
    pub fn leave_request(&self, headers: &mut HeaderMap) {
        let is_in = |line: &HeaderValue| line.as_bytes().split(|byte| *byte == b';').any(|piece| self.is_named(piece));
        if headers.get_all(COOKIE).iter().any(is_in) {
            let left: Vec<_> = headers.get_all(COOKIE).iter().filter_map(|line| self.without(line)).collect();
            headers.remove(COOKIE);
            for line in left {
                headers.append(COOKIE, line);
            }
        }
    }

    /// Takes the cookies of these names out of an answer, so that visitors keep the ones that they have.
    pub fn leave_answer(&self, headers: &mut HeaderMap) {
        if let Entry::Occupied(set) = headers.entry(SET_COOKIE) {
            let (_, lines) = set.remove_entry_mult();
            let left: Vec<_> = lines.filter(|line| !self.is_set_by(line)).collect();
            for line in left {
                headers.append(SET_COOKIE, line);
            }
        }
        headers.remove(CLEAR_SITE_DATA);
    }

    fn is_set_by(&self, line: &HeaderValue) -> bool {
        let name = line.as_bytes().split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
        let name = name.trim_ascii();
        self.0.iter().any(|wanted| wanted.as_bytes() == name)
    }

    /// A line without these cookies; `None` when nothing is left.
    fn without(&self, line: &HeaderValue) -> Option<HeaderValue> {
        let pieces = line.as_bytes().split(|byte| *byte == b';').filter(|piece| !self.is_named(piece));
        let left = pieces.collect::<Vec<_>>().join(&b';');
        let blank = |byte: &u8| matches!(byte, b';' | b' ' | b'\t');
        if left.iter().all(blank) {
            return None;
        }
        // A part of a value that was a header's is one as well.
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(left.trim_ascii_start())).ok()
    }

    /// Whether some application might find one of these cookies in what stands between two semicolons.
    fn is_named(&self, piece: &[u8]) -> bool {
        let first = piece.split(|byte| *byte == b'=').next().unwrap_or_default();
        let first = std::str::from_utf8(first).map(decoded).unwrap_or_default();
        self.0.iter().map(|name| name.as_bytes()).any(|name| is_name(&first, name) || has_inside(piece, name))
    }
}

/// What no application takes for a part of a name: blanks, quotes, commas, and all that is not ASCII.
fn is_boundary(byte: u8) -> bool {
    !byte.is_ascii_graphic() || matches!(byte, b',' | b'"')
}

/// Whether a text is the name, but for what stands around it.
fn is_name(text: &[u8], name: &[u8]) -> bool {
    let begin = text.iter().position(|byte| !is_boundary(*byte)).unwrap_or(text.len());
    let text = &text[begin..];
    text.len() >= name.len() && reads_as(text, name) && text[name.len()..].iter().all(|byte| is_boundary(*byte))
}

/// Whether a text begins like the name. PHP reads `.`, `[` and a blank in a name as `_`.
fn reads_as(text: &[u8], name: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| byte == wanted || (*wanted == b'_' && matches!(byte, b'.' | b'[' | b' '));
    text.iter().zip(name).all(same)
}

/// Whether the name is somewhere in a piece, with an `=` or nothing behind it.
fn has_inside(piece: &[u8], name: &[u8]) -> bool {
    piece.windows(name.len()).enumerate().any(|(at, window)| {
        let rest = &piece[at + window.len()..];
        let next = rest.iter().find(|byte| !is_boundary(**byte));
        reads_as(window, name) && (at == 0 || is_boundary(piece[at - 1])) && next.is_none_or(|byte| *byte == b'=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> CookieNames {
        CookieNames::new(["sessionid", "__Host-id"])
    }

    fn lines(name: &HeaderName, lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn left(sent: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut headers = lines(&COOKIE, sent);
        names().leave_request(&mut headers);
        headers.get_all(COOKIE).iter().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn the_named_cookies_go_and_the_others_keep_their_order_and_bytes() {
        for (sent, kept) in [
            ("a=1; sessionid=x; b=2", "a=1; b=2"),
            ("sessionid=x; a=1;  b=\"2 3\"", "a=1;  b=\"2 3\""),
            ("a=1; sessionid=x", "a=1"),
            ("a=1;sessionid=x;b=2;", "a=1;b=2;"),
            ("__Host-id=1; __host-id=2; SESSIONID=3", "__host-id=2; SESSIONID=3"),
            ("sessionid2=1; xsessionid=2; a=sessionid=3", "sessionid2=1; xsessionid=2; a=sessionid=3"),
            ("a=1; b = 2 ;; c", "a=1; b = 2 ;; c"),
            ("sessionid=\"q; x=\\\"1\"; a=1", "x=\\\"1\"; a=1"),
            ("cutover=abc.def; sessionid=1", "cutover=abc.def"),
        ] {
            assert_eq!(left(&[sent.as_bytes()]), [kept.as_bytes()], "{sent}");
        }
    }

    #[test]
    fn what_some_application_might_read_as_the_name_goes_too() {
        for sent in [
            &b"sessionid=1"[..],
            b"\tsessionid =1",
            b"sessionid",
            b"sessionid=1; sessionid=2",
            b";; sessionid=1 ;\t;",
            b"\"sessionid\"=1",
            b"session%69d=1",
            b"a=1, sessionid=2",
            b"a=1 sessionid=2",
            b"\xa0sessionid=1",
            b"\xe3\x80\x80sessionid=1",
            b"a=\"1 sessionid=\"",
        ] {
            assert_eq!(left(&[sent]), [b""; 0], "{}", String::from_utf8_lossy(sent));
        }
    }

    #[test]
    fn a_name_goes_in_the_spellings_that_php_can_not_tell_apart() {
        for sent in ["app_session=1", "app.session=1", "app[session=1", "app session=1", "a=1, app.session=1"] {
            let mut headers = lines(&COOKIE, &[sent.as_bytes()]);
            CookieNames::new(["app_session"]).leave_request(&mut headers);
            assert!(headers.is_empty(), "{sent}: {headers:?}");
        }
        for sent in ["appxsession=1", "app-session=1", "app.sessions=1", "my.app.session=1"] {
            let mut headers = lines(&COOKIE, &[sent.as_bytes()]);
            CookieNames::new(["app_session"]).leave_request(&mut headers);
            assert_eq!(headers.len(), 1, "{sent}");
        }
    }

    #[test]
    fn all_lines_are_looked_at_and_one_with_nothing_left_goes() {
        let sent: [&[u8]; 4] = [b"a=1", b"sessionid=1", b"b=2; sessionid=2", b"__Host-id=3"];
        assert_eq!(left(&sent), [&b"a=1"[..], b"b=2"]);
        assert_eq!(left(&[]), [b""; 0]);
    }

    #[test]
    fn an_answer_can_neither_set_nor_forget_them() {
        let set: [&[u8]; 7] = [
            b"sessionid=; Max-Age=0",
            b" sessionid = 1; Path=/",
            b"csrftoken=2; Path=/",
            b"__Host-id=3; Secure; Path=/",
            b"SessionId=4",
            b"sessionid",
            b"cutover=5; HttpOnly",
        ];
        let mut headers = lines(&SET_COOKIE, &set);
        headers.insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cookies\""));
        names().leave_answer(&mut headers);
        let left: Vec<_> = headers.get_all(SET_COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(left, [&b"csrftoken=2; Path=/"[..], b"SessionId=4", b"cutover=5; HttpOnly"]);
        assert!(!headers.contains_key(CLEAR_SITE_DATA));
    }

    odd_input! {
        fn exactly_the_named_ones_go(
            pairs in proptest::collection::vec(("[a-z]{1,4}|sessionid|__Host-id", "[!#-+./-:<-~]{0,8}"), 1..8),
            cuts in proptest::collection::vec(any::<bool>(), 8),
        ) {
            let mut sent: Vec<String> = vec![String::new()];
            for ((name, value), cut) in pairs.iter().zip(cuts) {
                let line = sent.last_mut().unwrap();
                if !line.is_empty() {
                    line.push_str("; ");
                }
                line.extend([name, "=", value]);
                if cut {
                    sent.push(String::new());
                }
            }
            sent.retain(|line| !line.is_empty());
            let is_kept = |name: &str| name != "sessionid" && name != "__Host-id";
            let kept = pairs.iter().filter(|(name, _)| is_kept(name));
            let kept: Vec<String> = kept.map(|(name, value)| format!("{name}={value}")).collect();
            let lines: Vec<&[u8]> = sent.iter().map(String::as_bytes).collect();
            let left: Vec<String> = left(&lines).into_iter().map(|line| String::from_utf8(line).unwrap()).collect();
            let left: Vec<&str> = left.iter().flat_map(|line| line.split("; ")).collect();
            prop_assert_eq!(left, kept);
        }

        fn no_odd_line_keeps_a_name_between_semicolons(line in "[ \t;=\",a\u{a0}]{0,9};[ \t]{0,2}sessionid[ \t]{0,2}=[ -~]{0,9}") {
            let left = left(&[line.as_bytes()]);
            let pieces = left.iter().flat_map(|line| line.split(|byte| *byte == b';'));
            for piece in pieces {
                let name = piece.split(|byte| *byte == b'=').next().unwrap().trim_ascii();
                prop_assert_ne!(name, b"sessionid");
            }
        }
    }
}
