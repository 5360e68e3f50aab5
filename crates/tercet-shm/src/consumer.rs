//! The side of a ring that reads.

use crate::bell::Bell;
use crate::error::Error;
use crate::ring::{self, FILLER, Ring, WORD};
use crate::sync::Ordering;

/// Reads frames. There is one for each ring, in one process, until that process is dead and another takes over.
#[derive(Debug)]
pub struct Consumer {
    ring: Ring,
    /// What the producer may overwrite.
    head: u64,
    /// The end of what was read.
    read: u64,
    /// Where the producer was when we last looked.
    tail: u64,
}

impl Consumer {
    /// The consumer of a ring that is new.
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, head: 0, read: 0, tail: 0 }
    }

    /// Takes the place of a consumer that is dead, at the first frame that it did not release.
    #[cfg(not(loom))]
    pub(crate) fn after(ring: Ring) -> Result<Self, Error> {
        // Partner: the store in `release`, by a process that is no more.
        let head = ring.cursors.head.0.load(Ordering::Acquire);
        // Half of all positions is more than a ring ever sees, and none of them overflows.
        if head % WORD != 0 || head > u64::MAX / 2 {
            return Error::corrupt("the head of a ring", head);
        }
        let mut consumer = Self { ring, head, read: head, tail: head };
        consumer.look()?;
        Ok(consumer)
    }

    /// The next frame, or nothing if there is none. Its bytes stay where they are until it is released.
    ///
    /// They are the producer's: one that breaks the rules may still change them while they are read.
    ///
    /// # Errors
    /// What the producer wrote cannot be. It stays so: the ring is of no more use.
    pub fn read(&mut self) -> Result<Option<&[u8]>, Error> {
        let Some((offset, len)) = self.step()? else { return Ok(None) };
        // SAFETY: `step` has seen that the frame is committed; its producer leaves it alone until it is released, for
        // which this consumer must not be borrowed.
        Ok(Some(unsafe { self.ring.bytes.slice(offset, len) }))
    }

    /// Gives the room of all frames that were read back. It costs one store: whether the producer sleeps is
    /// [`wake`](Self::wake)'s business.
    pub fn release(&mut self) {
        if self.read != self.head {
            self.head = self.read;
            // Partner: the load in `Producer::look`.
            self.ring.cursors.head.0.store(self.head, Ordering::Release);
        }
    }

    /// Rings the producer's bell if it sleeps for room and nobody has rung for it. Returns whether it rang.
    ///
    /// # Errors
    /// The bell cannot be rung.
    pub fn wake(&self, bell: &Bell) -> Result<bool, Error> {
        self.ring.cursors.producer.0.wake(bell)
    }

    /// Says that this side is about to sleep until there is a frame. Returns false, having withdrawn it, if there
    /// is one now.
    ///
    /// What was read should be released and the producer woken first, or both may sleep.
    ///
    /// # Errors
    /// The producer's position cannot be.
    pub fn announce(&mut self) -> Result<bool, Error> {
        self.ring.cursors.consumer.0.announce();
        let is_empty = self.look().map(|()| self.read == self.tail);
        if !matches!(is_empty, Ok(true)) {
            self.withdraw();
        }
        is_empty
    }

    /// Says that this side is awake.
    pub fn withdraw(&self) {
        self.ring.cursors.consumer.0.withdraw();
    }

    /// Steps over the next frame: where its bytes are.
    fn step(&mut self) -> Result<Option<(usize, usize)>, Error> {
        if self.read == self.tail {
            self.look()?;
        }
        if self.read == self.tail {
            return Ok(None);
        }
        let start = self.behind_filler()?;
        // The word is read once: what is checked is what is used.
        let word = self.ring.bytes.word(self.ring.offset(start));
        let Some(len) = ring::length(word) else { return Error::corrupt("the word of a frame", word) };
        let size = ring::footprint(len);
        if size > self.ring.gap(start) || size > self.tail - start {
            return Error::corrupt("the length of a frame", len as u64);
        }
        self.read = start + size;
        Ok(Some((self.ring.offset(start) + WORD as usize, len)))
    }

    /// Where the next frame begins. A filler stands before the end of the ring, and a frame behind it.
    fn behind_filler(&self) -> Result<u64, Error> {
        let offset = self.ring.offset(self.read);
        if self.ring.bytes.word(offset) != FILLER {
            return Ok(self.read);
        }
        let start = self.read + self.ring.gap(self.read);
        if offset == 0 || start >= self.tail {
            return Error::corrupt("the place of a filler", offset as u64);
        }
        Ok(start)
    }

    /// Sees where the producer is now: not before where it was, nor a whole ring ahead of what was released.
    fn look(&mut self) -> Result<(), Error> {
        // Partner: the store in `Producer::commit`.
        let tail = self.ring.cursors.tail.0.load(Ordering::Acquire);
        if tail % WORD != 0 || tail < self.tail || tail - self.head > self.ring.capacity() {
            return Error::corrupt("the tail of a ring", tail);
        }
        self.tail = tail;
        Ok(())
    }
}
