//! HTTP/2 in raw bytes: each rule of RFC 9113 and RFC 7541 that a server has to enforce, broken on a connection of its own
//! before an origin that records what reaches it by HTTP/1.1 or HTTP/2, and harmless neighbours. The numbers in the names
//! are those of the sections of RFC 9113.
//!
//! `benches/strictness` runs the same bytes against other proxies.

mod bodies;
mod fields;
mod frames;
mod hpack;
pub mod origin;
mod pseudo;

use crate::harness::frames::{
    END_HEADERS, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, FrameConnection, HEADERS, PROTOCOL_ERROR, Reaction, WHOLE,
    fields as block, frame, get, request,
};
use crate::harness::{Router, SHORT, Setup, free_address};
use crate::raw_http1::wire::{Recorder, Seen};
use std::net::SocketAddr;

/// What must come of the frames.
#[derive(Debug, Clone, Copy)]
pub enum Want {
    /// The stream is reset with one of these errors, or answered 400, and the connection goes on.
    Stream(&'static [u32]),
    /// The connection ends, with one of these errors.
    Connection(&'static [u32]),
    /// The request is answered so by the proxy itself, and the connection goes on.
    Status(u16),
    /// The request is answered 200, and what reaches the target has all of these in it, in lower case.
    Passed(&'static [&'static str]),
}
use Want::{Connection, Passed, Status, Stream};

/// What the standard has to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standard {
    /// It must be so.
    Demands,
    /// A server may take it, if it reads it in one way. This router refuses it all the same.
    Permits,
    /// It must be refused. This router takes it, without what is forbidden.
    Forbids,
}

/// Frames after the settings of a connection. What must not be taken for a request asks for `/never`; what asks for
/// `/gate` is not answered.
pub struct Case {
    pub class: &'static str,
    pub name: String,
    pub bytes: Vec<u8>,
    pub want: Want,
    /// The stream that it is about.
    stream: u32,
    standard: Standard,
    /// What must not reach the target, in lower case.
    barred: &'static [&'static str],
}

impl Case {
    fn new(class: &'static str, name: &str, bytes: Vec<u8>, want: Want) -> Self {
        Self { class, name: name.into(), bytes, want, stream: 1, standard: Standard::Demands, barred: &[] }
    }

    fn on(self, stream: u32) -> Self {
        Self { stream, ..self }
    }

    fn permitted(self) -> Self {
        Self { standard: Standard::Permits, ..self }
    }

    fn forbidden(self) -> Self {
        Self { standard: Standard::Forbids, ..self }
    }

    fn barring(self, barred: &'static [&'static str]) -> Self {
        Self { barred, ..self }
    }

    /// Sends it on a connection of its own; the connection, and what comes of it.
    pub async fn run(&self, address: SocketAddr) -> (FrameConnection, Reaction) {
        let mut connection = FrameConnection::open(address).await;
        connection.try_send(&self.bytes).await;
        let reaction = connection.reaction(self.stream).await;
        (connection, reaction)
    }

    /// Why what reached the target is not safe: it can be read in more than one way, or is barred.
    fn harm(&self, seen: &Seen) -> Option<String> {
        let word = || self.barred.iter().find(|word| seen.text.contains(**word));
        seen.ambiguous.first().cloned().or_else(|| word().map(|word| format!("{word:?} got through")))
    }

    /// Why what a proxy made of it is not safe: it does harm, or what must be refused was not. Any refusal is good
    /// enough, and so is one of what could pass.
    pub fn unsafe_because(&self, reaction: Reaction, seen: &Seen) -> Option<String> {
        let refused = match reaction {
            Reaction::Status(status) => status >= 400,
            Reaction::Reset(_) | Reaction::GoAway(_) | Reaction::Closed => true,
            Reaction::None => false,
        };
        let taken = (!refused).then(|| format!("it is taken: {reaction:?}"));
        let never = || seen.requests.iter().any(|request| request.line.contains("/never"));
        self.harm(seen).or_else(|| match (self.standard, self.want) {
            (Standard::Forbids, _) => taken,
            (Standard::Demands, Passed(needed)) => taken
                .and_then(|_| needed.iter().find(|needed| !seen.text.contains(**needed)))
                .map(|missing| format!("{missing:?} is not in {:?}", seen.text)),
            (Standard::Demands, _) => taken.or_else(|| never().then(|| "it reached the target".to_owned())),
            (Standard::Permits, _) => None,
        })
    }
}

const PROTOCOL: Want = Connection(&[PROTOCOL_ERROR]);
const FLOW: Want = Connection(&[FLOW_CONTROL_ERROR, PROTOCOL_ERROR]);
const SIZE: Want = Connection(&[FRAME_SIZE_ERROR, PROTOCOL_ERROR]);
/// RFC 9113 §5.4: what could end the stream alone may end the connection, and does where h2 can't read a field.
const UNREADABLE: Want = PROTOCOL;
const MALFORMED: Want = Stream(&[PROTOCOL_ERROR]);

/// The pseudo-headers of a request that must not pass.
fn never() -> Vec<(&'static str, &'static str)> {
    request("GET", "/never")
}

/// A request of these fields alone.
fn of(all: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(all))
}

/// A request with these fields behind the pseudo-headers.
fn with(more: &[(&str, &str)]) -> Vec<u8> {
    of(&[&never()[..], more].concat())
}

/// A request whose body is still to come.
fn post(path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block(&request("POST", path)))
}

/// All of them.
pub fn corpus() -> Vec<Case> {
    [frames::cases(), hpack::cases(), pseudo::cases(), fields::cases(), bodies::cases()].into_iter().flatten().collect()
}

/// What is wrong with how the router deals with a case.
async fn fault(router: &Router, origin: &Recorder, case: &Case) -> Option<String> {
    let (mut connection, reaction) = case.run(router.address()).await;
    let seen = origin.look();
    let why = match case.standard {
        Standard::Forbids => case.harm(&seen),
        Standard::Demands | Standard::Permits => case.unsafe_because(reaction, &seen),
    };
    if why.is_some() {
        return why;
    }
    let right = match (case.want, reaction) {
        (Stream(errors), Reaction::Reset(error)) => errors.contains(&error),
        (Stream(_), Reaction::Status(status)) => status == 400,
        (Connection(errors), Reaction::GoAway(error)) => errors.contains(&error) && connection.closes(SHORT).await,
        (Status(status), reaction) => reaction == Reaction::Status(status),
        (Passed(_), reaction) => reaction == Reaction::Status(200),
        (Stream(_) | Connection(_), _) => false,
    };
    if !right {
        return Some(format!("{reaction:?}"));
    }
    if matches!(case.want, Connection(_)) {
        return None;
    }
    connection.try_send(&get(101, "/page")).await;
    let after = connection.reaction(101).await;
    (after != Reaction::Status(200)).then(|| format!("the connection does not go on, {after:?}"))
}

async fn faults(router: &Router, origin: &Recorder) -> Vec<String> {
    let mut faults = Vec::new();
    for case in &corpus() {
        if let Some(why) = fault(router, origin, case).await {
            faults.push(format!("{}: {}: not {:?}: {why}", case.class, case.name, case.want));
        }
    }
    // What came later than the answer to its case.
    let seen = origin.settled().await;
    faults.extend(seen.ambiguous);
    faults.extend(seen.requests.into_iter().map(|request| request.line).filter(|line| line.contains("/never")));
    let view = router.view().await;
    if view["pools"]["server0"]["failed"].as_u64() > Some(0) {
        faults.push(format!("the pool is blamed: {view:#}"));
    }
    faults
}

async fn router(origin: &Recorder, protocol: &str) -> Router {
    let pools = [("server0", origin.address, "r0"), ("server1", free_address(), "r1")];
    let setup = Setup::with_pools(&pools).pool_keys(&format!("protocol = \"{protocol}\""));
    Router::start(setup.one_worker()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_their_rules_end_what_they_belong_to_and_reach_no_target_by_http1() {
    let origin = Recorder::start().await;
    let faults = faults(&router(&origin, "h1").await, &origin).await;
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_their_rules_end_what_they_belong_to_and_reach_no_target_by_http2() {
    let origin = origin::start().await;
    let faults = faults(&router(&origin, "h2").await, &origin).await;
    assert!(faults.is_empty(), "{}:\n{}", faults.len(), faults.join("\n"));
}
