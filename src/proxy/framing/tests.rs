//! What the machine must hold for whatever comes.

use super::{Fault, Framing, MAX_HEAD};
use proptest::prelude::*;

/// What comes of bytes that come all at once: how many are passed on, and the fault behind them.
fn whole(bytes: &[u8]) -> (usize, Option<Fault>) {
    Framing::default().follow(bytes)
}

/// The same of bytes that come in pieces.
fn in_pieces(bytes: &[u8], cuts: &[usize]) -> (usize, Option<Fault>) {
    let mut framing = Framing::default();
    let (mut kept, mut total, mut came) = (Vec::new(), 0, 0);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.sort_unstable();
    for cut in cuts.into_iter().chain([bytes.len()]) {
        kept.extend_from_slice(&bytes[came..cut]);
        came = cut;
        let (passed, fault) = framing.follow(&kept);
        kept.drain(..passed);
        total += passed;
        if fault.is_some() {
            return (total, fault);
        }
    }
    (total, None)
}

#[test]
fn whatever_is_cut_anywhere_means_the_same() {
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    let long = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(17_000));
    let messages = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: b\r\n\r\n",
        "\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx y\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\n\r\nwhatever",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\nhost: a\n\n",
        "abc\0\r\n",
        many.as_str(),
        long.as_str(),
    ];
    for message in messages {
        let bytes = message.as_bytes();
        for cut in 0..bytes.len() {
            assert_eq!(in_pieces(bytes, &[cut]), whole(bytes), "cut at {cut}: {message:.200}");
        }
        let every: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(in_pieces(bytes, &every), whole(bytes), "byte by byte: {message:.200}");
    }
}

#[test]
fn a_short_request_behind_long_trailers_is_read_at_once() {
    let head = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";
    let trailers = format!("0\r\nx: {}", "y".repeat(100));
    let next = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let all = format!("{head}{trailers}\r\n\r\n{next}");
    assert_eq!(in_pieces(all.as_bytes(), &[head.len() + trailers.len()]), (all.len(), None));
}

#[test]
fn what_asks_for_another_protocol_is_followed_by_nothing_until_it_is_answered() {
    let head = b"GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\n\r\n";
    let mut framing = Framing::default();
    assert_eq!(framing.follow(head), (head.len(), None));
    assert!(framing.is_open());
    assert_eq!(framing.follow(head), (0, None));
    framing.goes_on();
    assert_eq!(framing.follow(head), (head.len(), None));
}

/// Text that is likely to be nearly a request.
fn nearly_requests() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "GET / HTTP/1.1\r\n", "POST /a?b HTTP/1.1\r\n", "OPTIONS * HTTP/1.1\r\n", "GET http://a/ HTTP/1.0\r\n",
            "host: a\r\n", "Content-Length: 3\r\n", "content-length: 0\r\n", "Transfer-Encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n", "x: y\r\n", "upgrade: x\r\n", "\r\n", "\r\n\r\n", "abc", "3\r\nabc\r\n",
            "0\r\n\r\n", "0\r\n", "a;b=c\r\n0123456789\r\n", " ", "\t", ":", ";", ",", "\n", "\r", "-1", "0x1",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(piece, 0..14).prop_map(|pieces| pieces.concat())
}

/// A message as a plain reader takes it, who follows RFC 9112 to the letter and allows nothing that it leaves open.
struct Reference<'b> {
    head: Vec<&'b [u8]>,
    length: usize,
}

fn line<'b>(bytes: &'b [u8], at: &mut usize) -> Option<&'b [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 2;
    let line = &rest[..end];
    assert!(
        !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'),
        "{:?}",
        line.escape_ascii().to_string()
    );
    Some(line)
}

impl<'b> Reference<'b> {
    /// The message at the beginning, if all of it is there. Stops the test at what it does not allow.
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut at = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let mut head = vec![line(bytes, &mut at)?];
        let (mut lengths, mut codings) = (Vec::new(), Vec::new());
        loop {
            let field = line(bytes, &mut at)?;
            if field.is_empty() {
                break;
            }
            let colon = field.iter().position(|byte| *byte == b':').expect("a colon");
            let name = std::str::from_utf8(&field[..colon]).unwrap().to_ascii_lowercase();
            assert!(http::HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name:?}");
            let value = field[colon + 1..].trim_ascii();
            match name.as_str() {
                "content-length" => lengths.push(std::str::from_utf8(value).unwrap().parse::<usize>().unwrap()),
                "transfer-encoding" => codings.push(value.to_ascii_lowercase()),
                _ => {}
            }
            head.push(field);
        }
        let words: Vec<_> = head[0].split(|byte| *byte == b' ').collect();
        assert_eq!(words.len(), 3);
        assert!(http::Uri::try_from(words[1]).is_ok(), "hyper would not read it");
        assert!(lengths.len() + codings.len() <= 1, "one framing");
        if codings.is_empty() {
            at += lengths.first().copied().unwrap_or(0);
            return (at <= bytes.len()).then_some(Self { head, length: at });
        }
        assert!(codings == [b"chunked"] && words[2] == b"HTTP/1.1");
        loop {
            let size = line(bytes, &mut at)?;
            let digits = size.split(|byte| *byte == b';').next().unwrap();
            assert!(digits.iter().all(u8::is_ascii_hexdigit), "{:?}", digits.escape_ascii().to_string());
            let size = usize::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            if size == 0 {
                while !line(bytes, &mut at)?.is_empty() {}
                return Some(Self { head, length: at });
            }
            at += size;
            assert_eq!(bytes.get(at..at + 2)?, b"\r\n");
            at += 2;
        }
    }
}

odd_input! {
    fn reads_may_be_cut_anywhere(bytes in nearly_requests(), cuts in prop::collection::vec(any::<usize>(), 0..20)) {
        // A fault is told at the end of its line at the latest, so there is one.
        let bytes = [&bytes[..], b"\r\n"].concat();
        prop_assert_eq!(in_pieces(&bytes, &cuts), whole(&bytes));
    }

    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(whole(&bytes).0 <= bytes.len());
    }

    fn what_is_passed_on_a_plain_reader_takes_for_the_same_messages(bytes in nearly_requests()) {
        let (passed, _) = whole(&bytes);
        let (mut at, mut upgrade) = (0, false);
        while let Some(message) = Reference::read(&bytes[at..passed]) {
            prop_assert!(!upgrade, "nothing behind a request for another protocol");
            upgrade = message.head.iter().any(|line| line.to_ascii_lowercase().starts_with(b"upgrade:"));
            prop_assert!(message.length <= MAX_HEAD);
            at += message.length;
        }
    }
}
