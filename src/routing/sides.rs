//! The two sides of a split, and the two moments of an answer: everything that is counted is counted by both.

use crate::model::Until;

/// The two sides of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The pool that is tried out.
    Candidate,
    /// The pool that it is compared with.
    Live,
}

/// One of each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BySide<T> {
    /// The candidate's.
    pub candidate: T,
    /// Live's.
    pub live: T,
}

impl<T> BySide<T> {
    /// That of a side.
    pub fn of(&self, side: Side) -> &T {
        match side {
            Side::Candidate => &self.candidate,
            Side::Live => &self.live,
        }
    }
}

/// One of each moment at which something is known of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByMoment<T> {
    /// When its head has come.
    pub head: T,
    /// When its last byte has come.
    pub end: T,
}

impl<T> ByMoment<T> {
    /// Made for each moment.
    pub fn each(make: impl Fn(Until) -> T) -> Self {
        Self { head: make(Until::Head), end: make(Until::End) }
    }

    /// That of a moment.
    pub fn of(&self, until: Until) -> &T {
        match until {
            Until::Head => &self.head,
            Until::End => &self.end,
        }
    }

    /// That of a moment, to be changed.
    pub fn of_mut(&mut self, until: Until) -> &mut T {
        match until {
            Until::Head => &mut self.head,
            Until::End => &mut self.end,
        }
    }
}
