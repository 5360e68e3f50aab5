//! The side of a ring that writes.

use crate::bell::Bell;
use crate::error::Error;
use crate::ring::{self, FILLER, Ring, WORD};
use crate::sync::Ordering;

/// Writes frames. There is one for each ring, in one process.
#[derive(Debug)]
pub struct Producer {
    ring: Ring,
    /// What the consumer may see.
    tail: u64,
    /// The end of what is finished.
    kept: u64,
    /// Where the consumer was when we last looked.
    head: u64,
    reserved: Option<Reserved>,
}

/// Room for a frame: where its word goes, and its longest length.
#[derive(Clone, Copy, Debug)]
struct Reserved {
    start: u64,
    len: usize,
}

impl Producer {
    /// The producer of a ring that is new.
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, tail: 0, kept: 0, head: 0, reserved: None }
    }

    /// The longest frame that there ever is room for.
    pub fn longest_frame(&self) -> usize {
        Ring::longest_frame(self.ring.capacity() as usize)
    }

    /// Room for a frame of so many bytes, or nothing if the ring is too full. The bytes may hold anything.
    ///
    /// Room that was reserved before and not kept is given up.
    ///
    /// # Errors
    /// The frame is too long for this ring, or the consumer's position cannot be.
    pub fn reserve(&mut self, len: usize) -> Result<Option<&mut [u8]>, Error> {
        self.reserved = self.room(len)?.map(|start| Reserved { start, len });
        let Some(Reserved { start, .. }) = self.reserved else { return Ok(None) };
        let offset = self.ring.offset(start) + WORD as usize;
        // SAFETY: `room` has seen that the consumer has released it; there is one producer, and it is borrowed.
        Ok(Some(unsafe { self.ring.bytes.slice_mut(offset, len) }))
    }

    /// Finishes the frame that was reserved, with its first `len` bytes. Nobody sees it before [`commit`](Self::commit).
    ///
    /// # Panics
    /// If nothing is reserved, or less.
    pub fn keep(&mut self, len: usize) {
        let reserved = self.reserved.take().filter(|reserved| len <= reserved.len);
        let Reserved { start, .. } = reserved.expect("a frame is kept after it was reserved");
        if start != self.kept {
            self.ring.bytes.set_word(self.ring.offset(self.kept), FILLER);
        }
        self.ring.bytes.set_word(self.ring.offset(start), ring::word(len));
        self.kept = start + ring::footprint(len);
    }

    /// Reserves, copies and keeps a frame. Returns whether there was room.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub fn push(&mut self, frame: &[u8]) -> Result<bool, Error> {
        let Some(room) = self.reserve(frame.len())? else { return Ok(false) };
        room.copy_from_slice(frame);
        self.keep(frame.len());
        Ok(true)
    }

    /// Lets the consumer see all frames that are kept. It costs one store: whether the consumer sleeps is
    /// [`wake`](Self::wake)'s business.
    pub fn commit(&mut self) {
        if self.kept != self.tail {
            self.tail = self.kept;
            // Partner: the load in `Consumer::look`.
            self.ring.cursors.tail.0.store(self.tail, Ordering::Release);
        }
    }

    /// Rings the consumer's bell if it sleeps and nobody has rung for it. Returns whether it rang.
    ///
    /// A commit without a wake is seen by a consumer that is awake, and by nobody while it sleeps.
    ///
    /// # Errors
    /// The bell cannot be rung.
    pub fn wake(&self, bell: &Bell) -> Result<bool, Error> {
        self.ring.cursors.consumer.0.wake(bell)
    }

    /// Says that this side is about to sleep until there is room for `len` bytes. Returns false, having withdrawn
    /// it, if there is room now.
    ///
    /// What is kept should be committed and the consumer woken first, or both may sleep.
    ///
    /// # Errors
    /// Those of [`reserve`](Self::reserve).
    pub fn announce(&mut self, len: usize) -> Result<bool, Error> {
        self.ring.cursors.producer.0.announce();
        let is_full = self.room(len).map(|room| room.is_none());
        if !matches!(is_full, Ok(true)) {
            self.withdraw();
        }
        is_full
    }

    /// Says that this side is awake.
    pub fn withdraw(&self) {
        self.ring.cursors.producer.0.withdraw();
    }

    /// Where a frame of so many bytes could begin.
    fn room(&mut self, len: usize) -> Result<Option<u64>, Error> {
        let most = self.longest_frame();
        if len > most {
            return Err(Error::TooLong { len, most });
        }
        let (size, gap) = (ring::footprint(len), self.ring.gap(self.kept));
        let start = if size <= gap { self.kept } else { self.kept + gap };
        let fits = |head| start + size - head <= self.ring.capacity();
        if !fits(self.head) {
            self.head = self.look()?;
        }
        Ok(fits(self.head).then_some(start))
    }

    /// Where the consumer is now: not before where it was, nor beyond what it was shown.
    fn look(&self) -> Result<u64, Error> {
        // Partner: the store in `Consumer::release`.
        let head = self.ring.cursors.head.0.load(Ordering::Acquire);
        if head % WORD == 0 && (self.head..=self.tail).contains(&head) {
            Ok(head)
        } else {
            Error::corrupt("the head of a ring", head)
        }
    }
}
