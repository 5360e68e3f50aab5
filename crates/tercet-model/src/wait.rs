//! The kinds of moment a thread can be seen in.

use serde::{Deserialize, Serialize};

/// What one thread is doing, or waiting on, at one moment.
///
/// Exactly one kind holds for a thread and a sample. The names of [`Wait::name`] are the keys of
/// `shares` in the JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wait {
    /// On a processor and holding the GIL: Python code, or C code that keeps the GIL.
    CpuGil,
    /// On a processor without the GIL: native code that released it.
    CpuNogil,
    /// Ready to run, but no processor is free.
    Runnable,
    /// Waiting for the GIL.
    GilWait,
    /// Waiting for something else while holding the GIL, so that every other thread waits too.
    GilHeld,
    /// Waiting for a lock, a condition or a queue inside the process.
    Lock,
    /// Waiting for a lock shared between processes.
    ProcessLock,
    /// Waiting for a socket, also a local one.
    Network,
    /// Waiting for a disk or a file.
    Disk,
    /// Waiting for a pipe, or for another process of the same pool.
    Pipe,
    /// Waiting for a child process to end.
    Child,
    /// Waiting for a clock.
    Sleep,
    /// An event loop that has nothing ready.
    LoopIdle,
    /// Collecting garbage.
    Gc,
    /// A moment that fits none of the others, or that could not be read.
    Other,
}

impl Wait {
    /// Every kind, in the order of the declaration.
    pub const ALL: [Self; 15] = [
        Self::CpuGil,
        Self::CpuNogil,
        Self::Runnable,
        Self::GilWait,
        Self::GilHeld,
        Self::Lock,
        Self::ProcessLock,
        Self::Network,
        Self::Disk,
        Self::Pipe,
        Self::Child,
        Self::Sleep,
        Self::LoopIdle,
        Self::Gc,
        Self::Other,
    ];

    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The name used in JSON, on the command line and in the Python package.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuGil => "cpu-gil",
            Self::CpuNogil => "cpu-nogil",
            Self::Runnable => "runnable",
            Self::GilWait => "gil-wait",
            Self::GilHeld => "gil-held",
            Self::Lock => "lock",
            Self::ProcessLock => "process-lock",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Pipe => "pipe",
            Self::Child => "child",
            Self::Sleep => "sleep",
            Self::LoopIdle => "loop-idle",
            Self::Gc => "gc",
            Self::Other => "other",
        }
    }

    /// The words for a person, as they stand in the report.
    pub const fn label(self) -> &'static str {
        match self {
            Self::CpuGil => "Python code, with the GIL",
            Self::CpuNogil => "native code, without the GIL",
            Self::Runnable => "ready, but no processor free",
            Self::GilWait => "waiting for the GIL",
            Self::GilHeld => "waiting while holding the GIL",
            Self::Lock => "waiting for a lock",
            Self::ProcessLock => "waiting for a lock between processes",
            Self::Network => "waiting for the network",
            Self::Disk => "waiting for the disk",
            Self::Pipe => "waiting for a pipe",
            Self::Child => "waiting for a child process",
            Self::Sleep => "sleeping",
            Self::LoopIdle => "event loop idle",
            Self::Gc => "collecting garbage",
            Self::Other => "something else",
        }
    }

    /// Whether the thread needs a processor in this moment.
    pub const fn is_cpu(self) -> bool {
        matches!(self, Self::CpuGil | Self::CpuNogil | Self::Runnable | Self::Gc)
    }

    /// Whether the thread has a processor in this moment.
    pub const fn has_processor(self) -> bool {
        matches!(self, Self::CpuGil | Self::CpuNogil | Self::Gc)
    }

    /// Whether several such waits can pass at the same time, so that more workers shorten them.
    pub const fn is_overlappable(self) -> bool {
        matches!(self, Self::Network | Self::Disk | Self::Pipe | Self::Child | Self::Sleep | Self::LoopIdle)
    }

    /// Whether the thread waits for a lock, inside the process or between processes.
    pub const fn is_lock(self) -> bool {
        matches!(self, Self::Lock | Self::ProcessLock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_own_index_and_has_its_own_name() {
        for (index, kind) in Wait::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        let names: std::collections::BTreeSet<_> = Wait::ALL.iter().map(|w| w.name()).collect();
        assert_eq!(names.len(), Wait::COUNT);
    }
}
