//! What can go wrong with memory that is shared.

use std::io;

use thiserror::Error;

/// Why something in shared memory could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused.
    #[error("could not {attempt}: {source}")]
    System {
        /// What was tried, as in "could not ...".
        attempt: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A descriptor is not of memory that keeps its size: whoever holds it could cut it off under our feet.
    #[error("the descriptor is not of a sealed memory file")]
    Unsealed,
    /// Something that is written to was looked for in a segment that is not mapped for writing.
    #[error("the segment is not open for writing")]
    ReadOnly,
    /// A place lies outside of a segment, or crosses its end.
    #[error("bytes {offset} to {offset}+{len} are not all inside a segment of {size}")]
    Outside {
        /// Where it begins.
        offset: u64,
        /// How long it is.
        len: u64,
        /// How large the segment is.
        size: u64,
    },
    /// A ring of this size cannot be made.
    #[error("a ring holds a power of two of bytes between {least} and {most}: not {found}")]
    Capacity {
        /// The size asked for.
        found: usize,
        /// The smallest ring.
        least: usize,
        /// The largest ring.
        most: usize,
    },
    /// A frame is longer than the ring ever has room for.
    #[error("a frame of {len} bytes is too long for a ring that takes frames of up to {most}")]
    TooLong {
        /// The length asked for.
        len: usize,
        /// The longest frame of the ring.
        most: usize,
    },
    /// The other side wrote something that cannot be, so that nothing it writes can be believed.
    #[error("the shared memory is corrupt: {what} is {found}")]
    Corrupt {
        /// What was looked at.
        what: &'static str,
        /// What was there.
        found: u64,
    },
    /// The two ends were built from different sources.
    #[error("the two ends of a link disagree about its layout: {found} there, {expected} here")]
    Version {
        /// What stands in the segment.
        found: u64,
        /// What this side knows.
        expected: u64,
    },
    /// Somebody has opened the worker's end already.
    #[error("the worker's end of this link is open already")]
    Taken,
    /// An arena has no room, even without what it keeps warm.
    #[error("an arena of {size} bytes has no room for {wanted} more")]
    Full {
        /// The bytes asked for.
        wanted: u64,
        /// The size of the arena.
        size: u64,
    },
    /// A slab or a peer does not belong to this arena, or not any longer.
    #[error("this arena knows no such slab or peer")]
    Stranger,
}

impl Error {
    /// Wraps what the system says about an attempt.
    #[cfg(not(loom))]
    pub(crate) fn system(attempt: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::System { attempt, source: errno.into() }
    }

    /// The answer to something that cannot be.
    pub(crate) fn corrupt<T>(what: &'static str, found: u64) -> Result<T, Self> {
        Err(Self::Corrupt { what, found })
    }
}
