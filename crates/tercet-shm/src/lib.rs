//! Memory shared between processes: what an engine of processes consists of, without any Python.
//!
//! General layout: a [`Segment`] is memory that several processes see; a [`Ring`] carries frames through it, from a
//! [`Producer`] to a [`Consumer`]; a [`Bell`] wakes who sleeps, and only then; a [`Port`] is a ring each way with its
//! bells. A link joins the two ends of one worker, [`ParentEnd`] and [`WorkerEnd`], with a line that tells what the worker
//! is at. An [`Arena`] lends large buffers to a [`Holder`]. A [`Queue`] joins any number of processes, a [`Semaphore`] and an
//! [`Event`] are what they wait for one another with, and a [`Cell`] is a small piece of a segment. `sys` is what the system gives, with one file for each
//! mechanism. The life of a frame and of a slab, and what each kind of death does to them, are in README.md.

#![cfg(target_os = "linux")]

mod bell;
mod berth;
mod consumer;
mod control;
mod error;
mod gate;
mod port;
mod producer;
mod queue;
mod ring;
mod semaphore;
mod sleep;
mod sync;
mod sys;

#[cfg(not(loom))]
mod arena;
#[cfg(not(loom))]
mod cell;
#[cfg(not(loom))]
mod ledger;
#[cfg(not(loom))]
mod link;
#[cfg(not(loom))]
mod loan;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod space;

pub use bell::{Bell, Bells, Woken};
pub use consumer::Consumer;
pub use control::{Held, Log, State, Status, Watch, line, now_ns};
pub use error::Error;
pub use port::{Port, Want};
pub use producer::Producer;
pub use queue::{Parts, Queue, Turn};
pub use ring::Ring;
pub use semaphore::{Event, Semaphore};

#[cfg(not(loom))]
pub use arena::{Arena, Draft, Peer, Slab, Usage};
#[cfg(not(loom))]
pub use cell::{Cell, file_number};
#[cfg(not(loom))]
pub use ledger::Handle;
#[cfg(not(loom))]
pub use link::{LinkSizes, ParentEnd, Remains, WorkerEnd};
#[cfg(not(loom))]
pub use loan::{Holder, Loan, PrivateLoan, about_to_fork};
#[cfg(not(loom))]
pub use segment::Segment;
#[cfg(not(loom))]
pub use sys::Access;
