//! Where an interpreter keeps what the sampler reads, version by version.
//!
//! From 3.13 on the interpreter carries a table of its own offsets, `_Py_DebugOffsets`, at the start
//! of `_PyRuntime`. Before that the offsets are constants of each minor version, taken from its
//! headers with `offsetof`. Both end in one [`Layout`], and nothing else knows the difference.

mod debug;
mod table;

use crate::error::{Error, Result};
use crate::memory::Memory;

/// Offsets in bytes. Unless said otherwise they count from the start of the named object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// `_PyRuntime` to the list of interpreters.
    pub(crate) interpreters: u64,
    /// `_PyRuntime` to the pointer that is set while the interpreter ends.
    pub(crate) finalizing: u64,
    pub(crate) interpreter: Interpreter,
    pub(crate) gil: Gil,
    pub(crate) thread: Thread,
    pub(crate) frame: Frame,
    pub(crate) code: Code,
    pub(crate) text: Text,
}

/// Offsets in `PyInterpreterState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interpreter {
    pub(crate) next: u64,
    pub(crate) threads: u64,
    pub(crate) gc_collecting: u64,
}

/// The GIL's own struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gil {
    pub(crate) place: GilPlace,
    pub(crate) last_holder: u64,
    pub(crate) locked: u64,
    pub(crate) switch_number: u64,
}

impl Gil {
    /// Length of the struct: a futex address within it is a wait for the GIL.
    pub(crate) const LENGTH: u64 = 216;
}

/// How the GIL's struct is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GilPlace {
    /// It lies at this offset of `_PyRuntime`.
    InRuntime(u64),
    /// `PyInterpreterState` points to it from this offset.
    Behind(u64),
}

/// Offsets in `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    pub(crate) next: u64,
    pub(crate) id: ThreadId,
    pub(crate) current: CurrentFrame,
}

/// How the kernel's number of a thread is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadId {
    /// At this offset.
    Native(u64),
    /// This offset holds the `pthread_t`, in which glibc keeps the number.
    Pthread(u64),
}

/// How the running frame of a thread is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CurrentFrame {
    /// At this offset.
    Direct(u64),
    /// The first offset points to a `_PyCFrame`, which holds the frame at the second.
    Behind(u64, u64),
}

/// Offsets in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) previous: u64,
    pub(crate) code: u64,
    pub(crate) position: Position,
    /// Where the arguments of the function begin.
    pub(crate) locals: u64,
    /// Where the owner stands, and the lowest owner that means a frame without Python code.
    pub(crate) owner: Option<(u64, u8)>,
}

/// How a frame says where it is in its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// An index of instructions at this offset.
    Index(u64),
    /// A pointer into the code at this offset.
    Pointer(u64),
}

/// Offsets in `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code {
    pub(crate) filename: u64,
    pub(crate) name: u64,
    pub(crate) first_line: u64,
    pub(crate) line_table: u64,
    pub(crate) instructions: u64,
    pub(crate) lines: LineFormat,
}

/// How a code object writes down its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineFormat {
    /// 3.10: pairs of an instruction delta and a line delta (PEP 626).
    Pairs,
    /// 3.11 and later: entries of varying length, with columns (PEP 657).
    Locations,
}

/// Offsets in `bytes` and `str` objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) bytes_size: u64,
    pub(crate) bytes_data: u64,
    pub(crate) length: u64,
    pub(crate) state: u64,
    pub(crate) ascii_data: u64,
    pub(crate) wide_data: u64,
}

/// A version of Python, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) minor: u8,
    /// `None` when only the minor version could be found out.
    pub(crate) micro: Option<u8>,
}

impl Version {
    /// From the number that `Py_Version` and `_Py_DebugOffsets` hold.
    pub(crate) fn from_hex(hex: u64) -> Option<Self> {
        let [_, micro, minor, major, ..] = hex.to_le_bytes();
        (major == 3).then_some(Self { minor, micro: Some(micro) })
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.micro {
            Some(micro) => write!(f, "3.{}.{micro}", self.minor),
            None => write!(f, "3.{}", self.minor),
        }
    }
}

impl Layout {
    /// The layout of the interpreter whose `_PyRuntime` lies at `runtime`.
    pub(crate) fn read(memory: Memory, pid: u32, runtime: u64, version: Option<Version>) -> Result<(Self, Version)> {
        let unsupported = |version: String| Error::Version { pid, version };
        match version {
            Some(version @ Version { minor: 10, .. }) => Ok((table::V3_10, version)),
            Some(version @ Version { minor: 11, .. }) => Ok((table::V3_11, version)),
            Some(version @ Version { minor: 12, .. }) => Ok((table::V3_12, version)),
            Some(version) if version.minor < 10 => Err(unsupported(version.to_string())),
            _ => debug::read(memory, pid, runtime),
        }
    }
}
