//! A request's head: its line, its fields, and what they say of its body.

use super::fields::{self, Field, Refused, line_end};
use super::scan::{is_of_target, is_token};
use super::{Ahead, Body, MAX_HEAD, MAX_LINE, MAX_TARGET, Read};
use http::Uri;
use http::uri::PathAndQuery;

/// No body is that long, and others count with one bit less, or need some numbers for themselves.
const MAX_LENGTH: u64 = u64::MAX / 2;

/// What is wrong with a head: the status for the visitor.
type Status = u16;

const MALFORMED: Status = 400;
const BODY_TOO_LONG: Status = 413;
const TARGET_TOO_LONG: Status = 414;
const HEAD_TOO_LONG: Status = 431;
const NOT_SUPPORTED: Status = 501;
const VERSION_NOT_SUPPORTED: Status = 505;

/// Reads a head from the beginning of these bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Read<Ahead>, Status> {
    // RFC 9112 §2.2: an empty line before it is passed over. hyper does so too.
    let start = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let Some(end) = line_end(bytes, start)? else { return part_of_line(bytes.get(start..).unwrap_or_default()) };
    let version = request_line(bytes.get(start..end).unwrap_or_default())?;
    let mut framed = Framed::default();
    match fields::read(bytes, end + 2, |field| framed.look_at(field))? {
        Read::Whole(length, ()) if length - start <= MAX_HEAD => {
            let ahead = Ahead { body: framed.body(version)?, upgrade: framed.upgrade };
            Ok(Read::Whole(length, ahead))
        }
        Read::Partial if bytes.len() - start <= MAX_HEAD => Ok(Read::Partial),
        Read::Whole(..) | Read::Partial => Err(HEAD_TOO_LONG),
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed => MALFORMED,
            Refused::TooMany => HEAD_TOO_LONG,
        }
    }
}

/// Whether what has come of a request line can still become one.
fn part_of_line(line: &[u8]) -> Result<Read<Ahead>, Status> {
    match line.first() {
        _ if line.len() > MAX_LINE => Err(TARGET_TOO_LONG),
        // What speaks something else than HTTP is told at once.
        Some(byte) if !is_token(*byte) && *byte != b'\r' => Err(MALFORMED),
        Some(_) | None => Ok(Read::Partial),
    }
}

/// The versions that are spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

/// Reads `method target version`, each one space apart.
#[inline]
fn request_line(line: &[u8]) -> Result<Version, Status> {
    let length = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    let Some((method @ [_, ..], [b' ', rest @ ..])) = line.split_at_checked(length) else { return Err(MALFORMED) };
    let Some((rest, version)) = rest.split_last_chunk::<8>() else { return Err(MALFORMED) };
    let [target @ .., b' '] = rest else { return Err(MALFORMED) };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => return Err(VERSION_NOT_SUPPORTED),
        _ => return Err(MALFORMED),
    };
    if target.len() > MAX_TARGET {
        return Err(TARGET_TOO_LONG);
    }
    if method == b"CONNECT" {
        return Err(NOT_SUPPORTED);
    }
    let ordinary = target.first() == Some(&b'/') && target.iter().all(|byte| is_of_target(*byte));
    if ordinary || is_other_target(method, target) { Ok(version) } else { Err(MALFORMED) }
}

/// Whether a target is good that is not a path of ordinary characters (RFC 9112 §3.2).
#[cold]
fn is_other_target(method: &[u8], target: &[u8]) -> bool {
    // No form has a fragment, nor what would end the line for somebody else.
    if target.iter().any(|byte| *byte <= b' ' || matches!(byte, 0x7f | b'#')) {
        return false;
    }
    match target {
        b"*" => method == b"OPTIONS",
        [b'/', ..] => PathAndQuery::try_from(target).is_ok(),
        _ => is_absolute(target),
    }
}

/// Whether a target is `http://` or `https://`, with a host and without user information (RFC 9110 §4.2.4).
fn is_absolute(target: &[u8]) -> bool {
    let Ok(uri) = Uri::try_from(target) else { return false };
    let http = uri.scheme_str().is_some_and(|scheme| matches!(scheme, "http" | "https"));
    http && uri.authority().is_some_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
}

/// What the fields of a head say of its body.
#[derive(Debug, Default)]
struct Framed {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    /// The first thing that is wrong.
    fault: Option<Status>,
}

impl Framed {
    #[inline]
    fn look_at(&mut self, field: Field<'_>) {
        match field.name.len() {
            7 => self.upgrade |= field.name.eq_ignore_ascii_case(b"upgrade"),
            14 if field.name.eq_ignore_ascii_case(b"content-length") => self.has_length(field.trimmed()),
            17 if field.name.eq_ignore_ascii_case(b"transfer-encoding") => self.has_coding(field.trimmed()),
            _ => {}
        }
    }

    /// One number, once.
    fn has_length(&mut self, value: &[u8]) {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let number = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        match number {
            None => drop(self.fault.get_or_insert(MALFORMED)),
            Some(_) if self.length.is_some() => drop(self.fault.get_or_insert(MALFORMED)),
            Some(MAX_LENGTH..) => drop(self.fault.get_or_insert(BODY_TOO_LONG)),
            Some(_) => {}
        }
        self.length = number;
    }

    /// `chunked`, once.
    fn has_coding(&mut self, value: &[u8]) {
        if self.chunked {
            self.fault.get_or_insert(MALFORMED);
        }
        self.chunked = true;
        if !value.eq_ignore_ascii_case(b"chunked") {
            self.fault.get_or_insert(coding_fault(value));
        }
    }

    fn body(&self, version: Version) -> Result<Body, Status> {
        match (self.fault, self.chunked, self.length) {
            (Some(status), ..) => Err(status),
            // RFC 9112 §6.1: both together, or a coding in HTTP/1.0, is how requests are smuggled.
            (None, true, Some(_)) => Err(MALFORMED),
            (None, true, None) if version == Version::Http10 => Err(MALFORMED),
            (None, true, None) => Ok(Body::Chunked),
            (None, false, length) => Ok(Body::Length(length.unwrap_or(0))),
        }
    }
}

/// One other coding, alone or below `chunked`, is not known here; anything else is no list of codings.
fn coding_fault(value: &[u8]) -> Status {
    let is_coding = |item: &[u8]| !item.is_empty() && item.iter().all(|byte| is_token(*byte));
    let is_chunked = |item: &[u8]| item.eq_ignore_ascii_case(b"chunked");
    let mut items = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    match (items.next(), items.next(), items.next()) {
        (Some(one), None, None) if is_coding(one) => NOT_SUPPORTED,
        (Some(one), Some(last), None) if is_coding(one) && !is_chunked(one) && is_chunked(last) => NOT_SUPPORTED,
        _ => MALFORMED,
    }
}
