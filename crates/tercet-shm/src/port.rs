//! A ring each way, and the bells: all that one side needs to speak with the other.
//!
//! Life cycle
//! ----------
//! 1. Frames are pushed into `outgoing` and committed one by one; frames are read from `incoming` and released one by one. Each
//!    costs a store, and the other side, if it is awake, sees it at once.
//! 2. [`Port::flush`] at the end of a batch, when there is nothing left to do, or when somebody should not wait any longer: it
//!    commits and releases what is left, and wakes the other side if it sleeps.
//! 3. [`Port::wait`] flushes, announces, looks again, and sleeps.
//!
//! Guarantees
//! ----------
//! - Who waits is woken by a frame, by room if it asked for room, or by the death of the other side if it brings that
//!   descriptor: a peer that dies between its commit and its ring wakes nobody.
//! - Two ports never sleep on each other: whoever sleeps has flushed before.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use crate::bell::{Bells, Woken};
use crate::consumer::Consumer;
use crate::error::Error;
use crate::producer::Producer;
use crate::ring::Ring;

/// What one side sleeps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A frame to read.
    Frame,
    /// Room for a frame of so many bytes, whatever there is to read.
    Room(usize),
    /// Whichever comes first.
    Either(usize),
}

impl Want {
    fn room(self) -> Option<usize> {
        match self {
            Self::Frame => None,
            Self::Room(len) | Self::Either(len) => Some(len),
        }
    }
}

/// One side of a pair of rings.
#[derive(Debug)]
pub struct Port {
    /// Where frames leave.
    pub outgoing: Producer,
    /// Where frames arrive.
    pub incoming: Consumer,
    /// What wakes either side.
    pub bells: Bells,
}

impl Port {
    /// Two ports in memory of their own, for the threads of this process and for those it forks.
    ///
    /// # Errors
    /// Those of [`Ring::pair`], and the system may refuse the bells.
    pub fn pair(capacity: usize, bells: Bells) -> Result<(Self, Self), Error> {
        let (there, here) = (Ring::pair(capacity)?, Ring::pair(capacity)?);
        let far = Self { outgoing: here.0, incoming: there.1, bells: bells.swapped() };
        Ok((Self { outgoing: there.0, incoming: here.1, bells }, far))
    }

    /// Commits and releases everything, and wakes the other side if it sleeps. Returns whether it did.
    ///
    /// # Errors
    /// A bell cannot be rung.
    pub fn flush(&mut self) -> Result<bool, Error> {
        self.outgoing.commit();
        self.incoming.release();
        let for_frames = self.outgoing.wake(&self.bells.theirs)?;
        let for_room = self.incoming.wake(&self.bells.theirs)?;
        Ok(for_frames || for_room)
    }

    /// Says that this side is about to sleep until there is what it wants. Returns false, having withdrawn it, if it is
    /// there now.
    ///
    /// Whoever has several ports announces on each of them, sleeps on their common bell if all agree, and withdraws from
    /// each. [`Port::wait`] does it for one.
    ///
    /// # Errors
    /// The other side wrote something that cannot be, or a bell cannot be rung.
    pub fn announce(&mut self, want: Want) -> Result<bool, Error> {
        self.flush()?;
        if !matches!(want, Want::Room(_)) && !self.incoming.announce()? {
            return Ok(false);
        }
        let is_to_sleep = want.room().map_or(Ok(true), |len| self.outgoing.announce(len));
        if !matches!(is_to_sleep, Ok(true)) {
            self.withdraw();
        }
        is_to_sleep
    }

    /// Says that this side is awake.
    pub fn withdraw(&self) {
        self.incoming.withdraw();
        self.outgoing.withdraw();
    }

    /// Flushes, and sleeps until there is what it wants, one of the other descriptors can be read, the time is up, or a
    /// signal arrives. It may wake up for nothing.
    ///
    /// # Errors
    /// Those of [`Port::announce`], and the system may refuse to wait.
    pub fn wait(&mut self, want: Want, others: &[BorrowedFd<'_>], until: Option<Instant>) -> Result<Woken, Error> {
        if !self.announce(want)? {
            return Ok(Woken::Rung);
        }
        let woken = self.bells.mine.wait(others, until);
        self.withdraw();
        woken
    }
}
