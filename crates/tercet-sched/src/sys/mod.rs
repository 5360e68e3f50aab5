//! A word on which a thread sleeps until another one has changed it.
//!
//! The contract every backend keeps
//! --------------------------------
//! - `Word::wait` returns at once if the word differs from what is expected. Looking and falling asleep are one step:
//!   a `wake` after a change is never missed.
//! - It may return for no reason at all. Callers look at the word again.
//! - It returns [`Slept::Interrupted`] after a signal, or, where the system cannot tell, now and then, so that the
//!   caller may look after its signals.
//! - `Word::wake` wakes one thread if there is one.

#[cfg(all(target_os = "linux", not(loom)))]
mod linux;
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) use linux::Word;

#[cfg(any(not(target_os = "linux"), loom))]
mod portable;
#[cfg(any(not(target_os = "linux"), loom))]
pub(crate) use portable::Word;

/// Why a sleep is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// What was waited for has happened.
    Open,
    /// The time is up.
    TimedOut,
    /// A signal has arrived.
    Interrupted,
}
