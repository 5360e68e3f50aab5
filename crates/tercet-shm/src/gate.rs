//! A word that many processes wait at, each for its turn.
//!
//! ```text
//!   who waits                         who has made a change
//!   ---------                         ---------------------
//!   1. asleep = 1, fence              1. word = new value
//!   2. seen = word                    2. fence; asleep? no: nothing to do
//!   3. open? then no sleep               yes: asleep = 0, wake one
//!   4. sleep while word == seen
//!   5. asleep = 1, fence
//!   6. take; is there more? wake one
//! ```
//!
//! Steps 1 and 2 on the two sides are those of `sleep.rs`. One flag serves any number of sleepers, so whoever was woken says
//! that there may be others (5), and after its turn hands on what is left (6): otherwise two changes that meet one sleeper awake
//! would leave a second one asleep. A count of the sleepers would do with fewer calls, but a sleeper that is killed would be
//! counted for ever; the flag costs one call that wakes nobody, and is right again.
//!
//! One who is killed between 4 and 6 hands nothing on. So a sleeper looks again after half a second, which nobody but the heirs
//! of such a death ever needs.

use std::time::{Duration, Instant};

use crate::bell::Woken;
use crate::sleep::Asleep;
use crate::sync::Shared;
use crate::sys::Word;

const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A word, and whether anybody sleeps on it.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Gate {
    pub(crate) word: Word,
    asleep: Asleep,
}

// SAFETY: it consists of two atomic integers.
unsafe impl Shared for Gate {}

impl Gate {
    /// Sleeps until the word changes, unless it is open already. It may return for no reason.
    pub(crate) fn sleep(&self, is_open: impl Fn() -> bool, until: Option<Instant>) -> Woken {
        self.asleep.announce();
        let seen = self.word.load();
        if is_open() {
            return Woken::Rung;
        }
        let look = Instant::now() + LOOK_AGAIN;
        let woken = match self.word.wait(seen, Some(until.map_or(look, |until| until.min(look)))) {
            Woken::TimedOut if until.is_none_or(|until| until > look) => Woken::Rung,
            woken => woken,
        };
        self.asleep.announce();
        woken
    }

    /// Wakes so many after a change, if anybody sleeps.
    pub(crate) fn call(&self, most: u32) {
        if self.asleep.is_to_wake() {
            self.word.wake(most);
        }
    }
}
