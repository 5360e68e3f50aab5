//! What can go wrong while looking at another process.

use thiserror::Error;

/// Why a process cannot be watched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such process, or it ended before it could be read.
    #[error("no process `{pid}`")]
    NoProcess {
        /// The process asked for.
        pid: u32,
    },
    /// The kernel does not allow reading the memory of the process.
    #[error("could not attach to process `{pid}` ({command}): permission denied")]
    Permission {
        /// The process asked for.
        pid: u32,
        /// Its command name.
        command: String,
        /// Whether the kernel restricts tracing to ancestors (Yama's `ptrace_scope`).
        is_restricted: bool,
    },
    /// Neither the executable nor a library of the process holds a Python interpreter.
    #[error("process `{pid}` ({command}) runs no Python")]
    NotPython {
        /// The process asked for.
        pid: u32,
        /// Its command name.
        command: String,
    },
    /// The interpreter is of a version whose layout is not known.
    #[error("process `{pid}` runs Python {version}, which is not supported: 3.10 to 3.15 are")]
    Version {
        /// The process asked for.
        pid: u32,
        /// The version found.
        version: String,
    },
    /// The interpreter is a free-threaded build, which has no GIL to read.
    #[error("process `{pid}` runs a free-threaded build of Python {version}, which has no GIL to read")]
    FreeThreaded {
        /// The process asked for.
        pid: u32,
        /// The version found.
        version: String,
    },
    /// The interpreter has not been set up yet; another look a moment later may succeed.
    #[error("the interpreter of process `{pid}` has not started yet")]
    NotStarted {
        /// The process asked for.
        pid: u32,
    },
    /// A file that describes the process could not be read.
    #[error("could not read `{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// An executable or library could not be understood.
    #[error("could not read the symbols of `{path}`: {why}")]
    Elf {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The same error once more, for a caller that only has it on loan.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::NoProcess { pid } => Self::NoProcess { pid: *pid },
            Self::Permission { pid, command, is_restricted } => {
                Self::Permission { pid: *pid, command: command.clone(), is_restricted: *is_restricted }
            }
            Self::NotPython { pid, command } => Self::NotPython { pid: *pid, command: command.clone() },
            Self::Version { pid, version } => Self::Version { pid: *pid, version: version.clone() },
            Self::FreeThreaded { pid, version } => Self::FreeThreaded { pid: *pid, version: version.clone() },
            Self::NotStarted { pid } => Self::NotStarted { pid: *pid },
            Self::Io { path, source } => Self::Io { path: path.clone(), source: std::io::Error::from(source.kind()) },
            Self::Elf { path, why } => Self::Elf { path: path.clone(), why: why.clone() },
        }
    }
}

/// The result of looking at a process.
pub type Result<T> = std::result::Result<T, Error>;
