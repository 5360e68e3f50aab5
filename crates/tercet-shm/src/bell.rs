//! What wakes a process that sleeps.
//!
//! A bell belongs to the side that sleeps on it; the others hold a copy to ring it. One bell may serve many links, so that
//! a parent sleeps on one descriptor whatever the number of its workers. A bell says only that it is worth looking: what
//! has happened stands in shared memory (`sleep.rs`).

use std::os::fd::BorrowedFd;
#[cfg(not(loom))]
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use crate::error::Error;
use crate::sys;

/// Why a sleep is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The bell was rung, or there was something to do before the sleep began.
    Rung,
    /// One of the other descriptors has something to tell, for instance that a process has ended: its place. It is told before
    /// a ring, and again until it is no longer brought.
    Other(usize),
    /// The time is up.
    TimedOut,
    /// A signal has arrived.
    Interrupted,
}

/// What one side sleeps on and the others ring.
#[derive(Clone, Debug)]
pub struct Bell(sys::Bell);

impl Bell {
    /// A bell that nobody has rung.
    ///
    /// # Errors
    /// The system refuses another descriptor.
    pub fn new() -> Result<Self, Error> {
        sys::Bell::new().map(Self)
    }

    /// Ends the sleep of its side, or the next one. It never blocks.
    ///
    /// # Errors
    /// The descriptor is not that of a bell.
    pub fn ring(&self) -> Result<(), Error> {
        self.0.ring()
    }

    /// Forgets that it was rung.
    ///
    /// # Errors
    /// The descriptor is not that of a bell.
    pub fn silence(&self) -> Result<(), Error> {
        self.0.silence()
    }

    /// Sleeps until it is rung, one of the other descriptors can be read, the time is up, or a signal arrives.
    ///
    /// # Errors
    /// The system refuses to wait.
    pub fn wait(&self, others: &[BorrowedFd<'_>], until: Option<Instant>) -> Result<Woken, Error> {
        self.0.wait(others, until)
    }
}

/// A bell that was made elsewhere and came here as a descriptor.
#[cfg(not(loom))]
impl From<OwnedFd> for Bell {
    fn from(fd: OwnedFd) -> Self {
        Self(fd.into())
    }
}

/// To be passed on, or waited for together with others.
#[cfg(not(loom))]
impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The two bells of one side.
#[derive(Clone, Debug)]
pub struct Bells {
    /// The one that this side sleeps on.
    pub mine: Bell,
    /// The one that wakes the other side.
    pub theirs: Bell,
}

impl Bells {
    /// As the other side calls them.
    #[must_use]
    pub fn swapped(&self) -> Self {
        Self { mine: self.theirs.clone(), theirs: self.mine.clone() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rung_before_it_is_waited_for_it_wakes() {
        let bell = Bell::new().unwrap();
        bell.ring().unwrap();
        bell.ring().unwrap();
        assert_eq!(bell.wait(&[], None).unwrap(), Woken::Rung);
        let soon = Instant::now() + Duration::from_millis(1);
        assert_eq!(bell.wait(&[], Some(soon)).unwrap(), Woken::TimedOut, "two rings are one");
    }

    #[test]
    fn silenced_it_is_as_new() {
        let bell = Bell::new().unwrap();
        bell.ring().unwrap();
        bell.silence().unwrap();
        bell.silence().unwrap();
        assert_eq!(bell.wait(&[], Some(Instant::now())).unwrap(), Woken::TimedOut);
    }

    #[test]
    fn another_descriptor_ends_the_wait() {
        let (bell, other) = (Bell::new().unwrap(), Bell::new().unwrap());
        other.ring().unwrap();
        bell.ring().unwrap();
        assert_eq!(bell.wait(&[other.as_fd()], None).unwrap(), Woken::Other(0));
        assert_eq!(bell.wait(&[], None).unwrap(), Woken::Rung, "the ring is kept");
    }

    #[test]
    fn a_sleeper_is_woken_from_another_thread() {
        let bell = Bell::new().unwrap();
        let other = bell.clone();
        let sleeper = std::thread::spawn(move || other.wait(&[], None).unwrap());
        bell.ring().unwrap();
        assert_eq!(sleeper.join().unwrap(), Woken::Rung);
    }
}
