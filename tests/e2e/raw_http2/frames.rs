//! Frames and streams (RFC 9113 §3 to §6).

use super::{Case, Connection, FLOW, PROTOCOL, Passed, SIZE, Stream, Want, block, never, post};
use crate::harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, GOAWAY, HEADERS, PADDED,
    PING, PRIORITY, PROTOCOL_ERROR, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, WHOLE, WINDOW_UPDATE, frame,
    get, request,
};

/// A priority of its own weight behind stream 0.
const ALONE: &[u8] = &[0, 0, 0, 0, 9];

/// Frames that are nothing to speak of: the request behind them is answered.
const IGNORED: Want = Passed(&["get /page "]);

fn case(name: &str, frames: &[Vec<u8>], want: Want) -> Case {
    let mut bytes = frames.concat();
    if matches!(want, Passed(_)) {
        bytes.extend(get(1, "/page"));
    }
    Case::new("frames and streams", name, bytes, want)
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn number(stream: u32, kind: u8, value: u32) -> Vec<u8> {
    frame(kind, 0, stream, &value.to_be_bytes())
}

/// A head that is not whole.
fn begun() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, &block(&never()))
}

/// A request that is not answered.
fn open() -> Vec<u8> {
    get(1, "/gate")
}

pub fn cases() -> Vec<Case> {
    [framing(), states(), data_and_heads(), settings(), others(), windows(), continuations()]
        .into_iter()
        .flatten()
        .collect()
}

fn framing() -> Vec<Case> {
    vec![
        case("4.1 a frame of an unknown kind", &[frame(0xab, 0xff, 0, b"whatever")], IGNORED),
        case("4.1 unknown flags", &[frame(PING, 0xfe, 0, b"whatever")], IGNORED),
        case("4.1 the reserved bit", &[frame(PING, 0, 1 << 31, b"12345678")], IGNORED),
        // Who announces larger frames may take it.
        case("4.2 DATA larger than allowed", &[post("/never"), frame(DATA, 0, 1, &[0; 16_385])], SIZE).permitted(),
        case("4.2 HEADERS larger than allowed", &[frame(HEADERS, WHOLE, 1, &[0; 16_385])], SIZE).permitted(),
        case("4.2 an unknown frame larger than allowed", &[frame(0xab, 0, 0, &[0; 16_385])], SIZE).permitted(),
    ]
}

fn states() -> Vec<Case> {
    let closed = Connection(&[STREAM_CLOSED, PROTOCOL_ERROR]);
    vec![
        case("5.1 DATA on an idle stream", &[frame(DATA, END_STREAM, 1, b"x")], PROTOCOL),
        case("5.1 RST_STREAM on an idle stream", &[number(1, RST_STREAM, 8)], PROTOCOL),
        case("5.1 WINDOW_UPDATE on an idle stream", &[number(1, WINDOW_UPDATE, 1)], PROTOCOL),
        case("5.1 DATA after the end of the stream", &[open(), frame(DATA, END_STREAM, 1, b"x")], closed),
        case("5.1 HEADERS after the end of the stream", &[open(), get(1, "/never")], closed),
        case("5.1 PRIORITY on an idle stream", &[frame(PRIORITY, 0, 3, ALONE)], IGNORED),
        case("5.1.1 a stream with an even number", &[get(2, "/never")], PROTOCOL).on(2),
        case("5.1.1 a number lower than the last", &[get(5, "/gate"), get(3, "/never")], PROTOCOL).on(3),
    ]
}

fn data_and_heads() -> Vec<Case> {
    let block = block(&never());
    vec![
        case("6.1 DATA on stream 0", &[frame(DATA, 0, 0, b"x")], PROTOCOL),
        case(
            "6.1 more padding than content",
            &[post("/never"), frame(DATA, PADDED | END_STREAM, 1, &[9, 1, 2])],
            PROTOCOL,
        ),
        case(
            "6.1 DATA padded without saying how far",
            &[post("/never"), frame(DATA, PADDED | END_STREAM, 1, &[])],
            SIZE,
        ),
        case("6.2 HEADERS on stream 0", &[frame(HEADERS, WHOLE, 0, &block)], PROTOCOL),
        case("6.2 more padding than content", &[frame(HEADERS, WHOLE | PADDED, 1, &[200, 1, 2])], PROTOCOL),
        case("6.2 HEADERS padded without saying how far", &[frame(HEADERS, WHOLE | PADDED, 1, &[])], SIZE),
        case("6.2 half a priority", &[frame(HEADERS, WHOLE | 0x20, 1, &[0, 0, 0])], SIZE),
        case("6.2 another frame within a head", &[begun(), frame(PING, 0, 0, b"12345678")], PROTOCOL),
        case("6.2 another stream's head within a head", &[begun(), get(3, "/never")], PROTOCOL),
        case("6.2 an unknown frame within a head", &[begun(), frame(0xab, 0, 1, b"x")], PROTOCOL),
        // RFC 7540 forbade it, and RFC 9113 has no such priorities any more.
        case(
            "a head that depends on itself",
            &[frame(HEADERS, WHOLE | 0x20, 1, &[&[0, 0, 0, 1, 9], &block[..]].concat())],
            Stream(&[PROTOCOL_ERROR]),
        )
        .permitted(),
    ]
}

fn settings() -> Vec<Case> {
    vec![
        case("6.5 an acknowledgement with content", &[frame(SETTINGS, ACK, 0, &[0, 1, 0, 0, 0, 0])], SIZE),
        case("6.5 SETTINGS on a stream", &[frame(SETTINGS, 0, 1, &[0, 1, 0, 0, 0, 0])], PROTOCOL),
        case("6.5 half a setting", &[frame(SETTINGS, 0, 0, &[0, 1, 0])], SIZE),
        case("6.5.2 a push that is neither on nor off", &[setting(2, 2)], PROTOCOL),
        case("6.5.2 a window beyond the largest", &[setting(4, 1 << 31)], FLOW),
        case("6.5.2 a frame size below the least", &[setting(5, 16_383)], PROTOCOL),
        case("6.5.2 a frame size above the largest", &[setting(5, 1 << 24)], PROTOCOL),
        case("6.5.2 an unknown setting", &[setting(0xfafa, 7)], IGNORED),
    ]
}

fn others() -> Vec<Case> {
    vec![
        case("6.3 PRIORITY on stream 0", &[frame(PRIORITY, 0, 0, ALONE)], PROTOCOL),
        case("6.3 a short PRIORITY", &[frame(PRIORITY, 0, 1, &[0, 0, 0, 1])], SIZE),
        case("6.4 RST_STREAM on stream 0", &[number(0, RST_STREAM, 8)], PROTOCOL),
        case("6.4 a short RST_STREAM", &[open(), frame(RST_STREAM, 0, 1, &[0, 0, 8])], SIZE),
        case(
            "6.6 a client's PUSH_PROMISE",
            &[open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2], &block(&never())[..]].concat())],
            PROTOCOL,
        ),
        case("6.7 PING on a stream", &[frame(PING, 0, 1, b"12345678")], PROTOCOL),
        case("6.7 a short PING", &[frame(PING, 0, 0, b"1234")], SIZE),
        case("6.8 GOAWAY on a stream", &[frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
        case("6.8 a short GOAWAY", &[frame(GOAWAY, 0, 0, &[0; 4])], SIZE),
    ]
}

fn windows() -> Vec<Case> {
    let largest = (1 << 31) - 1;
    vec![
        case("6.9 the connection's window grows by 0", &[number(0, WINDOW_UPDATE, 0)], PROTOCOL),
        case("6.9 a stream's window grows by 0", &[open(), number(1, WINDOW_UPDATE, 0)], PROTOCOL),
        case("6.9 a short WINDOW_UPDATE", &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])], SIZE),
        case("6.9 a long WINDOW_UPDATE", &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1, 0])], SIZE),
        case("6.9.1 the connection's window overflows", &[number(0, WINDOW_UPDATE, largest)], FLOW),
        case(
            "6.9.1 a stream's window overflows",
            &[open(), number(1, WINDOW_UPDATE, largest)],
            Stream(&[FLOW_CONTROL_ERROR]),
        ),
        case(
            "6.9.2 the settings make a stream's window overflow",
            &[open(), number(1, WINDOW_UPDATE, largest - 65_535), setting(4, 65_536)],
            FLOW,
        ),
    ]
}

fn continuations() -> Vec<Case> {
    let block = block(&never());
    let more = |stream, flags, block: &[u8]| frame(CONTINUATION, flags, stream, block);
    let pieces = |block: &[u8], size: usize| {
        let mut pieces = block.chunks(size).map(|piece| more(1, 0, piece)).collect::<Vec<_>>().concat();
        pieces.extend(more(1, END_HEADERS, &[]));
        pieces
    };
    let large = super::block(&[("x-large", &"x".repeat(1024 * 1024))]);
    vec![
        case("6.10 CONTINUATION after nothing", &[more(1, END_HEADERS, &block)], PROTOCOL),
        case("6.10 CONTINUATION after a whole head", &[open(), more(1, END_HEADERS, &block)], PROTOCOL),
        case("6.10 CONTINUATION on another stream", &[begun(), more(3, END_HEADERS, b"")], PROTOCOL),
        case("6.10 CONTINUATION on stream 0", &[begun(), more(0, END_HEADERS, b"")], PROTOCOL),
        Case::new(
            "frames and streams",
            "6.10 a head in several pieces",
            [frame(HEADERS, END_STREAM, 1, &[]), pieces(&super::block(&request("GET", "/page")), 40)].concat(),
            IGNORED,
        ),
        // Nobody has to take it; who does must pass it on as it is.
        case("6.10 a head of 1 MiB", &[begun(), pieces(&large, 16_000)], Connection(&[ENHANCE_YOUR_CALM])).permitted(),
    ]
}
