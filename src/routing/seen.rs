//! What is remembered of sticky visitors, so that one who comes again and again speaks once.

use super::sides::{BySide, Side};
use super::sketch::Sketch;
use super::split::VisitorKey;
use crate::model::Indicator;
use arc_swap::ArcSwap;

/// The sticky visitors of one step, by what was seen of them; replaced with each step.
#[derive(Debug, Default)]
pub struct SeenVisitors {
    /// Who was bad. The same for both sides: a visitor is on one side all through a step, and as a sketch fills, who is
    /// taken for seen is taken so on either side alike. With one for each side live's would fill first, and its failures
    /// would be lost where the candidate's still count.
    bad: BadVisitors,
    /// Who was timed.
    timed: ArcSwap<BySide<Sketch>>,
}

impl SeenVisitors {
    /// Whether a request is to be timed: one that was drawn for itself always, of a sticky visitor only the first.
    pub(super) fn is_timed(&self, side: Side, key: VisitorKey) -> bool {
        match key {
            VisitorKey::Alone => true,
            VisitorKey::Sticky(_) => key.is_new_in(self.timed.load().of(side)),
        }
    }

    /// Whether a visitor is bad in this way for the first time in this step.
    pub(super) fn is_bad_first(&self, key: VisitorKey, indicator: Indicator) -> bool {
        self.bad.is_new(key, indicator)
    }

    /// Forgets who was timed, so that every visitor is timed once more.
    pub fn time_again(&self) {
        self.timed.store(std::sync::Arc::default());
    }
}

/// The sticky visitors who were bad, each in which way.
#[derive(Debug, Default)]
pub(super) struct BadVisitors {
    /// By what a target did.
    targets: Sketch,
    /// By a status that is compared. Visitors can have as many of these as they ask for, and a sketch that they have
    /// filled must not hide what targets do.
    statuses: Sketch,
}

impl BadVisitors {
    /// Whether this is the first that it hears of a visitor who was bad in this way.
    pub(super) fn is_new(&self, key: VisitorKey, indicator: Indicator) -> bool {
        let sketch = if indicator == Indicator::Status { &self.statuses } else { &self.targets };
        key.salted(indicator).is_new_in(sketch)
    }
}

/// Moves a visitor's hash on by one indicator. Odd, so that no two indicators lead to the same bits.
const SALT: u64 = 0x9e37_79b9_7f4a_7c15;

impl VisitorKey {
    /// Whether this is the first that a sketch hears of the visitor. A request without a key is a draw of its own.
    pub(super) fn is_new_in(self, sketch: &Sketch) -> bool {
        match self {
            Self::Sticky(hash) => sketch.insert(hash),
            Self::Alone => true,
        }
    }

    /// The visitor, as the one who was bad in this way: one sketch serves for several ways.
    fn salted(self, indicator: Indicator) -> Self {
        match self {
            Self::Sticky(hash) => Self::Sticky(hash.wrapping_add(SALT.wrapping_mul(indicator.index() as u64))),
            Self::Alone => Self::Alone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VISITOR: VisitorKey = VisitorKey::Sticky(7);

    #[test]
    fn a_visitor_is_bad_once_in_each_way() {
        let seen = SeenVisitors::default();
        for indicator in Indicator::ALL {
            assert!(seen.is_bad_first(VISITOR, indicator));
            assert!(!seen.is_bad_first(VISITOR, indicator));
            assert!(seen.is_bad_first(VisitorKey::Alone, indicator));
            assert!(seen.is_bad_first(VisitorKey::Alone, indicator));
        }
    }

    #[test]
    fn a_visitor_is_timed_once_until_all_are_timed_again() {
        let seen = SeenVisitors::default();
        for _ in 0..2 {
            assert!(seen.is_timed(Side::Live, VISITOR));
            assert!(!seen.is_timed(Side::Live, VISITOR));
            assert!(seen.is_timed(Side::Live, VisitorKey::Alone) && seen.is_timed(Side::Live, VisitorKey::Alone));
            seen.time_again();
        }
    }
}
