//! Which of many tasks are settled, in the order in which that happened.

use std::time::Instant;

use crate::latch::{Latch, Wake};
use crate::sync::{Arc, Mutex, lock};
use crate::sys::Slept;

/// The numbers of tasks that are settled, for one thread that takes them.
#[derive(Debug)]
pub struct Tally {
    settled: Mutex<Vec<usize>>,
    latch: Arc<Latch>,
}

impl Tally {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { settled: Mutex::new(Vec::new()), latch: Latch::new(1) })
    }

    /// Notes one.
    pub fn note(&self, number: usize) -> Option<Wake> {
        let mut settled = lock(&self.settled);
        settled.push(number);
        // Under the lock, so that `take` shuts the latch only when the list is empty.
        self.latch.open()
    }

    /// Takes what was noted so far.
    pub fn take(&self) -> Vec<usize> {
        let mut settled = lock(&self.settled);
        self.latch.shut();
        std::mem::take(&mut *settled)
    }

    /// Sleeps until something was noted.
    pub fn sleep(&self, until: Option<Instant>) -> Slept {
        self.latch.sleep(until)
    }
}
