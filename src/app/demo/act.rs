//! The acts of the story, and the releases that play in them.

use crate::app::DemoFault;

/// The release that is live at first.
pub(super) const FIRST: &str = "1.0";
/// The healthy one.
pub(super) const HEALTHY: &str = "1.1";
/// The one with the fault, if there is one.
pub(super) const BAD: &str = "1.2";
/// The one that is left to try with `--keep`.
pub(super) const NEXT: &str = "1.3";

/// A part of the story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Act {
    /// The first release serves everyone.
    #[default]
    Opening,
    /// A healthy release.
    Healthy,
    /// The release with the fault.
    Bad,
}

impl Act {
    /// All acts, in their order.
    pub(super) const ALL: [Self; 3] = [Self::Opening, Self::Healthy, Self::Bad];

    /// Its place in the order.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Opening => 0,
            Self::Healthy => 1,
            Self::Bad => 2,
        }
    }

    /// The release that it is about.
    pub(super) fn release(self) -> &'static str {
        match self {
            Self::Opening => FIRST,
            Self::Healthy => HEALTHY,
            Self::Bad => BAD,
        }
    }

    /// What is to happen in it.
    pub(super) fn title(self, fault: DemoFault) -> String {
        match (self, fault) {
            (Self::Opening, _) => format!("release {FIRST} serves everyone"),
            (Self::Healthy, _) => format!("release {HEALTHY} is healthy: to be promoted"),
            (Self::Bad, DemoFault::Errors) => format!("release {BAD} begins to fail: to be rolled back"),
            (Self::Bad, DemoFault::Latency) => format!("release {BAD} becomes slow: to be rolled back"),
            (Self::Bad, DemoFault::Crash) => format!("release {BAD} crashes: to be rolled back"),
            (Self::Bad, DemoFault::None) => format!("release {BAD} is healthy too: to be promoted"),
        }
    }
}
