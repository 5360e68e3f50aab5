//! The word in shared memory that says that somebody sleeps.
//!
//! A bell costs a system call, so it is rung only for those who sleep. Whether anybody does is told by this word, after
//! Dekker: each side writes its own word, passes a fence, and reads the other's.
//!
//! ```text
//!   who is about to sleep            who has made a change
//!   ---------------------            ---------------------
//!   1. asleep = 1                    1. tail (or head) = new value, Release
//!   2. fence(SeqCst)   <- partners -> 2. fence(SeqCst)
//!   3. tail (or head)? changed:      3. asleep? no: nothing to do
//!      asleep = 0, no sleep             yes: asleep = 0 (whoever swaps it rings), ring
//!   4. wait for the bell
//! ```
//!
//! The two fences have an order, whichever it is. If the sleeper's comes first, the other side reads `asleep == 1` and rings;
//! if it comes second, the sleeper reads the new value and does not sleep. The bell keeps a ring that comes before the wait.
//! `tests/loom.rs` tries every order.
//!
//! Every change of the word is a swap, so that all changes are one chain, each the next of the one before. With plain stores loom finds
//! orders in which a swap is put beside a store and a sleeper is missed; a swap costs nothing next to a sleep.

use crate::bell::Bell;
use crate::error::Error;
use crate::sync::{AtomicU32, Ordering, Shared, fence};

/// Whether one side sleeps.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Asleep(AtomicU32);

// SAFETY: it is an atomic integer.
unsafe impl Shared for Asleep {}

impl Asleep {
    /// Steps 1 and 2 of who is about to sleep.
    pub(crate) fn announce(&self) {
        self.0.swap(1, Ordering::Relaxed);
        // Partner: the fence in `wake`.
        fence(Ordering::SeqCst);
    }

    /// Takes it back, after a sleep or instead of one.
    pub(crate) fn withdraw(&self) {
        self.0.swap(0, Ordering::Relaxed);
    }

    /// Steps 2 and 3 of who has made a change. Returns whether it rang.
    pub(crate) fn wake(&self, bell: &Bell) -> Result<bool, Error> {
        // Partner: the fence in `announce`.
        fence(Ordering::SeqCst);
        let is_to_wake = self.0.load(Ordering::Relaxed) != 0 && self.0.swap(0, Ordering::Relaxed) != 0;
        if is_to_wake {
            bell.ring()?;
        }
        Ok(is_to_wake)
    }
}
