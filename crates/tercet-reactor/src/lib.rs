//! Readiness, timers and wake-ups: what an event loop turns on.
//!
//! Nothing here calls back. A loop asks [`Selector::wait`] what is ready, looks up in its [`Slots`] who wanted to know, takes from
//! [`Timers`] what is due, and is woken by other threads through a [`Waker`]. What stands in a slot or behind a deadline
//! is the loop's own: this crate keeps it, orders it and gives it back, and never drops it. A [`Pulse`] says that a loop goes on, and
//! [`guard`] watches it.
//!
//! `README.md` tells the life cycle, the guarantees and the memory ordering.

#[cfg(not(loom))]
pub mod guard;
mod pulse;
mod record;
#[cfg(not(loom))]
mod slot;
mod sync;
mod sys;
mod timer;
mod waker;

pub use pulse::{Beat, Pulse};
pub use record::RecordMeter;
#[cfg(not(loom))]
pub use slot::{Direction, Slots};
#[cfg(not(loom))]
pub use sys::{Events, Interest, Ready, Selector, clock_ns};
pub use timer::Timers;
pub use waker::Waker;
