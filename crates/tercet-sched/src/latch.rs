//! What one thread sleeps on until a number of events have happened.
//!
//! Life cycle
//! ----------
//! 1. A thread that must wait makes a latch for as many events as it needs and leaves it where they happen.
//! 2. Each event calls [`Latch::arrive`]. The last one opens the latch and gets a [`Wake`], if anybody sleeps.
//! 3. Whoever got the wake sends it when it suits: under the GIL a thread that is woken too early only fights for it.
//!
//! Guarantees
//! ----------
//! - A latch opens once, however many threads open it, and at most one of them gets a wake.
//! - Who sleeps is woken by the wake alone; a wake that is dropped is sent.
//! - Only the thread that made the latch sleeps on it.
//!
//! Memory ordering
//! ---------------
//! The swap that opens (release) is the partner of the load that sees it open (acquire): what happened before the
//! event is seen after the wait.

use std::time::Instant;

use crate::sync::Arc;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sys::{Slept, Word};

const WAITING: u32 = 0;
/// A value like no other, so that who looks from outside at what a thread waits for can tell a latch from a lock:
/// `tercet-sampler/src/blocked.rs` knows it.
const SLEEPING: u32 = u32::from_be_bytes(*b"trct");
const OPEN: u32 = 2;

/// A gate that a number of events open and that one thread waits at.
#[derive(Debug)]
pub struct Latch {
    word: Word,
    left: AtomicUsize,
}

impl Latch {
    /// A latch that opens after so many events.
    pub fn new(events: usize) -> Arc<Self> {
        Arc::new(Self { word: Word::default(), left: AtomicUsize::new(events) })
    }

    /// Counts one event.
    pub fn arrive(self: &Arc<Self>) -> Option<Wake> {
        // AcqRel: the event that opens has seen all that happened before the others.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 { self.open() } else { None }
    }

    /// Opens at once, however many events are missing.
    pub fn open(self: &Arc<Self>) -> Option<Wake> {
        (self.word.swap(OPEN) == SLEEPING).then(|| Wake(Some(Arc::clone(self))))
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.word.load() == OPEN
    }

    /// Sleeps until it is open, the time is up or a signal arrives.
    pub fn sleep(&self, until: Option<Instant>) -> Slept {
        self.word.replace(WAITING, SLEEPING);
        while !self.is_open() {
            match self.word.wait(SLEEPING, until) {
                Slept::Open => {}
                other if !self.is_open() => return other,
                _ => break,
            }
        }
        Slept::Open
    }

    /// Shuts it again, for one event. Only its owner may, while nobody else can reach it.
    pub fn shut(&self) {
        self.left.store(1, Ordering::Release);
        self.word.swap(WAITING);
    }
}

/// The duty to wake a thread.
#[derive(Debug)]
#[must_use = "somebody sleeps until it is sent"]
pub struct Wake(Option<Arc<Latch>>);

impl Wake {
    /// Wakes the thread.
    pub fn send(self) {}
}

impl Drop for Wake {
    fn drop(&mut self) {
        if let Some(latch) = self.0.take() {
            latch.word.wake();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn opens_after_the_last_event() {
        let latch = Latch::new(2);
        assert!(latch.arrive().is_none());
        assert!(!latch.is_open());
        assert!(latch.arrive().is_none(), "nobody sleeps");
        assert_eq!(latch.sleep(None), Slept::Open);
    }

    #[test]
    fn a_time_that_is_up_leaves_it_usable() {
        let latch = Latch::new(1);
        let soon = Instant::now() + Duration::from_millis(1);
        let mut slept = Slept::Interrupted;
        while slept == Slept::Interrupted {
            slept = latch.sleep(Some(soon));
        }
        assert_eq!(slept, Slept::TimedOut);
        drop(latch.arrive());
        assert_eq!(latch.sleep(None), Slept::Open);
    }

    #[test]
    fn a_sleeper_is_woken_by_a_wake_that_is_dropped() {
        let latch = Latch::new(1);
        let other = Arc::clone(&latch);
        let sleeper = std::thread::spawn(move || while other.sleep(None) != Slept::Open {});
        drop(latch.arrive());
        sleeper.join().unwrap();
    }

    #[test]
    fn shut_again_it_waits_again() {
        let latch = Latch::new(1);
        drop(latch.open());
        latch.shut();
        assert!(!latch.is_open());
        drop(latch.arrive());
        assert!(latch.is_open());
    }
}
