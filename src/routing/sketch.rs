//! A bounded set of visitors that any worker may add to.

use std::sync::atomic::{AtomicU64, Ordering};

/// Remembers which visitors were seen, in a fixed number of bits indexed by a keyed hash. It never forgets one;
/// another visitor with the same bits counts as seen. With 2^20 bits, of 10,000 visitors 1% are taken for seen.
///
/// It is shared by the workers, because one visitor's requests come to all of them. It is asked for the requests that a
/// split drew and for failures, and one atomic instruction is spent only on a visitor that is new.
#[derive(Debug)]
pub struct Sketch(Box<[AtomicU64]>);

const WORDS: usize = 1 << 14;

impl Default for Sketch {
    fn default() -> Self {
        Self((0..WORDS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Sketch {
    /// Adds a visitor by hash; true when it was not there before.
    #[must_use]
    pub fn insert(&self, hash: u64) -> bool {
        let bit = 1 << (hash & 63);
        // The rest of the low bits; the high ones decide the bucket.
        #[allow(clippy::cast_possible_truncation)]
        let word = &self.0[(hash >> 6) as usize % WORDS];
        word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_new_once() {
        let sketch = Sketch::default();
        assert!(sketch.insert(42));
        assert!(!sketch.insert(42));
        assert!(sketch.insert(43));
        assert!(sketch.insert(u64::MAX));
    }
}
