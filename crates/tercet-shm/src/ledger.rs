//! What one peer has given back, in a segment that only it and the owner of the arena have.
//!
//! The owner counts in memory of its own how often it lent each slab to each peer; the peer counts here how often it gave each
//! back. The difference is what it holds. So no count has two writers, a dead peer's references are dropped by forgetting its
//! ledger, and what a hostile peer writes here lies only about what *it* holds: it can lose what it reads, and nobody
//! else's.

use crate::error::Error;
use crate::segment::Segment;
use crate::sync::{AtomicU32, AtomicU64, Line, Ordering, Shared};
use crate::sys::Place;

/// How many slabs of one arena may be out at a time.
pub(crate) const SLOTS: usize = 1 << 16;

#[repr(C)]
#[derive(Debug)]
struct Counts {
    /// Grows with each slab that is given back, so that the owner need not look at all of them.
    all: Line<AtomicU64>,
    returned: [AtomicU32; SLOTS],
}

// SAFETY: it consists of atomic integers only.
unsafe impl Shared for Counts {}

/// The counts of one peer.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    counts: Place<Counts>,
}

impl Ledger {
    /// The memory that a ledger takes, where it is touched.
    pub(crate) const SIZE: usize = size_of::<Counts>();

    /// The ledger in a segment of its own.
    pub(crate) fn new(segment: &Segment) -> Result<Self, Error> {
        segment.place(0).map(|counts| Self { counts })
    }

    /// Gives one reference back.
    pub(crate) fn give_back(&self, slot: u32) {
        // Partner: the load in `returned`. What this peer read, it read before the owner has the slab again.
        self.counts.returned[slot as usize].fetch_add(1, Ordering::Release);
        // Partner: the load in `all`.
        self.counts.all.0.fetch_add(1, Ordering::Release);
    }

    /// Changes whenever something was given back.
    pub(crate) fn all(&self) -> u64 {
        self.counts.all.0.load(Ordering::Acquire)
    }

    /// How often a slab was given back, modulo 2^32.
    pub(crate) fn returned(&self, slot: u32) -> u32 {
        self.counts.returned[slot as usize].load(Ordering::Acquire)
    }
}

/// What a peer needs to know of a slab that it is lent: plain numbers, to be sent in a frame.
///
/// Each handle that was made is received once, or the slab is given back too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Where it begins in the arena's segment, at a page.
    pub offset: u64,
    /// How many bytes it holds.
    pub len: u64,
    /// Its number in the ledger.
    pub slot: u32,
}

impl Handle {
    /// The bytes of a handle in a frame.
    pub const SIZE: usize = 20;

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.len.to_le_bytes());
        bytes[16..].copy_from_slice(&self.slot.to_le_bytes());
        bytes
    }

    /// As it was sent. Any bytes are a handle; whether it is a good one is seen by [`Holder::receive`](crate::Holder::receive).
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Self {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let slot = u32::from_le_bytes(std::array::from_fn(|i| bytes[16 + i]));
        Self { offset: word(0), len: word(8), slot }
    }
}
