//! Queues, workers, parking and promises: what an engine of threads consists of, without any Python.
//!
//! General layout: [`Crew`] is the engine, over a [`Queue`] of jobs; a [`Latch`] is what one thread sleeps on;
//! a [`Promise`] is the state of one task. `sys` sleeps, with one file for each way a system knows. The life of a job,
//! and the reasons, are in README.md.

#![forbid(unsafe_code)]

mod crew;
mod fleet;
mod latch;
mod promise;
mod queue;
mod sync;
mod sys;
mod tally;

pub use crew::{Call, Count, Crew, Next, Worker};
pub use fleet::{Fleet, Loss, Move, Sent};
pub use latch::{Latch, Wake};
pub use promise::{Interest, Locked, Promise, State, Wakes};
pub use queue::{Job, Queue, Ticket};
pub use sys::Slept;
pub use tally::Tally;
