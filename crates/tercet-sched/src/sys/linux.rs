//! Linux: the futex.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};

use super::Slept;

#[derive(Debug, Default)]
pub(crate) struct Word(AtomicU32);

impl Word {
    pub(crate) fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn swap(&self, value: u32) -> u32 {
        self.0.swap(value, Ordering::AcqRel)
    }

    pub(crate) fn replace(&self, old: u32, new: u32) -> bool {
        self.0.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Sleeps while the word is `expected`.
    pub(crate) fn wait(&self, expected: u32, until: Option<Instant>) -> Slept {
        let left = match until.map(|until| until.checked_duration_since(Instant::now())) {
            None => None,
            Some(None) => return Slept::TimedOut,
            Some(Some(left)) => Some(left),
        };
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match futex::wait(&self.0, Flags::PRIVATE, expected, left.as_ref()) {
            Err(Errno::INTR) => Slept::Interrupted,
            Err(Errno::TIMEDOUT) => Slept::TimedOut,
            _ => Slept::Open,
        }
    }

    pub(crate) fn wake(&self) {
        // It cannot fail on an address that is ours; were there nobody to wake, that would be fine.
        let _ = futex::wake(&self.0, Flags::PRIVATE, 1);
    }
}
