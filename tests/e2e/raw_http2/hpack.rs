//! Blocks of fields that can't be decoded (RFC 7541), and odd ones that can.

use super::{Case, Connection, Passed, Want, block, never};
use crate::harness::frames::{COMPRESSION_ERROR, HEADERS, PROTOCOL_ERROR, WHOLE, frame, request};

const UNDECODABLE: Want = Connection(&[COMPRESSION_ERROR, PROTOCOL_ERROR]);

/// A request that would be whole but for the bytes behind its fields.
fn behind(name: &str, bytes: &[u8]) -> Case {
    let block = [&block(&never())[..], bytes].concat();
    Case::new("compression of fields", name, frame(HEADERS, WHOLE, 1, &block), UNDECODABLE)
}

/// The same, with the bytes as the value of a field, and not as they are but by Huffman's code.
fn huffman(name: &str, code: &[u8]) -> Case {
    behind(name, &field_by_code(code))
}

fn field_by_code(code: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(code.len()).unwrap();
    [&[0, 3], &b"x-a"[..], &[length], code].concat()
}

/// Blocks that begin with the bytes, each a request on a stream of its own; the case is about the last.
fn good(name: &str, blocks: &[(&[u8], &[u8])], needed: &'static [&'static str]) -> Case {
    let mut bytes = Vec::new();
    let mut stream = 1;
    for (number, (before, after)) in blocks.iter().enumerate() {
        stream = 1 + 2 * u32::try_from(number).unwrap();
        let path = format!("/page/{number}");
        bytes.extend(frame(HEADERS, WHOLE, stream, &[before, &block(&request("GET", &path))[..], after].concat()));
    }
    Case::new("compression of fields", name, bytes, Passed(needed)).on(stream)
}

/// A field that goes into the table.
const KEPT: &[u8] = b"\x40\x03x-a\x03one";

/// The newest field of the table.
const NEWEST: u8 = 0xbe;

pub fn cases() -> Vec<Case> {
    [broken(), whole()].into_iter().flatten().collect()
}

fn broken() -> Vec<Case> {
    let before = |name: &str, bytes: &[u8]| {
        let block = [bytes, &block(&never())[..]].concat();
        Case::new("compression of fields", name, frame(HEADERS, WHOLE, 1, &block), UNDECODABLE)
    };
    vec![
        behind("the index 0", &[0x80]),
        behind("an index into nothing", &[NEWEST]),
        behind("an index far beyond the table", &[0xff, 0x7f]),
        behind("a name far beyond the table", &[0x7f, 0x7f, 1, b'x']),
        behind("an index of more than 32 bits", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        behind("an index of more than 64 bits", &[&[0xff; 11][..], &[0x0f]].concat()),
        behind("an index that is 190 but for its overflow", &[0xff, 0xbf, 0x80, 0x80, 0x80, 0x10]),
        behind("an index of 70 bytes", &[&[0xff, 0xbf][..], &[0x80; 68], &[0]].concat()),
        behind("an index without end", &[0xff]),
        behind("an index without end but for bytes that say nothing", &[0xff, 0x80, 0x80, 0x80]),
        behind("a name longer than the block", &[0, 9, b'x']),
        behind("a value longer than the block", &[0, 1, b'x', 9, b'x']),
        behind("no value", &[0, 1, b'x']),
        behind("a length of more than 64 bits", &[&[0, 0x7f][..], &[0xff; 10], &[0x7f]].concat()),
        before("a table larger than allowed", &[0x3f, 0xe1, 0xff, 0x03]),
        before("a table of more than 64 bits", &[&[0x3f][..], &[0xff; 10], &[0x7f]].concat()),
        before("an entry that the table was too small for", &[b"\x20", KEPT, &[NEWEST]].concat()),
        // RFC 7541 §4.2 says where it has to stand, and not what comes of it otherwise.
        behind("a size of the table behind fields", &[0x20]).permitted(),
        huffman("padding of 11 bits", &[0x1f, 0xff]),
        huffman("padding of 8 bits alone", &[0xff]),
        huffman("padding that is not of ones", &[0x18]),
        huffman("the end of the string within it", &[0xff, 0xff, 0xff, 0xfc, 0x1f]),
        huffman("the end of the string at its end", &[0xff, 0xff, 0xff, 0xff]),
        // An `a`, an LF and a `b`.
        huffman("a line break by Huffman's code", &[0x1f, 0xff, 0xff, 0xff, 0x91, 0xff]).barring(&["a\nb"]),
    ]
}

fn whole() -> Vec<Case> {
    vec![
        good("a value by Huffman's code", &[(&[], &field_by_code(&[0x18, 0xc7]))], &["x-a: aaa\r\n"]),
        good("an empty value by Huffman's code", &[(&[], &field_by_code(&[]))], &["get /page/0 "]),
        good("a field that is never kept", &[(&[], b"\x10\x03x-a\x03one")], &["x-a: one\r\n"]),
        good("a field out of the table", &[(&[], KEPT), (&[], &[NEWEST])], &["get /page/1 ", "x-a: one\r\n"]),
        good("sizes of the table at the beginning", &[(&[0x20, 0x3f, 0x45], KEPT)], &["x-a: one\r\n"]),
    ]
}
