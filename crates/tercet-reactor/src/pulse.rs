//! What a loop says of itself while it runs: that it goes on.
//!
//! One word, which only the loop writes: it changes with each thing that is done, and its lowest bit says whether anything is. Whoever
//! looks now and then knows how long the loop has been at the same thing, and the loop never reads a clock for it.
//!
//! All orders are relaxed: no other memory hangs on the word, and a store is seen soon enough for somebody who counts milliseconds.

use crate::sync::{AtomicU64, Ordering};

/// Never: the patience of a loop that is not watched.
const NEVER: u64 = u64::MAX;

/// The pulse of one loop.
#[derive(Debug)]
pub struct Pulse {
    beats: AtomicU64,
    patience_ns: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { beats: AtomicU64::new(0), patience_ns: AtomicU64::new(NEVER) }
    }
}

/// What a pulse was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat(u64);

impl Beat {
    /// Whether the loop was doing something.
    #[must_use]
    pub fn is_busy(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Pulse {
    /// The loop begins with the next thing. Only the loop calls it.
    #[inline]
    pub fn beat(&self) {
        // Relaxed: see above. There is one writer, so it need not be one step.
        let beats = self.beats.load(Ordering::Relaxed);
        self.beats.store((beats | 1).wrapping_add(2), Ordering::Relaxed);
    }

    /// The loop does nothing from now on: it waits, or it has ended. Only the loop calls it.
    #[inline]
    pub fn rest(&self) {
        // Relaxed: see above.
        let beats = self.beats.load(Ordering::Relaxed);
        self.beats.store((beats & !1).wrapping_add(2), Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn now(&self) -> Beat {
        // Relaxed: see above.
        Beat(self.beats.load(Ordering::Relaxed))
    }

    /// How long the loop may be at one thing; `None` for ever.
    pub fn set_patience(&self, patience_ns: Option<u64>) {
        // Relaxed: see above.
        self.patience_ns.store(patience_ns.unwrap_or(NEVER), Ordering::Relaxed);
    }

    /// How long the loop may be at one thing.
    #[must_use]
    pub fn patience_ns(&self) -> Option<u64> {
        // Relaxed: see above.
        Some(self.patience_ns.load(Ordering::Relaxed)).filter(|patience| *patience != NEVER)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_beat_is_another() {
        let pulse = Pulse::default();
        assert!(!pulse.now().is_busy());
        let mut before = pulse.now();
        for round in 0..10 {
            pulse.beat();
            assert!(pulse.now().is_busy());
            assert_ne!(pulse.now(), before);
            before = pulse.now();
            if round % 3 == 0 {
                pulse.rest();
                assert!(!pulse.now().is_busy());
                assert_ne!(pulse.now(), before);
            }
        }
    }

    #[test]
    fn patience_is_for_ever_until_it_is_set() {
        let pulse = Pulse::default();
        assert_eq!(pulse.patience_ns(), None);
        pulse.set_patience(Some(5));
        assert_eq!(pulse.patience_ns(), Some(5));
        pulse.set_patience(None);
        assert_eq!(pulse.patience_ns(), None);
    }
}
