//! Linux: the futex that processes share.

use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};

use crate::bell::Woken;
use crate::sync::{AtomicU32, Ordering, Shared};

/// A word that can be slept on. Sleepers are found by where the word lies, not by its address, whatever process they are in.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Word(AtomicU32);

// SAFETY: it is an atomic integer.
unsafe impl Shared for Word {}

impl Word {
    /// Partner: `store`, `replace`.
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    /// Partner: `load`.
    pub(crate) fn store(&self, value: u32) {
        self.0.store(value, Ordering::Release);
    }

    /// Partner: the fences beside it, if any.
    pub(crate) fn swap(&self, value: u32) -> u32 {
        self.0.swap(value, Ordering::Relaxed)
    }

    /// Partner: itself and `load`, in whoever looks next.
    pub(crate) fn replace(&self, old: u32, new: u32) -> Result<u32, u32> {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire)
    }

    /// Sleeps while the word is `expected`.
    pub(crate) fn wait(&self, expected: u32, until: Option<Instant>) -> Woken {
        let left = match until.map(|until| until.checked_duration_since(Instant::now())) {
            None => None,
            Some(None) => return Woken::TimedOut,
            Some(Some(left)) => Timespec::try_from(left).ok(),
        };
        match futex::wait(&self.0, Flags::empty(), expected, left.as_ref()) {
            Err(Errno::INTR) => Woken::Interrupted,
            Err(Errno::TIMEDOUT) => Woken::TimedOut,
            _ => Woken::Rung,
        }
    }

    /// Wakes so many of those that sleep on it.
    pub(crate) fn wake(&self, most: u32) {
        // It cannot fail on an address that is mapped; were there nobody to wake, that would be fine.
        let _ = futex::wake(&self.0, Flags::empty(), most);
    }
}
