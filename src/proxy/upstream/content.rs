//! The body of an answer by HTTP/1.1: where it ends, and what of the bytes that come is in it.

use super::answer::Malformed;
use crate::proxy::framing::{Chunks, Piece, trailers};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

/// What is left of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked(Box<Chunks>),
    /// All that comes.
    UntilClose,
}

/// What comes next of a body.
#[derive(Debug)]
pub(super) enum Next {
    Frame(Frame<Bytes>),
    /// Nothing: it has ended.
    End,
    /// Nothing before more bytes come; so many, where that is known.
    More(Option<u64>),
}

impl Content {
    /// No body, or nothing more of one.
    pub(super) const NONE: Self = Self::Length(0);

    pub(super) fn chunked() -> Self {
        Self::Chunked(Box::new(Chunks::of_answer()))
    }

    /// Whether there is nothing more of it.
    pub(super) fn is_over(&self) -> bool {
        *self == Self::NONE
    }

    /// How long it is.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }

    /// Takes what comes next off these bytes.
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Next, Malformed> {
        match self {
            Self::Length(0) => Ok(Next::End),
            Self::Length(left) if input.is_empty() => Ok(Next::More(Some(*left))),
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                Ok(Next::Frame(Frame::data(input.split_to(here))))
            }
            Self::UntilClose if input.is_empty() => Ok(Next::More(None)),
            Self::UntilClose => Ok(Next::Frame(Frame::data(std::mem::take(input)))),
            Self::Chunked(chunks) => {
                while !input.is_empty() {
                    match chunks.next(input).map_err(|_| Malformed)? {
                        Piece::Framing(length) => drop(input.split_to(length)),
                        Piece::Data(length) => return Ok(Next::Frame(Frame::data(input.split_to(length)))),
                        Piece::Partial => break,
                        Piece::End(length) => {
                            *self = Self::NONE;
                            let fields = read_trailers(&input.split_to(length))?;
                            return Ok(fields.map_or(Next::End, |fields| Next::Frame(Frame::trailers(fields))));
                        }
                    }
                }
                Ok(Next::More(None))
            }
        }
    }

    /// The target sends no more. Whether the body has ended with that.
    pub(super) fn ends_here(&mut self) -> bool {
        if *self == Self::UntilClose {
            *self = Self::NONE;
        }
        self.is_over()
    }
}

/// The fields of trailers that have come whole; none of most bodies.
fn read_trailers(text: &Bytes) -> Result<Option<HeaderMap>, Malformed> {
    if text.len() <= b"\r\n".len() {
        return Ok(None);
    }
    let (mut fields, mut odd) = (HeaderMap::new(), false);
    let read = trailers(text, |name, value| {
        let value = HeaderValue::from_maybe_shared(text.slice_ref(value));
        match (HeaderName::from_bytes(name), value) {
            (Ok(name), Ok(value)) => drop(fields.append(name, value)),
            (Ok(_) | Err(_), _) => odd = true,
        }
    });
    if odd || !read { Err(Malformed) } else { Ok(Some(fields)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The data and the trailers of a body that comes in these parts, and what is left behind it.
    fn read(mut content: Content, parts: &[&[u8]]) -> Result<(Vec<u8>, HeaderMap, Vec<u8>, bool), Malformed> {
        let (mut data, mut fields, mut input) = (Vec::new(), HeaderMap::new(), Bytes::new());
        for part in parts {
            input = [&*input, part].concat().into();
            while let Next::Frame(frame) = content.next(&mut input)? {
                match frame.into_data() {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(frame) => fields = frame.into_trailers().unwrap(),
                }
            }
        }
        Ok((data, fields, input.to_vec(), content.is_over()))
    }

    #[test]
    fn a_body_ends_where_its_length_says() {
        let (data, _, left, over) = read(Content::Length(5), &[b"ab", b"cdefg"]).unwrap();
        assert_eq!((&*data, &*left, over), (&b"abcde"[..], &b"fg"[..], true));
        assert!(!read(Content::Length(5), &[b"ab"]).unwrap().3);
        let mut unbounded = Content::UntilClose;
        assert!(!unbounded.is_over() && unbounded.ends_here() && unbounded.is_over());
        assert!(!Content::Length(1).ends_here() && !Content::chunked().ends_here());
    }

    #[test]
    fn chunks_are_put_together_and_their_trailers_kept() {
        let text = b"3\r\nabc\r\n2 ;x=y\r\nde\r\n0\r\nx-sum: 5\r\nx-sum: 6\r\n\r\nleft";
        let (data, fields, left, over) = read(Content::chunked(), &[text]).unwrap();
        assert_eq!(
            (&*data, &*left, over, fields.get_all("x-sum").iter().count()),
            (&b"abcde"[..], &b"left"[..], true, 2)
        );
    }

    #[test]
    fn chunks_in_doubt_are_no_body() {
        for text in
            ["x\r\n", "3\r\nabcd\r\n", "3\nabc\r\n", "-1\r\n", "\r\n", " 3\r\nabc\r\n", "3 4\r\n", "0\r\na b\r\n\r\n"]
        {
            assert!(read(Content::chunked(), &[text.as_bytes()]).is_err(), "{text:?}");
        }
        assert!(read(Content::chunked(), &[b"11111111111111111\r\n"]).is_err());
    }

    odd_input! {
        fn a_chunked_body_is_the_same_however_it_comes(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in prop::collection::vec(1_usize..30, 0..12),
            padding in "[ \t]{0,3}",
            trailer in prop::option::of("[a-z]{1,9}"),
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}{padding}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n");
            if let Some(name) = &trailer {
                text.extend_from_slice(format!("{name}: 1\r\n").as_bytes());
            }
            text.extend_from_slice(b"\r\nleft");
            let (mut parts, mut rest) = (Vec::new(), &text[..]);
            for cut in cuts {
                let (part, after) = rest.split_at(cut.min(rest.len()));
                parts.push(part);
                rest = after;
            }
            parts.push(rest);
            let (data, fields, left, over) = read(Content::chunked(), &parts).unwrap();
            prop_assert_eq!((data, left, over), (chunks.concat(), b"left".to_vec(), true));
            prop_assert_eq!(fields.keys().map(HeaderName::as_str).collect::<Vec<_>>(), trailer.iter().collect::<Vec<_>>());
        }

        fn no_bytes_are_made_up_whatever_comes(text in prop::collection::vec(prop_oneof![
            Just(b'0'), Just(b'1'), Just(b'2'), Just(b'\r'), Just(b'\n'), Just(b';'), any::<u8>(),
        ], 0..60)) {
            if let Ok((data, _, left, _)) = read(Content::chunked(), &[&text]) {
                prop_assert!(data.len() + left.len() <= text.len());
            }
        }
    }
}
