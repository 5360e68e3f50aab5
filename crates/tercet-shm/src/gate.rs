//! A number that many processes wait at, each for its turn.
//!
//! ```text
//!   who waits                         who has made a change
//!   ---------                         ---------------------
//!   1. asleep = 1, fence              1. number = new value
//!   2. open? then no sleep            2. fence; asleep? no: nothing to do
//!   3. sleep while asleep == 1           yes: asleep = 0, wake one
//!   4. asleep = 1, fence
//!   5. take; is there more? wake one
//! ```
//!
//! Steps 1 and 2 on the two sides are those of `sleep.rs`. It is the flag that is slept on, not the number: a waker that comes
//! between 1 and 3 has taken the flag back, so that nobody sleeps under a flag that is down, whatever the number is by then.
//! (With the number in its place loom finds a late waker that takes the flag from a sleeper to come.)
//!
//! One flag serves any number of sleepers, so whoever was woken says that there may be others (4), and after its turn hands on
//! what is left (5): otherwise two changes that meet one sleeper awake would leave a second one asleep. A count of the sleepers
//! would do with fewer calls, but a sleeper that is killed would be counted for ever; the flag costs one call that wakes
//! nobody, and is right again.
//!
//! One who is killed between 3 and 5 hands nothing on. So a sleeper looks again after half a second, which nobody but the heirs
//! of such a death ever needs.

use std::time::{Duration, Instant};

use crate::bell::Woken;
use crate::sync::{Ordering, Shared, fence};
use crate::sys::Word;

const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A number, and whether anybody sleeps until it changes.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Gate {
    pub(crate) word: Word,
    asleep: Word,
}

// SAFETY: it consists of two atomic integers.
unsafe impl Shared for Gate {}

impl Gate {
    /// Sleeps until the number changes, unless it is open already. It may return for no reason.
    pub(crate) fn sleep(&self, is_open: impl Fn() -> bool, until: Option<Instant>) -> Woken {
        self.announce();
        if is_open() {
            return Woken::Rung;
        }
        let look = Instant::now() + LOOK_AGAIN;
        let woken = match self.asleep.wait(1, Some(until.map_or(look, |until| until.min(look)))) {
            Woken::TimedOut if until.is_none_or(|until| until > look) => Woken::Rung,
            woken => woken,
        };
        self.announce();
        woken
    }

    fn announce(&self) {
        self.asleep.swap(1);
        // Partner: the fence in `call`.
        fence(Ordering::SeqCst);
    }

    /// Wakes so many after a change, if anybody sleeps.
    pub(crate) fn call(&self, most: u32) {
        // Partner: the fence in `announce`.
        fence(Ordering::SeqCst);
        if self.asleep.load() != 0 && self.asleep.swap(0) != 0 {
            self.asleep.wake(most);
        }
    }
}
