//! Bodies, their lengths, and trailers (RFC 9113 §8.1).

use super::{Case, MALFORMED, Passed, UNREADABLE, Want, block, with};
use crate::harness::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PADDED, WHOLE, frame, request};

const CLASS: &str = "bodies and trailers";

/// The head of a POST to this path with these fields.
fn head(path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(&[&request("POST", path)[..], fields].concat()))
}

fn part(flags: u8, text: &str) -> Vec<u8> {
    frame(DATA, flags, 1, text.as_bytes())
}

/// The same, and then DATA; the last ends the stream.
fn upload(path: &str, fields: &[(&str, &str)], parts: &[&str]) -> Vec<u8> {
    let last = parts.len() - 1;
    let parts = parts.iter().enumerate();
    let parts: Vec<_> = parts.map(|(number, text)| part(if number == last { END_STREAM } else { 0 }, text)).collect();
    [head(path, fields), parts.concat()].concat()
}

/// A body with lengths that it does not have.
fn length(name: &str, lengths: &[&str], parts: &[&str]) -> Case {
    let fields: Vec<_> = lengths.iter().map(|length| ("content-length", *length)).collect();
    Case::new(CLASS, name, upload("/never", &fields, parts), MALFORMED)
}

/// A body that passes, whole.
fn good(name: &str, bytes: Vec<u8>, needed: &'static [&'static str]) -> Case {
    Case::new(CLASS, name, bytes, Passed(needed))
}

/// A body of one byte and these trailers.
fn trailers(path: &str, flags: u8, pairs: &[(&str, &str)]) -> Vec<u8> {
    [head(path, &[]), part(0, "x"), frame(HEADERS, flags, 1, &block(pairs))].concat()
}

fn bad_trailers(name: &str, pairs: &[(&str, &str)], want: Want) -> Case {
    Case::new(CLASS, name, trailers("/never", WHOLE, pairs), want)
}

/// Trailers that reach the target without what is forbidden in them.
fn dropped(name: &str, pairs: &[(&str, &str)]) -> Case {
    good(name, trailers("/page", WHOLE, pairs), &["post /page "]).forbidden().barring(&["other", "status", "path"])
}

pub fn cases() -> Vec<Case> {
    [lengths(), of_trailers(), passing()].into_iter().flatten().collect()
}

fn lengths() -> Vec<Case> {
    let inner = "GET /never HTTP/1.1\r\nHost: shop\r\n\r\n";
    let behind = format!("x{inner}");
    vec![
        length("8.1.1 less than the length", &["5"], &["x"]),
        length("8.1.1 less than the length, in several", &["5"], &["x", "y", ""]),
        length("8.1.1 more than the length", &["1"], &["xy"]),
        length("8.1.1 more than a length of 0", &["0"], &["x"]),
        length("8.1.1 a request behind the length", &["1"], &[&behind]),
        length("8.1.1 a request behind a length of 0", &["0"], &[inner]),
        // The target has been told all of it by the time that more comes, and the visitor is told that it was wrong.
        Case::new(
            CLASS,
            "8.1.1 a request behind the length, in a part of its own",
            upload("/upload", &[("content-length", "1")], &["x", inner]),
            MALFORMED,
        ),
        Case::new(CLASS, "8.1.1 a length and no body", with(&[("content-length", "1")]), MALFORMED),
        length("8.1.1 a length that is none", &["x"], &["x"]),
        length("8.1.1 an empty length", &[""], &["x"]),
        length("8.1.1 a length with a sign", &["+1"], &["x"]),
        length("8.1.1 a negative length", &["-1"], &["x"]),
        length("8.1.1 a length with a space", &["1 1"], &["x"]),
        length("8.1.1 a length in hexadecimal", &["0x1"], &["x"]),
        length("8.1.1 a list of lengths", &["1, 2"], &["x"]),
        length("8.1.1 a list of equal lengths", &["1, 1"], &["x"]).permitted(),
        length("8.1.1 two lengths", &["1", "2"], &["x"]),
        length("8.1.1 two lengths, the second right", &["0", "1"], &["x"]),
        length("8.1.1 a length of more than 64 bits", &["18446744073709551617"], &["x"]),
        Case::new(
            CLASS,
            "8.1.1 less than the length, and trailers",
            [
                head("/never", &[("content-length", "5")]),
                part(0, "x"),
                frame(HEADERS, WHOLE, 1, &block(&[("x-sum", "1")])),
            ]
            .concat(),
            MALFORMED,
        ),
        Case::new(
            CLASS,
            "8.2.2 chunks within a body",
            upload("/never", &[("transfer-encoding", "chunked")], &["0\r\n\r\n", inner]),
            MALFORMED,
        ),
        Case::new(
            CLASS,
            "8.2.2 chunks within a body that has a length",
            upload("/never", &[("content-length", "41"), ("transfer-encoding", "chunked")], &["0\r\n\r\n", inner]),
            MALFORMED,
        ),
    ]
}

fn of_trailers() -> Vec<Case> {
    vec![
        Case::new(
            CLASS,
            "8.1 trailers that are not the end",
            trailers("/never", END_HEADERS, &[("x-sum", "1")]),
            MALFORMED,
        ),
        // h2 takes them off before anyone sees them.
        dropped("8.1 a path in trailers", &[(":path", "/other"), ("x-sum", "1")]),
        dropped("8.1 a whole request in trailers", &request("GET", "/other")),
        dropped("8.1 a status in trailers", &[(":status", "200")]),
        bad_trailers("8.2.1 a trailer in upper case", &[("X-Sum", "1")], UNREADABLE),
        bad_trailers("8.2.1 a line break in a trailer", &[("x-sum", "1\r\n\r\nGET /never HTTP/1.1")], UNREADABLE),
        bad_trailers("8.2.1 a line break in a trailer's name", &[("x: y\r\n\r\nget /never", "1")], UNREADABLE),
        bad_trailers("8.2.2 a framing in trailers", &[("transfer-encoding", "chunked")], MALFORMED),
        bad_trailers("8.2.2 connection in trailers", &[("connection", "close")], MALFORMED),
    ]
}

fn passing() -> Vec<Case> {
    let padded = [head("/page", &[]), part(PADDED, "\x02one\0\0"), part(END_STREAM, "two")].concat();
    vec![
        good("a body without a length", upload("/page", &[], &["one", "two"]), &["one", "two"]),
        good(
            "a body of its length, in several",
            upload("/page", &[("content-length", "6")], &["one", "", "two"]),
            &["content-length: 6\r\n", "\r\n\r\nonetwo"],
        ),
        good(
            "chunks that are the body's own",
            upload("/page", &[], &["0\r\n\r\nGET /page HTTP/1.1\r\n\r\n"]),
            &["post /page "],
        ),
        good("a padded body", padded, &["one", "two"]),
        good("no body at all", upload("/page", &[("content-length", "0")], &[""]), &["post /page "]),
        good("trailers", trailers("/page", WHOLE, &[("x-sum", "1")]), &["post /page "]),
        // RFC 9110 §6.5.1: what belongs into a head must not be merged from trailers.
        good("a length in trailers", trailers("/page", WHOLE, &[("content-length", "777")]), &["post /page "])
            .barring(&["777"]),
    ]
}
