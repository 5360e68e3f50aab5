//! How another thread ends the sleep of a loop.
//!
//! A bell costs a system call, so it is rung only while the loop sleeps. Whether it does is told by one word, after Dekker: each
//! side writes its own word, passes a fence, and reads the other's.
//!
//! ```text
//!   the loop, about to sleep         another thread, with work for it
//!   ------------------------         --------------------------------
//!   1. asleep = 1                    1. the work is put where the loop looks
//!   2. fence(SeqCst)   <- partners -> 2. fence(SeqCst)
//!   3. is there work? no sleep       3. asleep? no: nothing to do
//!   4. waits for the bell               yes: asleep = 0 (whoever swaps it rings), ring
//! ```
//!
//! The two fences have an order, whichever it is. If the loop's comes first, the other thread reads `asleep == 1` and rings; if it
//! comes second, the loop sees the work and does not sleep. `tests/loom.rs` tries every order.

#[cfg(not(loom))]
use std::io;

use crate::sync::{AtomicU32, Ordering, fence};
use crate::sys::Bell;
#[cfg(not(loom))]
use crate::sys::Selector;

/// Ends the sleep of one loop, from any thread.
#[derive(Debug)]
pub struct Waker {
    asleep: AtomicU32,
    bell: Bell,
}

impl Waker {
    /// Makes one that is found ready, with this token, by whoever waits for the selector.
    ///
    /// # Errors
    /// Where there are too many descriptors.
    #[cfg(not(loom))]
    pub fn new(selector: &Selector, token: u64) -> io::Result<Self> {
        Ok(Self { asleep: AtomicU32::new(0), bell: Bell::new(selector, token)? })
    }

    /// Makes one for a model.
    #[cfg(loom)]
    #[expect(clippy::new_without_default, reason = "the model mirrors the real one")]
    pub fn new() -> Self {
        Self { asleep: AtomicU32::new(0), bell: Bell::new() }
    }

    /// Sleeps until the bell rings.
    #[cfg(loom)]
    pub fn wait(&self) {
        self.bell.wait();
    }

    /// Says that the loop is about to sleep. It looks for work once more before it does.
    pub fn announce(&self) {
        // A swap, so that all changes of the word are one chain. Relaxed: the fence orders it.
        self.asleep.swap(1, Ordering::Relaxed);
        // Partner: the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    /// Says that the loop is awake, after a sleep or instead of one.
    pub fn withdraw(&self) {
        // Relaxed: who still reads 1 rings once for nothing.
        self.asleep.swap(0, Ordering::Relaxed);
    }

    /// Ends the sleep of the loop if it sleeps. The work is where the loop looks before this is called. Returns whether it rang.
    pub fn wake(&self) -> bool {
        // Partner: the fence in `announce`.
        fence(Ordering::SeqCst);
        // Relaxed: the fence above orders both.
        let is_to_wake = self.asleep.load(Ordering::Relaxed) != 0 && self.asleep.swap(0, Ordering::Relaxed) != 0;
        if is_to_wake {
            self.bell.ring();
        }
        is_to_wake
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::Events;

    #[test]
    fn only_a_sleeper_is_woken() {
        let (selector, mut events) = (Selector::new().unwrap(), Events::default());
        let waker = Waker::new(&selector, 3).unwrap();
        assert!(!waker.wake());
        assert_eq!(selector.wait(&mut events, Some(0)).unwrap(), 0);
        waker.announce();
        assert!(waker.wake());
        assert!(!waker.wake(), "one ring is enough");
        assert_eq!(selector.wait(&mut events, None).unwrap(), 1);
        assert_eq!(events.get(0).token, 3);
        assert_eq!(selector.wait(&mut events, Some(0)).unwrap(), 0, "a ring is told once");
        waker.announce();
        waker.withdraw();
        assert!(!waker.wake());
    }
}
