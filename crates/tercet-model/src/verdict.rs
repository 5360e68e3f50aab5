//! The answer: a remedy with its numbers and its reasons.

use serde::{Deserialize, Serialize};

use crate::Prediction;

/// What to do. A closed vocabulary, the same in Rust, Python, on the command line and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Overlap the waits, or the native code, in threads.
    Threading,
    /// Compute in several processes.
    Multiprocessing,
    /// Overlap the waits on one event loop.
    Asyncio,
    /// Processes, each with several threads.
    Hybrid,
    /// Leave it as it is.
    Nothing,
    /// The thread pool is too small.
    MoreThreads,
    /// The thread pool is too large.
    FewerThreads,
    /// The process pool is too small.
    MoreProcesses,
    /// Hand over more work at a time.
    Batch,
    /// Do not pickle large data: share it.
    SharedMemory,
    /// A call blocks the event loop.
    FixBlockingCall,
    /// A lock lets only one thread through at a time.
    FixLock,
    /// A thread turns in a loop until something changes.
    FixBusyWait,
    /// A thread asks again and again instead of waiting.
    FixPolling,
    /// The garbage collector takes the time.
    FixGc,
    /// Importing takes the time.
    FixImports,
    /// The facts do not suffice.
    CannotTell,
}

impl Remedy {
    /// Every remedy, in the order of the declaration.
    pub const ALL: [Self; 17] = [
        Self::Threading,
        Self::Multiprocessing,
        Self::Asyncio,
        Self::Hybrid,
        Self::Nothing,
        Self::MoreThreads,
        Self::FewerThreads,
        Self::MoreProcesses,
        Self::Batch,
        Self::SharedMemory,
        Self::FixBlockingCall,
        Self::FixLock,
        Self::FixBusyWait,
        Self::FixPolling,
        Self::FixGc,
        Self::FixImports,
        Self::CannotTell,
    ];

    /// The name used in JSON, on the command line and in the Python package.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Threading => "threading",
            Self::Multiprocessing => "multiprocessing",
            Self::Asyncio => "asyncio",
            Self::Hybrid => "hybrid",
            Self::Nothing => "nothing",
            Self::MoreThreads => "more-threads",
            Self::FewerThreads => "fewer-threads",
            Self::MoreProcesses => "more-processes",
            Self::Batch => "batch",
            Self::SharedMemory => "shared-memory",
            Self::FixBlockingCall => "fix-blocking-call",
            Self::FixLock => "fix-lock",
            Self::FixBusyWait => "fix-busy-wait",
            Self::FixPolling => "fix-polling",
            Self::FixGc => "fix-gc",
            Self::FixImports => "fix-imports",
            Self::CannotTell => "cannot-tell",
        }
    }
}

/// The remedy, with its numbers and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What to do.
    pub remedy: Remedy,
    /// How many workers, where the remedy has any: threads, processes, or tasks on the loop.
    pub workers: Option<u32>,
    /// Expected speed-up, 1 for none; `None` where no figure would be honest.
    pub speedup: Option<f64>,
    /// The speed-up that no number of workers passes; `None` where there is no such figure.
    pub bound: Option<f64>,
    /// From 0 (a guess) to 1 (plainly measured).
    pub confidence: f64,
    /// One sentence for a person, which names the remedy and why.
    pub sentence: String,
    /// Why, the weightiest first.
    pub reasons: Vec<Reason>,
    /// What each model would give at several sizes.
    pub predictions: Vec<Prediction>,
}

/// One reason for a verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// How much it counts, 0 to 1.
    pub weight: f64,
    /// The fact with its figure, as a sentence without a full stop.
    pub text: String,
}
