//! Reads another Python process from outside, without stopping it.
//!
//! # Life cycle
//!
//! 1. [`Sampler::new`] finds the interpreter of a process: the symbol `_PyRuntime` in its executable
//!    or in `libpython`, and the layout of its version.
//! 2. [`Sampler::watch`] looks about a hundred times a second. A look reads the GIL's struct, then
//!    for each thread the kernel's counters, its system call and its stack, then the GIL again.
//! 3. Each look is folded into the program's own view: who makes progress, and on what.
//! 4. [`Sampler::finish`] gives the [`tercet_model::Profile`] that the decision reads.
//!
//! # Guarantees
//!
//! The target is never stopped, traced or written to. Every pointer read from it is checked by
//! reading through it: what the target changes meanwhile makes a look wrong, never this process.
//!
//! # What makes it work
//!
//! A thread that waits for the GIL sits in a futex call whose address lies inside the GIL's struct.
//! Any other private futex is a lock; one that is not private is a lock between processes. *Running*
//! does not mean *has a processor*: the share of such moments that passed in the run queue comes from
//! the kernel's exact counters.

mod blocked;
mod code;
mod digest;
mod elf;
mod error;
mod finish;
mod fold;
mod layout;
mod line_table;
mod machine;
mod memory;
mod probe;
mod proc_fs;
mod proc_maps;
mod process;
mod python;
mod role;
mod sampler;
mod symptom;
mod thread;
mod timeline;

pub use error::{Error, Result};
pub use machine::machine;
pub use probe::{Probe, Reading};
pub use sampler::{MOST_OF_A_CORE, Options, Sampler};
