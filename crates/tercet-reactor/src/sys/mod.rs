//! What the system gives: readiness of descriptors, a bell, a clock.
//!
//! The contract every backend keeps
//! --------------------------------
//! - Readiness is level-triggered: it is told again, in every wait, for as long as it lasts.
//! - A descriptor is registered once, with a token; `change` alters what is asked of it and which token comes back.
//!   A descriptor that was closed is registered no more: `change` then says `NotFound` or `InvalidInput`, and `add` works.
//! - An error or a hang-up of a descriptor is told as ready for both directions, whatever was asked.
//! - `wait` sleeps at least as long as it is told, to the nanosecond where the system can and rounded up where it cannot,
//!   unless something is ready or the thread is interrupted by a signal. It may be called without any lock.
//! - `Bell::ring` never blocks. A ring before, during or after the begin of a wait ends that wait; it needs no silencing.
//! - After a fork the child's copy of a selector is dead: it changes nothing, so that the parent's stays as it was.
//!
//! `epoll` and `eventfd` are Linux; `model` is what loom explores in their place.

#[cfg(not(loom))]
mod epoll;
#[cfg(not(loom))]
mod eventfd;
#[cfg(loom)]
mod model;

#[cfg(not(loom))]
pub use self::epoll::{Events, Selector};
#[cfg(not(loom))]
pub(crate) use self::eventfd::Bell;
#[cfg(loom)]
pub(crate) use self::model::Bell;

/// What is asked of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    /// Whether it can be read from, or a connection accepted.
    pub read: bool,
    /// Whether it can be written to, or is connected.
    pub write: bool,
}

impl Interest {
    /// Nothing.
    pub const NONE: Self = Self { read: false, write: false };

    /// Whether nothing is asked.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// What a wait has found about one descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What it was registered with.
    pub token: u64,
    /// Whether to read from it.
    pub read: bool,
    /// Whether to write to it.
    pub write: bool,
}

/// The monotonic clock: the one of Python's `time.monotonic`.
#[cfg(not(loom))]
pub fn clock_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of ours; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
