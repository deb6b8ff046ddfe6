//! The requests that h2 refuses by itself: nobody else ever sees them, and they are counted and logged like any other.
//!
//! A request begins with a frame that comes by on the wire, and is seen when h2 hands it over. One that gets an answer or a
//! reset without having been seen was refused:
//!
//! | sent by h2 | why |
//! |---|---|
//! | a head | its own 431, for a list of fields that is too long |
//! | `RST_STREAM` with `REFUSED_STREAM` | more streams than allowed |
//! | `RST_STREAM` with anything else | malformed |
//!
//! So is what ends the connection for a fault of the visitor's: it stands for the request that never came of it.

use crate::model::Happening;
use crate::proxy::inspector::NO_METHOD;
use crate::proxy::record::Record;
use crate::proxy::visitor::{Peer, Visitor};
use crate::proxy::worker::Worker;
use h2::Reason;
use http::{Method, Request, Uri, Version};
use std::collections::VecDeque;
use std::rc::Rc;

/// How many requests may be unseen. Those that come after a connection's end was told never are seen.
const MOST: usize = 1024;

/// The requests that only h2 has seen.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// The stream that began last.
    newest: u32,
    /// Those that nothing has come of yet.
    waiting: VecDeque<u32>,
    /// Those that have got an answer or a reset.
    refused: Vec<(u32, Happening)>,
    /// Whether it is known what the connection is ended for.
    ended: bool,
}

impl Unseen {
    /// A frame of fields came on this stream.
    pub(super) fn begins(&mut self, stream: u32) {
        // Otherwise they are trailers, or a fault.
        if stream > self.newest {
            self.newest = stream;
            if self.waiting.len() == MOST {
                self.waiting.pop_front();
            }
            self.waiting.push_back(stream);
        }
    }

    /// h2 hands this stream over: whatever becomes of it is seen. Whether h2 has reset it by now.
    pub(super) fn is_seen(&mut self, stream: u32) -> bool {
        if self.waiting.front() == Some(&stream) {
            self.waiting.pop_front();
            return false;
        }
        let before = self.refused.len();
        if !self.ends_waiting(stream) {
            self.refused.retain(|(refused, _)| *refused != stream);
        }
        self.refused.len() < before
    }

    /// A head was sent on this stream.
    pub(super) fn is_answered(&mut self, stream: u32) {
        if self.ends_waiting(stream) {
            self.refused.push((stream, Happening::BadRequest(431)));
        }
    }

    /// This stream was reset.
    pub(super) fn is_reset(&mut self, stream: u32, reason: Reason) {
        if self.ends_waiting(stream) {
            let limit = reason == Reason::REFUSED_STREAM;
            self.refused.push((stream, if limit { Happening::RouterLimit } else { Happening::BadRequest(400) }));
        }
    }

    /// The connection is ended for this, if it is anything that a visitor did, and not for something else already.
    pub(super) fn is_ended(&mut self, happening: Option<Happening>) {
        if !std::mem::replace(&mut self.ended, true) {
            self.refused.extend(happening.map(|happening| (0, happening)));
        }
    }

    /// The end of the connection was told, for this reason.
    pub(super) fn is_told_to_go(&mut self, reason: Reason) {
        if !matches!(reason, Reason::NO_ERROR | Reason::INTERNAL_ERROR) {
            self.is_ended(Some(Happening::BadRequest(400)));
        }
    }

    fn ends_waiting(&mut self, stream: u32) -> bool {
        let place = self.waiting.iter().position(|waiting| *waiting == stream);
        place.is_some_and(|place| self.waiting.remove(place).is_some())
    }

    /// What was refused since this was asked last. To be asked when h2 has handed over all that it has: what it has reset
    /// may be among that.
    pub(super) fn refused(&mut self) -> impl Iterator<Item = Happening> {
        self.refused.drain(..).map(|(_, happening)| happening)
    }
}

/// Counts and logs a request of which no more is known than what became of it.
pub(super) fn record(worker: &Rc<Worker>, peer: &Rc<Peer>, happening: Happening) {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::from_bytes(NO_METHOD.as_bytes()).unwrap_or_default();
    head.uri = Uri::from_static("*");
    head.version = Version::HTTP_2;
    let visitor = Visitor::new(Rc::clone(worker), Rc::clone(peer));
    let mut record = Record::new(&visitor, &head);
    record.answers(happening, happening.ruling().status);
    record.completes();
    drop(record);
    visitor.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_or_reset_without_being_seen_was_refused() {
        let mut unseen = Unseen::default();
        for stream in [1, 3, 5, 7, 5, 9] {
            unseen.begins(stream);
        }
        assert!(!unseen.is_seen(3));
        unseen.is_answered(1);
        unseen.is_reset(1, Reason::PROTOCOL_ERROR);
        unseen.is_reset(5, Reason::REFUSED_STREAM);
        unseen.is_answered(3);
        unseen.is_reset(7, Reason::PROTOCOL_ERROR);
        let expected = [Happening::BadRequest(431), Happening::RouterLimit, Happening::BadRequest(400)];
        assert_eq!(unseen.refused().collect::<Vec<_>>(), expected);
        // Handed over after its reset.
        unseen.is_reset(9, Reason::FLOW_CONTROL_ERROR);
        assert!(unseen.is_seen(9));
        assert_eq!(unseen.refused().count(), 0);
        assert!(unseen.waiting.is_empty());
    }

    #[test]
    fn a_connection_is_ended_for_one_thing() {
        let mut unseen = Unseen::default();
        unseen.is_told_to_go(Reason::NO_ERROR);
        assert_eq!(unseen.refused().count(), 0);
        unseen.is_ended(Some(Happening::BadRequest(408)));
        unseen.is_told_to_go(Reason::ENHANCE_YOUR_CALM);
        assert_eq!(unseen.refused().collect::<Vec<_>>(), [Happening::BadRequest(408)]);
        let mut unseen = Unseen::default();
        unseen.is_told_to_go(Reason::PROTOCOL_ERROR);
        assert_eq!(unseen.refused().collect::<Vec<_>>(), [Happening::BadRequest(400)]);
    }

    #[test]
    fn what_never_is_seen_takes_bounded_room() {
        let mut unseen = Unseen::default();
        for number in 0..100_000 {
            unseen.begins(1 + 2 * number);
        }
        assert_eq!(unseen.waiting.len(), MOST);
        assert!(!unseen.is_seen(199_999));
        assert_eq!(unseen.waiting.len(), MOST - 1);
    }
}
