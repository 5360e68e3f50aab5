//! Every atomic of this crate comes from here, so that loom can stand in for them.

#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// What stands on cache lines of its own: two of 64 bytes, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

/// What may lie in memory that another process writes.
///
/// # Safety
/// The type is `repr(C)`, consists of atomic integers only, and so is valid whatever bytes are there.
#[cfg_attr(loom, allow(dead_code, reason = "the model has no other process"))]
pub(crate) unsafe trait Shared {}

// SAFETY: a line is what it holds, and padding that nobody looks at.
unsafe impl<T: Shared> Shared for Line<T> {}
// SAFETY: an atomic integer has no invalid bytes.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic integer has no invalid bytes.
unsafe impl Shared for AtomicU64 {}
