//! What the router refuses by itself because it can't be served, counted by worker and status.

use super::counters::Counter;

/// The statuses of requests that are refused for a fault of their own.
pub const REFUSED_STATUSES: [u16; 8] = [400, 408, 413, 414, 417, 431, 501, 505];

/// One worker's count of the requests that could not be served, by the status that they got.
#[derive(Debug, Default)]
pub struct Refusals([Counter; REFUSED_STATUSES.len()]);

impl Refusals {
    /// Counts one. Only the worker itself may.
    pub fn add(&self, status: u16) {
        if let Some(place) = REFUSED_STATUSES.iter().position(|known| *known == status) {
            self.0[place].add(1);
        }
    }

    /// How many there were of each of [`REFUSED_STATUSES`].
    pub fn counts(&self) -> impl Iterator<Item = (u16, u64)> {
        REFUSED_STATUSES.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_a_count_of_its_own() {
        let refusals = Refusals::default();
        for status in [400, 431, 400, 200] {
            refusals.add(status);
        }
        let counted: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(400, 2), (431, 1)]);
    }
}
