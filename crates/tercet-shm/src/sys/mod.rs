//! What the system gives: memory that is shared, and a bell.
//!
//! The contract every backend keeps
//! --------------------------------
//! - `Place<T>` derefs to a `T` in shared memory for as long as any clone of it lives; all its clones are one `T`.
//! - `Bytes` is a run of shared memory whose length never changes. `slice` and `slice_mut` panic outside of it; a `word`
//!   is read and written whole.
//! - `Bell::ring` never blocks. A ring before, during or after the begin of a `Bell::wait` ends that wait.
//! - `Bell::wait` may return for no reason at all. Callers look at the memory again.
//! - `Word::wait` sleeps only while the word is what it is told, which is looked at and slept on in one step; it may return for no reason.
//! - `Robust` is held by one thread of all processes at a time, and by none that is dead.
//!
//! `memfd`, `eventfd`, `futex` and `robust` are Linux; `model` is what loom explores in their place.

#[cfg(not(loom))]
mod eventfd;
#[cfg(not(loom))]
mod futex;
#[cfg(not(loom))]
mod memfd;
#[cfg(not(loom))]
mod robust;
#[cfg(not(loom))]
pub(crate) use self::{
    eventfd::Bell,
    futex::Word,
    memfd::{Bytes, Mapping, Place, create, discard, number, of_one_process, open, read_only, resident_bytes, write},
    robust::{Hold, Robust},
};

#[cfg(not(loom))]
pub use memfd::Access;

#[cfg(loom)]
mod model;
#[cfg(loom)]
pub(crate) use model::{Bell, Bytes, Hold, Place, Robust, Word, of_one_process};

/// The monotonic clock, which all processes of a machine share.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or_default()
}
