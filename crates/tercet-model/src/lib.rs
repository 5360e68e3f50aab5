//! What a Python program waits on, and the decision: facts in, verdict out.
//!
//! This crate is arithmetic. It reads no clock, no file and no environment, starts no thread and
//! holds no `unsafe`: the same [`Profile`] gives the same [`Verdict`] on any machine and in a test.
//! Two senses fill the profile: the sampler that watches a process from outside, and the probe that
//! times the first tasks from inside. Both ask the one function [`decide`].
//!
//! The words are those of the command line, of the JSON object and of the Python package:
//! [`Wait`] is the kind of a moment, [`Shares`] how time divides among kinds, [`Profile`] all that
//! was measured, [`Remedy`] what to do, [`Verdict`] the remedy with its numbers and reasons.

#![forbid(unsafe_code)]

mod choice;
mod decide;
mod facts;
mod finding;
mod profile;
mod rule;
mod shares;
mod speedup;
mod verdict;
mod wait;

pub use decide::{FEWEST_SAMPLES, decide};
pub use profile::{
    EventLoop, Line, Machine, Origin, Phases, Pool, PoolKind, ProcessProfile, Profile, Source, Symptoms, Tasks,
    ThreadProfile, Traffic, Unreadable, Work,
};
pub use shares::Shares;
pub use speedup::{Model, Prediction, predict};
pub use verdict::{Reason, Remedy, Verdict};
pub use wait::Wait;
